"""TinyVIRAT's labels as targets of a loss, and logits as probabilities of labels.

A clip has one or several labels, in no order. The paper classifies its first label. Beside that, `bce` trains each label by
itself, and `label_sets` each set of labels that occurs in training (label powerset; Tsoumakas and Katakis, 2007), whose
clips are alike where the clips of one label are not.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from training.clips import Clip

Loss = Literal["cross_entropy", "bce", "label_sets"]


class Labels:
    """The labels of a data set, and how a classifier is trained on them.

    Args:
        names: of the C labels.
        loss: see the module.
        rows: the training clips; `label_sets` are theirs.
    """

    def __init__(self, names: Sequence[str], loss: Loss, rows: Sequence[Clip]) -> None:
        self.names, self.loss_name = tuple(names), loss
        sets = sorted({tuple(sorted(clip.tinyvirat_labels)) for clip in rows}) if loss == "label_sets" else []
        self._number = {labels: number for number, labels in enumerate(sets)}
        self.sets = torch.stack([self._multi_hot(labels) for labels in sets]) if sets else torch.empty(0, len(names))

    @property
    def outputs(self) -> int:
        """Logits of a classifier."""
        return len(self.sets) if self.loss_name == "label_sets" else len(self.names)

    @property
    def multi_label(self) -> bool:
        """Targets are (N, C) of 0 and 1, and not class numbers (N,)."""
        return self.loss_name == "bce"

    def targets(self, rows: Sequence[Clip]) -> Tensor:
        """What the loss compares logits with: class numbers (N,), or (N, C) of 0 and 1 for `bce`.

        Raises:
            KeyError: for `label_sets`, a clip has another set than the training clips.
        """
        if self.loss_name == "bce":
            return self.all(rows)
        if self.loss_name == "label_sets":
            return torch.tensor([self._number[tuple(sorted(clip.tinyvirat_labels))] for clip in rows])
        return self.first(rows)

    def first(self, rows: Sequence[Clip]) -> Tensor:
        """Number of each clip's first label, (N,)."""
        return torch.tensor([self.names.index(clip.tinyvirat_labels[0]) for clip in rows])

    def all(self, rows: Sequence[Clip]) -> Tensor:
        """All labels of each clip, (N, C) of 0 and 1."""
        return torch.stack([self._multi_hot(clip.tinyvirat_labels) for clip in rows])

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, outputs) against the probabilities (B, outputs), averaged over clips."""
        if self.loss_name == "bce":
            return F.binary_cross_entropy_with_logits(logits, target)
        return F.cross_entropy(logits, target)

    def scores(self, logits: Tensor) -> Tensor:
        """The probability that each label is a clip's first, (B, C); for `bce` that a clip has it."""
        if self.loss_name == "bce":
            return logits.sigmoid()
        if self.loss_name == "label_sets":
            return logits.softmax(1) @ (self.sets / self.sets.sum(1, keepdim=True)).to(logits)
        return logits.softmax(1)

    def predicted(self, logits: Tensor) -> Tensor:
        """The labels that a clip is said to have, (B, C) bool.

        For `bce` those of probability 0.5 or more, for `label_sets` those of the most probable set. A softmax over labels
        cannot give two of them a half each, so for `cross_entropy` those at least half as probable as the most probable one.
        """
        if self.loss_name == "label_sets":
            return self.sets.to(logits)[logits.argmax(1)] > 0
        scores = self.scores(logits)
        return scores >= (0.5 if self.loss_name == "bce" else scores.amax(1, keepdim=True) / 2)

    def _multi_hot(self, labels: Sequence[str]) -> Tensor:
        hot = torch.zeros(len(self.names))
        hot[[self.names.index(name) for name in labels]] = 1
        return hot
