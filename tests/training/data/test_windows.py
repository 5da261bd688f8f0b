"""Windows of clips in every storage, read back by the numbers that are drawn into their frames."""

import pytest
import torch
from torch import Generator

from common.errors import WorkError
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames, read_numbers
from training.clips import Clips
from training.data import resident
from training.data.windows import ClipWindows


@pytest.fixture
def clips(here):
    """Clips 0 to 4 of 100 ticks; clip 1 has 40 valid ticks, clip 2 has 5."""
    valid = {1: 40, 2: 5}
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n), n, valid_frames=valid.get(n)) for n in range(5)])
    return Clips()


@pytest.fixture(params=["memory", "decode", "stream"])
def load(request):
    """Windows with frames in memory, decoded when they are needed, and streamed."""

    def windows(clips, frames=8, stride=3, rows=None):
        rows = clips.rows if rows is None else rows
        return ClipWindows(clips, rows, frames=frames, stride=stride, storage=request.param)

    return windows


def starts_of(windows, clip_numbers, stride):
    """First tick of each window, after checking that the others follow at the stride and are of the right clip."""
    starts = []
    for window, clip in zip(windows.numpy(), clip_numbers, strict=True):
        numbers = read_numbers(window)
        start = numbers[0][1]
        assert numbers == [(clip, start + stride * frame) for frame in range(len(window))]
        starts.append(start)
    return starts


def test_windows_are_uint8_frames_as_decoded(clips, load):
    data = load(clips)
    windows = data.even_windows(torch.tensor([3]), 0, 1)
    start = read_numbers(windows[0].numpy())[0][1]
    assert windows.dtype == torch.uint8
    assert torch.equal(windows[0], clips["n3"][start : start + 24 : 3])


def test_random_windows_are_of_the_clips_asked_for_at_the_stride(clips, load):
    index = torch.tensor([4, 0, 4, 3])
    windows = load(clips).random_windows(index, Generator().manual_seed(0))
    assert windows.shape == (4, 8, 64, 64, 3)
    starts_of(windows, index.tolist(), stride=3)


def test_random_windows_start_at_every_tick_that_fits(clips, load):
    data = load(clips, frames=32)  # 94 of 100 ticks: starts 0 to 6
    windows = data.random_windows(torch.zeros(300, dtype=torch.long), Generator().manual_seed(0))
    starts = starts_of(windows, [0] * 300, stride=3)
    counts = {start: starts.count(start) for start in sorted(set(starts))}
    assert list(counts) == [0, 1, 2, 3, 4, 5, 6]
    assert min(counts.values()) > 20  # 43 on average


def test_random_windows_stay_inside_the_valid_frames(clips, load):
    data = load(clips)  # spans 22 ticks
    windows = data.random_windows(torch.ones(300, dtype=torch.long), Generator().manual_seed(0))
    starts = starts_of(windows, [1] * 300, stride=3)
    assert set(starts) == set(range(19))


def test_a_window_longer_than_the_valid_frames_starts_at_the_first_tick(clips, load):
    data, generator = load(clips), Generator().manual_seed(0)
    index = torch.full((20,), 2)
    assert set(starts_of(data.random_windows(index, generator), [2] * 20, stride=3)) == {0}
    assert starts_of(data.even_windows(index[:1], 2, 3), [2], stride=3) == [0]


def test_even_windows_divide_the_possible_starts_evenly(clips, load):
    data = load(clips)  # starts 0 to 78
    windows = torch.cat([data.even_windows(torch.tensor([0]), number, 3) for number in range(3)])
    assert starts_of(windows, [0] * 3, stride=3) == [13, 39, 65]
    assert starts_of(data.even_windows(torch.tensor([0]), 0, 1), [0], stride=3) == [39]


def test_even_windows_are_taken_of_each_clip_by_its_own_length(clips, load):
    windows = load(clips).even_windows(torch.tensor([1, 0, 2]), 0, 1)
    assert starts_of(windows, [1, 0, 2], stride=3) == [9, 39, 0]


def test_a_seed_decides_the_random_windows(clips, load):
    data, index = load(clips), torch.tensor([0, 3, 4])
    first, again, other = (data.random_windows(index, Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_batches_are_all_positions_in_order(clips, load):
    assert [batch.tolist() for batch in load(clips).batches(2)] == [[0, 1], [2, 3], [4]]
    assert [batch.tolist() for batch in load(clips).batches(10)] == [[0, 1, 2, 3, 4]]


def test_positions_count_the_rows_given(clips, load):
    data = load(clips, rows=[clips.rows[4], clips.rows[2]])
    assert len(data) == 2
    assert [row.clip_id for row in data.rows] == ["n4", "n2"]
    starts_of(data.even_windows(torch.tensor([0, 1]), 0, 1), [4, 2], stride=3)


@pytest.mark.parametrize(("ticks", "size"), [(64, 112), (20, 16)])
def test_clips_of_another_size_and_length(here, load, ticks, size):
    toy.write_shards(here, [ToyClip(f"n{n}", numbered_frames(n, ticks, size), n) for n in range(2)])
    clips = Clips()
    data = load(clips, frames=5, stride=4)
    windows = data.random_windows(torch.tensor([1, 0, 1]), Generator().manual_seed(0))
    assert windows.shape == (3, 5, size, size, 3)
    assert max(starts_of(windows, [1, 0, 1], stride=4)) <= ticks - 17


def test_a_window_longer_than_the_clips_is_a_value_error(clips, load):
    with pytest.raises(ValueError, match="35 frames at stride 3 span 103 ticks: a clip has 100"):
        load(clips, frames=35)


def test_no_clips_is_an_error(clips, load):
    with pytest.raises(WorkError, match="there are no clips to train on"):
        load(clips, rows=[])


def damage(clips, here, *numbers):
    """Overwrite the filmstrips of clips with zeros."""
    shard = here / "data/shards/train-000000.tar"
    data = bytearray(shard.read_bytes())
    for number in numbers:
        row = clips.rows[number]
        data[row.offset : row.offset + row.length] = bytes(row.length)
    shard.write_bytes(data)


def test_unreadable_clips_are_left_out_of_memory_and_counted(clips, here, capsys):
    damage(clips, here, 1, 3)
    data = ClipWindows(clips, clips.rows, frames=8, stride=3, storage="memory")
    assert [row.clip_id for row in data.rows] == ["n0", "n2", "n4"]
    starts_of(data.even_windows(torch.arange(3), 0, 1), [0, 2, 4], stride=3)
    assert "2 of 5 clips cannot be read and are left out; the first: " in capsys.readouterr().out


def test_clips_are_decoded_for_a_gpu_in_pieces(clips, here, monkeypatch):
    damage(clips, here, 3)
    monkeypatch.setattr(resident, "_CHUNK", 2)
    pixels, staged = (torch.zeros((5, 100, 64, 64, 3), dtype=torch.uint8) for _ in range(2))
    readable = [resident._decode(clips, clips.rows, pixels, 2)]
    readable.append(resident._decode(clips, clips.rows, staged, 2, staged=True))
    assert [part.tolist() for part in readable] == [[True, True, True, False, True]] * 2
    assert torch.equal(staged[readable[1]], pixels[readable[0]])


@pytest.mark.parametrize("storage", ["decode", "stream"])
def test_an_unreadable_clip_of_a_batch_is_replaced_by_the_next_readable_one_and_counted(clips, here, capsys, storage):
    damage(clips, here, 2, 3)
    data = ClipWindows(clips, clips.rows, frames=8, stride=3, storage=storage)
    for _ in range(2):
        index, starts = data.readable(torch.tensor([0, 3, 2, 1]), torch.tensor([5, 70, 0, 2]))
        assert index.tolist() == [0, 4, 4, 1]
        assert starts_of(data.windows(index, starts), [0, 4, 4, 1], stride=3) == [5, 70, 0, 2]
    assert capsys.readouterr().out.count("clips cannot be read and are left out") == 2


def test_a_batch_of_unreadable_clips_alone_is_replaced(clips, here):
    damage(clips, here, 4)
    data = ClipWindows(clips, clips.rows, frames=8, stride=3, storage="decode")
    assert data.readable(torch.tensor([4]), torch.tensor([70]))[0].tolist() == [0]


def test_the_window_of_a_replacement_lies_within_its_valid_frames(clips, here):
    damage(clips, here, 0)
    data = ClipWindows(clips, clips.rows, frames=8, stride=3, storage="decode")
    index, starts = data.readable(torch.tensor([1, 0]), torch.tensor([5, 70]))
    assert (index.tolist(), starts.tolist()) == ([1, 1], [5, 18])


def test_a_measurement_of_an_unreadable_clip_is_an_error(clips, here):
    damage(clips, here, 3)
    data = ClipWindows(clips, clips.rows, frames=8, stride=3, storage="decode")
    with pytest.raises(WorkError, match="no filmstrip of n3"):
        data.even_windows(torch.tensor([0, 3]), 0, 1)


def test_clips_that_cannot_be_read_in_a_row_are_an_error(here):
    toy.write_shards(here, [ToyClip(f"n{n:03d}", numbered_frames(n, 8, 16), n) for n in range(130)])
    clips = Clips()
    assert clips.ticks == 8
    damage(clips, here, *range(10, 110))
    with pytest.raises(WorkError, match=r"100 clips in a row cannot be read; the last: .* no filmstrip of n109"):
        ClipWindows(clips, clips.rows, frames=2, stride=1, storage="memory")
    data = ClipWindows(clips, clips.rows, frames=2, stride=1, storage="decode")
    with pytest.raises(WorkError, match="clips in a row cannot be read"):
        data.readable(torch.arange(130), torch.zeros(130, dtype=torch.long))
