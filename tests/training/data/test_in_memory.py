"""Windows of clips in memory, read back by the numbers that are drawn into their frames."""

import numpy as np
import pytest
import torch
from torch import Generator

from common.errors import WorkError
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames, read_numbers
from training.clips import Clips
from training.data.in_memory import InMemoryClips


@pytest.fixture
def clips(here):
    """Clips 0 to 4 of 100 ticks; clip 1 has 40 valid ticks, clip 2 has 5."""
    valid = {1: 40, 2: 5}
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n), n, valid_frames=valid.get(n)) for n in range(5)])
    return Clips()


def load(clips, frames=8, stride=3, rows=None):
    return InMemoryClips(clips, clips.rows if rows is None else rows, frames=frames, stride=stride)


def starts_of(windows, clip_numbers, stride):
    """First tick of each window, after checking that the others follow at the stride and are of the right clip."""
    starts = []
    for window, clip in zip(windows.numpy(), clip_numbers, strict=True):
        numbers = read_numbers(window)
        start = numbers[0][1]
        assert numbers == [(clip, start + stride * frame) for frame in range(len(window))]
        starts.append(start)
    return starts


def test_windows_are_uint8_frames_as_decoded(clips):
    data = load(clips)
    windows = data.even_windows(torch.tensor([3]), 0, 1)
    start = read_numbers(windows[0].numpy())[0][1]
    assert windows.dtype == torch.uint8
    assert torch.equal(windows[0], clips["n3"][start : start + 24 : 3])


def test_random_windows_are_of_the_clips_asked_for_at_the_stride(clips):
    index = torch.tensor([4, 0, 4, 3])
    windows = load(clips).random_windows(index, Generator().manual_seed(0))
    assert windows.shape == (4, 8, 64, 64, 3)
    starts_of(windows, index.tolist(), stride=3)


def test_random_windows_start_at_every_multiple_of_the_stride_that_fits(clips):
    data = load(clips, frames=29)  # 85 of 100 ticks: starts 0, 3, ..., 15
    windows = data.random_windows(torch.zeros(300, dtype=torch.long), Generator().manual_seed(0))
    starts = starts_of(windows, [0] * 300, stride=3)
    counts = {start: starts.count(start) for start in sorted(set(starts))}
    assert list(counts) == [0, 3, 6, 9, 12, 15]
    assert min(counts.values()) > 25  # 50 on average


def test_random_windows_stay_inside_the_valid_frames(clips):
    data = load(clips)  # spans 22 ticks
    windows = data.random_windows(torch.ones(100, dtype=torch.long), Generator().manual_seed(0))
    starts = starts_of(windows, [1] * 100, stride=3)
    assert set(starts) == {0, 3, 6, 9, 12, 15, 18}


def test_a_window_longer_than_the_valid_frames_starts_at_the_first_tick(clips):
    data, generator = load(clips), Generator().manual_seed(0)
    index = torch.full((20,), 2)
    assert set(starts_of(data.random_windows(index, generator), [2] * 20, stride=3)) == {0}
    assert starts_of(data.even_windows(index[:1], 2, 3), [2], stride=3) == [0]


def test_even_windows_divide_the_possible_starts_evenly(clips):
    data = load(clips)  # starts 0, 3, ..., 78: 27 of them
    windows = torch.cat([data.even_windows(torch.tensor([0]), number, 3) for number in range(3)])
    assert starts_of(windows, [0] * 3, stride=3) == [12, 39, 63]
    assert starts_of(data.even_windows(torch.tensor([0]), 0, 1), [0], stride=3) == [39]


def test_even_windows_are_taken_of_each_clip_by_its_own_length(clips):
    windows = load(clips).even_windows(torch.tensor([1, 0, 2]), 0, 1)
    assert starts_of(windows, [1, 0, 2], stride=3) == [9, 39, 0]


def test_a_seed_decides_the_random_windows(clips):
    data, index = load(clips), torch.tensor([0, 3, 4])
    first, again, other = (data.random_windows(index, Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_batches_are_all_positions_in_order(clips):
    assert [batch.tolist() for batch in load(clips).batches(2)] == [[0, 1], [2, 3], [4]]
    assert [batch.tolist() for batch in load(clips).batches(10)] == [[0, 1, 2, 3, 4]]


def test_positions_count_the_rows_given(clips):
    data = load(clips, rows=[clips.rows[4], clips.rows[2]])
    assert len(data) == 2
    assert [row.clip_id for row in data.rows] == ["n4", "n2"]
    starts_of(data.even_windows(torch.tensor([0, 1]), 0, 1), [4, 2], stride=3)


def test_only_every_stride_th_tick_is_kept(clips):
    assert load(clips).pixels.shape == (5, 34, 64, 64, 3)


@pytest.mark.parametrize(("ticks", "size"), [(64, 112), (20, 16)])
def test_clips_of_another_size_and_length(here, ticks, size):
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n, ticks, size), n) for n in range(2)])
    clips = Clips()
    data = InMemoryClips(clips, clips.rows, frames=5, stride=4)
    windows = data.random_windows(torch.tensor([1, 0, 1]), Generator().manual_seed(0))
    assert windows.shape == (3, 5, size, size, 3)
    assert max(starts_of(windows, [1, 0, 1], stride=4)) <= ticks - 17


def test_a_window_longer_than_the_clips_is_a_value_error(clips):
    with pytest.raises(ValueError, match="35 frames at stride 3 span 103 ticks: a clip has 100"):
        load(clips, frames=35)


def test_no_clips_is_an_error(clips):
    with pytest.raises(WorkError, match="there are no clips to train on"):
        load(clips, rows=[])


def test_a_clip_that_cannot_be_read_is_an_error(clips, here):
    shard = here / "data/shards/train-000000.tar"
    data = bytearray(shard.read_bytes())
    row = clips.rows[3]
    data[row.offset : row.offset + row.length] = bytes(np.zeros(row.length, np.uint8))
    shard.write_bytes(data)
    with pytest.raises(WorkError, match="no filmstrip of n3"):
        load(clips)
