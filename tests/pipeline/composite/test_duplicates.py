"""Near-duplicates name the first clip that they are like, whatever the number of clips."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.composite.duplicates import as_words, distances, first_of_each


def print_of(bits):
    """A fingerprint with these bits of 256 set."""
    return f"{sum(1 << bit for bit in bits):064x}"


def by_definition(fingerprints, max_distance):
    """The same, clip by clip."""
    firsts, found = [], {}
    for clip_id, fingerprint in fingerprints.items():
        like = (f for f in firsts if (int(fingerprints[f], 16) ^ int(fingerprint, 16)).bit_count() <= max_distance)
        first = next(like, None)
        if first is None:
            firsts.append(clip_id)
        else:
            found[clip_id] = first
    return found


def test_a_chain_of_likeness_ends_at_the_clip_that_is_like_no_earlier_one():
    chain = {"a": print_of([]), "b": print_of(range(8)), "c": print_of(range(16)), "d": print_of(range(20))}
    assert first_of_each(chain, 8) == {"b": "a", "d": "c"}  # c is like b, which is like a; a and c differ in 16 bits
    assert first_of_each(dict(reversed(chain.items())), 8) == {"c": "d", "a": "b"}


@pytest.mark.parametrize(("distance", "found"), [(0, {}), (7, {}), (8, {"b": "a"}), (64, {"b": "a"})])
def test_the_largest_distance_is_inclusive(distance, found):
    assert first_of_each({"a": print_of([]), "b": print_of(range(8))}, distance) == found


def test_no_clips_and_one_clip_have_no_duplicates():
    assert first_of_each({}, 8) == first_of_each({"a": print_of([1])}, 8) == {}


def test_distances_are_numbers_of_different_bits():
    one, two = as_words([print_of([0, 70, 255])]), as_words([print_of([]), print_of([0, 1]), print_of([0, 70, 255])])
    assert distances(one, two).tolist() == [[3, 3, 0]]


@given(bits=st.lists(st.sets(st.integers(0, 255), max_size=6), max_size=30), max_distance=st.integers(0, 8))
@settings(deadline=None, max_examples=100)
def test_found_as_by_comparing_clip_by_clip(bits, max_distance):
    fingerprints = {f"c{number}": print_of(chosen) for number, chosen in enumerate(bits)}
    assert first_of_each(fingerprints, max_distance) == by_definition(fingerprints, max_distance)


def test_found_across_the_blocks_in_which_clips_are_compared():
    rng = random.Random(0)
    originals = [rng.getrandbits(256) for _ in range(300)]
    values = originals + [
        rng.choice(originals) ^ (1 << rng.randrange(256)) ^ (1 << rng.randrange(256)) for _ in range(400)
    ]
    rng.shuffle(values)
    fingerprints = {f"c{number}": f"{value:064x}" for number, value in enumerate(values)}
    found = first_of_each(fingerprints, 4)
    assert found == by_definition(fingerprints, 4)
    assert len(found) > 300


def test_a_thousand_equal_clips_are_all_like_the_first():
    fingerprints = {f"c{number}": print_of([5]) for number in range(1000)}
    assert first_of_each(fingerprints, 0) == {f"c{number}": "c0" for number in range(1, 1000)}
    assert np.unique(as_words(fingerprints.values())).size == 2
