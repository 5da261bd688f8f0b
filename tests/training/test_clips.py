"""Reading clips out of shards."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from common import written
from common.errors import WorkError
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames, read_numbers
from training.clips import Clips, window_span


@pytest.fixture
def numbered(here):
    """Three clips whose frames show their numbers; the second has 30 valid ticks, the third is of the test split."""
    toy.write_shards(
        here,
        [
            ToyClip("one", numbered_frames(1), class_id=7, labels=("sitting", "standing")),
            ToyClip("two", numbered_frames(2), class_id=8, official_split=None, valid_frames=30),
            ToyClip("three", numbered_frames(3), class_id=9, split="test"),
        ],
    )
    return Clips()


def test_a_clip_has_its_frames_in_order(numbered):
    frames = numbered["two"]
    assert frames.shape == (100, 64, 64, 3)
    assert frames.dtype == torch.uint8
    assert read_numbers(frames.numpy()) == [(2, tick) for tick in range(100)]


def test_colours_are_rgb(here):
    orange = np.full((2, 16, 16, 3), (240, 120, 10), np.uint8)
    toy.write_shards(here, [ToyClip("orange", orange, 0)], suffix=".webp")
    assert torch.equal(Clips()["orange"], torch.from_numpy(orange))


def test_frames_differ_little_from_what_was_encoded(here):
    drawn = toy.orbiting_square(0.3, np.random.default_rng(1))
    toy.write_shards(here, [ToyClip("clip", drawn, 0)])
    assert np.abs(Clips()["clip"].numpy().astype(int) - drawn).mean() < 2


@pytest.mark.parametrize(("ticks", "size"), [(64, 112), (100, 64), (7, 32), (1, 16)])
def test_frame_size_and_ticks_are_those_of_the_filmstrip(here, ticks, size):
    toy.write_shards(here, [ToyClip("clip", numbered_frames(5, ticks, size), 0)])
    clips = Clips()
    assert (clips.ticks, clips.size) == (ticks, size)
    assert read_numbers(clips["clip"].numpy()) == [(5, tick) for tick in range(ticks)]


def test_rows_hold_what_the_manifest_holds(numbered):
    one, two, three = sorted(numbered.rows, key=lambda clip: clip.class_id)
    assert (one.clip_id, one.source, one.class_name, one.split) == ("one", "toy", "c7", "train")
    assert (one.official_split, one.tinyvirat_labels, one.valid_frames) == ("train", ("sitting", "standing"), 100)
    assert (two.official_split, two.tinyvirat_labels, two.valid_frames) == (None, (), 30)
    assert three.shard == "data/shards/test-000000.tar"
    assert len(numbered) == 3


def test_clips_are_selected_by_split_and_source(numbered):
    assert [clip.clip_id for clip in numbered.select(split="train")] == ["one", "two"]
    assert [clip.clip_id for clip in numbered.select(split="test", source="toy")] == ["three"]
    assert numbered.select(source="other") == ()
    assert len(numbered.select()) == 3


def test_a_batch_has_a_window_of_each_clip_inside_its_valid_frames(numbered):
    batch = numbered.batch(["one", "two", "one"], frames=4, stride=5, seed=3)
    assert batch.shape == (3, 4, 64, 64, 3)
    starts = []
    for window, clip in zip(batch.numpy(), (1, 2, 1), strict=True):
        numbers = read_numbers(window)
        start = numbers[0][1]
        assert numbers == [(clip, start + 5 * frame) for frame in range(4)]
        starts.append(start)
    assert starts[1] + 15 < 30
    assert starts[0] != starts[2]


def test_a_batch_is_decided_by_its_seed(numbered):
    first, again, other = (numbered.batch(["one"], frames=4, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_window_longer_than_the_valid_frames_starts_at_the_first_tick(numbered):
    window = numbered.batch(["two"], frames=20, stride=2, seed=5)[0]
    assert read_numbers(window.numpy()) == [(2, tick) for tick in range(0, 40, 2)]


def test_window_span_counts_first_and_last_frame():
    assert window_span(16, 4, 100) == 61
    assert window_span(1, 50, 1) == 1
    assert window_span(25, 4, 97) == 97


@pytest.mark.parametrize(("frames", "stride"), [(26, 4), (101, 1), (0, 1), (4, 0)])
def test_a_window_longer_than_a_clip_or_empty_is_an_error(frames, stride):
    with pytest.raises(ValueError, match=f"{frames} frames at stride {stride} .* a clip has 100"):
        window_span(frames, stride, 100)


def test_an_unknown_clip_is_a_key_error(numbered):
    with pytest.raises(KeyError, match="four"):
        numbered["four"]


def test_a_missing_manifest_names_the_command_that_writes_it(here):
    with pytest.raises(WorkError, match=r"manifests/shards\.parquet is not here: run `make dataset`"):
        Clips()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_file_that_is_not_parquet_is_not_a_manifest(here, content):
    (here / "shards.parquet").write_bytes(content)
    with pytest.raises(WorkError, match=r"shards\.parquet is not a shards manifest"):
        Clips("shards.parquet")


def test_a_manifest_without_a_column_is_named_with_the_column(numbered, here):
    table = pq.read_table(here / "manifests/shards.parquet").drop_columns(["offset"])
    pq.write_table(table, here / "manifests/shards.parquet")
    with pytest.raises(WorkError, match="no column 'offset'"):
        Clips()


def test_an_empty_manifest_has_no_frame_size(numbered, here):
    pq.write_table(pq.read_table(here / "manifests/shards.parquet").slice(0, 0), here / "manifests/shards.parquet")
    with pytest.raises(WorkError, match="hold no clips"):
        _ = Clips().size


def test_a_missing_shard_is_named(numbered, here):
    (here / "data/shards/test-000000.tar").unlink()
    with pytest.raises(WorkError, match=r"test-000000\.tar is not here: run `make dataset`"):
        numbered["three"]


@pytest.mark.parametrize("damage", [lambda data: b"\0" * len(data), lambda data: data[: len(data) // 2]])
def test_a_damaged_shard_is_named_with_clip_and_byte(numbered, here, damage):
    shard = here / "data/shards/train-000000.tar"
    shard.write_bytes(damage(shard.read_bytes()))
    row = next(row for row in numbered.rows if row.clip_id == "two")
    with pytest.raises(WorkError, match=rf"train-000000\.tar holds no filmstrip of two at byte {row.offset}"):
        numbered["two"]


def test_a_flipped_bit_that_still_decodes_is_named_with_its_clip(numbered, here):
    shard = here / "data/shards/train-000000.tar"
    row = next(row for row in numbered.rows if row.clip_id == "two")
    data = bytearray(shard.read_bytes())
    data[row.offset + row.length // 2] ^= 1
    shard.write_bytes(data)
    numbered["one"]
    with pytest.raises(WorkError, match=r"train-000000\.tar holds no filmstrip of two"):
        numbered["two"]


def test_a_manifest_that_has_changed_since_it_was_written_is_not_used(numbered, here):
    path = here / "manifests/shards.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        written.record(path.relative_to(here), path.read_bytes())
    assert len(Clips(path)) == 3
    pq.write_table(pq.read_table(path).slice(0, 2), path)
    with pytest.raises(WorkError, match=r"shards\.parquet has changed since it was written: delete it"):
        Clips(path)


def test_a_manifest_that_links_to_a_cache_finds_its_shards(numbered, here):
    (here / "cache").mkdir()
    (here / "manifests/shards.parquet").rename(here / "cache/0a1b2c")
    (here / "manifests/shards.parquet").symlink_to(here / "cache/0a1b2c")
    assert read_numbers(Clips()["three"].numpy())[0] == (3, 0)


def test_an_image_that_is_not_made_of_square_frames_is_not_a_filmstrip(here):
    toy.write_shards(here, [ToyClip("clip", np.zeros((1, 40, 16, 3), np.uint8), 0)])
    with pytest.raises(WorkError, match="holds no filmstrip of clip"):
        Clips()["clip"]


@pytest.mark.parametrize(("ticks", "size"), [(100, 32), (50, 64)])
def test_a_filmstrip_of_another_shape_than_the_first_is_named(here, ticks, size):
    other = numbered_frames(2, ticks, size)
    toy.write_shards(here, [ToyClip("first", numbered_frames(1), 0), ToyClip("other", other, 1)])
    with pytest.raises(WorkError, match=f"other has {ticks} frames of {size} pixels, the first clip 100 of 64"):
        Clips()["other"]


def test_shards_are_found_from_any_folder(numbered, here, monkeypatch):
    monkeypatch.chdir("/")
    assert read_numbers(Clips(here / "manifests/shards.parquet")["three"].numpy())[4] == (3, 4)
