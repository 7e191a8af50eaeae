"""
Answers of receivers over HTTP, read within bounds: of size, and of time as a whole.

A timeout of ``requests`` bounds the wait for each byte alone, so an answer that comes
byte by byte would never end. A packed answer may be of any size, and is not unpacked.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import requests
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

# Nothing goes in the clear but to this machine. To some clients the host is what stands
# before a backslash.
URL = r"^(https://[\w.-]+|http://127\.0\.0\.1)(:\d+)?([/?][!-\[\]-~]*)?\Z"
TIMEOUT_S = (10.0, 60.0)
# Of the status with its headers, and then of the text.
STATUS_S = 90.0
TEXT_S = 30.0
LARGEST_BYTES = 1 << 20
_PART_BYTES = 1 << 16
# A warning of it may print the whole address, which may have a secret.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Answer:
    """
    What a receiver says of a request.

    The pause is the one that it asks for. There is no text that is too long, does not
    end in time, is packed or is cut short.
    """

    status: int
    pause_s: float = 0.0
    text: str | None = None

    @property
    def is_web_page(self) -> bool:
        """Whether it is one, such as a login, whatever its status."""
        if self.text is None:
            return False
        start = self.text.lstrip("\ufeff \t\r\n").lower()
        return start.startswith(("<!doctype html", "<html"))


def answer_to(
    session: requests.Session,
    method: str,
    url: str,
    *,
    data: bytes,
    headers: Mapping[str, str],
) -> Answer:
    """Send a request once; return the answer, or raise requests.Timeout without one."""

    def ask() -> requests.Response:
        return session.request(
            method,
            url,
            data=data,
            headers=headers,
            # Given one, requests does not take a password from ~/.netrc.
            auth=lambda request: request,
            timeout=TIMEOUT_S,
            allow_redirects=False,
            # The status says whether users were taken, whatever follows it.
            stream=True,
        )

    events = SimpleQueue[requests.Response | BaseException | bytes | None]()
    # Nothing else ends the wait for a status and headers that come byte by byte. One
    # that sends 100 Continue for ever keeps its thread, until it ends the connection.
    threading.Thread(target=_read, args=(ask, events), daemon=True).start()
    try:
        response = events.get(timeout=STATUS_S)
    except Empty:
        raise requests.Timeout from None
    if isinstance(response, BaseException):
        raise response
    assert isinstance(response, requests.Response)
    body = None
    try:
        body = events.get(timeout=TEXT_S)
    except Empty:
        # The reader ends as well, unless it has just done so.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            response.raw.shutdown()
    text = None
    if isinstance(body, bytes):
        text = body.decode("utf-8-sig", errors="replace")
    pause_s = pause_of(response.headers.get("Retry-After", ""))
    return Answer(response.status_code, pause_s, text)


def pause_of(retry_after: str) -> float:
    """Return the seconds of a header Retry-After; 0 where it has none."""
    try:
        return Retry().parse_retry_after(retry_after)
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _read(ask: Callable[[], requests.Response], events: SimpleQueue[object]) -> None:
    """Hand over the response or the error, then the body."""
    try:
        response = ask()
    except BaseException as error:
        # It is raised again where the answer is waited for.
        events.put(error)
        return
    events.put(response)
    with response:
        events.put(_body(response))


def _body(response: requests.Response) -> bytes | None:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    body = bytearray()
    try:
        for part in response.iter_content(_PART_BYTES):
            body += part
            if len(body) > LARGEST_BYTES:
                return None
    except (requests.RequestException, ValueError):
        return None
    return bytes(body)
