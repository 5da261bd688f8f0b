"""Listing a folder: every file once, with the reason where it cannot be read; nothing blocks, loops or raises."""

import errno
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.records.failures import Failure
from pipeline.sources import walk
from pipeline.sources.walk import Found, list_files, printable_path
from tests.pipeline.mirror import write_file


def listed(root: Path, *, follow_links: bool = False) -> dict[str, Found]:
    files = list_files(root, follow_links=follow_links)
    assert len({file.name for file in files}) == len(files)
    return {file.name: file for file in files}


def code(file: Found) -> Failure | None:
    return None if file.error is None else file.error.code


def detail(file: Found) -> str:
    return "" if file.error is None else file.error.detail


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_file(tmp_path / "root/a/clip.mp4", b"12345")
    return tmp_path / "root"


def test_files_are_sorted_by_path_and_have_their_sizes(root: Path):
    write_file(root / "a b/clip.mp4", b"1")
    write_file(root / "a/deep/er/clip", b"12")
    write_file(root / "top.mp4", b"")
    (root / "empty").mkdir()
    files = list_files(root, follow_links=False)
    assert [(file.name, file.size) for file in files] == [
        ("a/clip.mp4", 5),
        ("a/deep/er/clip", 2),
        ("a b/clip.mp4", 1),
        ("top.mp4", 0),
    ]


def test_pipes_sockets_and_devices_are_named_and_never_opened(root: Path):
    os.mkfifo(root / "a/pipe.mp4")
    (root / "a/null.mp4").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "a/socket.mp4"))  # a socket's path has at most 108 bytes
        files = listed(root, follow_links=True)
    for name, kind in {"pipe": "a named pipe", "socket": "a socket", "null": "a device"}.items():
        assert code(files[f"a/{name}.mp4"]) is Failure.UNSAFE_PATH
        assert f"is {kind}, not a regular file" in detail(files[f"a/{name}.mp4"])


def test_device_behind_a_link_is_out_of_the_folder(root: Path):
    (root / "a/zero.mp4").symlink_to("/dev/zero")
    assert "is a link out of its folder" in detail(listed(root)["a/zero.mp4"])


@pytest.mark.parametrize("follow_links", [False, True])
def test_links_that_lead_nowhere_fail_one_file_each(root: Path, follow_links: bool):
    (root / "a/dangling.mp4").symlink_to("nothing.mp4")
    (root / "a/itself.mp4").symlink_to("itself.mp4")
    (root / "a/one.mp4").symlink_to("other.mp4")
    (root / "a/other.mp4").symlink_to("one.mp4")
    files = listed(root, follow_links=follow_links)
    assert code(files["a/dangling.mp4"]) is Failure.NOT_FOUND
    assert "a link to a file that does not exist" in detail(files["a/dangling.mp4"])
    for name in ("itself", "one", "other"):
        assert code(files[f"a/{name}.mp4"]) is Failure.UNSAFE_PATH
        assert "a link that leads back to itself" in detail(files[f"a/{name}.mp4"])
    assert code(files["a/clip.mp4"]) is None


def test_links_to_folders_are_not_followed_by_default(root: Path):
    write_file(root.parent / "elsewhere/b.mp4", b"1")
    (root / "b").symlink_to(root.parent / "elsewhere")
    (root / "a/loop").symlink_to(root)
    files = listed(root)
    assert files.keys() == {"a/clip.mp4", "a/loop", "b"}
    assert all("is a link to a folder; set follow_links: true" in detail(files[name]) for name in ("a/loop", "b"))


def test_followed_links_read_each_folder_once_and_end(root: Path):
    """Twelve folders that each link to every other one have 12! ways through them."""
    for number in range(12):
        write_file(root / f"{number}/clip.mp4", b"1")
        for other in range(12):
            (root / f"{number}/to {other}").symlink_to(root / f"{other}")
    write_file(root.parent / "elsewhere/b.mp4", b"1")
    (root / "first").symlink_to(root.parent / "elsewhere")
    (root / "second").symlink_to(root.parent / "elsewhere")
    (root / "a/loop").symlink_to("..")
    files = listed(root, follow_links=True)
    assert {name for name, file in files.items() if file.error is None} == {
        *("a/clip.mp4", "first/b.mp4"),
        *(f"{number}/clip.mp4" for number in range(12)),
    }
    assert f"a link to a folder that is read already: {root}/first" in detail(files["second"])
    assert all(code(file) in (None, Failure.UNSAFE_PATH) for file in files.values())


def test_names_that_are_not_utf8_fail_and_are_shown_with_escapes(root: Path):
    folder = os.fsencode(root / "a")
    for name in (b"caf\xe9.mp4", b"caf\xe9.txt"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"1")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe")).mkdir()
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe/clip.mp4")).write_bytes(b"1")
    files = {printable_path(file.name): file for file in list_files(root, follow_links=False)}
    assert files.keys() == {"a/clip.mp4", "a/caf\\xe9.mp4", "a/caf\\xe9.txt", "\\xff\\xfe/clip.mp4"}
    for name in ("a/caf\\xe9.mp4", "\\xff\\xfe/clip.mp4"):
        assert code(files[name]) is Failure.UNSAFE_PATH
        assert "the path is not UTF-8, rename it" in detail(files[name])
    assert files["a/caf\\xe9.txt"].kind == ".txt"


@pytest.mark.parametrize(
    "name", ["new\nline.mp4", "bell\a.mp4", "esc\x1b[31m.mp4", " .mp4", "x" * 251 + ".mp4", "日本.mp4"]
)
def test_odd_names_are_ordinary_files(root: Path, name: str):
    write_file(root / "a" / name, b"123")
    assert (listed(root)[f"a/{name}"].size, code(listed(root)[f"a/{name}"])) == (3, None)


@pytest.fixture
def nest(root: Path) -> Iterator[Callable[[str, int], None]]:
    """Makes folders of one name inside one another, with a video and a text in the innermost; removed after the test."""

    def make(name: str, depth: int) -> None:
        here = Path.cwd()
        try:
            os.chdir(root / "a")
            for _ in range(depth):
                Path(name).mkdir()
                os.chdir(name)
            Path("deep.mp4").write_bytes(b"1")
            Path("deep.txt").write_bytes(b"1")
        finally:
            os.chdir(here)

    yield make
    subprocess.run(["rm", "-rf", root], check=True)  # shutil.rmtree, which pytest uses, is recursive


@pytest.mark.parametrize(("name", "depth"), [("x" * 240, 25), ("d", 3000)])
def test_path_longer_than_the_system_opens_fails_its_file_only(root: Path, nest, name: str, depth: int):
    nest(name, depth)
    files = list_files(root, follow_links=False)
    clip, deep, text = files
    assert (clip.name, code(clip)) == ("a/clip.mp4", None)
    assert deep.name == f"a/{'/'.join([name] * depth)}/deep.mp4"
    assert code(deep) is Failure.UNSAFE_PATH
    assert "bytes, more than the system opens" in detail(deep)
    assert text.kind == ".txt"


def refuse(monkeypatch: pytest.MonkeyPatch, name: bytes, number: int) -> None:
    """Let opening the folder `name` fail; root may open any."""
    really_open = os.open

    def open_or_refuse(path, flags, mode=0o777, *, dir_fd=None):
        if path == name:
            raise OSError(number, os.strerror(number))
        return really_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(walk.os, "open", open_or_refuse)


@pytest.mark.parametrize(
    ("number", "expected", "text"),
    [
        (errno.EACCES, Failure.FORBIDDEN, "no permission to read the folder"),
        (errno.ENOENT, Failure.NOT_FOUND, "the folder was deleted while its folder was read"),
        (errno.EIO, Failure.UNREADABLE_CONTAINER, "the folder cannot be read, Input/output error"),
    ],
)
def test_unreadable_folder_is_listed_with_its_reason(root, monkeypatch, number, expected, text):
    (root / "locked").mkdir()
    (root / ".hidden").mkdir()
    refuse(monkeypatch, b"locked", number)
    files = listed(root)
    assert files.keys() == {"a/clip.mp4", "locked"}
    assert code(files["locked"]) is expected
    assert text in detail(files["locked"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folder_without_permission_is_listed(root: Path):
    (root / "locked").mkdir(mode=0)
    assert code(listed(root)["locked"]) is Failure.FORBIDDEN


def test_file_that_vanishes_during_the_walk_fails_alone(root: Path, monkeypatch: pytest.MonkeyPatch):
    gone = write_file(root / "a/gone.mp4", b"1")
    scandir = os.scandir

    def scan_and_delete(descriptor):
        entries = list(scandir(descriptor))
        if any(entry.name == gone.name for entry in entries):
            gone.unlink()
        return entries

    monkeypatch.setattr(walk.os, "scandir", scan_and_delete)
    files = listed(root)
    assert code(files["a/clip.mp4"]) is None
    assert code(files["a/gone.mp4"]) is Failure.NOT_FOUND
    assert "was deleted while its folder was read" in detail(files["a/gone.mp4"])


def test_root_that_cannot_be_read_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        list_files(tmp_path / "nowhere", follow_links=False)
