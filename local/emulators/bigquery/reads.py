"""What a translation has read of the catalog, and whether that is still so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

# Of a table's metadata these change with its rows, or with a saving of the same.
_OF_ROWS = {"etag", "lastModifiedTime"}


@dataclass(frozen=True)
class Read:
    """One question to the catalog, and what the answer was, as it is compared."""

    question: str
    ask: Callable[[], Any]
    answer: Any


class Reads:
    """Watches the questions by which translations read the catalog."""

    def __init__(self) -> None:
        self._local = threading.local()
        # Of the newest generation of the catalog.
        self._asked: tuple[int | None, dict[str, Any]] = None, {}

    def of(self, translate: Callable[[], Any]) -> tuple[Any, tuple[Read, ...]]:
        """Return what ``translate`` does, and what it has read for that."""
        reads: dict[str, Read] = {}
        self._local.reads = reads
        try:
            return translate(), tuple(reads.values())
        finally:
            self._local.reads = None

    def are_so(self, reads: Iterable[Read], generation: int | None) -> bool:
        """
        Whether every answer is the same now.

        Each question is asked once in a ``generation`` of the catalog, which was this
        before; None while it is being changed.
        """
        if generation is None:
            return all(read.ask() == read.answer for read in reads)
        asked = self._asked
        if asked[0] != generation:
            asked = self._asked = generation, {}
        answers = asked[1]
        for read in reads:
            if read.question not in answers:
                answers[read.question] = read.ask()
            if answers[read.question] != read.answer:
                return False
        return True

    def watch(self, module: Any, name: str, compared: Callable[[Any], Any]) -> None:
        """Note what a module's function is asked; answers are compared as given."""
        read = getattr(module, name)

        def outermost(*arguments: Any) -> Any:
            """Note a question, and none of those that it leads to."""
            reads = getattr(self._local, "reads", None)
            if reads is None:
                return read(*arguments)
            self._local.reads = None
            try:
                answer = read(*arguments)
            except Exception as error:
                answered = type(error), str(error)
                raise
            else:
                answered = compared(answer)
                return answer
            finally:
                self._local.reads = reads
                question = f"{name}{arguments}"
                reads[question] = Read(question, ask(*arguments), answered)

        def ask(*arguments: Any) -> Callable[[], Any]:
            def answered() -> Any:
                try:
                    return compared(read(*arguments))
                except Exception as error:
                    return type(error), str(error)

            return answered

        setattr(module, name, outermost)


def watch_catalog() -> Reads:
    """Watch what the emulator's translation reads."""
    from local_bigquery.catalog import metadata, row_access, tables
    from local_bigquery.engine import database

    reads = Reads()
    reads.watch(metadata, "list_", _settled)
    reads.watch(database, "objects", _names)
    reads.watch(database, "fetch", list)
    reads.watch(tables, "columns", _settled)
    reads.watch(row_access, "secured", frozenset)
    return reads


def _names(objects: list[Any]) -> list[Any]:
    """Leave out numbers of rows."""
    return [(name, kind) for name, kind, _ in objects]


def _settled(resources: list[Any]) -> int:
    """Return a short sign of tables, columns and the like."""
    texts = [
        resource.model_dump_json(exclude=_OF_ROWS, exclude_none=True)
        for resource in resources
    ]
    return hash(tuple(texts))
