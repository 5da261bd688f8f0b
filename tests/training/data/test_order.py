"""The order in which training visits clips."""

import random
from collections import Counter

import pytest

from training.data.order import VisitOrder, shuffle_buffer

SHARDS = [f"shard{number // 10}" for number in range(40)]


@pytest.mark.parametrize("buffer", [1, 7, 40, 1000])
def test_every_epoch_visits_every_clip_once(buffer):
    order = VisitOrder(SHARDS, seed=0, buffer=buffer)
    for epoch in range(3):
        assert sorted(order.visits(40 * epoch, 40).tolist()) == list(range(40))


def test_epochs_and_seeds_have_orders_of_their_own():
    order, other = VisitOrder(SHARDS, 0, 40), VisitOrder(SHARDS, 1, 40)
    orders = [tuple(chosen.visits(first, 40).tolist()) for chosen in (order, other) for first in (0, 40)]
    assert len(set(orders)) == 4
    assert tuple(VisitOrder(SHARDS, 0, 40).visits(40, 40).tolist()) == orders[1]


def test_a_batch_may_begin_in_one_epoch_and_end_in_the_next():
    order = VisitOrder(SHARDS, 0, 40)
    assert order.visits(35, 10).tolist() == [*order.visits(35, 5).tolist(), *order.visits(40, 5).tolist()]


def test_a_small_buffer_reads_shard_by_shard():
    order = VisitOrder(SHARDS, 0, buffer=1)
    shards = [SHARDS[position] for position in order.visits(0, 40).tolist()]
    assert shards == [name for name in order.shards(0) for _ in range(10)]


def test_visits_are_those_of_the_epochs_one_after_the_other():
    order = VisitOrder(SHARDS, 3, buffer=12)
    assert [*order.epoch(0), *order.epoch(1)] == order.visits(0, 80).tolist()


def test_no_more_clips_than_the_buffer_has_are_read_before_they_are_visited():
    order = VisitOrder(SHARDS, 3, buffer=12)
    read = [position for name in order.shards(2) for position in range(40) if SHARDS[position] == name]
    for turn, position in enumerate(order.epoch(2)):
        assert read.index(position) - turn <= 12


def test_a_full_buffer_shuffles_uniformly():
    firsts = Counter(next(shuffle_buffer(range(4), 4, random.Random(seed))) for seed in range(2000))
    assert set(firsts) == {0, 1, 2, 3}
    assert min(firsts.values()) > 420  # 500 on average, with a deviation of 19
