"""
Cloud Storage: write once, read, compare and set.

Objects of a version are written once (``create``). The few objects that change are
replaced by their generation (``replace``), so that of two writers one gets a
``Conflict``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec
from google.api_core import exceptions as api

from propensity.errors import AccessDenied, ArtifactError, Conflict
from propensity.gcp.clients import STORAGE, stand_in, translated
from propensity.settings import Settings

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

Result = TypeVar("Result")
Content = TypeVar("Content")

# How often a writer tries who loses races for an object.
TRIES = 10
# The least that is read at once of an object that is read in pieces.
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Stored:
    """An object's bytes and their generation."""

    data: bytes
    generation: int


@dataclass(frozen=True)
class Generation:
    """A generation of an object; a versioned bucket also keeps earlier ones."""

    name: str
    generation: int
    is_live: bool


def retried(write: Callable[[], Result]) -> Result:
    """Call what reads and replaces an object, and again where another was quicker."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(Conflict):
            return write()
    return write()


def json_of(content: object) -> bytes:
    """Return an object's content as JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(content), indent=1)


def instant_of(moment: datetime) -> str:
    """Return a time as a text; texts sort as times do."""
    return moment.isoformat(timespec="microseconds")


def content_of(stored: Stored, kind: type[Content], *, name: str) -> Content:
    """Return an object's JSON as a type; a later deploy may have added fields."""
    try:
        return msgspec.json.decode(stored.data, type=kind)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} is damaged: {error}") from error


def sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Artifacts:
    """One bucket."""

    def __init__(self, bucket: Bucket, settings: Settings) -> None:
        from google.cloud.storage.retry import DEFAULT_RETRY

        self._bucket = bucket
        self._settings = settings
        # Every call has this policy of repetitions, and this time for each.
        limit = float(settings.deadline_s)
        self._limits: Any = {
            "retry": DEFAULT_RETRY.with_timeout(limit),
            "timeout": limit,
        }

    @classmethod
    def open(cls, settings: Settings) -> Artifacts:
        """Open the client; nothing is sent yet."""
        # Whoever tries an export has no bucket, and no client of one.
        from google.cloud.storage import Client

        # The client would look at the bucket itself for its traces, which there are
        # none of: a permission that no function has, and a refusal in each audit log.
        os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"
        client = stand_in(Client, settings.storage_endpoint)
        if client is None:
            client = Client(project=settings.project)
        return cls(client.bucket(settings.required("bucket")), settings)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._bucket.client.close()

    # -- writes -----------------------------------------------------------------------

    def create(
        self, name: str, data: bytes, *, content_type: str = "application/octet-stream"
    ) -> int:
        """
        Write an object that must not exist yet; return its generation.

        Raises:
            Conflict: The object exists, with other bytes.
        """
        return self.replace(name, data, None, content_type=content_type)

    def create_from(self, name: str, file: Path) -> None:
        """Upload a large file as an object that must not exist yet."""
        with self._translated(name):
            self._bucket.blob(name).upload_from_filename(
                file, if_generation_match=0, **self._limits
            )

    @contextlib.contextmanager
    def writing(self, name: str, *, content_type: str) -> Iterator[IO[bytes]]:
        """
        Open an object that must not exist yet, to be written piece by piece.

        It is there once the block ends, and not at all if that raises.
        """
        blob = self._bucket.blob(name)
        with (
            self._translated(name),
            blob.open(
                "wb",
                chunk_size=PIECE_BYTES,
                content_type=content_type,
                if_generation_match=0,
                **self._limits,
            ) as file,
        ):
            yield file

    def replace(
        self,
        name: str,
        data: bytes,
        before: Stored | Generation | None,
        *,
        content_type: str = "application/json",
    ) -> int:
        """
        Overwrite an object if it is still as it was read (None: does not exist).

        Raises:
            Conflict: Another writer removed it since, or wrote other bytes.
        """
        blob = self._bucket.blob(name)
        try:
            with self._translated(name):
                blob.upload_from_string(
                    data,
                    content_type=content_type,
                    if_generation_match=before.generation if before else 0,
                    **self._limits,
                )
        except (AccessDenied, Conflict) as error:
            # After a lost answer the client's retry meets its own bytes. Who may create
            # and not overwrite is refused where an object exists.
            stored = None
            with contextlib.suppress(AccessDenied):
                stored = self.find(name)
            if stored and stored.data == data:
                return stored.generation
            if stored and not before:
                raise self._conflict(name) from error
            raise
        return _generation(blob)

    def overwrite(
        self, name: str, data: bytes, *, content_type: str = "application/json"
    ) -> None:
        """Write an object, whatever is there; raises Conflict in a race."""
        self.replace(name, data, self.find(name), content_type=content_type)

    def delete(self, name: str, *, generation: int | None = None) -> None:
        """Delete an object, or one generation of it; it need not exist."""
        with self._translated(name), contextlib.suppress(api.NotFound):
            self._bucket.delete_blob(name, generation=generation, **self._limits)

    # -- reads ------------------------------------------------------------------------

    def find(self, name: str, *, generation: int | None = None) -> Stored | None:
        """Read an object, or return None if there is none (any more)."""
        blob = self._bucket.blob(name, generation=generation)
        with self._translated(name):
            try:
                data = blob.download_as_bytes(**self._limits)
            except api.NotFound:
                return None
        return Stored(data, _generation(blob))

    @contextlib.contextmanager
    def opened(self, name: str, *, generation: int) -> Iterator[IO[bytes]]:
        """Open a generation of an object; only what is wanted of it is transferred."""
        blob = self._bucket.blob(name, generation=generation)
        with (
            self._translated(name, must_exist=True),
            blob.open("rb", chunk_size=PIECE_BYTES, **self._limits) as file,
        ):
            yield file

    def read(self, name: str) -> Stored:
        """Read an object."""
        stored = self.find(name)
        if stored is None:
            raise self._missing(name)
        return stored

    def download(self, name: str, file: Path) -> None:
        """Write an object, which may be large, into a file."""
        with self._translated(name, must_exist=True), file.open("wb") as content:
            self._bucket.blob(name).download_to_file(content, **self._limits)

    def names(self, prefix: str) -> list[str]:
        """Return the names of the objects under ``prefix``, sorted."""
        return sorted(blob.name for blob in self._listed(prefix))

    def generations(self, prefix: str = "") -> list[Generation]:
        """Return every generation of the objects under ``prefix``, the oldest first."""
        blobs = self._listed(prefix, versions=True)
        return [
            Generation(blob.name, _generation(blob), blob.time_deleted is None)
            for blob in sorted(blobs, key=lambda blob: (blob.name, _generation(blob)))
        ]

    def _listed(self, prefix: str, **more: Any) -> list[Blob]:
        with self._translated(prefix):
            blobs = self._bucket.list_blobs(prefix=prefix, **more, **self._limits)
            return list(blobs)

    def uri(self, name: str) -> str:
        """Return the object's ``gs://`` address."""
        return f"gs://{self._bucket.name}/{name}"

    # -- errors -----------------------------------------------------------------------

    def _conflict(self, name: str) -> Conflict:
        return Conflict(
            f"another run wrote {self.uri(name)} meanwhile", hint="Call again"
        )

    def _missing(self, name: str) -> ArtifactError:
        return ArtifactError(f"{self.uri(name)} does not exist")

    @contextlib.contextmanager
    def _translated(self, name: str, *, must_exist: bool = False) -> Iterator[None]:
        from google.cloud.storage.exceptions import DataCorruption

        with translated(self._settings, STORAGE, on=self.uri(name)):
            try:
                yield
            except api.PreconditionFailed as error:
                raise self._conflict(name) from error
            except api.NotFound as error:
                if must_exist:
                    raise self._missing(name) from error
                bucket = f"gs://{self._bucket.name}"
                raise ArtifactError(
                    f"there is no bucket {bucket}", hint="Check PROPENSITY_BUCKET"
                ) from error
            except DataCorruption as error:
                raise ArtifactError(
                    f"{self.uri(name)} is damaged: its bytes do not match the checksum "
                    "of Cloud Storage. It was not loaded"
                ) from error


def _generation(blob: Blob) -> int:
    return 0 if blob.generation is None else int(blob.generation)
