"""Grouped subset sum: a given number of members of each group, whose sizes add up to a target."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Member:
    """A member of a group: a class, with its number of clips."""

    id: int
    size: int


def random_subset(groups: Mapping[str, Sequence[Member]], counts: Mapping[str, int], rng: random.Random) -> set[int]:
    """Ids of `counts[name]` members of each group, drawn at random."""
    return {member.id for name in groups for member in rng.sample(sorted(groups[name]), counts[name])}


def closest_subset(
    groups: Mapping[str, Sequence[Member]], counts: Mapping[str, int], target: int, rng: random.Random
) -> set[int]:
    """Ids of `counts[name]` members of each group whose sizes add up to `target`, else to the nearest possible total.

    Drawn at random among the subsets with that total, by dynamic programming over bit sets: bit s of `sums[i][c]` is
    set if some c members from the i-th on add up to s.
    """
    total = sum(member.size for members in groups.values() for member in members)
    limit = min(total, 2 * target + 1)
    tables = [_Table(groups[name], counts[name], limit, rng) for name in sorted(groups)]
    if not all(table.totals for table in tables) or not _suffix_sums(tables, limit)[0]:
        limit = total  # even the smallest members exceed twice the target
        tables = [_Table(groups[name], counts[name], limit, rng) for name in sorted(groups)]
    suffixes = _suffix_sums(tables, limit)
    remaining = _nearest_bit(suffixes[0], target)
    chosen: set[int] = set()
    for table, suffix in zip(tables, suffixes[1:], strict=True):
        # Stay close to an unconstrained draw, so that one group does not absorb the whole difference to the target.
        unconstrained = sum(member.size for member in rng.sample(table.members, table.count))
        share = _nearest_bit(table.totals & _reverse_bits(suffix, remaining), unconstrained)
        chosen |= table.draw(share, rng)
        remaining -= share
    return chosen


class _Table:
    """The totals that `count` members of one group can have, as bit sets up to `limit`."""

    def __init__(self, members: Sequence[Member], count: int, limit: int, rng: random.Random) -> None:
        self.members, self.count = sorted(members), count
        rng.shuffle(self.members)
        mask = (1 << (limit + 1)) - 1
        sums = [[1] + [0] * count]
        for member in reversed(self.members):
            after = sums[-1]
            sums.append([1] + [after[c] | (after[c - 1] << member.size & mask) for c in range(1, count + 1)])
        self._sums = sums[::-1]
        self.totals = self._sums[0][count]

    def draw(self, total: int, rng: random.Random) -> set[int]:
        """Ids of members that add up to `total`; each is as likely as in an unconstrained draw while there is a choice."""
        chosen, wanted = set(), self.count
        for index, member in enumerate(self.members):
            after = self._sums[index + 1]
            can_take = wanted > 0 and member.size <= total and after[wanted - 1] >> (total - member.size) & 1
            can_skip = after[wanted] >> total & 1
            preferred = rng.random() < wanted / (len(self.members) - index)
            if can_take and (preferred or not can_skip):
                chosen.add(member.id)
                wanted, total = wanted - 1, total - member.size
        return chosen


def _suffix_sums(tables: Sequence[_Table], limit: int) -> list[int]:
    """For each table, the totals of it and all following ones together; a last element for the empty sum."""
    mask = (1 << (limit + 1)) - 1
    suffixes = [1]
    for table in reversed(tables):
        together = 0
        for total in _bits(table.totals):
            together |= suffixes[-1] << total & mask
        suffixes.append(together)
    return suffixes[::-1]


def _bits(number: int) -> list[int]:
    """Positions of the bits that are set, in rising order."""
    return [position for position, digit in enumerate(reversed(bin(number)[2:])) if digit == "1"]


def _reverse_bits(number: int, total: int) -> int:
    """Bit s of the result is bit `total - s` of `number`."""
    digits = bin(number & ((1 << (total + 1)) - 1))[2:].zfill(total + 1)
    return int(digits[::-1], 2)


def _nearest_bit(number: int, wanted: int) -> int:
    """The position of the set bit nearest to `wanted`, the lower of two."""
    return min(_bits(number), key=lambda position: (abs(position - wanted), position))
