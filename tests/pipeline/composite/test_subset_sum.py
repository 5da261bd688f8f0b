"""Members whose sizes add up: exact where any choice is, nearest where none is."""

import random
from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.composite.subset_sum import draw, meet


@st.composite
def problems(draw):
    """Groups of members, how many to take of each, and a total to meet."""
    groups, counts, number = {}, {}, 0
    for name in "abc"[: draw(st.integers(1, 3))]:
        sizes = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
        groups[name] = [(number + n, size) for n, size in enumerate(sizes)]
        counts[name] = draw(st.integers(0, len(sizes)))
        number += len(sizes)
    return groups, counts, draw(st.integers(0, 80))


def total(groups, chosen):
    return sum(size for members in groups.values() for number, size in members if number in chosen)


@given(problems(), st.integers(0, 9))
@settings(deadline=None, max_examples=200)
def test_no_choice_is_nearer(problem, seed):
    groups, counts, target = problem
    chosen = meet(groups, counts, target, random.Random(seed))
    for name, members in groups.items():
        assert sum(number in chosen for number, _ in members) == counts[name]
    each = [[sum(size for _, size in taken) for taken in combinations(groups[name], counts[name])] for name in groups]
    best = min(abs(sum(sums) - target) for sums in product(*each))
    assert abs(total(groups, chosen) - target) == best


def test_the_paper_s_totals():
    """400 classes of 30 or 31, 118 of any size: 104 of them with exactly 6,521 clips."""
    rng = random.Random(0)
    sizes = sorted((int(2000 / (rank + 3)) + rng.randrange(3) for rank in range(118)), reverse=True)
    groups = {
        "kinetics400": [(number, 30 + (number < 98)) for number in range(400)],
        "tinyvirat": [(400 + number, size) for number, size in enumerate(sizes)],
    }
    counts = {"kinetics400": 80, "tinyvirat": 24}
    chosen = [meet(groups, counts, 4_000, random.Random(seed)) for seed in range(3)]
    assert {total(groups, ids) for ids in chosen} == {4_000}
    assert len(set(map(frozenset, chosen))) == 3


def test_every_member_has_its_chance():
    groups, counts = {"a": [(number, 30 + number % 2) for number in range(20)]}, {"a": 4}
    seen = {number for seed in range(100) for number in meet(groups, counts, 122, random.Random(seed))}
    assert seen == set(range(20))


def test_a_free_draw_takes_so_many_of_each():
    groups = {"a": [(0, 1), (1, 1), (2, 1)], "b": [(3, 1), (4, 1)]}
    chosen = draw(groups, {"a": 2, "b": 1}, random.Random(0))
    assert len(chosen & {0, 1, 2}) == 2
    assert len(chosen & {3, 4}) == 1
