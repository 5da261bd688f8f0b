"""metrics/*.json, as the stages write them, to `results`."""

from common.errors import WorkError
from common.paths import METRICS
from training.tools.report.json_object import JsonObject, read_object
from training.tools.report.results import (
    LOSSES,
    Ablation,
    AblationRow,
    Arm,
    Estimate,
    Evaluate,
    Learner,
    Method,
    Pretrain,
    Reconstruction,
    Results,
    Score,
    Source,
    Stage1,
    Stage2,
)

_NORMALISED = "mse_normalised"  # of models with a normalised target only
FILES = ("pretrain", "stage1", "stage2", "ablation_stage2", "stage3", "evaluate", "ablation")


def read() -> Results:
    """Read metrics/*.json.

    Raises:
        WorkError: there are none, or one is damaged or of another version; the message names it.
    """
    if not any(METRICS.glob("*.json")):
        raise WorkError("metrics/ is empty: run `make evaluate` first")
    files = {name: file for name in FILES if (file := read_object(METRICS / f"{name}.json")) is not None}
    return Results(
        pretrain=_pretrain(files["pretrain"]) if "pretrain" in files else None,
        stage1=_stage1(files["stage1"]) if "stage1" in files else None,
        stage2=_stage2(files["stage2"]) if "stage2" in files else None,
        ablation=_ablation(files["ablation_stage2"]) if "ablation_stage2" in files else None,
        stage3={name: _learner(item) for name, item in files["stage3"].items()} if "stage3" in files else None,
        evaluate=_evaluate(files["evaluate"]) if "evaluate" in files else None,
        few_shot_ablation=_few_shot_ablation(files["ablation"]) if "ablation" in files else None,
        raw={name: file.values for name, file in files.items()},
    )


def _pretrain(file: JsonObject) -> Pretrain:
    return Pretrain(
        clips=file.count("clips"),
        steps=file.count("steps"),
        loss_first=file.number("loss_first"),
        loss_last=file.number("loss_last"),
        test_clips=file.optional_count("test_clips"),
        errors={name: item.mean() for name, item in file.items("masked_error")},
    )


def _stage1(file: JsonObject) -> Stage1:
    return Stage1(
        fine_tuned=_reconstruction(file.child("fine_tuned")),
        baseline=_reconstruction(file.child("baseline")),
        controls={name: _reconstruction(item) for name, item in file.items("controls")},
        paired={loss: item.mean() for loss, item in file.items("paired")},
    )


def _reconstruction(item: JsonObject) -> Reconstruction:
    losses = [*LOSSES, *([_NORMALISED] if item.has(_NORMALISED) else [])]
    return Reconstruction(
        clips=item.optional_count("clips"),
        overall={loss: item.estimate(loss) for loss in losses},
        by_tick={
            loss: {item.whole(tick): error.mean() for tick, error in item.items(f"{loss}_by_tick")} for loss in losses
        },
    )


def _score(item: JsonObject) -> Score:
    return Score(
        top1=item.estimate("top1"),
        top5=item.optional_estimate("top5"),
        top1_any=item.optional_estimate("top1_any"),
        top5_any=item.optional_estimate("top5_any"),
        macro_f1=item.optional_number("macro_f1"),
        f1_multilabel=item.optional_number("f1_multilabel"),
        micro_f1=item.optional_number("micro_f1"),
    )


def _stage2(file: JsonObject) -> Stage2:
    return Stage2(
        classes=file.count("classes"),
        train_clips=file.count("train_clips"),
        test_clips=file.count("test_clips"),
        scores={name: _score(file.child(name)) for name in ("unmasked", "masked")},
        controls={name: _score(item) for name, item in file.items("controls")},
    )


def _ablation(file: JsonObject) -> tuple[AblationRow, ...]:
    found = [(row, True) for row in file.rows("rows")]
    found += [(file.child("scratch"), False)] if file.has("scratch") else []
    return tuple(
        AblationRow(
            spt=row.flag("spt"),
            masked=row.flag("masked"),
            pretrained=pretrained,
            score=_score(row),
            steps=row.optional_count("steps"),
            seconds=row.optional_number("seconds"),
        )
        for row, pretrained in found
    )


def _learner(item: JsonObject) -> Learner:
    trained = item.has("steps") or not item.has("validation_last")
    return Learner(
        steps=item.count("steps") if trained else None,
        loss_first=item.number("loss_first") if trained else None,
        loss_last=item.number("loss_last") if trained else None,
        accuracy_last=item.number("accuracy_last") if trained else None,
        validation_1shot=item.optional_number("validation_1shot"),
        validation_last=item.optional_number("validation_last"),
    )


def _evaluate(file: JsonObject) -> Evaluate:
    return Evaluate(
        classes=file.count("classes"),
        way=file.count("way"),
        methods={name: _method(item) for name, item in file.items() if item.has("instance_accuracy")},
        sources=tuple(
            Source(
                name,
                item.count("classes"),
                {
                    method: {shots: shot.mean() for shots, shot in value.items("few_shot")}
                    for method, value in item.items()
                },
            )
            for name, item in file.items("by_source")
        ),
    )


def _few_shot_ablation(file: JsonObject) -> Ablation:
    return Ablation(
        way=file.count("way"),
        episodes=file.count("episodes"),
        seeds=file.count("seeds"),
        arms={
            name: {arm.share(share): _arm(result) for share, result in arm.items()} for name, arm in file.items("arms")
        },
    )


def _arm(item: JsonObject) -> Arm:
    shots = dict(item.items("few_shot"))
    return Arm(
        labels=item.count("labels"),
        few_shot={name: shot.mean() for name, shot in shots.items()},
        deviations={name: shot.optional_number("deviation") for name, shot in shots.items()},
    )


def _method(item: JsonObject) -> Method:
    accuracy = item.child("instance_accuracy")
    interval = item.child("instance_ci95")
    shots = dict(item.items("few_shot"))
    return Method(
        instances={
            accuracy.whole(key): Estimate(accuracy.number(key), interval.optional_number(key))
            for key in accuracy.values
        },
        few_shot={name: shot.mean() for name, shot in shots.items()},
        differences={name: shot.mean() for name, shot in item.items("difference")},
        episodes=next((shot.optional_count("episodes") for shot in shots.values()), None),
    )
