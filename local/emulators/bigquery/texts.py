"""Statements parsed and translated once, while what they read of the catalog is so."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.emulators.bigquery.views import Wildcard, put_all

REMEMBERED = 512
# Of a table's metadata these change with its rows.
_OF_ROWS = {"etag", "lastModifiedTime", "creationTime"}
# Translations of these depend on more than their text, the catalog and types.
_ELSEWHERE = ("@@", "external_query", "create temp", "information_schema")


@dataclass(frozen=True)
class Read:
    """One question that a translation has asked of the catalog, and the answer."""

    ask: Callable[..., Any]
    arguments: tuple[Any, ...]
    answer: Any

    def is_so(self) -> bool:
        """Whether the answer is the same now."""
        return bool(self.ask(*self.arguments) == self.answer)


@dataclass(frozen=True)
class Translation:
    """A query in DuckDB's words, and what of the context goes with it."""

    reads: tuple[Read, ...]
    sql: str
    wildcards: tuple[Wildcard, ...]
    used: frozenset[str]
    referenced: frozenset[tuple[str, str, str]]


class Reads:
    """Notes the questions by which translations read the catalog."""

    def __init__(self) -> None:
        self._local = threading.local()

    def of(self, translate: Callable[[], Any]) -> tuple[Any, tuple[Read, ...]]:
        """Return what ``translate`` does, and what it has read for that."""
        noted: list[Read] = []
        self._local.noted = noted
        try:
            return translate(), tuple(noted)
        finally:
            self._local.noted = None

    def watch(self, module: Any, name: str, compared: Callable[[Any], Any]) -> None:
        """Note what a module's function is asked, and what is compared of answers."""
        read = getattr(module, name)

        def ask(*arguments: Any) -> Any:
            try:
                return compared(read(*arguments))
            except Exception as error:
                return type(error)

        def outermost(*arguments: Any) -> Any:
            """Note a question, and none of those that it leads to."""
            noted = getattr(self._local, "noted", None)
            if noted is None:
                return read(*arguments)
            self._local.noted = None
            answered: Any = None
            try:
                answer = read(*arguments)
                answered = compared(answer)
            except Exception as error:
                answered = type(error)
                raise
            finally:
                self._local.noted = noted
                noted.append(Read(ask, arguments, answered))
            return answer

        setattr(module, name, outermost)


def remember_texts() -> None:
    """
    Parse a text once, and translate a statement once while its reads are so.

    A third of a second is spent on a query over the view of the export, mostly on
    finding out types.
    """
    from local_bigquery.catalog import metadata, tables
    from local_bigquery.engine import database
    from local_bigquery.jobs import query
    from local_bigquery.sql import script, translate

    parse_anew, translate_anew = translate.parse, query.translate
    known: dict[Any, Translation] = {}
    reads = Reads()
    reads.watch(metadata, "list_", lambda found: [_settled(one) for one in found])
    reads.watch(tables, "columns", lambda found: [_settled(one) for one in found])
    reads.watch(database, "objects", lambda found: [one[:2] for one in found])
    reads.watch(database, "fetch", lambda rows: rows)

    @functools.lru_cache(REMEMBERED)
    def parse(sql: str) -> list[Any]:
        trees: list[Any] = parse_anew(sql)
        for number, tree in enumerate(trees):
            tree.meta["text"] = sql, number
        return trees

    def copies(sql: str) -> list[Any]:
        return [tree.copy() for tree in parse(sql)]

    def translate_once(tree: Any, context: Any) -> tuple[str, dict[str, Any]]:
        key = _key(tree, context)
        one = known.get(key)
        if key is None or one is None or not all(read.is_so() for read in one.reads):
            context.wildcards = ()
            (sql, bound), noted = reads.of(lambda: translate_anew(tree, context))
            used, referenced = frozenset(bound), frozenset(context.referenced)
            one = Translation(noted, sql, context.wildcards, used, referenced)
            if key is not None:
                if len(known) >= REMEMBERED:
                    known.clear()
                known[key] = one
        context.used.clear()
        context.used |= one.used
        context.referenced |= one.referenced
        bound = {name: context.values[name] for name in one.used}
        return put_all(one.sql, one.wildcards, bound)

    translate.parse = script.parse = query.parse = copies
    script.parse_script = functools.lru_cache(REMEMBERED)(script.parse_script)
    query.translate = translate_once


def _key(tree: Any, context: Any) -> Any:
    """Return what a translation depends on beside its reads; None for too much."""
    from sqlglot import exp

    text = tree.meta.get("text")
    is_whole = isinstance(tree, exp.Query | exp.Insert | exp.Update | exp.Delete)
    session = (context.variables, context.functions, context.settings, context.position)
    if text is None or not is_whole or any(session):
        return None
    if any(word in text[0].casefold() for word in _ELSEWHERE):
        return None
    types = tuple(sorted(context.parameters.items()))
    names = (context.project_id, context.dataset_id)
    return (*text, *names, types, frozenset(context.temporary))


def _settled(resource: Any) -> str:
    return str(resource.model_dump_json(exclude=_OF_ROWS, exclude_none=True))
