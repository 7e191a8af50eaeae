"""
The edge to Cloud Storage: write once, read verified, compare and set.

Objects under a version are written once (``create``). The few that change are changed
only by whoever read their newest generation (``replace``), so that of two writers one
gets a ``Conflict``.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import Bucket, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from propensity.edges.rights import denied
from propensity.errors import ArtifactError, Conflict, PropensityError, Unavailable

if TYPE_CHECKING:
    from propensity.settings import Settings


# An overwrite takes this right. Who may only create is refused for the lack of it where
# there is an object already, before the wanted generation is looked at.
_OVERWRITES = "storage.objects.delete"


@dataclass(frozen=True)
class Stored:
    """An object's bytes and the generation that they are of."""

    data: bytes
    generation: int


@dataclass(frozen=True)
class Generation:
    """One generation of an object; of a versioned bucket those before it stay."""

    name: str
    generation: int
    is_live: bool


class Unchanged(Enum):
    """Says that an object still is what its reader knows."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _read_refusal(response: requests.Response, **kwargs: Any) -> None:
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        with contextlib.suppress(requests.exceptions.RequestException):
            _ = response.content
        response.close()


class Artifacts:
    """One bucket."""

    def __init__(self, bucket: Bucket, *, deadline_s: float) -> None:
        self._bucket = bucket
        self._retry = DEFAULT_RETRY.with_timeout(deadline_s)
        self._timeout = deadline_s

    @classmethod
    def open(cls, settings: Settings) -> Artifacts:
        """Open the client; nothing is sent yet."""
        client = Client(project=settings.project)
        # A failed download is left unread, and its connection to the collector: one
        # more connection each time that the service fails.
        client._http.hooks["response"].append(_read_refusal)
        bucket = client.bucket(settings.required("bucket"))
        return cls(bucket, deadline_s=settings.retry_deadline_s)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._bucket.client.close()

    def create(
        self, name: str, data: bytes, *, content_type: str = "application/octet-stream"
    ) -> int:
        """
        Write an object that must not exist yet; return its generation.

        Raises:
            Conflict: The object exists, with other bytes.
        """
        return self._write(name, data, generation=0, content_type=content_type)

    def replace(
        self,
        name: str,
        data: bytes,
        *,
        generation: int,
        content_type: str = "application/json",
    ) -> int:
        """
        Overwrite an object if it still has ``generation`` (0: does not exist).

        Raises:
            Conflict: Somebody else removed it since, or wrote other bytes.
        """
        return self._write(name, data, generation=generation, content_type=content_type)

    def _write(
        self, name: str, data: bytes, *, generation: int, content_type: str
    ) -> int:
        blob = self._bucket.blob(name)
        try:
            with self._translated(name):
                blob.upload_from_string(
                    data,
                    content_type=content_type,
                    if_generation_match=generation,
                    checksum="crc32c",
                    retry=self._retry,
                    timeout=self._timeout,
                )
        except PropensityError as error:
            is_refused = not generation and isinstance(error.__cause__, api.Forbidden)
            if not (is_refused or isinstance(error, Conflict)):
                raise
            try:
                found = self.find(name)
            except PropensityError as unread:
                if not isinstance(unread.__cause__, api.Forbidden):
                    raise
                # Who may create and not read has only the words of the refusal.
                if is_refused and _OVERWRITES in error.message:
                    raise self._taken(name) from error
                raise error from error.__cause__
            # The client retries a write whose answer was lost, and finds its own bytes.
            if found is not None and found.data == data:
                return found.generation
            if is_refused and found is not None:
                raise self._taken(name) from error
            raise
        return int(blob.generation)

    def _taken(self, name: str) -> Conflict:
        return Conflict(f"gs://{self._bucket.name}/{name} was written by somebody else")

    def read(self, name: str) -> Stored:
        """
        Read an object.

        Raises:
            ArtifactError: It does not exist, or its bytes are damaged.
        """
        found = self.find(name)
        if found is None:
            raise ArtifactError(f"gs://{self._bucket.name}/{name} does not exist")
        return found

    def find(self, name: str) -> Stored | None:
        """
        Read an object, or return None where there is none.

        Raises:
            ArtifactError: Its bytes are damaged: they are not those of its checksum.
        """
        blob = self._bucket.blob(name)
        with self._translated(name):
            try:
                data = blob.download_as_bytes(retry=self._retry, timeout=self._timeout)
            except api.NotFound:
                return None
        return Stored(data, int(blob.generation))

    def find_newer(self, name: str, *, than: int) -> Stored | Unchanged | None:
        """
        Read an object unless it still has a generation, by a conditional GET.

        Args:
            name: Of the object.
            than: The generation that is known; 0 for none, which reads it in any case.

        Returns:
            The object, UNCHANGED, or None where there is none (any more).
        """
        if not than:
            return self.find(name)
        blob = self._bucket.blob(name)
        with self._translated(name):
            try:
                data = blob.download_as_bytes(
                    if_generation_not_match=than,
                    retry=self._retry,
                    timeout=self._timeout,
                )
            except api.NotModified:
                return UNCHANGED
            except api.NotFound:
                return None
        return Stored(data, int(blob.generation))

    def read_verified(self, name: str, *, checksum: str) -> bytes:
        """
        Read an object whose SHA-256 must be ``checksum``.

        Raises:
            ArtifactError: It does not exist, or its bytes are others.
        """
        data = self.read(name).data
        if sha256(data) != checksum:
            raise ArtifactError(
                f"gs://{self._bucket.name}/{name} is not what was recorded: SHA-256 "
                f"{sha256(data)} instead of {checksum}. It was not loaded"
            )
        return data

    def names(self, prefix: str) -> list[str]:
        """Return the names of the objects under ``prefix``, sorted."""
        with self._translated(prefix):
            blobs = self._bucket.client.list_blobs(
                self._bucket, prefix=prefix, retry=self._retry, timeout=self._timeout
            )
            return sorted(blob.name for blob in blobs)

    def generations(self, prefix: str = "") -> list[Generation]:
        """Return every generation of the objects under ``prefix``, the oldest first."""
        with self._translated(prefix):
            blobs = self._bucket.client.list_blobs(
                self._bucket,
                prefix=prefix,
                versions=True,
                retry=self._retry,
                timeout=self._timeout,
            )
            found = [
                Generation(blob.name, int(blob.generation), blob.time_deleted is None)
                for blob in blobs
            ]
        return sorted(found, key=lambda one: (one.name, one.generation))

    def read_generation(self, one: Generation) -> bytes | None:
        """Read a generation of an object; None where it has gone."""
        blob = self._bucket.blob(one.name, generation=one.generation)
        with self._translated(one.name):
            try:
                data: bytes = blob.download_as_bytes(
                    retry=self._retry, timeout=self._timeout
                )
            except api.NotFound:
                return None
        return data

    def delete_generation(self, one: Generation) -> None:
        """Delete a generation for good; it need not exist."""
        with self._translated(one.name), contextlib.suppress(api.NotFound):
            self._bucket.delete_blob(
                one.name,
                generation=one.generation,
                retry=self._retry,
                timeout=self._timeout,
            )

    def delete(self, name: str) -> None:
        """Delete an object; it need not exist."""
        with self._translated(name), contextlib.suppress(api.NotFound):
            self._bucket.delete_blob(name, retry=self._retry, timeout=self._timeout)

    def uri(self, name: str) -> str:
        """Return the object's ``gs://`` address."""
        return f"gs://{self._bucket.name}/{name}"

    @contextlib.contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except PropensityError:
            raise
        except api.PreconditionFailed as error:
            raise self._taken(name) from error
        except api.NotFound as error:
            raise ArtifactError(
                f"bucket gs://{self._bucket.name} is missing"
            ) from error
        except DataCorruption as error:
            raise ArtifactError(
                f"the bytes of gs://{self._bucket.name}/{name} are not those of the "
                "checksum that Cloud Storage has of them. They were not loaded"
            ) from error
        except (api.Forbidden, api.Unauthorized) as error:
            raise denied(
                error.message,
                service="Cloud Storage",
                credentials=getattr(self._bucket.client, "_credentials", None),
                on=f"gs://{self._bucket.name}/{name}",
            ) from error
        except api.BadRequest as error:
            raise PropensityError(
                f"Cloud Storage refuses gs://{self._bucket.name}/{name}: "
                f"{error.message}"
            ) from error
        except (
            api.GoogleAPICallError,
            api.RetryError,
            auth.TransportError,
            requests.exceptions.RequestException,
            ConnectionError,
            TimeoutError,
        ) as error:
            raise Unavailable(
                f"Cloud Storage did not answer in time: {type(error).__name__}"
            ) from error
