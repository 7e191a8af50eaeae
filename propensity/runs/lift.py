"""
The lift of audiences as a run: treated users against those held out, week by week.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from propensity.audience.lift import Week, figures
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import status
from propensity.schema import Row
from propensity.tables.audiences import AUDIENCE_LIFT, GroupSums, Lift

if TYPE_CHECKING:
    from propensity.runs.run import Run

Key = tuple[str, date]


class _Open(Row):
    """A row of ``audience_weeks.sql``."""

    audience: str
    week: date
    control_share: float = 0.0


class _Outcomes(GroupSums, kw_only=True):
    """A row of ``audience_outcomes.sql``."""

    audience: str
    week: date


def lifts(run: Run) -> list[Lift]:
    """
    Return the lift of weeks without final metrics, audience by audience.

    Nothing where the use case has no audience, or scores events. Only the users who
    became members in these weeks are read; of earlier weeks there are sums. Figures are
    of all users so far: those after an open week change with it.
    """
    if run.use_case.scores_events:
        return []
    newest = run.as_of - run.timeframe.horizon
    found = run.read(_Open, "audience_weeks", since=newest - CATCH_UP, until=newest)
    open_weeks = {(row.audience, row.week): row.control_share for row in found}
    if not open_weeks:
        return []
    ever = {"since": date(1970, 1, 1), "until": date(9999, 1, 1)}
    every = run.read(Lift, "audience_lifts", **ever)
    # What was mature once is so in a run for an earlier date, too.
    final = {(row.audience, row.week) for row in every if row.status == "final"}
    sums = {(row.audience, row.week): row.sums for row in every}
    sums |= _outcomes(run, open_weeks)
    rows = list[Lift]()
    for audience in sorted({name for name, _ in open_weeks}):
        rows += _of_audience(run, audience, sums, open_weeks, final=final)
    return rows


def _of_audience(
    run: Run,
    audience: str,
    sums: Mapping[Key, Sequence[GroupSums]],
    open_weeks: Mapping[Key, float],
    *,
    final: set[Key],
) -> list[Lift]:
    """Return the lift of an audience from its first open week on."""
    first = min(week for name, week in open_weeks if name == audience)
    share, weeks = open_weeks[audience, first], list[Week]()
    for (name, week), groups in sorted(sums.items(), key=lambda item: item[0]):
        if name == audience:
            is_final = (name, week) in final or status(run, week) == "final"
            weeks.append(Week(week, share, groups, is_final))
    rows = []
    for own, so_far in zip(weeks, figures(weeks), strict=True):
        if own.week >= first and (so_far.treated_users or so_far.control_users):
            row = Lift(
                use_case=run.use_case.name,
                audience=audience,
                week=own.week,
                week_end=own.week + run.timeframe.horizon,
                status="final" if own.is_final else "provisional",
                run_id=run.run_id,
                evaluated_at=run.began_at,
                control_share=share,
                sums=own.sums,
                figures=so_far,
            )
            rows.append(row)
    return rows


def _outcomes(run: Run, open_weeks: Iterable[Key]) -> dict[Key, Sequence[GroupSums]]:
    """Return sums by group of open weeks; none where all members were some before."""
    groups: dict[Key, list[GroupSums]] = {key: [] for key in open_weeks}
    weeks = sorted({week for _, week in groups})
    window = run.use_case.window(run.settings, weeks, today=run.as_of)
    sql = run.use_case.statement("audience_outcomes")
    for found in run.warehouse.rows(sql, window):
        row = _Outcomes.of(dict(found))
        if (row.audience, row.week) in groups:
            groups[row.audience, row.week].append(GroupSums.of(dict(found)))
    return {**groups}


def publish_lifts(run: Run, rows: Sequence[Lift]) -> None:
    """Append the rows of these audiences and weeks; readers see the newest of each."""
    run.append(AUDIENCE_LIFT, rows)


def answered(rows: Sequence[Lift]) -> dict[str, object]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [row.columns() for row in rows]
    for row in shown:
        del row["sums"], row["run_id"]
    return {"audiences": shown} if shown else {}
