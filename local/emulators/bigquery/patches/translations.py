"""Translations that are kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

KEPT_STATEMENTS = 500
# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.sql.script": (
        "def parse_script(",
        "from local_bigquery.sql.translate import Context, parse, translate",
    ),
    "local_bigquery.jobs.query": (
        "from local_bigquery.sql.translate import Context, parse, translate",
    ),
    "local_bigquery.catalog.tables": ("def write(",),
    "local_bigquery.catalog.metadata": (
        "def save[R: Resource](",
        "def delete(model:",
    ),
}


def _definition(resource: Any) -> Any:
    return resource.without("etag", "lastModifiedTime").dump()


def _named(tree: Any, context: Any) -> set[tuple[str, ...]]:
    """Return the tables that a statement names, also the one that it changes."""
    from local_bigquery.catalog import names
    from sqlglot import exp

    return {
        names.reference(table, context.project_id, context.dataset_id)
        for table in tree.find_all(exp.Table)
    }


def keep_translations() -> None:
    """
    Translate a query once, as long as none of its tables changes its columns.

    A translation takes longer than most of the queries. In a script with variables or
    tables of its own, those after the first of these are not kept.
    """
    from local_bigquery.catalog import metadata, tables
    from local_bigquery.jobs import query
    from local_bigquery.sql import script
    from sqlglot import exp

    translate = query.translate
    kept = dict[Any, Any]()
    changes = 0
    parsed = functools.lru_cache(KEPT_STATEMENTS)(script.parse)
    changing = exp.Insert, exp.Update, exp.Delete

    def is_kept(tree: Any) -> bool:
        if isinstance(tree, exp.Create):
            return tree.kind == "TABLE" and bool(tree.find(exp.TemporaryProperty))
        return isinstance(tree, (exp.Query,) + changing)

    def parse(text: str) -> list[Any]:
        trees: list[Any] = parsed(text)
        if len(trees) == 1 and is_kept(trees[0]) and "@@" not in text:
            trees[0].meta["text"] = text
            if isinstance(trees[0], exp.Query):
                return trees
        return [tree.copy() for tree in trees]

    def translate_once(tree: Any, context: Any) -> Any:
        text = tree.meta.get("text")
        definitions = (context.variables, context.temporary, context.functions)
        if text is None or any(definitions):
            return translate(tree, context)
        parameters = tuple(sorted(context.parameters.items()))
        key = (text, context.project_id, context.dataset_id, parameters)
        if key in kept:
            sql, used, referenced, context.wildcards, temporary = kept[key]
            context.referenced |= referenced
            context.temporary |= temporary
            return sql, {name: context.values[name] for name in used}
        began = changes
        sql, bound = translate(tree, context)
        # A translation has the rows of a list of tables in it; and what changes
        # meanwhile may not be in it.
        referenced = set(context.referenced).union(_named(tree, context))
        named = f"{text} {referenced}".casefold()
        is_listing = "information_schema" in named or "__tables__" in named
        if began == changes and not is_listing:
            temporary = set(context.temporary)
            kept[key] = sql, list(bound), referenced, context.wildcards, temporary
        return sql, bound

    def change(function: Any, keys: Callable[..., tuple[str, ...]]) -> Any:
        @functools.wraps(function)
        def inner(*arguments: Any, **named: Any) -> Any:
            nonlocal changes
            changed = keys(*arguments)
            if tables.RESULTS in changed:
                return function(*arguments, **named)
            try:
                return function(*arguments, **named)
            finally:
                changes += 1
                for key, (_, _, referenced, *_) in list(kept.items()):
                    if any(
                        reference[: len(changed)] == changed for reference in referenced
                    ):
                        kept.pop(key, None)

        return inner

    save = metadata.save
    save_changed = change(metadata.save, lambda _, *keys: keys)

    def save_perhaps_changed(resource: Any, *keys: str) -> Any:
        stored = metadata.load(type(resource), *keys)
        # A set-up replaces views by the same ones.
        is_same = stored is not None and _definition(stored) == _definition(resource)
        return (save if is_same else save_changed)(resource, *keys)

    tables.write = change(tables.write, lambda *write: write[3])
    metadata.save = save_perhaps_changed
    metadata.delete = change(metadata.delete, lambda _, *keys: keys)
    script.parse_script = functools.lru_cache(KEPT_STATEMENTS)(script.parse_script)
    script.parse = parse
    query.translate = translate_once
