"""pretrain: a masked autoencoder on the clips of the training classes, without their labels."""

from training import params
from training.clips import Clips
from training.engine.augmentation import Augmentation
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.loop import train
from training.engine.metrics import write_metrics
from training.engine.reconstruction import masked_errors
from training.engine.runs import pretrain_run
from training.engine.setup import build_autoencoder, build_masking, load_windows
from training.engine.statistics import mean_of_last


def main() -> None:
    """Read the shards; write checkpoints/pretrain/, metrics/pretrain.json and plots/pretrain.tsv."""
    settings = params.load()
    stage = settings.pretrain
    clips = Clips(shards=settings.loader.shards)
    model = build_autoencoder(stage, "pretrain", clips.size)
    data = load_windows(clips, clips.select(split="train"), model.config, stage, "pretrain", settings.loader)
    sampler = BatchSampler(
        data,
        model.config,
        build_masking(stage),
        stage.optimiser.batch,
        seed=stage.seed,
        buffer=settings.loader.shuffle,
        augmentation=Augmentation(stage.augment, "pretrain.augment"),
    )
    losses = train(pretrain_run(settings), model, stage.optimiser, reconstruction_task(model, sampler))["loss"]
    last = mean_of_last(losses, len(losses) // 20)
    print(f"pretrain: loss {losses[0]:.4f} to {last:.4f} in {len(losses):,} steps on {len(data):,} clips")
    test = load_windows(clips, clips.select(split="test"), model.config, stage, "pretrain", settings.loader)
    errors = masked_errors(model, test, build_masking(stage), stage.seed)
    by_name = {name: {"mean": mean, "ci95": ci95} for name, (mean, ci95) in errors.items()}
    metrics = {"clips": len(data), "steps": len(losses), "loss_first": losses[0], "loss_last": last}
    write_metrics("pretrain", metrics | {"test_clips": len(test), "masked_error": by_name})
    (error, ci95), others = errors.pop("model"), ", ".join(f"{name} {mean:.4f}" for name, (mean, _) in errors.items())
    print(f"pretrain: masked error {error:.4f} ± {ci95:.4f} on the held-out classes; controls: {others}")
