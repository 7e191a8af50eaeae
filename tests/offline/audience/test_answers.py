"""Answers of hostile receivers, specified: they cost neither memory nor time."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from propensity.audience import answers
from propensity.audience.answers import Answer, answer_to

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def receiver(*parts: bytes, pause_s: float = 0.0, times: int = 1) -> Iterator[str]:
    """A receiver of one request; it answers in parts, the last one again and again."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer():
        with server.accept()[0] as connection:
            connection.recv(65_536)
            for number in range(len(parts) + times - 1):
                try:
                    connection.sendall(parts[min(number, len(parts) - 1)])
                except OSError:
                    return
                time.sleep(pause_s)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()
    thread.join(5)
    assert not thread.is_alive()


def ask(url: str) -> Answer:
    with requests.Session() as session:
        return answer_to(lambda: session.post(url, stream=True, timeout=5))


def sized(body: bytes, size: int, headers: bytes = b"") -> bytes:
    return OK + headers + b"Content-Length: %d\r\n\r\n" % size + body


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(answers, "STATUS_S", 0.5)
    monkeypatch.setattr(answers, "TEXT_S", 0.5)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "parts",
    [(OK, b"X"), (OK + b"X: ", b"x"), (b"HTTP/1.1 100 Continue\r\n\r\n",), (b" ",)],
    ids=["headers", "a header", "statuses for now", "no status"],
)
def test_an_answer_whose_status_never_comes_is_none(parts):
    """Defect: each byte began the time anew."""
    with (
        receiver(*parts, pause_s=0.05, times=60) as url,
        pytest.raises(requests.Timeout),
    ):
        ask(url)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "head",
    [sized(b"", 1000), OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"],
    ids=["length", "until it is closed", "chunks"],
)
def test_an_answer_that_never_ends_has_no_text(head):
    """Defect: it had no end; and what was taken must not be sent again."""
    with receiver(head, b"1", pause_s=0.05, times=1_000) as url:
        assert ask(url) == Answer(200)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (sized(b"{}", 2), "{}"),
        (sized(b"\xef\xbb\xbf{}", 5), "{}"),
        (sized("Söhne".encode("latin-1"), 5), "Söhne"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "{}"),
        # It is shorter, or longer, than it says.
        (sized(b"{}", 50), None),
        (sized(b"{} and more", 2), "{}"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nsoon\r\n{}", None),
        (sized(b"no gzip", 7, b"Content-Encoding: gzip\r\n"), None),
        (sized(b"x", 1, b"Content-Encoding: identity\r\n"), "x"),
        (sized(b"x" * answers.LARGEST_BYTES, answers.LARGEST_BYTES), "x" * 2**20),
    ],
)
def test_an_answer_is_its_text_unless_it_lies(answer, text):
    with receiver(answer) as url:
        assert ask(url).text == text


@pytest.mark.parametrize(
    "parts",
    [
        (OK + b"\r\n", b"x" * 2**20),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n",
            b"100000\r\n" + b"x" * 2**20 + b"\r\n",
        ),
        (
            sized(
                gzip.compress(bytes(2**26)),
                len(gzip.compress(bytes(2**26))),
                b"Content-Encoding: gzip\r\n",
            ),
        ),
    ],
    ids=["a long one", "chunks", "a packed one"],
)
def test_an_answer_that_is_too_large_does_not_fill_memory(parts):
    """Defect: 306 kB became 600 MiB, and the function was killed for its memory."""
    with receiver(*parts, times=100) as url:
        tracemalloc.start()
        try:
            assert ask(url) == Answer(200)
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()


def test_an_answer_asks_for_a_pause():
    with receiver(
        b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    ) as url:
        assert ask(url) == Answer(429, "7", "")
