"""
Answers of receivers over HTTP, read within bounds: of size, and of the text's time.

A timeout of ``requests`` bounds the wait for each byte alone, so a text that comes byte
by byte would never end. A packed answer may be of any size, and is not unpacked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import requests
from urllib3 import Retry
from urllib3.exceptions import HTTPError, InvalidHeader

from propensity.clock import SYSTEM

# Nothing goes in the clear but to this machine. To some clients the host is what stands
# before a backslash.
URL = r"^(https://[\w.-]+|http://127\.0\.0\.1)(:\d+)?([/?][!-\[\]-~]*)?\Z"
TIMEOUT_S = (10.0, 60.0)
TEXT_S = 30.0
LARGEST_BYTES = 1 << 20
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
    with session.request(
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
    ) as response:
        body = _body(response)
    text = None if body is None else body.decode("utf-8-sig", errors="replace")
    pause_s = pause_of(response.headers.get("Retry-After", ""))
    return Answer(response.status_code, pause_s, text)


def pause_of(retry_after: str) -> float:
    """Return the seconds of a header Retry-After; 0 where it has none."""
    try:
        return Retry().parse_retry_after(retry_after)
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _body(response: requests.Response) -> bytes | None:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    if response.is_redirect:
        # requests has read it.
        return response.content
    until = SYSTEM.monotonic() + TEXT_S
    body = bytearray()
    try:
        while len(body) <= LARGEST_BYTES and SYSTEM.monotonic() < until:
            # What has come by now, so that no slow byte is waited for beyond the time.
            part = response.raw.read1(LARGEST_BYTES)
            if not part:
                return bytes(body)
            body += part
    except (HTTPError, OSError, ValueError):
        return None
    return None
