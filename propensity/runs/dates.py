"""
Rows of many dates, in as many statements as the limit of a statement asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from propensity.errors import QueryTooExpensive
from propensity.runs.run import Run


def rows_of_dates(
    run: Run, name: str, as_ofs: Sequence[date], *, maximum_rows: int, **values: object
) -> pa.Table:
    """
    Return a statement's rows of as-of dates.

    BigQuery refuses, free of charge, a statement that would bill more than the limit.
    Half of the dates read fewer days of the source, and so are asked for by themselves.

    Args:
        name: Of a statement of the use case, which samples ``maximum_rows`` rows.
        values: Its parameters, beside those of the dates.

    Raises:
        QueryTooExpensive: One date alone bills more.
    """
    window = run.use_case.window(run.settings, as_ofs, today=run.as_of)
    parameters = {**window, **values, "maximum_rows": maximum_rows}
    try:
        return run.warehouse.table(run.use_case.statement(name), parameters)
    except QueryTooExpensive:
        if len(as_ofs) == 1:
            raise
    run.log("INFO", f"{name} of {len(as_ofs)} dates is read in two statements")
    ordered = sorted(as_ofs)
    middle = len(ordered) // 2
    halves = []
    for dates in (ordered[:middle], ordered[middle:]):
        rows = rows_of_dates(run, name, dates, maximum_rows=maximum_rows // 2, **values)
        halves.append(rows)
    return pa.concat_tables(halves)
