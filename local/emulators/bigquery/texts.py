"""Statements parsed and translated once."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from local.emulators.bigquery.lookups import Catalog
from local.emulators.bigquery.reads import Read, Reads, watch_catalog
from local.emulators.bigquery.wildcards import Wildcard, put_all

REMEMBERED_TEXTS = 256
# Texts alone, and not trees.
REMEMBERED_TRANSLATIONS = 2_048
# Of one statement: of tables before and after they are made.
REMEMBERED_OF_ONE = 8
# A statement is known by its script and its number there; a part of it by a text more.
_ALONE = 2


def remember_texts(catalog: Catalog) -> None:
    """
    Parse a statement, or the text of a view, once, and hand out copies.

    The translation of a query is remembered, too, while what it was made with is so.
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
    translations = Translations(catalog, query.translate, watch_catalog())
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


@dataclass
class Translation:
    """A query in DuckDB's words, and what of the context goes with it."""

    # Of the catalog, when it was last seen to hold.
    generation: int | None
    reads: tuple[Read, ...]
    sql: str
    wildcards: tuple[Wildcard, ...]
    used: frozenset[str]
    referenced: frozenset[tuple[str, str, str]]
    temporary: frozenset[str]

    def of(self, project: str, dataset: str, other: str) -> Translation:
        """Return the same for another default dataset, if it holds there."""
        here, there = (f'"{project}"."{name}".' for name in (dataset, other))
        return replace(
            self,
            generation=None,
            reads=tuple(read.of(dataset, other) for read in self.reads),
            sql=self.sql.replace(here, there),
            wildcards=tuple(each.of(dataset, other) for each in self.wildcards),
            referenced=frozenset(
                (of, other if name == dataset else name, table)
                for of, name, table in self.referenced
            ),
        )


class Translations:
    """
    Translations of statements, remembered while all that they have read is so.

    A tenth of a second is spent on a long query over a view, mostly on finding out
    types. Of one statement some are kept, the newest first, as tables come again. Left
    out are statements whose translation depends on more than their text, the catalog
    and the types of parameters: on a session, and on tables that may expire. A
    statement that was translated for one default dataset need not be for another whose
    tables are the same.
    """

    _ELSEWHERE = re.compile(r"@@|EXTERNAL_QUERY", re.IGNORECASE)

    def __init__(
        self, catalog: Catalog, translate: Callable[..., Any], reads: Reads
    ) -> None:
        self._catalog = catalog
        self._translate = translate
        self._reads = reads
        self._known: dict[Any, tuple[Translation, ...]] = {}
        # By the key without the default dataset, and with it.
        self._movable: dict[Any, tuple[tuple[str, Translation], ...]] = {}
        self._lock = threading.Lock()

    def translate(self, tree: Any, context: Any) -> tuple[str, dict[str, Any]]:
        """Return what the emulator's ``translate`` does."""
        key = self._key(tree, context)
        known = self._translation_for(key, context)
        if known is not None:
            context.used.clear()
            context.used |= known.used
            context.referenced |= known.referenced
            context.temporary |= known.temporary
            sql = put_all(known.sql, known.wildcards, context.values)
            return sql, {name: context.values[name] for name in known.used}
        context.is_rememberable = context.is_movable = True
        context.wildcards = ()
        (sql, bound), reads = self._reads.of(lambda: self._translate(tree, context))
        if (
            key is not None
            and context.is_rememberable
            and not context.position
            and not any(map(self._may_expire, context.referenced))
        ):
            translation = Translation(
                None,
                reads,
                sql,
                context.wildcards,
                frozenset(bound),
                frozenset(context.referenced),
                frozenset(context.temporary),
            )
            self._keep(key, context, translation)
        return put_all(sql, context.wildcards, context.values), bound

    def _translation_for(self, key: Any, context: Any) -> Translation | None:
        """Return a translation that holds, of this dataset or of one like it."""
        dataset = context.dataset_id
        for known in self._known.get((key, dataset), ()):
            if self._holds(known):
                return known
        if dataset is None:
            return None
        for of, like in self._movable.get(key, ()):
            if of == dataset:
                continue
            moved = like.of(context.project_id, of, dataset)
            if self._holds(moved):
                context.is_movable = False
                self._keep(key, context, moved)
                return moved
        return None

    def _keep(self, key: Any, context: Any, translation: Translation) -> None:
        """
        Keep a translation, also for other datasets where that can be.

        It can where the dataset is named only as that of tables.
        """
        dataset = context.dataset_id
        is_movable = (
            context.is_movable
            and dataset is not None
            and dataset not in key[0]
            and dataset not in translation.of(context.project_id, dataset, "").sql
        )
        with self._lock:
            if len(self._known) >= REMEMBERED_TRANSLATIONS:
                self._known.clear()
                self._movable.clear()
            earlier = self._known.get((key, dataset), ())
            self._known[key, dataset] = (translation, *earlier)[:REMEMBERED_OF_ONE]
            if is_movable:
                movable = self._movable.get(key, ())
                self._movable[key] = ((dataset, translation), *movable)[
                    :REMEMBERED_OF_ONE
                ]

    def _holds(self, known: Translation) -> bool:
        """Read again what a translation has read, unless nothing has changed at all."""
        generation = self._catalog.generation
        if generation is None or generation != known.generation:
            if not self._reads.are_so(known.reads, generation):
                return False
            known.generation = generation
        return True

    def _key(self, tree: Any, context: Any) -> Any:
        from local_bigquery.catalog import row_access

        text = tree.meta.get("text")
        session = (context.variables, context.functions, context.settings)
        if (
            text is None
            or not (_is_whole(tree) or len(text) > _ALONE)
            or any((*session, context.position))
            or self._ELSEWHERE.search(text[0])
        ):
            return None
        script, *number = text
        if context.dataset_id is not None and context.dataset_id in script:
            # As in the text of a view, which names its tables in full.
            name = rf"(?<![\w-]){re.escape(context.dataset_id)}(?=[.`])"
            script = re.sub(name, "\0", script)
        return (
            script,
            *number,
            context.project_id,
            row_access.caller.get(),
            tuple(sorted(context.parameters.items())),
            # Of temporary tables a translation knows nothing but their names.
            frozenset(context.temporary),
        )

    @staticmethod
    def _may_expire(reference: tuple[str, str, str]) -> bool:
        from local_bigquery.catalog import metadata
        from local_bigquery.models import Table

        stored = metadata.load(Table, *reference)
        return stored is not None and stored.expirationTime is not None


def _is_whole(tree: Any) -> bool:
    """Whether a statement is translated as one, so that its text says which."""
    from sqlglot import exp

    if isinstance(tree, exp.Create):
        is_divided = tree.expression is not None and isinstance(tree.this, exp.Schema)
        return tree.args.get("kind") == "TABLE" and not is_divided
    return isinstance(tree, exp.Query | exp.Insert | exp.Update | exp.Delete)
