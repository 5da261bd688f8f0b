"""stage1: a masked autoencoder fine-tuned for reconstruction on the composite, compared with the one that it starts from.

It starts from published weights, or else from those that `pretrain` has trained. Both are measured on the held-out classes,
over the masked pixels of whole clips, by the same windows and masks, with two trivial controls beside them.
"""

from dataclasses import replace

from common.paths import PLOTS
from training import params
from training.clips import Clips
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.checkpoints import load_finished
from training.engine.clip_errors import even_clips, measure, results
from training.engine.figures import write_png
from training.engine.loop import train
from training.engine.metrics import write_metrics
from training.engine.reconstruction_figure import draw_reconstructions
from training.engine.runs import pretrain_run, stage1_run
from training.engine.setup import build_autoencoder, build_masking, load_windows
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
    train_data, test = (
        load_windows(clips, clips.select(split=split), tuned.config, settings.pretrain, "pretrain", settings.loader)
        for split in ("train", "test")
    )
    sampler = BatchSampler(
        train_data, tuned.config, masking, stage.optimiser.batch, seed=stage.seed, buffer=settings.loader.shuffle
    )
    train(run, tuned, stage.optimiser, reconstruction_task(tuned, sampler))

    models = {"fine_tuned": tuned, "baseline": baseline}
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
