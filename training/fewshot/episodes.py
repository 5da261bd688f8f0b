"""Class episodes for few-shot learning.

An episode has `shots` rounds; each round shows one clip of each of `way` classes. Classes, clips, their order within a round
and the episode label of each class (0 to way - 1) are drawn anew for every episode, so that a clip's episode label can only
be known from earlier rounds.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Episodes:
    """A batch of episodes.

    Args:
        clips: positions of clips, (B, shots, way).
        labels: their episode labels, (B, shots, way).
    """

    clips: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.clips)

    def by_label(self, values: Tensor) -> Tensor:
        """Values of classes, such as embeddings of their names, in the order of the episode labels.

        Args:
            values: of each clip's class, (N, ...).

        Returns:
            (B, way, ...)
        """
        return values[self.clips[:, 0].gather(1, self.labels[:, 0].argsort(1))]


class EpisodeSampler:
    """Draws episodes from clips whose classes are known.

    Args:
        classes: class of each clip, (N,).
        way: classes in an episode.
        shots: clips of each class in an episode; classes with fewer clips are left out.
        clips: positions of the clips that are drawn; None: all.

    Raises:
        ValueError: fewer than `way` classes have `shots` clips.
    """

    def __init__(self, classes: Tensor, way: int, shots: int, *, clips: Tensor | None = None) -> None:
        drawn = torch.arange(len(classes)) if clips is None else clips
        by_class = [drawn[classes[drawn] == number] for number in classes[drawn].unique()]
        self._by_class = [members for members in by_class if len(members) >= shots]
        if len(self._by_class) < way:
            raise ValueError(f"{way}-way episodes of {shots} clips a class: {len(self._by_class)} classes have as many")
        self._way, self._shots = way, shots

    def draw(self, number: int, generator: Generator, *, shots: int | None = None) -> Episodes:
        """Draw `number` episodes; with `shots`, of that many clips of each class, at most as many as the sampler's."""
        drawn = [self._draw_one(generator, shots or self._shots) for _ in range(number)]
        return Episodes(torch.stack([clips for clips, _ in drawn]), torch.stack([labels for _, labels in drawn]))

    def _draw_one(self, generator: Generator, shots: int) -> tuple[Tensor, Tensor]:
        """Clips and episode labels, each (shots, way)."""
        chosen = torch.randperm(len(self._by_class), generator=generator)[: self._way]
        clips = []
        for number in chosen.tolist():
            members = self._by_class[number]
            clips.append(members[torch.randperm(len(members), generator=generator)[:shots]])
        # In each round the classes come in another order; the order in which they were chosen gives their labels.
        labels = torch.rand(shots, self._way, generator=generator).argsort(1)
        return torch.stack(clips, 1).gather(1, labels), labels
