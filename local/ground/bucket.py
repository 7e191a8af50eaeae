"""A bucket in the process: objects with generations, changed by compare-and-set."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from propensity.errors import ArtifactError, Conflict
from propensity.gcp.artifacts import Artifacts, Generation, Stored
from propensity.settings import Settings


class LocalBucket(Artifacts):
    """A bucket without earlier generations; a process has one."""

    objects: dict[str, Stored] = {}
    written = 0
    lock = threading.RLock()

    def __init__(self) -> None:
        """Open nothing."""

    @classmethod
    def open(cls, settings: Settings) -> LocalBucket:
        return cls()

    def close(self) -> None:
        """Close nothing."""

    def empty(self) -> None:
        """Remove all objects."""
        self.objects.clear()

    def create_from(self, name: str, file: Path) -> None:
        """Write an object that must not exist yet."""
        self.replace(name, file.read_bytes(), None)

    def replace(self, name: str, data: bytes, before: Any, **_: Any) -> int:
        """Write an object, if it is still as it was read."""
        with self.lock:
            stored = self.objects.get(name)
            expected = before.generation if before else None
            if (stored.generation if stored else None) != expected:
                if stored and stored.data == data:
                    return stored.generation
                raise Conflict(f"another run wrote {name} meanwhile")
            LocalBucket.written += 1
            self.objects[name] = Stored(data, LocalBucket.written)
            return LocalBucket.written

    def delete(self, name: str, *, generation: int | None = None) -> None:
        """Delete an object, if it is there."""
        with self.lock:
            stored = self.objects.get(name)
            if stored and generation in (None, stored.generation):
                del self.objects[name]

    def find(self, name: str, *, generation: int | None = None) -> Stored | None:
        """Return an object, if it is there."""
        stored = self.objects.get(name)
        if stored and generation in (None, stored.generation):
            return stored
        return None

    @contextlib.contextmanager
    def opened(self, name: str, *, generation: int) -> Iterator[IO[bytes]]:
        stored = self.find(name, generation=generation)
        if stored is None:
            raise ArtifactError(f"{name} does not exist")
        yield io.BytesIO(stored.data)

    def read(self, name: str) -> Stored:
        """Return an object that must be there."""
        stored = self.find(name)
        if stored is None:
            raise ArtifactError(f"gs://bucket/{name} does not exist")
        return stored

    def download(self, name: str, file: Path) -> None:
        """Write an object into a file."""
        file.write_bytes(self.read(name).data)

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.objects if name.startswith(prefix))

    def generations(self, prefix: str = "") -> list[Generation]:
        """Return the objects; a change leaves nothing of what was there before."""
        return [
            Generation(name, self.objects[name].generation, True)
            for name in self.names(prefix)
        ]

    def uri(self, name: str) -> str:
        """Return an object's address."""
        return f"gs://bucket/{name}"
