"""Wildcards: ``events_*`` as all rows of all its tables, columns matched by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from local.emulators.bigquery.suffixes import Bound


@dataclass(frozen=True)
class Wildcard:
    """
    A wildcard of a translated statement, which stands there as one table.

    Which tables it is, depends on those that there are and on values of parameters: it
    is asked each time that the statement runs, so that a translation is of any values.

    Attributes:
        bounds: What each table's suffix must meet.
        text: What stands in the statement: a SELECT of ``mark``, as suffix and table.
    """

    project: str
    dataset: str
    name: str
    bounds: tuple[Bound, ...]
    mark: str
    text: str

    def of(self, dataset: str, other: str) -> Wildcard:
        """Return the same of another dataset, where it is of ``dataset``."""
        if self.dataset != dataset:
            return self
        here, there = (f'"{self.project}"."{name}".' for name in (dataset, other))
        return replace(self, dataset=other, text=self.text.replace(here, there))

    def put_into(self, sql: str, values: Mapping[str, Any]) -> str:
        """
        Return the statement with all tables in the place of the one.

        Tables that the query's bounds of the suffix exclude are not read, but the last
        one's columns are there in any case.

        Raises:
            BigQueryError: There is no such table.
        """
        from local_bigquery.catalog import names
        from local_bigquery.engine import database
        from local_bigquery.errors import BigQueryError

        prefix = self.name.rstrip("*")
        matched = [
            (name, kind)
            for name, kind, _ in database.objects(self.project, self.dataset)
            if name.startswith(prefix)
        ]
        tables = [name for name, _ in matched]
        if views := [name for name, kind in matched if kind != "TABLE"]:
            label = names.label(self.project, self.dataset, views[0])
            raise BigQueryError(
                "invalidQuery",
                f"Views cannot be queried through prefix. Matched views are: {label}",
            )
        if not tables:
            label = names.label(self.project, self.dataset, self.name)
            raise BigQueryError("invalid", f"{label} does not match any table.")

        def rows(name: str) -> str:
            suffix = self.text.replace(f"'{self.mark}'", f"'{name[len(prefix) :]}'")
            return suffix.replace(f'"{self.mark}"', f'"{name}"')

        chosen = [
            name
            for name in tables
            if all(allows(values, name[len(prefix) :]) for allows in self.bounds)
        ]
        selects = [rows(name) for name in chosen]
        if tables[-1] not in chosen:
            selects.append(f"{rows(tables[-1])} WHERE FALSE")
        return sql.replace(self.text, " UNION ALL BY NAME ".join(selects))


def put_all(sql: str, wildcards: Sequence[Wildcard], values: Mapping[str, Any]) -> str:
    """Return a translated statement with the tables of all its wildcards."""
    for wildcard in wildcards:
        sql = wildcard.put_into(sql, values)
    return sql


def union_wildcards() -> None:
    """
    Have a translation note its wildcards, and the tables put in before it runs.

    The emulator takes a distinct union by position: it drops an event that was
    exported twice, and fails where a newer table has one more column. It translates a
    year's tables one by one, for each period anew.
    """
    from local_bigquery.catalog import names
    from local_bigquery.grpc import read
    from local_bigquery.sql import rules, script
    from local_bigquery.sql.dialect import DuckDBDialect
    from sqlglot import exp

    def star(column: Any, table: str) -> Any:
        """Return the star of ``*`` or ``table.*``, None for any other column."""
        if isinstance(column, exp.Column) and column.table in ("", table):
            column = column.this
        return column if isinstance(column, exp.Star) else None

    def wildcard(node: Any, context: Any) -> Any:
        if not isinstance(node, exp.Table) or not node.name.endswith("*"):
            return node
        project, dataset, _ = names.reference(
            node, context.project_id, context.dataset_id
        )
        query = node.find_ancestor(exp.Select)
        for column in query.expressions if query is not None else []:
            every = star(column, node.alias_or_name)
            if every is not None:
                every.append("except_", exp.column("_TABLE_SUFFIX"))

        mark = f"*{len(context.wildcards)}"
        suffix = exp.Alias(
            this=exp.Literal.string(mark), alias=exp.to_identifier("_TABLE_SUFFIX")
        )
        select = exp.Select(expressions=[exp.Star(), suffix]).from_(
            exp.table_(mark, db=dataset, catalog=project, quoted=True)
        )
        bounds = tuple(node.meta.get("suffix_bounds", ()))
        text = select.sql(dialect=DuckDBDialect)
        context.wildcards += (
            Wildcard(project, dataset, node.name, bounds, mark, text),
        )
        alias = node.args.get("alias") or exp.TableAlias(
            this=exp.to_identifier(node.name.rstrip("*") or node.name, quoted=True)
        )
        return exp.Subquery(this=select, alias=alias)

    rules.NODE_RULES[rules.NODE_RULES.index(rules.tables.wildcard_table)] = wildcard
    translate = script.translate

    def translate_whole(tree: Any, context: Any) -> tuple[str, dict[str, Any]]:
        """Translate what runs at once and is not remembered."""
        context.wildcards = ()
        sql, bound = translate(tree, context)
        return put_all(sql, context.wildcards, context.values), bound

    script.translate = read.translate = translate_whole
