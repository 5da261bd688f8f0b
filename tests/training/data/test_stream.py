"""The same batches, bit for bit, from clips in memory, clips decoded by offset and clips streamed from shards."""

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Generator

from common.errors import WorkError
from tests.pipeline.host import Fault, serving
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames, read_numbers
from training import shards as shards_module
from training.clips import Clips
from training.data.order import VisitOrder
from training.data.stream import ShardStream, _read_ahead
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler
from training.engine.task import Draw
from training.models import model_config
from training.models.masking import Masking

CLIPS, PER_SHARD, BUFFER, BATCH = 23, 5, 7, 6
CONFIG = model_config("small_2x8x8", num_frames=4, image_size=16)
STORAGES = ("memory", "decode", "stream")


@pytest.fixture
def clips(here):
    """23 clips of 12 ticks in 5 shards, whose order is not that of the manifest."""
    numbers = np.random.default_rng(0).permutation(CLIPS).tolist()
    toy.write_shards(here, [ToyClip(f"n{n:02}", numbered_frames(n, 12, 16), n) for n in numbers], per_shard=PER_SHARD)
    return Clips()


def sampler(clips, storage, rows=None, seed=0):
    data = ClipWindows(clips, clips.rows if rows is None else rows, frames=4, stride=3, storage=storage)
    return BatchSampler(data, CONFIG, Masking("tube", 0.75), BATCH, seed=seed, buffer=BUFFER)


def draw(sample, step, part=0, parts=1):
    return sample(Draw(step, Generator().manual_seed(step), part, parts))


def assert_equal(one, other):
    assert torch.equal(one.frames, other.frames)
    assert torch.equal(one.mask, other.mask)


def shown(batch):
    return [read_numbers(window)[0][0] for window in batch.frames.numpy()]


def damage(clips, here, change, *numbers):
    """Change the bytes of the shards of clips: `change(content, row)`."""
    for row in (clips.rows[number] for number in numbers):
        content = bytearray((here / row.shard).read_bytes())
        (here / row.shard).write_bytes(change(content, row))


def test_batches_are_equal_over_three_epochs(clips):
    samplers = [sampler(clips, storage) for storage in STORAGES]
    visited = []
    for step in range(12):
        memory, decode, stream = (draw(sample, step) for sample in samplers)
        assert_equal(memory, decode)
        assert_equal(memory, stream)
        visited += shown(stream)
    for epoch in range(3):
        assert sorted(visited[epoch * CLIPS : (epoch + 1) * CLIPS]) == list(range(CLIPS))


def test_batches_are_read_from_the_stream_alone(clips, monkeypatch):
    sample = sampler(clips, "stream")
    monkeypatch.setattr(clips.shards, "read", None)
    for step in range(12):
        assert len(draw(sample, step).frames) == BATCH


@pytest.mark.parametrize("first", [1, 3, 9])
def test_a_run_resumed_in_mid_epoch_has_the_batches_of_one_that_was_not(clips, first):
    whole, resumed = sampler(clips, "memory"), sampler(clips, "stream")
    for step in range(first, first + 5):
        assert_equal(draw(whole, step), draw(resumed, step))


def test_an_earlier_batch_can_be_drawn_again(clips):
    memory, stream = (sampler(clips, storage) for storage in ("memory", "stream"))
    for step in (0, 1, 2, 1, 0, 7, 2):
        assert_equal(draw(memory, step), draw(stream, step))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_processes_and_accumulated_parts_together_have_the_batch_of_one(clips, accumulate):
    whole = sampler(clips, "memory")
    ranks = [sampler(clips, "stream") for _ in range(2)]
    parts = 2 * accumulate
    for step in range(2, 10):
        shares = [
            draw(rank, step, number * accumulate + part, parts)
            for number, rank in enumerate(ranks)
            for part in range(accumulate)
        ]
        batch = draw(whole, step)
        assert torch.equal(torch.cat([share.frames for share in shares]), batch.frames)
        assert torch.equal(torch.cat([share.mask for share in shares]), batch.mask)


def test_some_of_the_clips_are_streamed_from_shards_that_hold_others(clips):
    rows = clips.rows[::3]
    memory, stream = (sampler(clips, storage, rows) for storage in ("memory", "stream"))
    for step in range(4):
        assert_equal(draw(memory, step), draw(stream, step))


def test_two_orders_are_streamed_from_the_same_clips_in_turn(clips):
    one = sampler(clips, "stream")
    other = BatchSampler(one.data, CONFIG, Masking("tube", 0.75), BATCH, seed=1, buffer=BUFFER)
    for step in range(4):
        for stream, seed in ((one, 0), (other, 1)):
            assert_equal(draw(stream, step), draw(sampler(clips, "memory", seed=seed), step))


@pytest.mark.parametrize("per_shard", [1, 23])
def test_shards_of_one_clip_and_one_shard_of_all(tmp_path, monkeypatch, per_shard):
    monkeypatch.chdir(tmp_path)
    toy.write_shards(tmp_path, [ToyClip(f"n{n}", numbered_frames(n, 12, 16), n) for n in range(9)], per_shard=per_shard)
    memory, stream = (sampler(Clips(), storage) for storage in ("memory", "stream"))
    for step in range(6):
        assert_equal(draw(memory, step), draw(stream, step))


def test_a_stream_holds_no_more_than_the_shuffle_buffer(clips):
    stream = ShardStream(clips.shards, clips.rows, VisitOrder([row.shard for row in clips.rows], 0, BUFFER))
    held = []
    for visit in range(2, 3 * CLIPS, 2):  # every second visit, as one of two processes
        stream.read(visit)
        held.append(len(stream._held))
    assert max(held) <= BUFFER + 1  # with the one that is visited


def test_a_resumed_stream_does_not_read_shards_that_are_over(clips, monkeypatch):
    order = VisitOrder([row.shard for row in clips.rows], 0, 1)
    stream, opened = ShardStream(clips.shards, clips.rows, order), []
    open_shard = clips.shards.open
    monkeypatch.setattr(clips.shards, "open", lambda shard: opened.append(shard) or open_shard(shard))
    stream.read(CLIPS - 1)
    assert opened == order.shards(0)[-1:]


# Damage


def zero(content, row):
    content[row.offset : row.offset + row.length] = bytes(row.length)
    return content


def flip(content, row):
    content[row.offset + row.length // 2] ^= 1
    return content


def cut(content, row):
    return content[: row.offset + row.length // 2]


def spoil_header(content, row):
    content[row.offset - 512 : row.offset] = bytes([255]) * 512
    return content


@pytest.mark.parametrize("change", [zero, flip, cut, lambda content, row: b"", spoil_header])
def test_damaged_shards_give_the_batches_of_clips_that_are_decoded_by_offset(clips, here, change):
    samples = [sampler(clips, storage) for storage in ("decode", "stream")]
    damage(clips, here, change, 2, 11)
    for step in range(8):
        assert_equal(*(draw(sample, step) for sample in samples))


def test_a_flipped_bit_is_counted_and_its_clip_left_out(clips, here, capsys):
    damage(clips, here, flip, 4)
    sample = sampler(clips, "stream")
    batches = [shown(draw(sample, step)) for step in range(4)]
    assert 4 not in [clips.rows.index(row) for row in clips.rows if row.class_id in itertools.chain(*batches)]
    assert "1 clips cannot be read and are left out; the last: " in capsys.readouterr().out


def test_clips_behind_a_damaged_header_are_read_by_offset(clips, here, capsys):
    damage(clips, here, spoil_header, 0)
    sample = sampler(clips, "stream")
    assert sorted(itertools.chain(*(shown(draw(sample, step)) for step in range(4))))[:5] == [0, 1, 2, 3, 4]
    assert "cannot be read" not in capsys.readouterr().out


def test_a_missing_shard_is_named_and_its_clips_are_left_out(clips, here, capsys):
    lost = clips.rows[0].shard
    missing = {row.class_id for row in clips.rows if row.shard == lost}
    (here / lost).unlink()
    sample = sampler(Clips(), "stream", clips.rows)
    assert missing.isdisjoint(itertools.chain(*(shown(draw(sample, step)) for step in range(4))))
    assert (
        f"{len(missing)} clips cannot be read and are left out; the last: {lost} is not here" in capsys.readouterr().out
    )


def test_shards_without_a_readable_clip_end_the_run(clips, here):
    sample = sampler(clips, "stream")
    for path in (here / "data/shards").glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(WorkError, match=r"^23 clips in a row cannot be read; the last: .* holds no filmstrip of"):
        all(draw(sample, step) for step in range(4))


# Hosts


@pytest.fixture
def host(clips, here, monkeypatch):
    """A host with the shards, which this machine does not have."""
    monkeypatch.setattr(shards_module, "_WAIT_S", 0.001)
    files = {f"data/shards/{path.name}": path.read_bytes() for path in (here / "data/shards").glob("*.tar")}
    with serving(**files) as serves:
        yield serves
    shutil.rmtree(here / "data")


def test_a_stream_from_a_host_has_the_batches_of_clips_in_memory(clips, host):
    memory, remote = sampler(clips, "memory"), sampler(Clips(shards=host.url), "stream")
    for step in range(5):
        assert_equal(draw(memory, step), draw(remote, step))


def test_a_host_without_byte_ranges_is_streamed(clips, host):
    sample = sampler(Clips(shards=host.url), "stream", clips.rows)
    host.always = Fault(ranges=False)
    memory = sampler(clips, "memory")
    for step in range(5):
        assert_equal(draw(memory, step), draw(sample, step))


def test_a_connection_that_breaks_is_made_up_for_by_byte_ranges(clips, host):
    sample = sampler(Clips(shards=host.url), "stream", clips.rows)
    for shard in {row.shard for row in clips.rows}:
        host.queue_faults(f"/{shard}", Fault(after=1500), Fault(after=100))
    memory = sampler(clips, "memory")
    for step in range(5):
        assert_equal(draw(memory, step), draw(sample, step))


def test_a_host_that_fails_is_one_line_without_credentials(clips, host):
    url = host.url.replace("http://", "http://user:secret@")
    sample = sampler(Clips(shards=url), "stream", clips.rows)
    shutil.rmtree(shards_module.CACHE)
    host.always = Fault(status=500)
    with pytest.raises(WorkError, match=r"23 clips in a row cannot be read; the last: \S+ at http://127") as error:
        all(draw(sample, step) for step in range(4))
    assert "secret" not in str(error.value)


def test_items_are_read_ahead_in_order_and_no_further(here):
    taken = []
    items = (taken.append(number) or number for number in range(1, 10))
    with ThreadPoolExecutor(1) as pool:
        ahead = _read_ahead(items, 3, pool)
        assert next(ahead) == 1
        assert list(itertools.islice(ahead, 2)) == [2, 3]
        assert len(taken) <= 6
        assert list(ahead) == [4, 5, 6, 7, 8, 9]
