"""An HTTP host on loopback with ranges, ETags and injected faults."""

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
    """The fault that one request meets; the default is none."""

    status: int = 200
    retry_after: str | None = None
    after: int | None = None  # bytes of body after which the connection is reset
    end: int | None = None  # bytes of body after which it is closed in good order
    stall_s: float = 0.0  # pause before the body
    claim: int = 0  # added to Content-Length
    ranges: bool = True  # False: the whole file is sent whatever the request asks for
    location: str | None = None  # redirect
    replace: bytes | None = None  # content that the file has from this request on
    drip: tuple[int, float] | None = None  # body in pieces of so many bytes, with so many seconds in between


@dataclass
class Host:
    """Files and pending faults by path, and a record of the requests."""

    files: dict[str, bytes] = field(default_factory=dict)
    etags: bool = True
    url: str = ""
    troubles: dict[str, deque[Trouble]] = field(default_factory=lambda: defaultdict(deque))
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # GET: path and Range
    sent: int = 0  # bytes of bodies
    always: Trouble = field(default_factory=Trouble)  # for requests without a pending fault

    def trouble(self, path: str, *troubles: Trouble) -> None:
        """Queue faults for the next requests for `path`, one each."""
        self.troubles[path].extend(troubles)


@contextlib.contextmanager
def serving(**files: bytes) -> Iterator[Host]:
    """Serve `files` on a free port of loopback until the block ends."""
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
        pass  # clients that close the connection early are part of the tests


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
            self._send_head(302, Location=trouble.location)
        elif trouble.status != 200:
            self._send_head(trouble.status, **({"Retry-After": trouble.retry_after} if trouble.retry_after else {}))
        elif path not in host.files:
            self._send_head(404)
        else:
            self._send_file(host.files[path], trouble)

    def do_HEAD(self) -> None:
        found = self.host.files.get(self.path)
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()

    def _send_head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_file(self, data: bytes, trouble: Trouble) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()[:12]}"'
        if self.headers.get("If-None-Match") == tag:
            self._send_head(304)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "") if trouble.ranges else None
        if asked and self.headers.get("If-Range") not in (None, tag):
            asked = None
        begin = int(asked[1]) if asked else 0
        if asked and begin >= len(data):
            self._send_head(416)
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
            # With a linger time of zero the peer sees a reset, not a regular end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if trouble.after is not None or trouble.end is not None or trouble.claim:
            self.close_connection = True
            self.connection.close() if trouble.after is not None else self.connection.shutdown(socket.SHUT_RDWR)
