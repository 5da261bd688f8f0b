"""The modes in which a CPU computes."""

import pytest
import torch

from training.engine.device import one_thread


def test_denormal_numbers_are_zero():
    least = torch.tensor([torch.finfo(torch.float32).smallest_normal])
    half = (least / 2).tolist()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no such mode")
    assert half == [0.0]
    assert (least * 2 / 2).tolist() == least.tolist()


def test_one_thread_inside_and_as_many_as_before_outside_even_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="inside"), one_thread():
            raise ValueError("inside")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
