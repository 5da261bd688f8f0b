"""stage1: a masked autoencoder fine-tuned for reconstruction on the composite, compared with the one that it starts from.

It starts from published weights, or else from those that `pretrain` has trained. Both are measured on the held-out classes,
over the masked pixels of whole clips, by the same windows and masks, with two trivial controls beside them.
"""

from collections.abc import Sequence
from dataclasses import replace

from common.paths import PLOTS
from training import params
from training.clips import Clip, Clips
from training.data.windows import ClipWindows
from training.engine.augmentation import Augmentation
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.checkpoints import load_finished
from training.engine.clip_errors import even_clips, measure, results
from training.engine.figures import write_png
from training.engine.loop import train
from training.engine.metrics import write_metrics
from training.engine.reconstruction_figure import draw_reconstructions
from training.engine.runs import pretrain_run, stage1_run
from training.engine.setup import build_autoencoder, build_masking, load_windows
from training.engine.validation import carve, reconstruction_validation
from training.models import MAE, load_pretrained
from training.params import TrainingParams


def main() -> None:
    """Read the shards and the weights; write checkpoints/stage1/, metrics/stage1.json, the curve and the figure.

    Raises:
        ParamError: the weights' model is no autoencoder, or a value does not fit the clips.
        WorkError: the weights are missing, damaged or of another config, or there are no clips.
    """
    settings = params.load()
    stage = settings.stage1
    clips = Clips(shards=settings.loader.shards)
    run = stage1_run(settings)
    baseline, tuned = load_start(settings, clips.size), load_start(settings, clips.size)
    masking = build_masking(settings.pretrain)

    def load(rows: Sequence[Clip]) -> ClipWindows:
        return load_windows(clips, rows, tuned.config, settings.pretrain, "pretrain", settings.loader)

    share = stage.validation if stage.optimiser.validations else 0.0
    kept, held = carve(clips.select(split="train"), share, stage.seed)
    sampler = BatchSampler(
        load(kept),
        tuned.config,
        masking,
        stage.optimiser.batch,
        seed=stage.seed,
        buffer=settings.loader.shuffle,
        augmentation=Augmentation(stage.augment, "stage1.augment"),
    )
    task = reconstruction_task(tuned, sampler)
    if held:
        task = replace(task, validate=reconstruction_validation(tuned, load(held), masking, stage.seed))
    test = load(clips.select(split="test"))
    train(run, tuned, stage.optimiser, task)

    models = {"baseline": baseline, "fine_tuned": tuned}
    index = even_clips(test, stage.test_clips)
    errors = measure(models, test, index, clips.ticks, masking, stage.seed)
    write_png(PLOTS / "stage1_reconstruction.png", draw_reconstructions(models, test, clips.ticks, masking, stage.seed))
    write_metrics("stage1", results(errors))
    for name, (mean, ci95) in errors.means("mse_standardised").items():
        print(f"stage1: {name}: mse_standardised {mean:.4f} ± {ci95:.4f}")
    mean, ci95 = errors.difference("baseline", "fine_tuned")["mse_standardised"]
    print(f"stage1: baseline less fine_tuned: {mean:.4f} ± {ci95:.4f} on {len(errors):,} clips of the held-out classes")


def load_start(settings: TrainingParams, size: int) -> MAE:
    """The autoencoder with its starting weights, in eval mode: `stage1.weights`, or else those that `pretrain` has trained.

    Args:
        settings: all params.
        size: of the clips' frames in pixels; the model's `image_size` unless its overrides set another.

    Raises:
        ParamError: the model is unknown or a classifier, or its config, or its config and the masking, are impossible.
        WorkError: the weights are missing, damaged, without a decoder, or do not fit the model.
    """
    stage, own = settings.stage1, settings.pretrain
    if stage.weights is None:
        model = build_autoencoder(
            replace(own, overrides=own.overrides | {"drop_path": stage.drop_path}), "pretrain", size
        )
        load_finished(pretrain_run(settings), model)
    else:
        named = replace(own, model=stage.model, overrides={"drop_path": stage.drop_path} | stage.overrides)
        model = build_autoencoder(named, "stage1", size)
        load_pretrained(model, stage.weights)
    return model.eval()
