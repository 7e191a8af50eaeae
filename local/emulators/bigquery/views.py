"""Views by their own text, and wildcards by the names of columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"\w+", re.ASCII)
# A parameter of a translation, or what it can be no part of: a text, a quoted name, and
# a comment, which may have an apostrophe.
_PARAMETER = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|/\*.*?\*/|\$(?P<name>\w+)""", re.DOTALL
)


def follow_views() -> None:
    """
    Put a view's own text in the place of its name, each time that it is queried.

    The emulator fixes the tables of a wildcard when the view is made, and does not find
    a view any more once one of these is gone.
    """
    from local_bigquery.catalog import ddl, metadata, names, tables
    from local_bigquery.errors import BigQueryError
    from local_bigquery.models import Table
    from local_bigquery.sql import rules
    from local_bigquery.sql.translate import parse
    from sqlglot import exp

    resolve, columns, define = rules.tables.resolve, tables.columns, ddl._definition
    known: dict[Any, Any] = {}

    def common_tables(tree: Any) -> set[str]:
        return {cte.alias_or_name.casefold() for cte in tree.find_all(exp.CTE)}

    def qualify(tree: Any, project: str, dataset: str | None) -> None:
        """Write out project and dataset of every table that is not a common one."""
        common = common_tables(tree)
        for table in tree.find_all(exp.Table):
            is_named = isinstance(table.this, exp.Identifier)
            if not is_named or (not table.db and table.name.casefold() in common):
                continue
            if not table.db and dataset is not None:
                table.set("db", exp.to_identifier(dataset, quoted=True))
            if table.db and not table.catalog:
                table.set("catalog", exp.to_identifier(project, quoted=True))

    def inline(tree: Any, context: Any) -> Any:
        common, target = common_tables(tree), names.target(tree)
        for table in list(tree.find_all(exp.Table)):
            reference = resolve(table, context, common)
            if reference is None or table is target:
                continue
            context.referenced.add(reference)
            stored = metadata.load(Table, *reference)
            if stored is None or stored.view is None or not stored.view.query:
                continue
            [body] = parse(stored.view.query)
            qualify(body, *reference[:2])
            alias = table.args.get("alias") or exp.TableAlias(
                this=exp.to_identifier(table.name, quoted=True)
            )
            table.replace(exp.Subquery(this=inline(body, context), alias=alias))
        return tree

    def columns_known(*reference: str) -> Any:
        stored = metadata.load(Table, *reference)
        if stored is None or stored.view is None:
            return columns(*reference)
        # As in BigQuery, those that it had when it was made.
        key = (*reference, stored.etag)
        if key not in known:
            try:
                known[key] = columns(*reference)
            except BigQueryError:
                return tables.fields(stored)
        return known[key]

    def define_qualified(tree: Any, project: str, dataset: str) -> Any:
        if tree.args.get("kind") == "VIEW" and tree.expression is not None:
            qualify(tree.expression, project, dataset)
        return define(tree, project, dataset)

    tables.columns, ddl._definition = columns_known, define_qualified
    rules.STATEMENT_RULES.insert(0, inline)


@dataclass(frozen=True)
class Wildcard:
    """
    A wildcard of a statement, which is translated as if it were one table.

    ``text`` is what stands in the translation: a SELECT of the table ``mark``, which is
    no table's name.
    """

    project: str
    dataset: str
    name: str
    mark: str
    text: str

    def put_into(self, sql: str) -> str:
        """Return the translation with all tables for the one."""
        from local_bigquery.catalog import names
        from local_bigquery.engine import database
        from local_bigquery.errors import BigQueryError

        prefix = self.name.rstrip("*")
        label = names.label(self.project, self.dataset, self.name)
        found = {
            name: kind
            for name, kind, _ in database.objects(self.project, self.dataset)
            if name.startswith(prefix)
        }
        if not found:
            raise BigQueryError("invalid", f"{label} does not match any table.")
        if views := [name for name, kind in found.items() if kind != "TABLE"]:
            label = names.label(self.project, self.dataset, views[0])
            reason = "Views cannot be queried through prefix. Matched views are: "
            raise BigQueryError("invalidQuery", f"{reason}{label}")
        selects = [
            self.text.replace(f"'{self.mark}'", f"'{name[len(prefix) :]}'").replace(
                f'"{self.mark}"', f'"{name}"'
            )
            for name in found
        ]
        return sql.replace(self.text, " UNION ALL BY NAME ".join(selects))


def union_wildcards() -> None:
    """
    Read ``events_*`` as all rows of all its tables, columns matched by name.

    The emulator takes a distinct union by position: it drops an event that was
    exported twice, and fails where a newer table has one more column.
    """
    from local_bigquery.catalog import names
    from local_bigquery.grpc import read
    from local_bigquery.jobs import merge, query
    from local_bigquery.sql import rules, script
    from local_bigquery.sql.dialect import DuckDBDialect
    from sqlglot import exp

    def wildcard(node: Any, context: Any) -> Any:
        if not isinstance(node, exp.Table) or not node.name.endswith("*"):
            return node
        project, dataset, _ = names.reference(
            node, context.project_id, context.dataset_id
        )
        for column in _columns(node):
            if star := _star(column, node.alias_or_name):
                star.append("except_", exp.column("_TABLE_SUFFIX"))
        mark = f"*{len(context.wildcards)}"
        suffix = exp.alias_(exp.Literal.string(mark), "_TABLE_SUFFIX")
        select = exp.select("*", suffix).from_(
            exp.table_(mark, db=dataset, catalog=project, quoted=True)
        )
        text = select.sql(dialect=DuckDBDialect)
        context.wildcards += (Wildcard(project, dataset, node.name, mark, text),)
        alias = node.args.get("alias") or exp.TableAlias(
            this=exp.to_identifier(node.name.rstrip("*") or node.name, quoted=True)
        )
        return exp.Subquery(this=select, alias=alias)

    translate = query.translate

    def translate_whole(tree: Any, context: Any) -> tuple[str, dict[str, Any]]:
        context.wildcards = ()
        sql, bound = translate(tree, context)
        for one in context.wildcards:
            sql = one.put_into(sql)
        # As constants, bounds of _TABLE_SUFFIX have DuckDB read no table in vain. Any
        # other text stays a parameter: it could mean something to the statement.
        words = {
            name: value
            for name, value in (bound.items() if context.wildcards else ())
            if isinstance(value, str) and _WORD.fullmatch(value)
        }

        def constant(found: re.Match[str]) -> str:
            name = found["name"]
            return f"'{bound.pop(name, words[name])}'" if name in words else found[0]

        return _PARAMETER.sub(constant, sql), bound

    rules.NODE_RULES[rules.NODE_RULES.index(rules.tables.wildcard_table)] = wildcard
    for module in (query, script, read, merge):
        module.translate = translate_whole


def _columns(table: Any) -> list[Any]:
    """Return the select list of the query that reads a table."""
    from sqlglot import exp

    query = table.find_ancestor(exp.Select)
    return query.expressions if query is not None else []


def _star(column: Any, table: str) -> Any:
    """Return the star of ``*`` or ``table.*``, None for any other column."""
    from sqlglot import exp

    if isinstance(column, exp.Column) and column.table in ("", table):
        column = column.this
    return column if isinstance(column, exp.Star) else None
