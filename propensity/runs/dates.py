"""
Rows of many dates, in as many statements as the limit of a statement asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from propensity.errors import QueryTooExpensive

if TYPE_CHECKING:
    from propensity.runs.reading import Reading


class Portion(NamedTuple):
    """Dates of one statement, and the bytes that it bills."""

    as_ofs: Sequence[date]
    size: float


def rows_of_dates(
    run: Reading,
    name: str,
    as_ofs: Sequence[date],
    *,
    maximum_rows: int,
    **values: object,
) -> pa.Table:
    """
    Return a statement's rows of as-of dates.

    Args:
        name: Of a statement of the use case, which samples ``maximum_rows`` rows.
        values: Its parameters, beside those of the dates.

    Raises:
        QueryTooExpensive: As of ``in_parts``.
    """
    sql = run.use_case.statement(name)

    def parameters(dates: Sequence[date]) -> dict[str, object]:
        window = run.use_case.window(run.settings, dates, today=run.as_of)
        share = maximum_rows * len(dates) // len(as_ofs)
        return {**window, **values, "maximum_rows": share}

    def size_of(dates: Sequence[date]) -> float:
        return run.warehouse.dry_run(sql, parameters(dates))

    try:
        return run.warehouse.table(sql, parameters(as_ofs))
    except QueryTooExpensive:
        at_most = run.settings.maximum_bytes_billed
        parts = in_parts(as_ofs, size_of, at_most=at_most)
    tables = [run.warehouse.table(sql, parameters(part.as_ofs)) for part in parts]
    text = f"{name} of {len(as_ofs)} dates was read in {len(tables)} statements"
    run.log("INFO", text)
    return pa.concat_tables(tables)


def in_parts(
    as_ofs: Sequence[date],
    size_of: Callable[[Sequence[date]], float],
    *,
    at_most: float,
) -> list[Portion]:
    """
    Divide dates into statements of ``at_most`` bytes each.

    Half of the dates read fewer days of the source, but more than half of these: the
    parts read some days again and again.

    Args:
        size_of: Returns the bytes of a statement of some dates, which a dry run tells.

    Raises:
        QueryTooExpensive: One date alone bills more, or the parts together twice as
            much as one statement would.
    """
    whole = Portion(sorted(as_ofs), size_of(as_ofs))
    parts = list[Portion]()
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        is_too_large = part.size > at_most
        if is_too_large and len(part.as_ofs) > 1:
            middle = len(part.as_ofs) // 2
            for half in (part.as_ofs[middle:], part.as_ofs[:middle]):
                waiting.append(Portion(half, size_of(half)))
            continue
        parts.append(part)
        total = sum(part.size for part in parts)
        if is_too_large or len(parts) > 1 and total >= 2 * whole.size:
            why = f"statements within the limit would bill {total:,.0f} or more"
            if is_too_large:
                why = f"a single date would bill {part.size:,.0f}"
            raise QueryTooExpensive(
                f"a statement of {len(as_ofs)} dates would bill {whole.size:,.0f} "
                "bytes, which is more than PROPENSITY_MAXIMUM_BYTES_BILLED, "
                f"{at_most:,.0f}, and {why}. Nothing was read",
                hint=f"Set it to {whole.size:.0f} and deploy again",
            )
    return parts
