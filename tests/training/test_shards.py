"""Filmstrips read from a folder and from hosts, with byte ranges and a cache."""

import shutil
from pathlib import Path

import pytest

from common.errors import ParamError, WorkError
from pipeline.runner.store import Store
from tests.pipeline.host import Fault, serving
from tests.training import toy
from tests.training.toy import ToyClip, numbered_frames, read_numbers
from training import shards
from training.clips import Clips

SHARD = "data/shards/train-000000.tar"


@pytest.fixture
def host(here, monkeypatch):
    """A host with the shard of two clips, which this machine does not have."""
    monkeypatch.setattr(shards, "_WAIT_S", 0.001)
    toy.write_shards(here, [ToyClip("one", numbered_frames(1, 8, 16), 0), ToyClip("two", numbered_frames(2, 8, 16), 1)])
    content = (here / SHARD).read_bytes()
    shutil.rmtree(here / "data")
    with serving(**{SHARD: content}) as serves:
        yield serves


def clip_of(clips, clip_id="two"):
    return read_numbers(clips[clip_id].numpy())[0][0]


def test_filmstrips_are_read_from_a_host_by_byte_ranges(host):
    clips = Clips(shards=host.url)
    assert (clip_of(clips, "one"), clip_of(clips, "two")) == (1, 2)
    row = clips.rows[1]
    assert (f"/{SHARD}", f"bytes={row.offset}-{row.offset + row.length - 1}") in host.requests
    assert host.sent < len(host.files[f"/{SHARD}"])


def test_a_filmstrip_is_requested_once_for_all_runs(host):
    for _ in range(3):
        assert clip_of(Clips(shards=host.url)) == 2
    assert len(host.requests) == 2  # of the first clip, for the shape, and of the second


def test_a_damaged_file_of_the_cache_is_replaced(host):
    clips = Clips(shards=host.url)
    clip_of(clips)
    cached = shards.CACHE / clips.rows[1].sha256[:2] / clips.rows[1].sha256
    cached.write_bytes(cached.read_bytes()[:-1])
    assert clip_of(Clips(shards=host.url)) == 2
    assert len(cached.read_bytes()) == clips.rows[1].length


def test_damaged_bytes_of_a_host_are_named_and_not_kept(host):
    clips = Clips(shards=host.url)
    row, content = clips.rows[1], bytearray(host.files[f"/{SHARD}"])
    content[row.offset + row.length // 2] ^= 1
    host.files[f"/{SHARD}"] = bytes(content)
    with pytest.raises(WorkError, match="holds no filmstrip of two"):
        _ = clips["two"]
    assert not (shards.CACHE / row.sha256[:2] / row.sha256).exists()


def test_nothing_is_kept_on_a_disk_without_room(host, monkeypatch):
    monkeypatch.setattr(shards, "has_room", lambda *_: False)
    assert clip_of(Clips(shards=host.url)) == 2
    assert [path for path in shards.CACHE.rglob("*") if path.is_file()] == []


def test_a_host_that_fails_once_is_asked_again(host):
    host.queue_faults(f"/{SHARD}", Fault(status=503))
    assert clip_of(Clips(shards=host.url)) == 2


def test_a_failing_host_is_one_line_without_credentials(host):
    host.always = Fault(status=500)
    url = host.url.replace("http://", "http://user:secret@")
    with pytest.raises(WorkError, match=rf"^{SHARD} at http://127.* cannot be read: ClientResponseError 500") as caught:
        _ = Clips(shards=url)["two"]
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shard_that_a_host_does_not_have_is_named(host):
    with pytest.raises(WorkError, match=rf"^{SHARD} is not at {host.url}/other: `shard.copy_to` copies shards there"):
        _ = Clips(shards=f"{host.url}/other")["two"]


def test_a_host_that_ignores_ranges_is_named_with_the_remedy(host):
    host.always = Fault(ranges=False)
    with pytest.raises(WorkError, match=r"sends whole shards instead of byte ranges: .*loader\.storage to stream"):
        _ = Clips(shards=host.url)["two"]


def test_a_shard_cut_at_its_host_is_named_with_its_clip(host):
    clips = Clips(shards=host.url)
    host.files[f"/{SHARD}"] = host.files[f"/{SHARD}"][: clips.rows[1].offset + 100]
    assert clip_of(clips, "one") == 1
    with pytest.raises(WorkError, match="holds no filmstrip of two"):
        _ = clips["two"]


@pytest.mark.parametrize("url", ["{}/copy", "file://{}/copy", "memory://bucket/copy"])
def test_shards_are_read_from_where_copy_to_has_copied_them(here, url):
    toy.write_shards(here, [ToyClip("two", numbered_frames(2, 8, 16), 0)])
    Store(url.format(here)).push(Path(SHARD))
    (here / SHARD).unlink()
    assert clip_of(Clips(shards=url.format(here))) == 2


def test_a_folder_without_the_shard_is_named(host, here):
    with pytest.raises(WorkError, match=rf"^{SHARD} is not in elsewhere: `shard.copy_to` copies shards there"):
        _ = Clips(shards="elsewhere")["two"]


@pytest.mark.parametrize("url", ["nothing://user:secret@bucket", "s3://user:secret@bucket"])
def test_a_url_that_fsspec_cannot_use_is_a_param_error_without_credentials(host, url):
    with pytest.raises(ParamError, match=r"^params\.yaml: loader\.shards is .*://bucket: ") as caught:
        Clips(shards=url)
    assert "secret" not in str(caught.value)
