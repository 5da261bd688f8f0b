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
class Fault:
    """A fault of the host in one request; the default is none."""

    status: int = 200
    retry_after: str | None = None
    after: int | None = None  # bytes of body after which the connection is reset
    end: int | None = None  # bytes of body after which it is closed in good order
    stall_s: float = 0.0  # pause before the body
    claim: int = 0  # added to Content-Length
    ranges: bool = True  # False: the whole file is sent whatever range is requested
    location: str | None = None  # redirect
    replace: bytes | None = None  # content that the file has from this request on
    raw: bytes | None = None  # the whole answer, status line included, after which the connection is closed
    drip: tuple[int, float] | None = None  # bytes of each piece of the answer, and seconds between pieces


@dataclass
class Host:
    """Files and pending faults by path, and a record of the requests."""

    files: dict[str, bytes] = field(default_factory=dict)
    etags: bool = True
    url: str = ""
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # GET: path and Range
    sent: int = 0  # bytes of bodies
    always: Fault = field(default_factory=Fault)  # for requests without a pending fault

    def queue_faults(self, path: str, *faults: Fault) -> None:
        """Queue faults for the next requests for `path`, one each."""
        self.faults[path].extend(faults)


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
        fault = host.faults[path].popleft() if host.faults[path] else host.always
        if fault.replace is not None:
            host.files[path] = fault.replace
        if fault.raw is not None:
            self.close_connection = True
            self._send_pieces(fault.raw, fault)
        elif fault.location is not None:
            self._send_head(302, Location=fault.location)
        elif fault.status != 200:
            self._send_head(fault.status, **({"Retry-After": fault.retry_after} if fault.retry_after else {}))
        elif path not in host.files:
            self._send_head(404)
        else:
            self._send_file(host.files[path], fault)

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

    def _send_file(self, data: bytes, fault: Fault) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()[:12]}"'
        if self.headers.get("If-None-Match") == tag:
            self._send_head(304)
            return
        requested = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "") if fault.ranges else None
        if requested and self.headers.get("If-Range") not in (None, tag):
            requested = None
        begin = int(requested[1]) if requested else 0
        end = min(int(requested[2]) + 1, len(data)) if requested and requested[2] else len(data)
        if requested and begin >= len(data):
            self._send_head(416)
            return
        self.send_response(206 if requested else 200)
        if requested:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data) + fault.claim}")
        if self.host.etags:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(end - begin + fault.claim))
        self.end_headers()
        if fault.stall_s:
            threading.Event().wait(fault.stall_s)
        body = data[begin:end][: fault.after if fault.after is not None else fault.end]
        self._send_pieces(body, fault)
        if fault.after is not None:
            # With a linger time of zero the peer sees a reset, not a regular end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault.after is not None or fault.end is not None or fault.claim:
            self.close_connection = True
            self.connection.close() if fault.after is not None else self.connection.shutdown(socket.SHUT_RDWR)

    def _send_pieces(self, data: bytes, fault: Fault) -> None:
        size, pause = fault.drip or (len(data) or 1, 0.0)
        stop = threading.Event()
        with contextlib.suppress(ConnectionError):
            for begin in range(0, len(data), size):
                self.host.sent += len(data[begin : begin + size])
                self.wfile.write(data[begin : begin + size])
                stop.wait(pause)
