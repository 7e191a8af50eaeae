"""Statements parsed and translated once."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from local.emulators.bigquery.lookups import Catalog

REMEMBERED_TEXTS = 256
# Texts alone, and not trees.
REMEMBERED_TRANSLATIONS = 2_048
# A statement is known by its script and its number there; a part of it by a text more.
_ALONE = 2
_MERGE = "__merge_"


def remember_texts(catalog: Catalog) -> None:
    """
    Parse a statement, or the text of a view, once, and hand out copies.

    The translation of a query is remembered, too, while nothing changes in the catalog.
    """
    from local_bigquery.jobs import merge, query
    from local_bigquery.sql import script, translate

    @functools.lru_cache(REMEMBERED_TEXTS)
    def parse(sql: str) -> list[Any]:
        trees: list[Any] = parse_anew(sql)
        for number, tree in enumerate(trees):
            tree.meta["text"] = sql, number
        return trees

    def copies(sql: str) -> list[Any]:
        return [tree.copy() for tree in parse(sql)]

    parse_anew = translate.parse
    translate.parse = script.parse = query.parse = copies
    script.parse_script = functools.lru_cache(REMEMBERED_TEXTS)(script.parse_script)
    translations = Translations(catalog, query.translate)
    query.translate = merge.translate = translations.translate
    run_merge, current = merge.run, threading.local()

    def run_known(cursor: Any, tree: Any, context: Any) -> Any:
        current.merge = tree.meta.get("text")
        return run_merge(cursor, tree, context)

    def parse_part(sql: str, dialect: Any = None) -> Any:
        """Parse one of the statements that a MERGE is run by; they read its source."""
        [part] = copies(sql)
        part.meta["text"] = current.merge and (*current.merge, sql)
        return part

    merge.run = run_known
    merge.sqlglot = SimpleNamespace(parse_one=parse_part)


def read_literals() -> None:
    """
    Read an option's value from its literal.

    The emulator has DuckDB evaluate each, and a table has a description per column.
    """
    from local_bigquery.jobs import query
    from sqlglot import exp

    evaluator = query._evaluator

    def evaluator_or_literal(cursor: Any) -> Callable[[Any], Any]:
        evaluate = evaluator(cursor)

        def value(node: Any) -> Any:
            if isinstance(node, exp.Literal) and node.is_string:
                return node.this
            return evaluate(node)

        return value

    query._evaluator = evaluator_or_literal


@dataclass(frozen=True)
class Translation:
    """A query in DuckDB's words, and what of the context goes with it."""

    generation: int
    # Of the parameters, where they have chosen tables.
    values: dict[str, Any] | None
    sql: str
    used: frozenset[str]
    referenced: frozenset[tuple[str, str, str]]
    temporary: frozenset[str]


class Translations:
    """
    Translations of queries, remembered while the catalog is what it was.

    A tenth of a second is spent on a long query over a view, mostly on finding out
    types. That of a wildcard, whose tables the values of parameters choose, is
    remembered with those values. Left out are queries whose translation depends on more
    than their text, the catalog and parameters: on a session, and on tables that may
    expire.
    """

    _ELSEWHERE = re.compile(r"@@|EXTERNAL_QUERY", re.IGNORECASE)

    def __init__(self, catalog: Catalog, translate: Callable[..., Any]) -> None:
        self._catalog = catalog
        self._translate = translate
        self._known: dict[Any, Translation] = {}
        self._lock = threading.Lock()

    def translate(self, tree: Any, context: Any) -> tuple[str, dict[str, Any]]:
        """Return what the emulator's ``translate`` does."""
        generation, key = self._catalog.generation, self._key(tree, context)
        known = self._known.get(key)
        if (
            known is not None
            and known.generation == generation
            and known.values in (None, context.values)
        ):
            context.used.clear()
            context.used |= known.used
            context.referenced |= known.referenced
            context.temporary |= known.temporary
            return known.sql, {name: context.values[name] for name in known.used}
        context.is_rememberable, context.is_by_values = True, False
        sql, bound = self._translate(tree, context)
        if (
            key is not None
            and generation is not None
            and generation == self._catalog.generation
            and context.is_rememberable
            and not context.position
            and not any(map(self._may_expire, context.referenced))
        ):
            used, referenced = frozenset(bound), frozenset(context.referenced)
            values = dict(context.values) if context.is_by_values else None
            with self._lock:
                if len(self._known) >= REMEMBERED_TRANSLATIONS:
                    self._known.clear()
                self._known[key] = Translation(
                    generation,
                    values,
                    sql,
                    used,
                    referenced,
                    frozenset(context.temporary),
                )
        return sql, bound

    def _key(self, tree: Any, context: Any) -> Any:
        from local_bigquery.catalog import row_access
        from sqlglot import exp

        text = tree.meta.get("text")
        kinds = exp.Query | exp.Insert | exp.Update | exp.Delete
        # A MERGE has temporary tables of its own, known by its text.
        temporary = [name for name in context.temporary if not name.startswith(_MERGE)]
        session = (context.variables, temporary, context.functions)
        if (
            text is None
            or not (isinstance(tree, kinds) or len(text) > _ALONE)
            or any((*session, context.settings, context.position))
            or self._ELSEWHERE.search(text[0])
        ):
            return None
        return (
            *(text, context.project_id, context.dataset_id, row_access.caller.get()),
            tuple(sorted(context.parameters.items())),
        )

    @staticmethod
    def _may_expire(reference: tuple[str, str, str]) -> bool:
        from local_bigquery.catalog import metadata
        from local_bigquery.models import Table

        stored = metadata.load(Table, *reference)
        return stored is not None and stored.expirationTime is not None


def join_array_parameters() -> None:
    """
    Find ``x IN UNNEST(@xs)`` of a WHERE by one join.

    The emulator has DuckDB search the array for every row: a second for a thousand
    elements and a million rows, where a join takes milliseconds.
    """
    from local_bigquery.sql import rules
    from sqlglot import exp, select

    def mark(tree: Any, context: Any) -> Any:
        for node in tree.find_all(exp.In):
            unnest = node.args.get("unnest")
            if unnest is None or not isinstance(unnest.expressions[0], exp.Parameter):
                continue
            place = node.find_ancestor(exp.Where, exp.Lambda, exp.AggFunc, exp.Select)
            node.meta["joined"] = isinstance(place, exp.Where)
        return tree

    def join(node: Any, context: Any) -> Any:
        if not (isinstance(node, exp.In) and node.meta.get("joined")):
            return node
        elements = exp.Anonymous(
            this="UNNEST", expressions=node.args["unnest"].expressions
        )
        return exp.In(this=node.this, query=exp.Subquery(this=select(elements)))

    rules.STATEMENT_RULES.insert(0, mark)
    rules.NODE_RULES.append(join)
