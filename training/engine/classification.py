"""Training of classifiers on TinyVIRAT's labels, and their scores."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from training.clips import Clip
from training.data.windows import ClipWindows
from training.engine.augmentation import Augmentation
from training.engine.batches import Batch, BatchSampler
from training.engine.labels import Labels
from training.engine.statistics import label_f1, macro_f1, mean_ci95
from training.engine.task import Task
from training.models import Classifier
from training.models.masking import Masking
from training.models.preprocess import preprocess

_BATCH = 32


def classification_task(
    model: Classifier,
    sampler: BatchSampler,
    augmentation: Augmentation,
    labels: Labels,
    *,
    masked: bool,
    validate: Callable[[], dict[str, float]] | None = None,
) -> Task[Batch]:
    """Training a classifier on the sampler's clips and labels.

    Args:
        model: with `labels.outputs` classes.
        sampler: with the targets of its clips as `labels`, and `augmentation`.
        augmentation: with `labels.outputs` classes.
        labels: the loss.
        masked: classify masked clips, from their visible tokens.
        validate: see `Task`.
    """

    def compute(batch: Batch) -> dict[str, Tensor]:
        assert batch.labels is not None
        video, target = augmentation.mix(sampler.video(batch), batch.labels, batch.draws)
        return {"loss": labels.loss(model(video, batch.split if masked else None), target)}

    return Task(sampler, compute, sampler.names, validate)


@torch.no_grad()
def classify(model: Classifier, data: ClipWindows, masking: Masking | None, seed: int) -> Tensor:
    """Logits of the middle window of every clip, (N, outputs), on the host.

    Args:
        model: in eval mode, on the data's device.
        data: the clips.
        masking: of the windows; None: unmasked.
        seed: of the masks.
    """
    generator = Generator().manual_seed(seed)
    logits = []
    for index in data.batches(_BATCH):
        mask = None if masking is None else masking(len(index), model.config.grid, generator)
        video = preprocess(data.even_windows(index, 0, 1), model.config)
        logits.append(model(video, mask).float().cpu())
    return torch.cat(logits)


def score(logits: Tensor, rows: tuple[Clip, ...], labels: Labels) -> dict[str, float]:
    """Accuracies with half widths of 95% intervals over clips, and F1 scores.

    `top1` and `top5`: a clip's first label is the best guess, or among the best five. `top1_any` and `top5_any`: any of its
    labels is. `macro_f1`: of the best guess against the first label, averaged over the labels that occur as a first one.
    `f1_multilabel` and `micro_f1`: of the predicted sets of labels against all of a clip's, averaged over the labels that
    occur, and over all pairs of clip and label.

    Args:
        logits: (N, outputs) of the clips.
        rows: the clips.
        labels: theirs.
    """
    first, every = labels.first(rows), labels.all(rows)
    ranked = labels.scores(logits).argsort(stable=True, dim=1, descending=True)
    hits, any_hits = ranked == first[:, None], every.gather(1, ranked) > 0
    scores = {}
    for name, values in (
        ("top1", hits[:, 0]),
        ("top5", hits[:, :5].any(1)),
        ("top1_any", any_hits[:, 0]),
        ("top5_any", any_hits[:, :5].any(1)),
    ):
        scores[name], scores[f"{name}_ci95"] = mean_ci95(values)
    macro, micro = label_f1(labels.predicted(logits), every > 0)
    return scores | {"macro_f1": macro_f1(ranked[:, 0], first), "f1_multilabel": macro, "micro_f1": micro}


def classification_validation(
    model: Classifier, data: ClipWindows, labels: Labels, masking: Masking | None, seed: int
) -> Callable[[], dict[str, float]]:
    """`Task.validate` of a classifier: `loss`, without augmentation, `top1` and `top5` of the clips' middle windows.

    The loss is the negative log probability of a clip's first label, or for `bce` that of the training; so clips whose set
    of labels no training clip has are measured too.
    """
    first, every = labels.first(data.rows), labels.all(data.rows)

    def validate() -> dict[str, float]:
        logits = classify(model, data, masking, seed)
        scores = score(logits, data.rows, labels)
        if labels.multi_label:
            loss = labels.loss(logits, every)
        else:
            loss = -labels.scores(logits).gather(1, first[:, None]).clamp(min=1e-9).log().mean()
        return {"loss": float(loss), "top1": scores["top1"], "top5": scores["top5"]}

    return validate
