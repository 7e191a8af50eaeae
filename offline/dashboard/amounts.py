"""Expected value of a use case's rows: what users were promised to pay, and paid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from offline.dashboard.parts import (
    Chart,
    Tile,
    day,
    number,
    over_time,
)
from offline.dashboard.reading import Row
from propensity.pages.series import Series
from propensity.pages.words import compact, decimals, money, plural, present

# Days of outcomes of most use cases.
_WEEK = 7

# Columns of the table of weeks, where a use case has amounts.
COLUMNS = ("Promised to be paid", "Paid", "Paid over promised")


def valued(weeks: Sequence[Row]) -> list[Row]:
    """Return the weeks that have sums of money, in their order."""
    return [row for row in weeks if row["value_promised"] is not None]


def pending(weeks: Sequence[Row], published: Sequence[Row]) -> list[Row]:
    """
    Return the newest publication, if it promises a sum and has no outcomes yet.

    Args:
        weeks: Rows of what served.
        published: Publications, newest first.
    """
    evaluated = {row["week"] for row in weeks}
    return [
        row
        for row in published[:1]
        if row["value_promised"] is not None and row["as_of"] not in evaluated
    ]


def sentences(
    weeks: Sequence[Row], published: Sequence[Row] = (), *, horizon_days: int = 7
) -> Iterator[tuple[str, str]]:
    """
    Yield what users are promised to pay, and what they paid of earlier promises.

    Args:
        weeks: Rows of what served, newest first.
        published: Publications, newest first.
        horizon_days: Days that a promise covers.

    Yields:
        The promise of the newest publication, the newest week with outcomes, and all
        weeks whose figures are final: a week's sum alone says little. Each with its
        statement; nothing where there are no amounts.
    """
    for row in pending(weeks, published):
        yield (
            f"In the {plural(horizon_days, 'day')} from {row['as_of']} on users are "
            f"promised to pay {money(number(row['value_promised']))} in all.",
            "publications",
        )
    with_sums = valued(weeks)
    if not with_sums:
        return
    newest = with_sums[0]
    promised, paid = number(newest["value_promised"]), number(newest["value_observed"])
    text = (
        f"In the {_time(newest)} users were promised to pay "
        f"{money(promised)} in all, and paid {money(paid)}"
    )
    if present(share := _share(newest)):
        text += f", {decimals(2)(share)} of it"
    yield f"{text}.", "evaluations"
    final = _apart([row for row in with_sums if row["status"] == "final"])
    expected = sum(float(row["value_promised"]) for row in final)
    if len(final) > 1 and expected > 0:
        came = sum(float(row["value_observed"] or 0) for row in final)
        yield (
            f"Over {_times(final)} {money(expected)} were promised, "
            f"and {money(came)} came: {decimals(2)(came / expected)} of it.",
            "evaluations",
        )


def _days(row: Row) -> int:
    """Return the number of days whose outcomes a row has: the horizon."""
    return int((row["week_end"] - row["week"]).days)


def _time(row: Row) -> str:
    """Name the time of a row's outcomes, which is a week of most use cases."""
    if _days(row) == _WEEK:
        return f"week of {row['week']}"
    return f"{plural(_days(row), 'day')} from {row['week']} on"


def _times(rows: Sequence[Row]) -> str:
    """Count final rows."""
    days = {_days(row) for row in rows}
    if days == {_WEEK}:
        return plural(len(rows), "final week")
    of = f" of {plural(days.pop(), 'day')}" if len(days) == 1 else ""
    return f"{plural(len(rows), 'final span')}{of}"


def _apart(weeks: Sequence[Row]) -> list[Row]:
    """
    Return weeks, newest first, that add up: no purchase and no promise is in two.

    Where somebody publishes more often than once a horizon, weeks that share days with
    a newer one are left out; where less often, the weeks between, whose probabilities
    were published for another week.
    """
    chosen: list[Row] = []
    for row in weeks:
        if row["prediction_as_of"] != row["week"]:
            continue
        if not chosen or row["week_end"] <= chosen[-1]["week"]:
            chosen.append(row)
    return chosen


def tiles(weeks: Sequence[Row], published: Sequence[Row] = ()) -> list[Tile]:
    """
    Return the sum that waits for its outcomes, and those of the newest week.

    None without amounts.
    """
    return [
        *(
            Tile(
                name=f"Promised from {row['as_of']} on",
                value=compact(number(row["value_promised"])),
                note="",
                source="publications.value_promised",
            )
            for row in pending(weeks, published)
        ),
        *(
            Tile(
                name=f"Promised and paid, {_time(row)}",
                value=f"{compact(number(row['value_promised']))} / "
                f"{compact(number(row['value_observed']))}",
                note=f"paid over promised {decimals(2)(_share(row))}",
                source="evaluations.value_observed",
            )
            for row in valued(weeks)[:1]
        ),
    ]


def _share(row: Row) -> float | None:
    """Return what was paid over what was promised; None where nothing was."""
    promised, paid = number(row["value_promised"]), number(row["value_observed"])
    return paid / promised if present(promised) and promised and present(paid) else None


def cells(row: Row) -> tuple[str, ...]:
    """Return what a week's row of a table has under ``COLUMNS``."""
    return (
        money(number(row["value_promised"])),
        money(number(row["value_observed"])),
        decimals(2)(_share(row)),
    )


def charts(weeks: Sequence[Row], published: Sequence[Row] = ()) -> list[Chart]:
    """
    Return the sums by week, and paid over promised; none without amounts.

    Args:
        weeks: Rows of what served, oldest first.
        published: Publications, newest first.
    """
    if not valued(weeks):
        return []
    times = [day(row["week"]) for row in weeks]
    further = pending(weeks, published)
    promised = [number(row["value_promised"]) for row in (*weeks, *further)]
    paid = [number(row["value_observed"]) for row in weeks]
    return [
        over_time(
            "Promised and paid",
            "evaluations.value_promised",
            [
                Series(name="promised", values=promised, style="guide"),
                Series(name="paid", values=[*paid, *(None for _ in further)]),
            ],
            [*times, *(day(row["as_of"]) for row in further)],
            title="Promised and paid by week",
            caption="What users paid within the horizon; the dashed line is the sum of "
            "their expected values"
            + (", the last of which is not paid yet." if further else "."),
            write=compact,
            tell=money,
        ),
        over_time(
            "Paid over promised",
            "evaluations.value_observed",
            [
                Series(name="as promised", values=[1.0] * len(times), style="guide"),
                Series(name="paid over promised", values=[*map(_share, weeks)]),
            ],
            times,
            title="Paid over promised by week",
            caption="The dashed line is a sum that came as promised.",
            write=decimals(2),
        ),
    ]
