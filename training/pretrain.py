"""pretrain: a masked autoencoder on the clips of the training classes, without their labels."""

from collections.abc import Sequence
from dataclasses import replace

from common.errors import ParamError
from training import params
from training.clips import Clip, Clips
from training.engine.augmentation import Augmentation
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.loop import train
from training.engine.metrics import write_metrics
from training.engine.reconstruction import masked_errors
from training.engine.runs import pretrain_run
from training.engine.setup import build_autoencoder, build_masking, load_windows
from training.engine.statistics import mean_of_last
from training.engine.validation import carve, reconstruction_validation


def main() -> None:
    """Read the shards; write checkpoints/pretrain/, metrics/pretrain.json and the curves of losses and validations."""
    settings = params.load()
    stage = settings.pretrain
    clips = Clips(shards=settings.loader.shards)
    model = build_autoencoder(stage, "pretrain", clips.size)
    masking = build_masking(stage)
    rows, held = carve(select_sources(clips, stage.sources), stage.validation, stage.seed)
    data = load_windows(clips, rows, model.config, stage, "pretrain", settings.loader)
    sampler = BatchSampler(
        data,
        model.config,
        masking,
        stage.optimiser.batch,
        seed=stage.seed,
        buffer=settings.loader.shuffle,
        augmentation=Augmentation(stage.augment, "pretrain.augment"),
    )
    task = reconstruction_task(model, sampler)
    if stage.optimiser.validations:
        validation = load_windows(clips, held, model.config, stage, "pretrain", settings.loader)
        task = replace(task, validate=reconstruction_validation(model, validation, masking, stage.seed))
    losses = train(pretrain_run(settings), model, stage.optimiser, task)["loss"]
    last = mean_of_last(losses, len(losses) // 20)
    print(f"pretrain: loss {losses[0]:.4f} to {last:.4f} in {len(losses):,} steps on {len(data):,} clips")
    test = load_windows(clips, clips.select(split="test"), model.config, stage, "pretrain", settings.loader)
    errors = masked_errors(model, test, masking, stage.seed)
    by_name = {name: {"mean": mean, "ci95": ci95} for name, (mean, ci95) in errors.items()}
    metrics = {
        "clips": len(data),
        "validation_clips": len(held),
        "steps": len(losses),
        "loss_first": losses[0],
        "loss_last": last,
    }
    write_metrics("pretrain", metrics | {"test_clips": len(test), "masked_error": by_name})
    (error, ci95), others = errors.pop("model"), ", ".join(f"{name} {mean:.4f}" for name, (mean, _) in errors.items())
    print(f"pretrain: masked error {error:.4f} ± {ci95:.4f} on the held-out classes; controls: {others}")


def select_sources(clips: Clips, sources: Sequence[str] | None) -> tuple[Clip, ...]:
    """The clips of the training classes, of the sources or of all.

    Raises:
        ParamError: a source has none.
    """
    rows = clips.select(split="train")
    if sources is None:
        return rows
    known = sorted({clip.source for clip in rows})
    missing = [source for source in sources if source not in known]
    if missing or not sources:
        raise ParamError(
            f"params.yaml: pretrain.sources is {list(sources)}: must name some of {', '.join(known)}, which have training clips"
        )
    return tuple(clip for clip in rows if clip.source in sources)
