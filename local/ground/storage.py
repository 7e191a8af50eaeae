"""Cloud Storage in the process: buckets whose objects have generations."""

from __future__ import annotations

import hashlib
import io
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from google.api_core import exceptions as api
from google.cloud.storage.exceptions import DataCorruption


@dataclass
class Generation:
    """One generation of an object, with the checksum that it was written with."""

    number: int
    data: bytes
    checksum: bytes
    content_type: str
    is_live: bool = True


@dataclass
class Storage:
    """Buckets, by the methods of ``storage.Client`` that are used."""

    buckets: dict[str, Bucket] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def create_bucket(self, name: str) -> Bucket:
        self.buckets[name] = Bucket(self, name)
        return self.buckets[name]

    def bucket(self, name: str) -> Bucket:
        """Return a bucket, which need not exist."""
        return self.buckets.get(name, Bucket(self, name))

    def list_blobs(self, bucket: Bucket, **more: Any) -> list[Blob]:
        return bucket.list_blobs(**more)

    def close(self) -> None:
        """Stay: another client of the same ground may be used."""


@dataclass
class Bucket:
    """A bucket, as Google's client has it."""

    client: Storage
    name: str
    versioning_enabled: bool = False
    objects: dict[str, list[Generation]] = field(default_factory=dict)

    def patch(self) -> None:
        """Keep the settings that were set."""

    def blob(self, name: str, *, generation: int | None = None, **_: Any) -> Blob:
        return Blob(self, name, generation)

    def live(self, name: str) -> Generation | None:
        """Return the newest generation of an object, if it is not deleted."""
        for generation in self.objects.get(name, []):
            if generation.is_live:
                return generation
        return None

    def write(self, name: str, data: bytes, content_type: str) -> Generation:
        """Add a generation, and retire the one before."""
        self.retire(name)
        checksum = hashlib.sha256(data).digest()
        number = next(self.client.numbers)
        written = Generation(number, bytes(data), checksum, content_type)
        self.objects.setdefault(name, []).append(written)
        return written

    def retire(self, name: str) -> None:
        """Keep the live generation as an earlier one, if the bucket keeps these."""
        if not self.versioning_enabled:
            self.objects.pop(name, None)
        for generation in self.objects.get(name, []):
            generation.is_live = False

    def delete_blob(self, name: str, generation: int | None = None, **_: Any) -> None:
        with self.client.lock:
            found = self.blob(name, generation=generation).found()
            if generation is None:
                self.retire(name)
            else:
                self.objects[name].remove(found)
            if not self.objects.get(name, True):
                del self.objects[name]

    def list_blobs(
        self, prefix: str = "", versions: bool = False, **_: Any
    ) -> list[Blob]:
        with self.client.lock:
            return [
                Blob(self, name, generation.number, generation)
                for name, generations in sorted(self.objects.items())
                if name.startswith(prefix)
                for generation in generations
                if versions or generation.is_live
            ]


@dataclass
class Blob:
    """An object, as Google's client has it; ``generation`` is None for the live one."""

    bucket: Bucket
    name: str
    generation: int | None = None
    listed: Generation | None = None

    @property
    def time_deleted(self) -> bool | None:
        """Whether it is an earlier generation; Google says since when."""
        return None if self.found().is_live else True

    @property
    def content_type(self) -> str:
        return self.found().content_type

    @property
    def size(self) -> int:
        return len(self.found().data)

    def found(self) -> Generation:
        """Return what is there; raise NotFound."""
        if self.listed is not None:
            return self.listed
        found = None
        if self.generation is None:
            found = self.bucket.live(self.name)
        for generation in self.bucket.objects.get(self.name, []):
            if generation.number == self.generation:
                found = generation
        if found is None:
            raise api.NotFound(f"No such object: {self.bucket.name}/{self.name}")
        return found

    def upload_from_string(
        self,
        data: bytes | str,
        content_type: str = "text/plain",
        if_generation_match: int | None = None,
        **_: Any,
    ) -> None:
        data = data.encode() if isinstance(data, str) else data
        with self.bucket.client.lock:
            if self.bucket.name not in self.bucket.client.buckets:
                raise api.NotFound(f"The bucket {self.bucket.name} does not exist")
            live = self.bucket.live(self.name)
            number = 0 if live is None else live.number
            if if_generation_match not in (None, number):
                raise api.PreconditionFailed(f"{self.name} has generation {number}")
            written = self.bucket.write(self.name, data, content_type)
            self.generation = written.number

    def upload_from_filename(self, file: Path | str, **more: Any) -> None:
        more.setdefault("content_type", "application/octet-stream")
        self.upload_from_string(Path(file).read_bytes(), **more)

    def download_as_bytes(self, **_: Any) -> bytes:
        with self.bucket.client.lock:
            found = self.found()
        if hashlib.sha256(found.data).digest() != found.checksum:
            raise DataCorruption(None, f"{self.name} is damaged")
        self.generation = found.number
        return found.data

    def download_to_file(self, file: IO[bytes], **_: Any) -> None:
        file.write(self.download_as_bytes())

    def open(self, mode: str, **more: Any) -> io.BytesIO:
        if mode == "wb":
            return Writer(self, more)
        return io.BytesIO(self.download_as_bytes())


class Writer(io.BytesIO):
    """An object that is written piece by piece, and is there once it is closed."""

    def __init__(self, blob: Blob, more: dict[str, Any]) -> None:
        super().__init__()
        self._blob = blob
        self._more = more

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._blob.upload_from_string(self.getvalue(), **self._more)
        self.close()
