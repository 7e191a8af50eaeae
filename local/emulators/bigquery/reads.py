"""What a translation has read of the catalog, and whether that is still so."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

# Of a table's metadata these change with its rows, or with a saving of the same.
_OF_ROWS = {"etag", "lastModifiedTime"}
KEPT_SIGNS = 2_048
# Keys: of a project's dataset. One more is a table's.
_OF_DATASET = 2


@dataclass(frozen=True)
class Read:
    """One question to the catalog, and what the answer was, as it is compared."""

    name: str
    ask: Callable[..., Any]
    arguments: tuple[Any, ...]
    answer: Any

    @property
    def question(self) -> str:
        """The question as a text."""
        return f"{self.name}{self.arguments}"

    def of(self, dataset: str, other: str) -> Read:
        """Return the question about another dataset, with the same answer."""

        def moved(argument: Any) -> Any:
            if isinstance(argument, list):
                return [moved(part) for part in argument]
            return other if argument == dataset else argument

        return replace(self, arguments=tuple(map(moved, self.arguments)))


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
            return all(read.ask(*read.arguments) == read.answer for read in reads)
        asked = self._asked
        if asked[0] != generation:
            asked = self._asked = generation, {}
        answers = asked[1]
        for read in reads:
            if read.question not in answers:
                answers[read.question] = read.ask(*read.arguments)
            if answers[read.question] != read.answer:
                return False
        return True

    def watch(self, module: Any, name: str, compared: Callable[..., Any]) -> None:
        """
        Note what a module's function is asked.

        Args:
            module: Its callers look the function up here.
            name: Of the function.
            compared: Of the answer and the arguments, what is compared.
        """
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
                answered = _said(error)
                raise
            else:
                answered = compared(answer, *arguments)
                return answer
            finally:
                self._local.reads = reads
                noted = Read(name, ask, arguments, answered)
                reads[noted.question] = noted

        def ask(*arguments: Any) -> Any:
            try:
                return compared(read(*arguments), *arguments)
            except Exception as error:
                return _said(error)

        setattr(module, name, outermost)


class Signs:
    """Short signs of things that are replaced and never changed: each is made once."""

    def __init__(self, make: Callable[..., int]) -> None:
        self._make = make
        self._known: dict[Any, tuple[Any, int]] = {}

    def of(self, thing: Any, *how: Any) -> int:
        """Return what ``make`` does of a thing and of values that it depends on."""
        key = (id(thing), *how)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= KEPT_SIGNS:
                self._known.clear()
            # With the thing, so that no other one gets its id.
            known = self._known[key] = thing, self._make(thing, *how)
        return known[1]


def watch_catalog() -> Reads:
    """Watch what the emulator's translation reads."""
    from local_bigquery.catalog import metadata, row_access, tables
    from local_bigquery.engine import database

    settled = Signs(_settled)
    reads = Reads()
    reads.watch(
        metadata,
        "list_",
        lambda resources, _, *keys: hash(
            tuple(settled.of(resource, *keys[:3]) for resource in resources)
        ),
    )
    reads.watch(database, "objects", _names)
    reads.watch(database, "fetch", lambda rows, *_: rows)
    reads.watch(tables, "columns", _typed)
    reads.watch(row_access, "secured", lambda answer: answer)
    return reads


def _said(error: Exception) -> Any:
    """Leave out the message, which names the dataset."""
    return type(error), getattr(error, "reason", None)


def _names(objects: list[Any], *_: Any) -> list[Any]:
    """Leave out numbers of rows."""
    return [(name, kind) for name, kind, _ in objects]


def _typed(fields: list[Any], *_: Any) -> int:
    return hash(tuple(field.model_dump_json(exclude_none=True) for field in fields))


def _settled(resource: Any, *keys: str) -> int:
    """Return a short sign of a table or the like, whatever its dataset is called."""
    # When tables were made matters to lists of them alone.
    left_out = {"creationTime"} if len(keys) > _OF_DATASET else set()
    text = resource.model_dump_json(exclude=_OF_ROWS | left_out, exclude_none=True)
    if len(keys) >= _OF_DATASET:
        text = re.sub(rf"\b{re.escape(keys[1])}\b", "\0", text)
    return hash(text)
