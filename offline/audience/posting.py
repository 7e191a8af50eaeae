"""
An HTTP request to a receiver, sent until it is answered.

No answer, 408, 425, 429 and 5xx are tried again, after pauses that double, or that the
receiver asks for. Every try is the same, down to its idempotency key, so that a
receiver can tell that it has the request already.

Answers are read up to a size and a time, and quoted without e-mail addresses.
"""

from __future__ import annotations

import json
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from offline.audience.pace import Stop, TokenBucket, pause
from propensity.errors import AccessDenied, RequestError, Unavailable

TIMEOUT_S = (10.0, 60.0)
TRIES = 8
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
# A receiver that asks for a longer pause is left alone: the delivery ends.
LONGEST_ASKED_S = 900.0

# No more of an answer is read. One that lists 100,000 rejected users has some 30 MB.
LARGEST_ANSWER_BYTES = 2**26
LONGEST_ANSWER_S = 120.0
_READ_BYTES = 2**16

# An announcement (1xx) says nothing of the users: the answer is still to come.
_UNANSWERED = frozenset({*range(100, 200), 408, 425, 429, *range(500, 600)})
# Nothing will be taken here; a redirection is not followed with users in it.
_DENIED = frozenset(
    {
        *range(300, 400),
        *(401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 417, 421, 426, 428, 431),
        451,
    }
)
_NOTHING = (
    "{} took nothing in {} tries, at last {}. What was answered is in the ledger; the "
    "same command goes on from there"
)
_ENDLESS = (
    f"an answer of over {LARGEST_ANSWER_BYTES:,} bytes or {LONGEST_ANSWER_S:.0f} s"
)
# Length of the reason of a refusal in the ledger.
REASON_CHARACTERS = 200
# A shorter text is no secret, and may stand in any word.
SECRET_CHARACTERS = 6
_EMAIL = re.compile(r"[^\s\"'<>(),;:=]{1,64}(?:@|%40)[^\s\"'<>(),;:=@]+", re.IGNORECASE)
# A request without TLS stays on this machine, whatever proxy the environment names.
_NO_PROXY: dict[str, Any] = {"http": None, "all": None}


class Refused(Exception):
    """The receiver will never take this request; the message is its reason."""


class Stopped(Exception):
    """Ctrl-C while a request was to be sent."""


class _Session(requests.Session):
    """A session to which a redirection is an answer like others."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """
        Return nothing: no redirection is followed.

        To find out where one leads ``requests`` reads its body, however long that is.
        """
        return None


class Poster:
    """Sends requests at a rate, from any thread."""

    def __init__(
        self,
        stop: Stop,
        *,
        rate: float,
        at_once: int = 1,
        tries: int = TRIES,
        hidden: Sequence[str] = (),
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        """
        Args:
            rate: Requests a second, 0 for no limit.
            at_once: Threads that send.
            tries: Of a request, the first one included.
            hidden: Secrets that are left out where a receiver's words have them.
            sleep: Sleeps for seconds; by default Ctrl-C ends it.
        """
        self._session = _Session()
        # A connection for each thread stays open.
        adapter = HTTPAdapter(pool_maxsize=at_once)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)
        self._stop = stop
        self._bucket = TokenBucket(rate)
        self._turn = threading.Lock()
        self._tries = tries
        self.hidden = [text for text in hidden if len(text) >= SECRET_CHARACTERS]
        self._sleep = partial(pause, stop=stop) if sleep is None else sleep

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        secrets: Mapping[str, str] | None = None,
        is_json: bool = False,
    ) -> Any:
        """
        Send a request; return its JSON answer, None where it is none.

        Args:
            secrets: Parameters of the address that appear in no message.
            is_json: Whether the receiver answers JSON only; anything else, such as the
                page of a gateway, is no answer.

        Raises:
            Refused: 400, 409, 413, 422 and other answers that a repetition repeats.
            AccessDenied: 3xx, 401, 403 and others that are about no user, or a
                certificate that is not trusted: nothing will be taken.
            Unavailable: No answer, or none but ``_UNANSWERED``; or the receiver asks
                for a longer pause than a delivery waits.
            RequestError: The request cannot be written: an address or header is none.
            Stopped: Ctrl-C.
        """
        # Messages name only the host of an address: the rest may be a secret, and so
        # may the name and password before the host.
        host = urlsplit(url).netloc.rpartition("@")[2]
        problem = ""
        for number in range(self._tries):
            with self._turn:
                if not self._bucket.take(self._stop):
                    raise Stopped
            pause_s = 0.0
            try:
                with self._session.request(
                    method,
                    url,
                    params=dict(secrets or {}),
                    data=body,
                    headers=dict(headers),
                    auth=_auth_of(url),
                    proxies=_NO_PROXY if urlsplit(url).scheme == "http" else None,
                    timeout=TIMEOUT_S,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    content, is_whole = _read(answer)
            except (
                ValueError,
                requests.exceptions.RequestException,
                urllib3.exceptions.HTTPError,
            ) as error:
                if isinstance(error, ValueError) and not _is_of_answer(error):
                    # No repetition mends it. The values may be secrets: only the kind
                    # is named.
                    raise RequestError(
                        f"a request to {host or 'the receiver'} cannot be written: "
                        f"{type(error).__name__} in its address or headers",
                        field="to",
                    ) from None
                if flaw := _flaw_of_certificate(error):
                    raise AccessDenied(
                        f"{host} has a certificate that is not trusted: {flaw}. "
                        "REQUESTS_CA_BUNDLE names a file of the authorities to trust"
                    ) from None
                problem = type(error).__name__
            else:
                is_taken = 200 <= answer.status_code < 300
                problem = f"status {answer.status_code}"
                read = _json_of(content) if is_whole else None
                if is_taken:
                    is_empty = is_whole and not content.strip() and _has_end(answer)
                    if read is not None or is_empty or not is_json:
                        return read
                    problem += " and " + ("no JSON" if is_whole else _ENDLESS)
                reason = f"{answer.status_code} {excerpt(content, self.hidden)}".strip()
                if answer.status_code in _DENIED:
                    raise AccessDenied(f"{host} answers {problem}: {reason}")
                if not (is_taken or answer.status_code in _UNANSWERED):
                    raise Refused(reason)
                pause_s = _retry_after(answer)
            if pause_s > LONGEST_ASKED_S:
                problem += f", asking for a pause of {pause_s:,.0f} s"
                raise Unavailable(_NOTHING.format(host, number + 1, problem))
            if number + 1 < self._tries:
                doubled = FIRST_PAUSE_S * 2**number * random.uniform(0.5, 1.0)
                self._sleep(max(min(doubled, LONGEST_PAUSE_S), pause_s))
        raise Unavailable(_NOTHING.format(host, self._tries, problem))


def excerpt(words: bytes | str, hidden: Sequence[str] = ()) -> str:
    """
    Return the beginning of a receiver's own words, without e-mail addresses.

    Args:
        words: Of an answer.
        hidden: Secrets, which some receivers repeat where they refuse them.
    """
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    for secret in hidden:
        text = text.replace(secret, "(a secret)")
    line = " ".join(text[: 2 * REASON_CHARACTERS].split())
    return _EMAIL.sub("(an address)", line)[:REASON_CHARACTERS]


def _is_of_answer(error: ValueError) -> bool:
    """Tell whether a header of the answer is the fault, and none of the request."""
    is_of_header = isinstance(error, requests.exceptions.InvalidHeader)
    return is_of_header and getattr(error, "request", None) is not None


def _auth_of(url: str) -> Callable[[requests.PreparedRequest], Any]:
    """
    Return what writes the name and password of an address, if it has any.

    Given one, ``requests`` does not look into ~/.netrc: an entry of it would take the
    place of the file's own Authorization, and send a password to the receiver.
    """
    name, password = get_auth_from_url(url)
    return HTTPBasicAuth(name, password) if name or password else lambda sent: sent


def _read(answer: requests.Response) -> tuple[bytes, bool]:
    """Return an answer as far as it is read, and whether that is all of it."""
    if answer.status_code in range(100, 200):
        # The answer follows on this connection, which is closed if nothing is read.
        # Otherwise the next request would take it for its own.
        return b"", True
    ends_at, content = time.monotonic() + LONGEST_ANSWER_S, bytearray()
    while len(content) < LARGEST_ANSWER_BYTES and time.monotonic() < ends_at:
        part = answer.raw.read1(_READ_BYTES, decode_content=True)
        if not part:
            return bytes(content), True
        content += part
    return bytes(content), False


def _has_end(answer: requests.Response) -> bool:
    """
    Tell whether an empty answer says that it ends; others may have been cut short.

    A list of rejected users that never came would be taken for an empty one.
    """
    raw = answer.raw
    return bool(raw.length_remaining == 0 or raw.chunked)


def _flaw_of_certificate(error: BaseException | None) -> str:
    """Return what is wrong with a receiver's certificate, empty for nothing."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message.rstrip(".")
        error = error.__context__
    return ""


def _json_of(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _retry_after(answer: requests.Response) -> float:
    """Return the seconds that the receiver asks for, 0 for none."""
    text = answer.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
