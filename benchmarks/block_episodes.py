"""Episodes of labelled videos whose clips of a class are of different blocks of file numbers, and the nearest clip as a head."""

import torch
from torch import Generator, Tensor

from training.fewshot.episodes import Episodes
from training.fewshot.head import Head


def class_splits(classes: int, way: int, seed: int) -> list[list[int]]:
    """Three choices of `way` held-out classes, which together are all 12 classes; 5 of a choice may be 5 of another's."""
    order = torch.randperm(classes, generator=Generator().manual_seed(seed)).tolist()
    return [sorted(order[first : first + way]) for first in (0, (classes - way) // 2, classes - way)]


class BlockEpisodes:
    """Draws episodes in which all clips of a class are of different blocks.

    Args:
        classes: class of each clip, (N,); every class is in every episode.
        blocks: block of each clip, (N,).
        rounds: clips of each class in an episode.

    Raises:
        ValueError: a class has clips of fewer than `rounds` blocks.
    """

    def __init__(self, classes: Tensor, blocks: Tensor, rounds: int) -> None:
        self._members = [
            [((classes == name) & (blocks == block)).nonzero()[:, 0] for block in blocks[classes == name].unique()]
            for name in classes.unique()
        ]
        fewest = min(map(len, self._members))
        if fewest < rounds:
            raise ValueError(f"a class has clips of {fewest} blocks: episodes of {rounds} rounds need as many")
        self._rounds = rounds

    def draw(self, number: int, generator: Generator) -> Episodes:
        """Draw `number` episodes. In each, classes have other labels, which are in another order in each round."""
        clips = torch.empty(number, self._rounds, len(self._members), dtype=torch.long)
        for episode in clips:
            for name, blocks in enumerate(self._members):
                chosen = torch.randperm(len(blocks), generator=generator)[: self._rounds]
                for position, block in enumerate(chosen.tolist()):
                    one = torch.randint(len(blocks[block]), (), generator=generator)
                    episode[position, name] = blocks[block][one]
        order = torch.rand(clips.shape, generator=generator).argsort(2)  # of the classes, in each round
        names = torch.rand(number, 1, len(self._members), generator=generator).argsort(2)  # the label of each class
        return Episodes(clips.gather(2, order), names.expand_as(order).gather(2, order))


class NearestNeighbourHead(Head):
    """Logits are the negative distances to the nearest clip of each class; nothing is trained."""

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`. Without support all logits are equal."""
        if not support.shape[1]:
            return queries.new_zeros(*queries.shape[:2], labels.shape[2])
        distances = torch.cdist(queries, support).unsqueeze(3)  # (B, Q, S, 1)
        return -distances.masked_fill(labels.unsqueeze(1) == 0, torch.inf).amin(2)
