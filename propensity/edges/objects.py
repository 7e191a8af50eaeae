"""
Read objects of Cloud Storage over HTTP, without its client library.

02-GetProba reads by this, since importing the client takes longer than the rest of a
cold start. Everybody else reads by ``artifacts``.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/get.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import urllib3

from propensity.edges.rights import denied
from propensity.edges.unanswered import unanswered
from propensity.errors import ArtifactError, PropensityError, Unavailable

if TYPE_CHECKING:
    from propensity.settings import Settings

_HOST = "https://storage.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
# Ranges are read by so many threads.
CONNECTIONS = 16
_PIECE = 256 * 1024
_TRANSIENT = (408, 429, 500, 502, 503, 504)
# What an answer to a whole object says, and to a range of one.
_OF_OBJECTS = (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED, HTTPStatus.NOT_FOUND)
_OF_RANGES = (
    HTTPStatus.OK,
    HTTPStatus.PARTIAL_CONTENT,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
)


@dataclass(frozen=True)
class Stored:
    """An object's bytes and their generation."""

    data: bytes
    generation: int


class Unchanged(Enum):
    """An object still has the generation that its reader knows."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


class Checksum(Protocol):
    """A checksum of bytes that come in pieces, as those of ``hashlib``."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""


class Objects:
    """Reads from one bucket; several threads may."""

    def __init__(
        self,
        http: Any,
        bucket: str,
        *,
        host: str,
        failures: tuple[type[Exception], ...] = (),
        emulator: str = "",
    ) -> None:
        """
        Args:
            http: urllib3's pool, or google-auth's around it.
            bucket: Its name.
            host: Address of Cloud Storage or of an emulator.
            failures: Errors of ``http`` beside urllib3's and those of the system.
            emulator: As in ``unanswered``.
        """
        self._http = http
        self._failures: tuple[type[Exception], ...] = (
            urllib3.exceptions.HTTPError,
            OSError,
            *failures,
        )
        self._bucket = bucket
        self._emulator = emulator
        self._host = host.rstrip("/")

    @classmethod
    def open(cls, settings: Settings) -> Objects:
        """Open the pool; nothing is sent yet but for the account's credentials."""
        # With one repetition the table can still be read in time instead.
        limit = settings.deadline_s / 4
        pool = urllib3.PoolManager(
            maxsize=CONNECTIONS,
            timeout=urllib3.Timeout(connect=limit, read=limit),
            retries=urllib3.Retry(
                2,
                connect=1,
                read=1,
                backoff_factor=0.1,
                status_forcelist=_TRANSIENT,
                raise_on_status=False,
            ),
        )
        bucket = settings.required("bucket")
        if settings.storage_endpoint:
            host = settings.storage_endpoint
            emulator = settings.emulator("storage_endpoint")
            return cls(pool, bucket, host=host, emulator=emulator)
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.urllib3 import AuthorizedHttp

        credentials, _ = google.auth.default(scopes=[_SCOPE])
        http = AuthorizedHttp(credentials, http=pool)  # type: ignore[no-untyped-call]
        return cls(http, bucket, host=_HOST, failures=(GoogleAuthError,))

    def find_newer(self, name: str, *, than: int = 0) -> Stored | Unchanged | None:
        """
        Read a small object unless it still has a generation, by a conditional GET.

        Args:
            name: Of the object.
            than: The known generation; 0 to read it in any case.

        Returns:
            The object, UNCHANGED, or None if there is none (any more).

        Raises:
            AccessDenied, Unavailable: As named.
            PropensityError: Cloud Storage refuses the request.
        """
        query = f"&ifGenerationNotMatch={than}" if than else ""
        with self._answer(name, query=query, expected=_OF_OBJECTS) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            if answer.status == HTTPStatus.NOT_MODIFIED:
                return UNCHANGED
            data = answer.read()
            generation = answer.headers.get("X-Goog-Generation", "")
            if not generation.isdecimal():
                raise Unavailable(
                    "the answer is not from Cloud Storage: it names no generation"
                )
            return Stored(data, int(generation))

    def read(
        self, name: str, *, size: int, first: int = 0, checksum: Checksum | None = None
    ) -> bytearray:
        """
        Read a range of an object, which may be large, into memory once.

        Args:
            name: Of the object.
            size: Bytes of the range.
            first: Where it begins.
            checksum: Gets the bytes while more of them are under way.

        Raises:
            ArtifactError: There is no such object, or it has no such bytes.
            AccessDenied, Unavailable: As named.
            PropensityError: Cloud Storage refuses the request.
        """
        try:
            data = bytearray(size)
        except (MemoryError, OverflowError):
            # So says a pointer that is damaged.
            raise ArtifactError(
                f"gs://{self._bucket}/{name} cannot have {size} bytes: they are more "
                "than this machine's memory"
            ) from None
        at = 0
        span = {"Range": f"bytes={first}-{first + size - 1}"}
        with self._answer(name, headers=span, expected=_OF_RANGES) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                raise ArtifactError(f"gs://{self._bucket}/{name} does not exist")
            # An empty or shorter object is refused as an unsatisfiable range.
            if answer.status == HTTPStatus.PARTIAL_CONTENT:
                for piece in answer.stream(_PIECE, decode_content=False):
                    data[at : at + len(piece)] = piece
                    at += len(piece)
                    if checksum is not None:
                        checksum.update(piece)
        if at != size:
            raise ArtifactError(
                f"gs://{self._bucket}/{name} has {at} of {size} bytes from {first} on"
            )
        return data

    @contextlib.contextmanager
    def _answer(
        self,
        name: str,
        *,
        expected: tuple[int, ...],
        query: str = "",
        headers: dict[str, str] | None = None,
    ) -> Iterator[Any]:
        """Yield an answer whose body is not read yet; raise what is no answer."""
        url = f"{self._host}/storage/v1/b/{self._bucket}/o/{quote(name, safe='')}"
        answer = None
        try:
            answer = self._http.request(
                "GET",
                f"{url}?alt=media{query}",
                headers=headers,
                preload_content=False,
            )
            if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise denied(
                    answer.read().decode("utf-8", "replace")[:500],
                    service="Cloud Storage",
                    needs="storage.objects.get",
                    on=f"gs://{self._bucket}/{name}",
                )
            if answer.status in _TRANSIENT:
                raise Unavailable(f"Cloud Storage answered {answer.status}")
            if answer.status not in expected:
                raise PropensityError(
                    f"Cloud Storage answered {answer.status} for "
                    f"gs://{self._bucket}/{name}"
                )
            yield answer
            answer.drain_conn()
        except PropensityError:
            raise
        except self._failures as error:
            raise unanswered("Cloud Storage", error, emulator=self._emulator) from error
        finally:
            if answer is not None:
                answer.release_conn()
