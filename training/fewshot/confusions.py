"""The pairs of classes that a few-shot learner confuses most."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from training.fewshot.episodes import Episodes


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes in the same episodes.

    Args:
        classes: their ids, ascending.
        confused: predictions of either for a clip of the other.
        shown: predictions for clips of either, where the other was in the episode.
    """

    classes: tuple[int, int]
    confused: int
    shown: int

    @property
    def share(self) -> float:
        """Of the predictions."""
        return self.confused / self.shown


def confused_pairs(predicted: Tensor, episodes: Episodes, classes: Tensor) -> list[ConfusedPair]:
    """All pairs of classes that were confused, the largest shares first, from the second round on.

    Args:
        predicted: episode labels, (episodes, rounds, way).
        episodes: the episodes.
        classes: class of each clip, (N,).
    """
    ids, numbers = classes.unique(return_inverse=True)
    by_label = episodes.by_label(numbers)  # (episodes, way)
    rounds, size = predicted.shape[1] - 1, len(ids)
    truth, guess = (by_label.gather(1, labels[:, 1:].flatten(1)) for labels in (episodes.labels, predicted))
    way = by_label.shape[1]
    first, second = by_label.repeat_interleave(way, 1), by_label.repeat(1, way)
    confused = (truth * size + guess).flatten().bincount(minlength=size * size).view(size, size)
    together = rounds * (first * size + second).flatten().bincount(minlength=size * size).view(size, size)
    confused, together = confused + confused.T, together + together.T
    found = [
        ConfusedPair((int(ids[a]), int(ids[b])), int(confused[a, b]), int(together[a, b]))
        for a, b in confused.triu(1).nonzero().tolist()
    ]
    return sorted(found, key=lambda pair: (-pair.share, pair.classes))


def as_table(pairs: list[ConfusedPair], names: Mapping[int, str]) -> str:
    """Tab-separated lines: the names of both classes, `confused`, `shown` and `share`."""
    lines = ["first\tsecond\tconfused\tshown\tshare"]
    for pair in pairs:
        first, second = (" ".join(names[number].split()) for number in pair.classes)
        lines.append(f"{first}\t{second}\t{pair.confused}\t{pair.shown}\t{pair.share:.4f}")
    return "\n".join(lines) + "\n"
