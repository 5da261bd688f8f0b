"""A host of files on loopback that behaves like the real ones: ranges, ETags, and trouble on command."""

import contextlib
import hashlib
import re
import socket
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Trouble:
    """What goes wrong with one request. The default goes well."""

    status: int = 200
    retry_after: str | None = None
    after: int | None = None  # bytes of body after which the connection is reset
    end: int | None = None  # bytes of body after which it is closed as if all were well
    stall_s: float = 0.0  # silence before the body
    claim: int = 0  # added to Content-Length
    ranges: bool = True
    location: str | None = None
    replace: bytes | None = None  # the file becomes this, now
    drip: tuple[int, float] | None = None  # so many bytes at a time, with so many seconds in between


@dataclass
class Host:
    """Files by path, trouble still to come by path, and what was asked for and sent."""

    files: dict[str, bytes] = field(default_factory=dict)
    etags: bool = True
    url: str = ""
    troubles: dict[str, deque[Trouble]] = field(default_factory=lambda: defaultdict(deque))
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # by HEAD
    sent: int = 0
    always: Trouble = field(default_factory=Trouble)  # what a request meets when no trouble is left

    def trouble(self, path: str, *troubles: Trouble) -> None:
        """The next requests for `path` meet these, one each."""
        self.troubles[path].extend(troubles)


@contextlib.contextmanager
def serving(**files: bytes) -> Iterator[Host]:
    """A host on a free port of loopback, until the block ends."""
    host = Host({f"/{name}": content for name, content in files.items()})
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"host": host}))
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is what these tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host: Host

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        host, path = self.host, self.path
        host.requests.append((path, self.headers.get("Range")))
        trouble = host.troubles[path].popleft() if host.troubles[path] else host.always
        if trouble.replace is not None:
            host.files[path] = trouble.replace
        if trouble.location is not None:
            self._end(302, Location=trouble.location)
        elif trouble.status != 200:
            self._end(trouble.status, **({"Retry-After": trouble.retry_after} if trouble.retry_after else {}))
        elif path not in host.files:
            self._end(404)
        else:
            self._body(host.files[path], trouble)

    def do_HEAD(self) -> None:
        found = self.host.files.get(self.path)
        self.host.asked.append(self.path)
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()

    def _end(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self, data: bytes, trouble: Trouble) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()[:12]}"'
        if self.headers.get("If-None-Match") == tag:
            self._end(304)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "") if trouble.ranges else None
        if asked and self.headers.get("If-Range") not in (None, tag):
            asked = None
        begin = int(asked[1]) if asked else 0
        if asked and begin >= len(data):
            self._end(416)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data) + trouble.claim}")
        if self.host.etags:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(data) - begin + trouble.claim))
        self.end_headers()
        stop = threading.Event()
        if trouble.stall_s:
            stop.wait(trouble.stall_s)
        body = data[begin:][: trouble.after if trouble.after is not None else trouble.end]
        size, pause = trouble.drip or (len(body) or 1, 0.0)
        with contextlib.suppress(ConnectionError):
            for begin in range(0, len(body), size):
                self.host.sent += len(body[begin : begin + size])
                self.wfile.write(body[begin : begin + size])
                stop.wait(pause)
        if trouble.after is not None:
            # Linger zero: the peer sees a reset, not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if trouble.after is not None or trouble.end is not None or trouble.claim:
            self.close_connection = True
            self.connection.close() if trouble.after is not None else self.connection.shutdown(socket.SHUT_RDWR)
