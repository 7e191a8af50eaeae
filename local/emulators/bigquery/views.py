"""Views and wildcards: of all tables, by the names of columns."""

from __future__ import annotations

from typing import Any

from local.emulators.bigquery import suffixes

_SCHEMA = "information_schema"


def follow_views() -> None:  # noqa: PLR0915
    """
    Put a view's own text in the place of its name, each time that it is queried.

    The emulator fixes the tables of a wildcard when the view is made.
    """
    from local_bigquery.catalog import ddl, metadata, names
    from local_bigquery.models import Table
    from local_bigquery.sql import rules
    from local_bigquery.sql.translate import parse
    from sqlglot import exp

    resolve = rules.tables.resolve

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
            stored = metadata.load(Table, *reference)
            if stored is None or stored.view is None or not stored.view.query:
                continue
            if reference[1] != context.dataset_id:
                context.is_movable = False
            [body] = parse(stored.view.query)
            qualify(body, *reference[:2])
            alias = table.args.get("alias") or exp.TableAlias(
                this=exp.to_identifier(table.name, quoted=True)
            )
            table.replace(exp.Subquery(this=inline(body, context), alias=alias))
        return tree

    define = ddl._definition

    def define_qualified(tree: Any, project: str, dataset: str) -> Any:
        if tree.args.get("kind") == "VIEW" and tree.expression is not None:
            qualify(tree.expression, project, dataset)
        return define(tree, project, dataset)

    ddl._definition = define_qualified

    def some_expire() -> bool:
        return any(table.expirationTime for table in metadata.list_(Table))

    def inline_and_bound(tree: Any, context: Any) -> Any:
        tree = inline(tree, context)
        for table in tree.find_all(exp.Table):
            name = ".".join(part.name for part in table.parts).casefold()
            # Which tables there are is the catalog's, but for time; all else changes.
            is_listing = name.endswith(f"{_SCHEMA}.tables")
            if _SCHEMA in name and (not is_listing or some_expire()):
                context.is_rememberable = False
            if is_listing:
                context.is_movable = False
            if table.name.endswith("*"):
                context.is_by_values = True
                bounds = suffixes.suffix_bounds(table, context)
                table.meta["suffix_bounds"] = bounds
        return tree

    rules.STATEMENT_RULES.insert(0, inline_and_bound)


def union_wildcards() -> None:
    """
    Read ``events_*`` as all rows of all its tables, columns matched by name.

    The emulator takes a distinct union by position: it drops an event that was
    exported twice, and fails where a newer table has one more column. Its union is
    also as deep as there are tables, which a year of days makes too deep.

    Tables that the query's bounds of the suffix exclude are not read, but the last
    one's columns are there in any case.
    """
    from local_bigquery.catalog import names
    from local_bigquery.engine import database
    from local_bigquery.errors import BigQueryError
    from local_bigquery.sql import rules
    from sqlglot import exp

    def star(column: Any) -> Any:
        """Return the star of ``*`` or ``e.*``, None for any other column."""
        inner = column.this if isinstance(column, exp.Column) else column
        return inner if isinstance(inner, exp.Star) else None

    def union(selects: list[Any]) -> Any:
        if len(selects) == 1:
            return selects[0]
        middle = len(selects) // 2
        return exp.Union(
            this=union(selects[:middle]),
            expression=union(selects[middle:]),
            distinct=False,
            by_name=True,
        )

    def wildcard(node: Any, context: Any) -> Any:
        if not isinstance(node, exp.Table) or not node.name.endswith("*"):
            return node
        prefix = node.name.rstrip("*")
        project, dataset, _ = names.reference(
            node, context.project_id, context.dataset_id
        )
        tables = [
            name
            for name, kind, _ in database.objects(project, dataset)
            if kind == "TABLE" and name.startswith(prefix)
        ]
        if not tables:
            label = names.label(project, dataset, node.name)
            raise BigQueryError("invalid", f"{label} does not match any table.")
        query = node.find_ancestor(exp.Select)
        for column in query.expressions if query is not None else []:
            every = star(column)
            if every is not None and not every.args.get("except_"):
                every.set("except_", [exp.column("_TABLE_SUFFIX")])
        if query is not None and isinstance(query.parent, exp.Union):
            # In BigQuery both parts have the columns of the newest table of all.
            query.parent.set("by_name", True)

        def rows(name: str) -> Any:
            suffix = exp.Literal.string(name[len(prefix) :])
            named = exp.Alias(this=suffix, alias=exp.to_identifier("_TABLE_SUFFIX"))
            # Built as it is: a builder parses and copies, for each of a year's tables.
            return exp.Select(expressions=[exp.Star(), named]).from_(
                exp.table_(name, db=dataset, catalog=project, quoted=True), copy=False
            )

        bounds = node.meta.get("suffix_bounds", ())
        chosen = [
            name
            for name in tables
            if all(allows(name[len(prefix) :]) for allows in bounds)
        ]
        selects = [rows(name) for name in chosen]
        if tables[-1] not in chosen:
            selects.append(rows(tables[-1]).where(exp.false(), copy=False))
        alias = node.args.get("alias") or exp.TableAlias(
            this=exp.to_identifier(prefix or node.name, quoted=True)
        )
        return exp.Subquery(this=union(selects), alias=alias)

    rules.NODE_RULES[rules.NODE_RULES.index(rules.tables.wildcard_table)] = wildcard
