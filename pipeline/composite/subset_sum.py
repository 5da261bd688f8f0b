"""Which members of some groups to take, so many of each, for their sizes to add up to a wanted total."""

import random
from collections.abc import Mapping, Sequence

Member = tuple[int, int]  # id, size


def draw(groups: Mapping[str, Sequence[Member]], counts: Mapping[str, int], drawn: random.Random) -> set[int]:
    """Ids of `counts[name]` members of each group, at random."""
    return {number for name in groups for number, _ in drawn.sample(sorted(groups[name]), counts[name])}


def meet(
    groups: Mapping[str, Sequence[Member]], counts: Mapping[str, int], target: int, drawn: random.Random
) -> set[int]:
    """As `draw`, at random among choices whose sizes add up to `target`; if there are none, to the nearest total.

    Dynamic programming over bit sets: bit s of `reach[i][c]` says that c members from the i-th on can add up to s.
    """
    total = sum(size for members in groups.values() for _, size in members)
    limit = min(total, 2 * target + 1)
    tables = {name: _Table(groups[name], counts[name], limit, drawn) for name in sorted(groups)}
    if not all(table.sums for table in tables.values()) or not _rests(list(tables.values()), limit)[0]:
        limit = total  # even the smallest members are far more than the target
        tables = {name: _Table(groups[name], counts[name], limit, drawn) for name in sorted(groups)}
    order = list(tables.values())
    rests = _rests(order, limit)
    left = _nearest(rests[0], target)
    chosen: set[int] = set()
    for table, rest in zip(order, rests[1:], strict=True):
        # Near what a free draw would give, so that no group is bent more than the total asks for.
        fair = sum(size for _, size in drawn.sample(table.members, table.count))
        share = _nearest(table.sums & _mirrored(rest, left), fair)
        chosen |= table.draw(share, drawn)
        left -= share
    return chosen


class _Table:
    """What sums the members of one group can have."""

    def __init__(self, members: Sequence[Member], count: int, limit: int, drawn: random.Random) -> None:
        self.members, self.count = sorted(members), count
        drawn.shuffle(self.members)
        mask = (1 << (limit + 1)) - 1
        reach = [[1] + [0] * count]
        for _, size in reversed(self.members):
            after = reach[-1]
            reach.append([1] + [after[c] | (after[c - 1] << size & mask) for c in range(1, count + 1)])
        self._reach = reach[::-1]
        self.sums = self._reach[0][count]

    def draw(self, total: int, drawn: random.Random) -> set[int]:
        """Members that add up to `total`, each as likely as in a free draw for as long as there is a choice."""
        chosen, wanted = set(), self.count
        for place, (number, size) in enumerate(self.members):
            after = self._reach[place + 1]
            can_take = wanted > 0 and size <= total and after[wanted - 1] >> (total - size) & 1
            can_leave = after[wanted] >> total & 1
            likely = drawn.random() < wanted / (len(self.members) - place)
            if can_take and (likely or not can_leave):
                chosen.add(number)
                wanted, total = wanted - 1, total - size
        return chosen


def _rests(tables: Sequence[_Table], limit: int) -> list[int]:
    """For each table, the sums that it and those behind it can have together; the last is the empty sum."""
    mask = (1 << (limit + 1)) - 1
    rests = [1]
    for table in reversed(tables):
        together = 0
        for total in _bits(table.sums):
            together |= rests[-1] << total & mask
        rests.append(together)
    return rests[::-1]


def _bits(number: int) -> list[int]:
    return [place for place, digit in enumerate(reversed(bin(number)[2:])) if digit == "1"]


def _mirrored(number: int, total: int) -> int:
    """Bit s of the result is bit `total - s` of `number`."""
    digits = bin(number & ((1 << (total + 1)) - 1))[2:].zfill(total + 1)
    return int(digits[::-1], 2)


def _nearest(number: int, wanted: int) -> int:
    """The set bit nearest to `wanted`, the lower of two."""
    return min(_bits(number), key=lambda place: (abs(place - wanted), place))
