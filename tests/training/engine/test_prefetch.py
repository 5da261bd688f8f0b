"""Batches drawn ahead in a thread."""

import threading
import time

import pytest
import torch

from training.engine.prefetch import Prefetch

CPU = torch.device("cpu")


def test_batches_come_in_the_order_of_their_keys():
    with Prefetch(lambda key: key * key, range(20), CPU) as batches:
        assert list(batches) == [key * key for key in range(20)]


def test_batches_are_drawn_in_one_other_thread_at_most_three_ahead():
    drawn = []

    def draw(key):
        drawn.append((key, threading.current_thread()))
        return key

    with Prefetch(draw, range(20), CPU) as batches:
        assert next(batches) == 0
        time.sleep(0.2)
        assert [key for key, _ in drawn] == [0, 1, 2]
        list(batches)
    assert len({thread for _, thread in drawn}) == 1
    assert drawn[0][1] is not threading.current_thread()


def test_an_error_while_a_batch_is_drawn_is_raised_where_the_batch_is_taken():
    with Prefetch(lambda key: 1 // (2 - key), range(5), CPU) as batches:
        assert [next(batches), next(batches)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(batches)


def test_the_time_that_batches_were_waited_for_is_measured():
    with Prefetch(lambda key: time.sleep(0.1), range(3), CPU) as batches:
        list(batches)
        assert 0.2 < batches.waited_s < 2.0


def test_the_thread_ends_with_the_block():
    before = threading.active_count()
    with Prefetch(lambda key: key, range(10**6), CPU) as batches:
        next(batches)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
