"""Statements that the emulator reads otherwise than BigQuery."""

from __future__ import annotations

from typing import Any


def know_ranges() -> None:
    """
    Let a table be partitioned by ranges of integers.

    The emulator has put its own functions in the place of BigQuery's by the time that
    it looks for RANGE_BUCKET, and takes the range for a day.
    """
    from local_bigquery.catalog import ddl
    from sqlglot import exp

    partitioning = ddl._partitioning

    def of_range(node: Any) -> dict[str, Any]:
        call = node.this
        if not isinstance(call, exp.Anonymous) or not str(call.this).endswith(
            "range_bucket"
        ):
            return dict(partitioning(node))
        column, array = call.expressions
        bounds = [one.name for one in array.expressions]
        names = ("start", "end", "interval")
        range_ = dict(zip(names, bounds, strict=True))
        return {"rangePartitioning": {"field": column.name, "range": range_}}

    ddl._partitioning = of_range


def bind_inner_parameters() -> None:
    """
    Let EXECUTE IMMEDIATE give a parameter the name that one of its job has.

    The emulator binds the job's value as well, and DuckDB refuses what it cannot use.
    """
    from local_bigquery.sql import rules
    from sqlglot import exp

    parameter = rules.parameters.parameter

    def innermost(node: Any, context: Any) -> Any:
        bound = parameter(node, context)
        if isinstance(node, exp.Parameter):
            name = node.name
            if f"${name}" not in context.parameters.get(name, ""):
                context.used.discard(name)
        return bound

    rules.NODE_RULES[rules.NODE_RULES.index(parameter)] = innermost


def export_to_buckets_only() -> None:
    """Refuse to export to anything but ``gs://``; the emulator would write a file."""
    from local_bigquery.errors import BigQueryError
    from local_bigquery.jobs import extract

    read_options = extract.export_config

    def export_config(tree: Any) -> Any:
        config = read_options(tree)
        if not config.destinationUri.startswith("gs://"):
            raise BigQueryError(
                "invalidQuery",
                "Option 'uri' must be a literal that begins with gs:// in EXPORT DATA "
                f"OPTIONS, not {config.destinationUri}",
            )
        return config

    extract.export_config = export_config
