"""stage2: a small ViT with Shifted Patch Tokenization, from scratch, on TinyVIRAT's classes (a clip's first label).

A masked autoencoder is pre-trained on TinyVIRAT's training clips. Its encoder is then fine-tuned with a classification head,
once on all patches and once on the visible ones of masked clips.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from common.errors import WorkError
from training import params
from training.clips import Clip, Clips
from training.data.windows import ClipWindows
from training.engine.batches import Batch, BatchSampler, reconstruction_task
from training.engine.device import pick_device
from training.engine.loop import Task, train
from training.engine.metrics import write_metrics
from training.engine.runs import stage2_run
from training.engine.setup import build_autoencoder, build_masking, load_windows
from training.engine.statistics import macro_f1, mean_ci95
from training.models import MAE, Classifier
from training.models.preprocess import preprocess
from training.params import Stage2

_BATCH = 32


def main() -> None:
    """Read the shards; write checkpoints/stage2/, metrics/stage2.json and the loss curves."""
    settings = params.load()
    stage = settings.stage2
    clips = Clips(shards=settings.loader.shards)
    labelled = [clip for clip in clips.rows if clip.tinyvirat_labels]
    rows = [clip for clip in labelled if clip.official_split != "test"]
    test_rows = [clip for clip in labelled if clip.official_split == "test"]
    if not rows or not test_rows:
        raise WorkError("stage2 needs TinyVIRAT's train and test clips: list a source of kind tinyvirat in params.yaml")
    autoencoder = build_autoencoder(stage, "stage2", clips.size)
    data, test = (
        load_windows(clips, part, autoencoder.config, stage, "stage2", settings.loader) for part in (rows, test_rows)
    )
    masking, buffer = build_masking(stage), settings.loader.shuffle
    sampler = BatchSampler(data, autoencoder.config, masking, stage.pretrain.batch, seed=stage.seed, buffer=buffer)
    train(stage2_run(settings, "autoencoder"), autoencoder, stage.pretrain, reconstruction_task(autoencoder, sampler))
    names = sorted({clip.tinyvirat_labels[0] for clip in labelled})
    results: dict[str, object] = {"classes": len(names), "train_clips": len(data), "test_clips": len(test)}
    for name, masked in (("unmasked", False), ("masked", True)):
        model = build_classifier(autoencoder, len(names), stage.seed)
        sampler = BatchSampler(data, model.config, masking, stage.finetune.batch, seed=stage.seed, buffer=buffer)
        task = classification_task(model, sampler, first_labels(data.rows, names), stage, masked=masked)
        train(stage2_run(settings, name), model, stage.finetune, task)
        results[name] = scores = score(model, test, first_labels(test.rows, names), stage, masked=masked)
        print(f"stage2: {name}: top-1 {scores['top1']:.1%} ± {scores['top1_ci95']:.1%}, top-5 {scores['top5']:.1%}")
    write_metrics("stage2", results)


def build_classifier(autoencoder: MAE, classes: int, seed: int) -> Classifier:
    """A classifier with the autoencoder's encoder and a freshly initialised head, on the training device."""
    torch.manual_seed(seed)
    model = Classifier(replace(autoencoder.config, classes=classes))
    trained = autoencoder.encoder.state_dict()
    model.encoder.load_state_dict({key: trained[key] for key in model.encoder.state_dict()})  # without a final norm
    return model.to(pick_device())


def classification_task(
    model: Classifier, sampler: BatchSampler, labels: Tensor, settings: Stage2, *, masked: bool
) -> Task[Batch]:
    """Training a classifier by cross entropy; `labels` (N,) are the clips' classes."""

    def compute(batch: Batch) -> dict[str, Tensor]:
        logits = model(preprocess(batch.frames, model.config), batch.mask if masked else None)
        truth = labels[batch.clips].to(logits.device)
        return {"loss": F.cross_entropy(logits, truth, label_smoothing=settings.label_smoothing)}

    return Task(sampler, compute, sampler.names)


@torch.no_grad()
def score(model: Classifier, data: ClipWindows, labels: Tensor, settings: Stage2, *, masked: bool) -> dict[str, float]:
    """Top-1 and top-5 accuracy with 95% intervals over clips, and macro F1, on each clip's middle window.

    Args:
        model: in eval mode.
        data: the clips.
        labels: their classes, (N,).
        settings: the masking, and the seed of the masks.
        masked: classify masked clips.
    """
    masking, generator = build_masking(settings), Generator().manual_seed(settings.seed)
    logits = []
    for index in data.batches(_BATCH):
        mask = masking(len(index), model.config.grid, generator) if masked else None
        video = preprocess(data.even_windows(index, 0, 1), model.config)
        logits.append(model(video, mask).float().cpu())
    ranked = torch.cat(logits).argsort(1, descending=True)
    hits = ranked == labels[:, None]
    top1, top1_ci95 = mean_ci95(hits[:, 0])
    top5, top5_ci95 = mean_ci95(hits[:, :5].any(1))
    scores = {"top1": top1, "top1_ci95": top1_ci95, "top5": top5, "top5_ci95": top5_ci95}
    return scores | {"macro_f1": macro_f1(ranked[:, 0], labels)}


def first_labels(rows: Sequence[Clip], names: Sequence[str]) -> Tensor:
    """Position in `names` of each clip's first TinyVIRAT label, (N,)."""
    return torch.tensor([names.index(clip.tinyvirat_labels[0]) for clip in rows])
