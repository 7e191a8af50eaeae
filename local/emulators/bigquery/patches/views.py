"""Views by their own text."""

from __future__ import annotations

import functools
from typing import Any

KEPT_TEXTS = 500


# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.catalog.tables": ("def columns(",),
    "local_bigquery.catalog.ddl": ("def apply(",),
    "local_bigquery.sql.rules": ("STATEMENT_RULES = [",),
}


def follow_views() -> None:
    """
    Put a view's own text into each query of it: once, however often it is read.

    The emulator fixes the tables of a wildcard when the view is made, and does not find
    a view any more once one of these is gone.
    """
    from local_bigquery.catalog import ddl, metadata, names, tables
    from local_bigquery.errors import BigQueryError
    from local_bigquery.models import Table
    from local_bigquery.sql import rules
    from local_bigquery.sql.translate import parse
    from sqlglot import exp

    resolve = rules.tables.resolve
    columns = tables.columns
    apply = ddl.apply
    parsed = functools.lru_cache(KEPT_TEXTS)(parse)
    view_columns: dict[Any, Any] = {}

    def inline(tree: Any, context: Any) -> Any:
        common = _common_tables(tree)
        target = names.target(tree)
        defined = set[str]()
        for table in list(tree.find_all(exp.Table)):
            reference = resolve(table, context, common)
            if reference is None or table is target:
                continue
            context.referenced.add(reference)
            stored = metadata.load(Table, *reference)
            if stored is None or stored.view is None or not stored.view.query:
                continue
            alias = table.args.get("alias")
            if not alias:
                identifier = exp.to_identifier(table.name, quoted=True)
                alias = exp.TableAlias(this=identifier)
            # A name with points is no table's.
            name = ".".join(reference)
            if name not in defined:
                body = parsed(stored.view.query)[0].copy()
                _qualify(body, *reference[:2])
                inline(body, context)
            if not isinstance(tree, exp.Query):
                table.replace(exp.Subquery(this=body, alias=alias))
                continue
            if name not in defined:
                _define_first(tree, name, body)
            defined.add(name)
            this = exp.to_identifier(name, quoted=True)
            table.replace(exp.Table(this=this, alias=alias))
        return tree

    def columns_known(*reference: str) -> Any:
        stored = metadata.load(Table, *reference)
        if stored is None or stored.view is None:
            return columns(*reference)
        # A view keeps the columns that it had when it was made, as in BigQuery.
        key = tuple(reference) + (stored.etag,)
        if key not in view_columns:
            try:
                view_columns[key] = columns(*reference)
            except BigQueryError:
                return tables.fields(stored)
        return view_columns[key]

    def apply_qualified(tree: Any, project: str, dataset: str, evaluate: Any) -> None:
        if tree.args.get("kind") == "VIEW" and tree.expression is not None:
            _qualify(tree.expression, project, dataset)
        apply(tree, project, dataset, evaluate)

    tables.columns = columns_known
    ddl.apply = apply_qualified
    rules.STATEMENT_RULES.insert(0, inline)


def _common_tables(tree: Any) -> set[str]:
    """Return the names of a statement's common tables."""
    from sqlglot import exp

    return {cte.alias_or_name.casefold() for cte in tree.find_all(exp.CTE)}


def _qualify(tree: Any, project: str, dataset: str | None) -> None:
    """Write out project and dataset of every table that is not a common one."""
    from sqlglot import exp

    common = _common_tables(tree)
    for table in tree.find_all(exp.Table):
        is_named = isinstance(table.this, exp.Identifier)
        if not is_named or (not table.db and table.name.casefold() in common):
            continue
        if not table.db and dataset is not None:
            table.set("db", exp.to_identifier(dataset, quoted=True))
        if table.db and not table.catalog:
            table.set("catalog", exp.to_identifier(project, quoted=True))


def _define_first(tree: Any, name: str, body: Any) -> None:
    """Put a common table before all others, which may read it."""
    from sqlglot import exp

    alias = exp.to_identifier(name, quoted=True)
    tree.with_(alias, as_=body, materialized=False, copy=False)
    common_table = tree.ctes[-1]
    common_table.parent.set("expressions", [common_table] + tree.ctes[:-1])
