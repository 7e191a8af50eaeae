"""
Publish the current predictions of a use case as an index, behind its pointer.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from propensity.errors import ArtifactError, Conflict, SchemaError
from propensity.index.build import Builder, Collision
from propensity.index.layout import KEY_BYTES
from propensity.registry.objects import CLAIMS, instant_of
from propensity.registry.prediction_index import (
    ENDING,
    IndexFile,
    IndexPointer,
    folder_of,
    pointer_name,
)
from propensity.statements import statement

if TYPE_CHECKING:
    from propensity.edges.artifacts import Artifacts
    from propensity.edges.warehouse import Warehouse

# Keys that are tried. Of fifty million users two collide under one in fifteen thousand.
KEYS = 3


def publish(
    warehouse: Warehouse,
    artifacts: Artifacts,
    use_case: str,
    *,
    run_id: str,
    at: datetime,
    keeps_previous: bool = True,
) -> IndexFile:
    """
    Build the index of what the table has now, and point to it.

    The table is read after the pointer: if another run publishes meanwhile, this one
    has perhaps not read its rows, loses the compare-and-set and builds once more. So
    the index that is pointed to is never older than the last publication.

    Args:
        run_id: Of the run, for the name of the file.
        at: Start of the run, aware and in UTC.
        keeps_previous: Whether the pointer goes on to name the file before.

    Raises:
        SchemaError: The table has a user twice.
        Conflict: Other runs were quicker each time.
        PropensityError: BigQuery or the bucket failed. The pointer is as it was.
    """
    for attempt in range(CLAIMS):
        before, generation = find_pointer(artifacts, use_case)
        # Names sort by the pointer that they are to replace; see ``remove_old``.
        name = f"{folder_of(use_case)}g{generation:020}-{run_id}-{attempt}{ENDING}"
        newest = _built(warehouse, artifacts, use_case, name=name, at=at)
        previous = before.newest if before and keeps_previous else None
        pointer = IndexPointer(newest=newest, previous=previous)
        try:
            artifacts.replace(
                pointer_name(use_case), pointer.encoded(), generation=generation
            )
        except Conflict:
            artifacts.delete(name)
            continue
        return newest
    raise Conflict(f"the index of {use_case} could not be published in {CLAIMS} tries")


def find_pointer(
    artifacts: Artifacts, use_case: str
) -> tuple[IndexPointer | None, int]:
    """
    Return the pointer and its generation; None and 0 without one.

    A damaged pointer is None with its generation, so that a publication replaces it.
    """
    stored = artifacts.find(pointer_name(use_case))
    if stored is None:
        return None, 0
    try:
        return IndexPointer.parse(stored, use_case), stored.generation
    except ArtifactError:
        return None, stored.generation


def remove_old(artifacts: Artifacts, use_case: str) -> None:
    """
    Delete files that are older than those that the pointer names.

    Generations are deleted for good. A file's name begins with the generation of the
    pointer that it is to replace. So a file that another run has just written sorts
    behind the files that this pointer names, unless that run has lost its race already.
    """
    pointer, _ = find_pointer(artifacts, use_case)
    if pointer is None:
        return
    named = {file.name for file in (pointer.newest, pointer.previous) if file}
    for entry in artifacts.generations(folder_of(use_case)):
        if entry.name.endswith(ENDING) and entry.name < min(named):
            artifacts.delete_generation(entry)


def withdraw(artifacts: Artifacts, use_case: str) -> None:
    """
    Delete the pointer, and then all files.

    An index that is no longer published must not answer, and nobody else would delete
    what it has of users. Who still reads a file reads the table instead.
    """
    artifacts.delete(pointer_name(use_case))
    for entry in artifacts.generations(folder_of(use_case)):
        if entry.name.endswith(ENDING):
            artifacts.delete_generation(entry)


def _built(
    warehouse: Warehouse,
    artifacts: Artifacts,
    use_case: str,
    *,
    name: str,
    at: datetime,
) -> IndexFile:
    """Write the file, under another key if two users collide."""
    for _ in range(KEYS):
        builder = Builder(secrets.token_bytes(KEY_BYTES))
        rows = warehouse.batches(
            statement("current_predictions"), {"use_case": use_case}
        )
        for batch in rows:
            builder.add(batch)
        file = _Measured(builder.finish())
        try:
            artifacts.create_from(name, iter(file))
        except Collision:
            continue
        return IndexFile(
            name=name,
            size=file.size,
            head_bytes=file.head_bytes,
            sha256=file.sha256.hexdigest(),
            users=builder.users,
            published_at=instant_of(at),
        )
    raise SchemaError(
        f"ma_predictions_table has a user of {use_case} twice: no index can be made of "
        "it. Its key is (use_case, user_id); remove one of the rows"
    )


class _Measured:
    """Parts of a file, and what is known of it once they were taken."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.head_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self.head_bytes = self.head_bytes or len(part)
            self.sha256.update(part)
            self.size += len(part)
            yield part
