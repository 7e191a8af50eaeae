"""
An HTTP request to a receiver, repeated until it is answered.

No answer, 408, 425, 429 and 5xx are tried again, after pauses that double or that the
receiver asks for. Every try is the same, down to its idempotency key.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from propensity.errors import AccessDenied, RequestError, Unavailable

TIMEOUT_S = (10.0, 60.0)
TRIES = 8
LONGEST_PAUSE_S = 900
REPEATED = frozenset({408, 425, 429, *range(500, 600)})
# They are about the request's users; all other refusals are about the receiver.
REFUSED = frozenset({400, 409, 413, 422})
REASON_CHARACTERS = 200
# A shorter value is no secret, and may stand in any word.
SECRET_CHARACTERS = 6
_EMAIL = re.compile(r"[^\s\"'<>(),;:=]{1,64}(?:@|%40)[^\s\"'<>(),;:=@]+", re.IGNORECASE)


class Refused(Exception):
    """The receiver will never take this request; the message is its reason."""


class Poster:
    """Sends requests at a rate, from any thread."""

    def __init__(
        self,
        *,
        rate: float,
        at_once: int = 1,
        secrets: Sequence[str] = (),
        first_pause_s: float = 0.5,
    ) -> None:
        """
        Args:
            rate: Requests a second, 0 for no limit.
            at_once: Threads that send.
            secrets: Texts that are left out where a receiver's words have them.
            first_pause_s: Before the second try; the next are twice as long each.
        """
        self._session = requests.Session()
        retry = Retry(
            total=TRIES - 1,
            redirect=0,
            allowed_methods=None,
            status_forcelist=REPEATED,
            backoff_factor=first_pause_s,
            backoff_max=60,
            backoff_jitter=first_pause_s,
            retry_after_max=LONGEST_PAUSE_S,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(
                scheme, HTTPAdapter(pool_maxsize=at_once, max_retries=retry)
            )
        self._gap_s = 1.0 / rate if rate else 0.0
        self._due = 0.0
        self._turn = threading.Lock()
        self._secrets = [text for text in secrets if len(text) >= SECRET_CHARACTERS]

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
        parameters: Mapping[str, str] | None = None,
        is_json: bool = False,
    ) -> Any:
        """
        Send a request; return its JSON answer, None where it is none.

        Args:
            parameters: Of the address.
            is_json: Whether anything but JSON is no answer.

        Raises:
            Refused: ``REFUSED``: the request's users are at fault.
            AccessDenied: A redirection or another refusal: nothing will be taken.
            Unavailable: No answer after all tries.
            RequestError: The address or a header cannot be sent.
        """
        # Messages name the host alone: the rest may be a secret.
        host = urlsplit(url).hostname or "the receiver"
        self._wait()
        try:
            answer = self._session.request(
                method,
                url,
                params=dict(parameters or {}),
                data=body,
                headers=dict(headers),
                # Given one, requests does not take a password from ~/.netrc.
                auth=lambda request: request,
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            raise AccessDenied(
                f"{host} has a certificate that is not trusted; REQUESTS_CA_BUNDLE "
                "names a file of the authorities to trust"
            ) from error
        except (requests.exceptions.InvalidHeader, ValueError) as error:
            raise RequestError(
                f"a request to {host} cannot be written: {type(error).__name__} in its "
                "address or headers",
                field="to",
            ) from None
        except requests.exceptions.RequestException as error:
            raise self._unanswered(host, type(error).__name__) from error
        if answer.status_code in REPEATED:
            raise self._unanswered(host, f"status {answer.status_code}")
        if not answer.ok or answer.is_redirect:
            reason = f"{answer.status_code} {self.excerpt(answer.text)}".strip()
            if answer.status_code in REFUSED:
                raise Refused(reason)
            raise AccessDenied(f"{host} answers {reason}")
        try:
            return answer.json()
        except ValueError:
            if is_json and answer.content.strip():
                raise self._unanswered(host, "an answer that is no JSON") from None
            return None

    def excerpt(self, words: str) -> str:
        """Return the beginning of a receiver's words, without addresses and secrets."""
        for secret in self._secrets:
            words = words.replace(secret, "(a secret)")
        line = " ".join(words[: 2 * REASON_CHARACTERS].split())
        return _EMAIL.sub("(an address)", line)[:REASON_CHARACTERS]

    def _wait(self) -> None:
        """Wait until the next request may be sent."""
        with self._turn:
            now = time.monotonic()
            self._due = max(self._due, now)
            pause_s, self._due = self._due - now, self._due + self._gap_s
        time.sleep(pause_s)

    def _unanswered(self, host: str, what: str) -> Unavailable:
        return Unavailable(
            f"{host} took nothing in {TRIES} tries, at last {what}. What was answered "
            "is in the ledger; the same command goes on from there"
        )
