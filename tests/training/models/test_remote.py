"""Downloads of checkpoints: once, whole or not at all, with an error of one line."""

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from common.errors import WorkError
from tests.conftest import REPO
from tests.training.models.tiny import autoencoder
from training.models import export_pretrained, load_pretrained, remote

DATA = np.random.default_rng(0).bytes(12 << 20)  # more than fsspec's block of 5 MiB


class Host(http.server.ThreadingHTTPServer):
    """Serves `files` by path, with byte ranges; `fault` decides what happens to a response."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {"/a.bin": DATA}
        self.statuses = {"/forbidden.bin": 403, "/broken.bin": 500}
        self.gets = 0
        self.fault: str | None = None  # "close": end responses halfway; "stall": stop sending halfway
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_) -> None:
        pass  # clients that are killed


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Host

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._respond(head=True)

    def do_GET(self) -> None:
        self.server.gets += 1
        self._respond(head=False)

    def _respond(self, *, head: bool) -> None:
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(self.server.statuses.get(self.path, 404))
            return
        span = self.headers.get("Range")
        begin, end = 0, len(data) - 1
        if span:
            first, _, last = span.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last), end) if last else end
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end + 1 - begin))
        self.end_headers()
        if head:
            return
        body = data[begin : end + 1]
        if self.server.fault and begin > 0:
            self.wfile.write(body[: len(body) // 2])
            if self.server.fault == "stall":
                self.server.released.wait(60)
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def host() -> Iterator[Host]:
    server = Host()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(remote, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def error_of(path: str, sha256: str | None = None) -> str:
    with pytest.raises(WorkError) as caught:
        remote.local_path(path, sha256)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What comes


def test_local_path_stays_itself(cache):
    assert remote.local_path("weights/model.pt") == Path("weights/model.pt")
    assert not cache.exists()


def test_url_is_downloaded_whole(host, cache):
    path = remote.local_path(f"{host.url}/a.bin")
    assert path.parent == cache
    assert path.name.endswith("-a.bin")
    assert path.read_bytes() == DATA
    assert files(cache) == [path.name]


def test_url_is_downloaded_once(host, cache):
    first = remote.local_path(f"{host.url}/a.bin")
    asked = host.gets
    assert asked > 0
    del host.files["/a.bin"]
    assert remote.local_path(f"{host.url}/a.bin") == first
    assert host.gets == asked


def test_same_name_from_two_urls_is_two_files(host, cache):
    host.files |= {"/x/model.pt": b"one", "/y/model.pt": b"two"}
    paths = [remote.local_path(f"{host.url}/{folder}/model.pt") for folder in "xy"]
    assert [path.read_bytes() for path in paths] == [b"one", b"two"]


def test_strange_characters_of_a_url_do_not_reach_the_file_name(host, cache):
    host.files["/m%20%C3%A9.pt?v=1&x=.."] = b"content"
    path = remote.local_path(f"{host.url}/m%20%C3%A9.pt?v=1&x=..")
    assert path.parent == cache
    assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_other_protocols_of_fsspec_work_too(cache):
    with fsspec.open("memory://folder/model.pt", "wb") as file:
        file.write(b"weights")
    assert remote.local_path("memory://folder/model.pt").read_bytes() == b"weights"


def test_model_is_loaded_from_a_url(host, cache, tmp_path):
    model = autoencoder()
    export_pretrained(model, tmp_path / "model.pt")
    host.files["/model.pt"] = (tmp_path / "model.pt").read_bytes()
    loaded = load_pretrained(autoencoder(), f"{host.url}/model.pt")
    assert all((loaded.state_dict()[key] == value).all() for key, value in model.state_dict().items())


def test_cache_folder_comes_from_the_environment(tmp_path):
    code = "from training.models import remote; print(remote.CACHE)"
    environment = os.environ | {"CHECKPOINT_CACHE": str(tmp_path / "elsewhere"), "PYTHONPATH": str(REPO)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(tmp_path / "elsewhere")


# Whole or not at all


def test_broken_transfer_leaves_no_file_and_the_next_call_downloads_it(host, cache):
    host.fault = "close"
    message = error_of(f"{host.url}/a.bin")
    assert message.startswith(f"{host.url}/a.bin cannot be read: ")
    assert message.endswith(": run the same command again")
    assert files(cache) == []
    host.fault = None
    assert remote.local_path(f"{host.url}/a.bin").read_bytes() == DATA


def test_interrupted_download_leaves_no_file(host, cache, monkeypatch):
    def interrupt(source, destination, length):
        destination.write(source.read(length))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(remote.shutil, "copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            remote.local_path(f"{host.url}/a.bin")
    assert files(cache) == []
    assert remote.local_path(f"{host.url}/a.bin").read_bytes() == DATA


def test_killed_download_is_never_taken_for_a_whole_file(host, cache):
    host.fault = "stall"
    code = f"from training.models import remote; remote.local_path({host.url + '/a.bin'!r})"
    environment = os.environ | {"CHECKPOINT_CACHE": str(cache), "PYTHONPATH": str(REPO)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in cache.glob("*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [name.startswith(".part-") for name in files(cache)] == [True]
    host.fault = None
    path = remote.local_path(f"{host.url}/a.bin")
    assert path.read_bytes() == DATA
    assert list(cache.iterdir()) == [path]


def test_file_that_ends_early_is_an_error_and_is_not_kept(cache, monkeypatch):
    with fsspec.open("memory://short.pt", "wb") as file:
        file.write(b"12345")
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *_: {"size": 1234567})
    assert error_of("memory://short.pt") == (
        "memory://short.pt ended after 5 of 1,234,567 bytes: run the same command again"
    )
    assert files(cache) == []


# Errors


def test_absent_file_is_an_error(host, cache):
    assert error_of(f"{host.url}/none.pt") == f"{host.url}/none.pt is not there"
    assert error_of("memory://none.pt") == "memory://none.pt is not there"


@pytest.mark.parametrize(("path", "status"), [("/forbidden.bin", 403), ("/broken.bin", 500)])
def test_http_error_is_named_and_not_taken_for_an_absent_file(host, cache, path, status):
    message = error_of(host.url + path)
    assert "cannot be read" in message
    assert str(status) in message


def test_host_that_does_not_answer_is_an_error(cache):
    assert "http://127.0.0.1:1/a.pt cannot be read: " in error_of("http://127.0.0.1:1/a.pt")


def test_unknown_protocol_is_an_error(cache):
    assert "Protocol not known: nowhere" in error_of("nowhere://a.pt")


def test_download_with_another_digest_is_an_error(host, cache):
    digest = hashlib.sha256(DATA).hexdigest()
    path = remote.local_path(f"{host.url}/a.bin", digest)
    assert error_of(f"{host.url}/a.bin", "0" * 64) == (
        f"{path} has sha256 {digest}, not {'0' * 64}: delete it to download it again"
    )


def test_digest_of_an_absent_local_file_is_an_error(tmp_path):
    assert error_of(str(tmp_path / "none.pt"), "0" * 64) == f"{tmp_path}/none.pt: No such file or directory"
