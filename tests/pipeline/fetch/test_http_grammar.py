"""RemoteFile against a host whose answers come from a grammar of odd status lines, headers and bodies.

Whatever the host answers, the data is equal to the truth or the error is typed. Excluded are only answers that are
false and consistent with themselves, such as a shorter file with a Content-Length of its own.
"""

import contextlib
import random
import re
import socket
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.fetch.http import RemoteFile, RetryPolicy
from pipeline.records.failures import ClipError

DATA = random.Random(1).randbytes(20_000)
RANGE = re.compile(rb"\r\nRange: bytes=(\d+)-\r\n")

NUMBERS = st.sampled_from(
    [
        "²",
        "5²",
        "-1",
        "+5",
        "1_0",
        "0x10",
        "1e3",
        "1.0",
        "",
        " ",
        "9" * 5000,
        "99999999999999999999",
        "1 2",
        "1, 2",
        "NaN",
    ]
)
# Line ends in a header would make another, valid, answer of it.
TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), min_size=1, max_size=20)
STATUS = st.one_of(
    st.sampled_from(
        [
            *("HTTP/1.1 200 OK", "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"),
            *("HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified", "HTTP/1.1 416 No", "HTTP/1.1 429 Busy"),
            *("HTTP/1.1 503 Busy", "HTTP/1.1 404 Not Found", "HTTP/1.1 999 Odd", "HTTP/1.1 2000 OK", "HTTP/1.1 ²00 OK"),
            *("HTTP/1.1 -200 OK", "HTTP/2 200", "ICY 200 OK", "HTTP/1.1", "200 OK", "", "\x00", "HTTP/1.1 302 Found"),
        ]
    ),
    TEXT,
)
LOCATIONS = st.one_of(
    st.sampled_from(
        [
            "http://[::1",
            "http://[v1.x]/",
            "file:///etc/passwd",
            "//",
            "http://",
            "http://a:b/",
            "http://127.0.0.1:99999/",
            "\xff\xfe",
        ]
    ),
    TEXT.map("http://127.0.0.1:1/".__add__),
)
HEADERS = st.lists(
    st.one_of(
        NUMBERS.map("Retry-After: {}".format),
        st.sampled_from(
            [
                *("Retry-After: Wed, 21 Oct 1000000000000 07:28:00 GMT", "Retry-After: Mon, 99 Foo 0 0:0:0 +9999"),
                *('ETag: "a"', 'ETag: W/"a"', "ETag: \xff", "Last-Modified: never", "Content-Encoding: gzip"),
                *(
                    "Content-Encoding: identity",
                    "Transfer-Encoding: gzip",
                    "Connection: close",
                    "no colon",
                    ": ",
                    " folded",
                ),
                *(
                    "Content-Range: bytes 0-9/²",
                    "Content-Type: multipart/mixed",
                    "A: " + "b" * 70_000,
                    "Set-Cookie: \x00=",
                ),
            ]
        ),
        LOCATIONS.map("Location: {}".format),
        TEXT,
    ),
    max_size=3,
)
CHUNK_SIZES = st.one_of(
    st.none(), st.sampled_from(["-5", "²", "0x5", "", "f" * 20, "5;" + "x" * 5000, "1 1", "ffff", "1"])
)


@st.composite
def answers(draw):
    """A function of the requested position that returns the bytes of an answer, after which the host hangs up."""
    honest = draw(st.booleans())
    status, headers = ("", []) if honest else (draw(STATUS), draw(HEADERS))
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    partial = draw(st.sampled_from(["as requested", "never", "wrong"]))
    number = draw(st.none() | NUMBERS) if framing == "length" else None
    # A body without framing that ends early cannot be told from a shorter file.
    cut = draw(st.none() | st.integers(0, len(DATA))) if framing != "close" else None
    cut_head = draw(st.none() | st.integers(0, 60)) if not honest else None
    chunk, chunk_size = draw(st.integers(1, 9000)), draw(CHUNK_SIZES)
    wrong_range = draw(
        st.sampled_from(
            ["bytes {0}-{1}/{3}", "bytes 0-{1}/{2}", "bytes {1}-{0}/{2}", "bytes {0}-{1}", "{0}", "bytes {0}-{1}/{2}"]
        )
    )

    def respond(begin):
        lines, body = [], DATA[begin:]
        if begin and partial == "wrong":
            # The range as requested and the body from the file's start: the lengths contradict each other.
            lines.append("Content-Range: " + wrong_range.format(begin, len(DATA) - 1, len(DATA), len(DATA) + 7))
            body, code = DATA, "HTTP/1.1 206 Partial Content"
        elif begin and partial == "as requested":
            lines.append(f"Content-Range: bytes {begin}-{len(DATA) - 1}/{len(DATA)}")
            code = "HTTP/1.1 206 Partial Content"
        else:
            body, code = DATA, "HTTP/1.1 200 OK"
        if framing == "length":
            lines.append(f"Content-Length: {len(body) if number is None else number}")
        elif framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            pieces = [body[at : at + chunk] for at in range(0, len(body), chunk)]
            sizes = [f"{len(piece):x}" for piece in pieces]
            if not honest and chunk_size is not None:
                sizes[len(sizes) // 2] = chunk_size
            body = b"".join(
                b"%s\r\n%s\r\n" % (size.encode("latin-1"), piece) for size, piece in zip(sizes, pieces, strict=True)
            )
            body += b"0\r\n\r\n"
        head = "\r\n".join([code if honest else status or code, *headers, *lines, "", ""]).encode("latin-1")
        return head + body[:cut] if cut_head is None else head[: min(cut_head, len(head) - 1)]

    return respond


@contextlib.contextmanager
def serving_answers(queue):
    """Answer each connection by the next function of `queue`, after it by a truthful one; yields the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener, iter(queue)), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def serve(listener, responses):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            request = b""
            while b"\r\n\r\n" not in request and (received := connection.recv(65536)):
                request += received
            match = RANGE.search(request)
            connection.sendall(next(responses, truth)(int(match[1]) if match else 0))


def truth(begin):
    return (
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n"
        % (begin, len(DATA) - 1, len(DATA), len(DATA) - begin)
    ) + DATA[begin:]


def check(queue):
    policy = RetryPolicy(attempts=4, timeout_s=2.0, min_bytes_per_minute=1000, sleep=lambda seconds: None)
    with serving_answers(queue) as url, contextlib.suppress(ClipError), RemoteFile(url, policy) as file:
        assert file.read() == DATA
        return True
    return False


QUEUES = st.lists(answers(), min_size=1, max_size=3)
NO_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]


def test_truthful_answers_give_the_data():
    assert check([])
    assert check([lambda begin: truth(begin)[:10_000], lambda begin: truth(begin)[:5000]])


@settings(max_examples=300, deadline=None, suppress_health_check=NO_CHECKS, derandomize=True, database=None)
@given(queue=QUEUES)
def test_any_answer_gives_the_true_data_or_a_typed_error(queue):
    check(queue)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=NO_CHECKS, database=None)
@given(queue=QUEUES)
def test_20000_answers_give_the_true_data_or_a_typed_error(queue):
    check(queue)
