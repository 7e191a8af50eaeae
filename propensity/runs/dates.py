"""
Rows of many dates, in as many statements as the limit of a statement asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar

import pyarrow as pa

from propensity.errors import QueryTooExpensive
from propensity.runs.run import Run

Result = TypeVar("Result")


def rows_of_dates(
    run: Run, name: str, as_ofs: Sequence[date], *, maximum_rows: int, **values: object
) -> pa.Table:
    """
    Return a statement's rows of as-of dates.

    Args:
        name: Of a statement of the use case, which samples ``maximum_rows`` rows.
        values: Its parameters, beside those of the dates.

    Raises:
        QueryTooExpensive: One date alone bills more.
    """

    def read(dates: Sequence[date]) -> pa.Table:
        window = run.use_case.window(run.settings, dates, today=run.as_of)
        share = maximum_rows * len(dates) // len(as_ofs)
        parameters = {**window, **values, "maximum_rows": share}
        return run.warehouse.table(run.use_case.statement(name), parameters)

    tables = in_statements(as_ofs, read)
    if len(tables) > 1:
        text = f"{name} of {len(as_ofs)} dates was read in {len(tables)} statements"
        run.log("INFO", text)
    return pa.concat_tables(tables)


def in_statements(
    as_ofs: Sequence[date], read: Callable[[Sequence[date]], Result]
) -> list[Result]:
    """
    Return what a statement reads of dates, or what each of several statements does.

    BigQuery refuses, free of charge, a statement that would bill more than the limit.
    Half of the dates read fewer days of the source, and so are asked for by themselves.

    Raises:
        QueryTooExpensive: One date alone bills more.
    """
    try:
        return [read(as_ofs)]
    except QueryTooExpensive:
        if len(as_ofs) == 1:
            raise
    ordered = sorted(as_ofs)
    middle = len(ordered) // 2
    return in_statements(ordered[:middle], read) + in_statements(ordered[middle:], read)
