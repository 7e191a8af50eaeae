"""
The pointer to a use case's prediction index: which file answers lookups.

``indexes/<use case>/current.json`` changes by compare-and-set. It names the newest file
and the one before it, which instances may still read.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from propensity.edges.objects import Stored
from propensity.errors import ArtifactError
from propensity.registry.objects import json_of, object_of

INDEXES = "indexes/"
ENDING = ".index"


@dataclass(frozen=True, kw_only=True)
class IndexFile:
    """
    A file in the bucket.

    Attributes:
        name: Of the object, which is written once.
        size, head_bytes: Of the file and of its head, in bytes.
        sha256: Of the file, in hexadecimal.
        users: In it.
        published_at: Start of the run that published it, ISO 8601.
    """

    name: str
    size: int
    head_bytes: int
    sha256: str
    users: int
    published_at: str


@dataclass(frozen=True, kw_only=True)
class IndexPointer:
    """The content of ``current.json``."""

    newest: IndexFile
    previous: IndexFile | None

    def encoded(self) -> bytes:
        """Return the pointer as JSON."""
        return json_of(asdict(self))

    @classmethod
    def parse(cls, stored: Stored, use_case: str) -> IndexPointer:
        """
        Read a pointer.

        Raises:
            ArtifactError: It is damaged.
        """
        name = pointer_name(use_case)
        content = object_of(stored, name)
        try:
            previous = content["previous"]
            return cls(
                newest=_file(content["newest"]),
                previous=None if previous is None else _file(previous),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArtifactError(f"{name} names no index: {error!r}") from error


def _file(content: dict[str, Any]) -> IndexFile:
    file = IndexFile(
        name=str(content["name"]),
        size=int(content["size"]),
        head_bytes=int(content["head_bytes"]),
        sha256=str(content["sha256"]),
        users=int(content["users"]),
        published_at=str(content["published_at"]),
    )
    # Memory for so many bytes is taken before the first one is read.
    if not 0 < file.head_bytes <= file.size or not file.name.isascii():
        raise ValueError("no file has such a name or such sizes")
    return file


def folder_of(use_case: str) -> str:
    """Return the folder of a use case's indexes."""
    return f"{INDEXES}{use_case}/"


def pointer_name(use_case: str) -> str:
    """Return the name of a use case's pointer."""
    return f"{folder_of(use_case)}current.json"
