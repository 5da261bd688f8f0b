"""Digests of written files: a file that has changed since is found, one that dvc checked out or nobody recorded is not."""

import hashlib
from pathlib import Path

import pytest

from common import written

PATH = Path("manifests/trim.parquet")
RECORD = Path("data/ledgers/trim.sha256")


@pytest.fixture
def recorded(here):
    """A project in which `old` and then `new` were written to PATH."""
    written.record(PATH, b"old")
    written.record(PATH, b"new")
    return here


@pytest.mark.parametrize(("content", "changed"), [(b"new", False), (b"old", False), (b"neW", True), (b"", True)])
def test_content_that_was_never_written_has_changed(recorded, content, changed):
    assert written.has_changed(PATH, content) == changed
    assert written.has_changed(PATH, content, recorded) == changed


def test_sha256sum_reads_the_record(recorded):
    digests = [hashlib.sha256(content).hexdigest() for content in (b"old", b"new")]
    assert RECORD.read_text() == "".join(f"{digest}  manifests/trim.parquet\n" for digest in digests)


def test_content_written_again_is_recorded_once(recorded):
    written.record(PATH, b"old")
    assert len(RECORD.read_text().splitlines()) == 2


def test_without_a_record_nothing_has_changed(here):
    assert not written.has_changed(PATH, b"anything")


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"\xff\xfe garbage\n\n"])
def test_damaged_record_is_replaced_by_the_next_one(recorded, damage):
    RECORD.write_bytes(damage)
    written.record(PATH, b"new")
    assert not written.has_changed(PATH, b"new")
    assert written.has_changed(PATH, b"neW")


def test_content_in_dvc_lock_has_not_changed(recorded):
    digest = hashlib.md5(b"pulled").hexdigest()
    Path("dvc.lock").write_text(f"stages: {{trim: {{cmd: x, outs: [{{path: {PATH}, hash: md5, md5: {digest}}}]}}}}")
    assert not written.has_changed(PATH, b"pulled")
    assert written.has_changed(PATH, b"other")


@pytest.mark.parametrize("lock", ["", "[", "stages: 1", "stages: {trim: {outs: [1]}}", "stages: {trim: }"])
def test_damaged_dvc_lock_excuses_nothing(recorded, lock):
    Path("dvc.lock").write_text(lock)
    assert written.has_changed(PATH, b"other")
