"""Grouped subset sum: exact if any subset is, else the nearest total."""

import random
from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.composite.subset_sum import Member, closest_subset, random_subset


@st.composite
def problems(draw):
    """Groups of members, how many to take of each, and a target."""
    groups, counts, number = {}, {}, 0
    for name in "abc"[: draw(st.integers(1, 3))]:
        sizes = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
        groups[name] = [Member(number + n, size) for n, size in enumerate(sizes)]
        counts[name] = draw(st.integers(0, len(sizes)))
        number += len(sizes)
    return groups, counts, draw(st.integers(0, 80))


def total(groups, chosen):
    return sum(member.size for members in groups.values() for member in members if member.id in chosen)


@given(problems(), st.integers(0, 9))
@settings(deadline=None, max_examples=200)
def test_no_subset_is_nearer_to_the_target(problem, seed):
    groups, counts, target = problem
    chosen = closest_subset(groups, counts, target, random.Random(seed))
    for name, members in groups.items():
        assert sum(member.id in chosen for member in members) == counts[name]
    each = [
        [sum(member.size for member in taken) for taken in combinations(groups[name], counts[name])] for name in groups
    ]
    best = min(abs(sum(sums) - target) for sums in product(*each))
    assert abs(total(groups, chosen) - target) == best


def test_target_is_met_exactly_at_full_size():
    """400 classes of 30 or 31 clips and 118 of any size: 104 of them with exactly 4,000 clips."""
    rng = random.Random(0)
    sizes = sorted((int(2000 / (rank + 3)) + rng.randrange(3) for rank in range(118)), reverse=True)
    groups = {
        "kinetics400": [Member(number, 30 + (number < 98)) for number in range(400)],
        "tinyvirat": [Member(400 + number, size) for number, size in enumerate(sizes)],
    }
    counts = {"kinetics400": 80, "tinyvirat": 24}
    chosen = [closest_subset(groups, counts, 4_000, random.Random(seed)) for seed in range(3)]
    assert {total(groups, ids) for ids in chosen} == {4_000}
    assert len(set(map(frozenset, chosen))) == 3


def test_every_member_is_chosen_by_some_seed():
    groups, counts = {"a": [Member(number, 30 + number % 2) for number in range(20)]}, {"a": 4}
    seen = {number for seed in range(100) for number in closest_subset(groups, counts, 122, random.Random(seed))}
    assert seen == set(range(20))


def test_random_subset_takes_the_given_number_of_each_group():
    groups = {"a": [Member(0, 1), Member(1, 1), Member(2, 1)], "b": [Member(3, 1), Member(4, 1)]}
    chosen = random_subset(groups, {"a": 2, "b": 1}, random.Random(0))
    assert len(chosen & {0, 1, 2}) == 2
    assert len(chosen & {3, 4}) == 1
