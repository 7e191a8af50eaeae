"""
The uplift of audiences: contacted users beside their control group, week by week.

Results have a scope, a name and a period: an audience by itself, or the programme, all
audiences of a control group together, in which a user counts once, at the first date in
any of them. So an audience is a programme of one. A programme has rows of all its weeks
and of those of a quarter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from propensity.measures.gain import gained
from propensity.measures.intervals import in_columns
from propensity.measures.looks import errors_at, progress_at
from propensity.measures.uplift import figures
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import missing_label_days, status
from propensity.tables.audiences import (
    AUDIENCE_LIFT,
    PROGRAMME_LIFT,
    Earned,
    Figures,
    GroupSums,
    Programme,
    Uplift,
)
from propensity.timeframe import ALL_WEEKS, DAY

if TYPE_CHECKING:
    from propensity.runs.run import Run


class Quarter(NamedTuple):
    """Three months of a year, by their first and last day."""

    name: str
    first: date
    last: date


def quarter_of(day: date) -> Quarter:
    """Return the quarter of a day, such as 2026-Q1."""
    number = (day.month + 2) // 3
    first = date(day.year, 3 * number - 2, 1)
    # It is in the first month of the next quarter.
    later = first + timedelta(days=95)
    return Quarter(f"{day.year}-Q{number}", first, later.replace(day=1) - DAY)


# An audience by itself, and all audiences of a control group together.
AUDIENCE = "audience"
GROUP = "control_group"


@dataclass(kw_only=True)
class Week:
    """
    A week of an audience, or of a control group.

    Attributes:
        audiences: Those with members then.
        until: The last day of what is planned; None for a year.
        share: Of the control group.
        is_open: Whether its row is written (again).
        is_final: Whether it has a final row: of a run for an earlier date, too.
        sums: Of its new members.
    """

    audiences: Sequence[str] = ()
    until: date | None = None
    share: float = 0.0
    is_open: bool = False
    is_final: bool = False
    sums: list[GroupSums] = field(default_factory=list)


# By the prediction date of new members.
Weeks = dict[date, Week]


def publish_uplifts(run: Run) -> list[Uplift]:
    """
    Append the uplift of weeks without final metrics: of audiences and of programmes.

    Nothing where the use case has no audience, or scores events. Only the users who
    became members in these weeks are read; of earlier weeks there are sums. Figures are
    of all users so far: those after an open week change with it.

    Returns:
        The rows of audiences.
    """
    if not run.use_case.kind.is_published:
        return []
    histories = _open_weeks(run)
    if not histories:
        return []
    for uplift in run.read(Uplift, "audience_lifts", until=date.max):
        weeks = histories.get((AUDIENCE, uplift.audience))
        _remember(run, weeks, uplift, [uplift.audience], until=uplift.planned_until)
    for programme in run.read(Programme, "programme_lifts", until=date.max):
        if programme.period == ALL_WEEKS:
            weeks = histories.get((GROUP, programme.control_group))
            _remember(run, weeks, programme, programme.audiences)
    rows = list[Uplift | Programme]()
    for (scope, name), weeks in sorted(histories.items()):
        for quarter, days in _periods(scope, weeks):
            rows += _rows_of(run, scope, name, weeks, days, quarter=quarter)
    audiences = [row for row in rows if isinstance(row, Uplift)]
    run.append(AUDIENCE_LIFT, audiences)
    run.append(PROGRAMME_LIFT, [row for row in rows if isinstance(row, Programme)])
    return audiences


def _open_weeks(run: Run) -> dict[tuple[str, str], Weeks]:
    """Return the weeks to write, with sums of their new members, by scope and name."""
    newest = run.as_of - run.timeframe.horizon
    histories = defaultdict[tuple[str, str], Weeks](dict)
    as_ofs = set[date]()
    for row in run.rows("result_weeks", since=newest - CATCH_UP, until=newest):
        as_ofs.add(row["week"])
        histories[row["scope"], row["name"]][row["week"]] = Week(
            audiences=row["audiences"],
            until=row["planned_until"],
            share=row["control_share"],
            is_open=True,
        )
    if not histories:
        return {}
    window = run.use_case.window(run.settings, sorted(as_ofs), today=run.as_of)
    sql = run.use_case.statement("audience_outcomes")
    for row in run.warehouse.rows(sql, window):
        week = histories.get((row["scope"], row["name"]), {}).get(row["week"])
        # Another audience may have the date open.
        if week is not None:
            week.sums.append(GroupSums.of(dict(row)))
    return histories


def _remember(
    run: Run,
    weeks: Weeks | None,
    row: Uplift | Programme,
    audiences: Sequence[str],
    *,
    until: date | None = None,
) -> None:
    """Note a stored row; the sums of a week that is open are read again."""
    if weeks is not None:
        stored = Week(audiences=audiences, until=until, sums=list(row.sums))
        week = weeks.setdefault(row.week, stored)
        week.is_final = row.status == "final"
        # Of days that have expired since, outcomes can't be read again.
        if week.is_final and missing_label_days(run, row.week, run.missing_days):
            week.sums = list(row.sums)


def _periods(scope: str, weeks: Weeks) -> Iterator[tuple[Quarter | None, list[date]]]:
    """Yield all days, without a quarter; of a control group those by quarter, too."""
    days = sorted(weeks)
    yield None, days
    if scope == GROUP:
        for quarter, of_quarter in groupby(days, quarter_of):
            yield quarter, list(of_quarter)


def first_open(weeks: Weeks) -> date:
    """Return the first week to write; its share of the control group is that of all."""
    return min(day for day, week in weeks.items() if week.is_open)


def _rows_of(
    run: Run,
    scope: str,
    name: str,
    weeks: Weeks,
    days: Sequence[date],
    *,
    quarter: Quarter | None,
) -> Iterator[Uplift | Programme]:
    """
    Yield rows of days from the first open week on, each of all users so far.

    They are final once those of all weeks are.
    """
    first = first_open(weeks)
    share = weeks[first].share
    audiences = set(chain.from_iterable(week.audiences for week in weeks.values()))
    so_far = list[GroupSums]()
    is_whole = True
    for day in days:
        week = weeks[day]
        so_far += week.sums
        if day < first:
            continue
        is_whole = is_whole and (week.is_final or status(run, day) == "final")
        # All were members before.
        if not so_far:
            continue
        progress = progress_at(
            day,
            first=quarter.first if quarter else days[0],
            until=quarter.last if quarter else week.until,
        )
        is_final = week.is_final or is_whole
        errors = errors_at(progress)
        shown = figures(so_far, control_share=share, errors=errors, is_final=is_final)
        shared: dict[str, Any] = {
            "use_case": run.use_case.name,
            "week": day,
            "week_end": day + run.timeframe.horizon,
            "status": "final" if is_final else "provisional",
            "run_id": run.run_id,
            "evaluated_at": run.began_at,
            "control_share": share,
            "sums": week.sums,
            "figures": shown,
            "earned": earned_by(shown, so_far),
        }
        if scope == AUDIENCE:
            yield Uplift(audience=name, planned_until=week.until, **shared)
        else:
            yield Programme(
                control_group=name,
                period=quarter.name if quarter else ALL_WEEKS,
                audiences=sorted(audiences),
                **shared,
            )


def earned_by(shown: Figures, sums: Iterable[GroupSums]) -> Earned:
    """Return what contacting brought, by figures and the sums that they are of."""
    treated = [group for group in sums if not group.is_control]
    cost = _total([group.cost for group in treated])
    margin = _total([group.margins for group in treated])
    if margin is not None:
        margin = margin / shown.treated_users if shown.treated_users else None
    gain = gained(shown.columns(), cost=cost, margin=margin)
    return Earned(
        **in_columns("added_buyers", gain.buyers),
        **in_columns("brought", gain.amount),
        cost=cost,
        margin=margin,
        **in_columns("profit", gain.profit),
    )


def _total(values: Sequence[Any]) -> Any:
    """Return a sum; None if one of the values isn't known."""
    return None if None in values else sum(values)


def shown_uplifts(rows: Sequence[Uplift]) -> dict[str, object]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [row.columns() for row in rows]
    for row in shown:
        del row["sums"], row["run_id"]
    return {"audiences": shown} if shown else {}
