"""
The uplift of audiences: contacted users beside their control group, week by week.

Results have a scope, a name and a period: an audience by itself, or the programme, all
audiences of a control group together, in which a user counts once, at the first date in
any of them. So an audience is a programme of one. A programme has rows of all its weeks
and of those of a quarter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any

from propensity.audience.result import earned_by
from propensity.measures.uplift import errors_at, figures, progress_at
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import status
from propensity.tables.audiences import (
    ALL,
    AUDIENCE_LIFT,
    PROGRAMME_LIFT,
    GroupSums,
    Programme,
    ProgrammeSums,
    Uplift,
)
from propensity.timeframe import DAY

if TYPE_CHECKING:
    from propensity.runs.run import Run

EVER = {"since": date(1970, 1, 1), "until": date(9999, 1, 1)}


@dataclass(frozen=True)
class Quarter:
    """Three months of a year, by their first and last day."""

    name: str
    first: date
    last: date


def quarter_of(day: date) -> Quarter:
    """Return the quarter of a day, such as 2026-Q1."""
    number = (day.month - 1) // 3
    first = date(day.year, 3 * number + 1, 1)
    following = date(day.year + (number == 3), (3 * number + 3) % 12 + 1, 1)
    return Quarter(f"{day.year}-Q{number + 1}", first, following - DAY)


# An audience by itself, and all audiences of a control group together.
AUDIENCE = "audience"
GROUP = "control_group"


@dataclass(kw_only=True)
class Week:
    """
    A week of an audience, or of a control group.

    Attributes:
        until: The last day of what is planned; None for a year.
        share: Of the control group.
        is_open: Whether its row is written (again).
        is_final: Whether it has a final row: of a run for an earlier date, too.
        sums: Of its new members.
    """

    until: date | None = None
    share: float = 0.0
    is_open: bool = False
    is_final: bool = False
    sums: list[ProgrammeSums] = field(default_factory=list)


@dataclass
class History:
    """The weeks of an audience, or of a control group with the audiences of it."""

    weeks: dict[date, Week] = field(default_factory=dict)
    audiences: set[str] = field(default_factory=set)

    @property
    def first_open(self) -> date:
        return min(day for day, week in self.weeks.items() if week.is_open)

    @property
    def share(self) -> float:
        """The share of the control group."""
        return self.weeks[self.first_open].share

    def remember(self, row: Uplift | Programme) -> None:
        """Note a stored row; the sums of a week that is open are read again."""
        week = self.weeks.get(row.week)
        if week is None:
            sums = [ProgrammeSums.of(group.columns()) for group in row.sums]
            week = self.weeks[row.week] = Week(sums=sums)
            if isinstance(row, Uplift):
                week.until = row.planned_until
        week.is_final = row.status == "final"
        if isinstance(row, Programme):
            self.audiences.update(row.audiences)


def publish_uplifts(run: Run) -> list[Uplift]:
    """
    Append the uplift of weeks without final metrics: of audiences and of programmes.

    Nothing where the use case has no audience, or scores events. Only the users who
    became members in these weeks are read; of earlier weeks there are sums. Figures are
    of all users so far: those after an open week change with it.

    Returns:
        The rows of audiences.
    """
    if run.use_case.scores_events:
        return []
    histories = _open_weeks(run)
    if not histories:
        return []
    for uplift in run.read(Uplift, "audience_lifts", **EVER):
        if (AUDIENCE, uplift.audience) in histories:
            histories[AUDIENCE, uplift.audience].remember(uplift)
    for programme in run.read(Programme, "programme_lifts", **EVER):
        key = GROUP, programme.control_group
        if programme.period == ALL and key in histories:
            histories[key].remember(programme)
    rows = list[Uplift | Programme]()
    for (scope, name), history in sorted(histories.items()):
        rows += _rows_of(run, scope, name, history)
    audiences = [row for row in rows if isinstance(row, Uplift)]
    run.append(AUDIENCE_LIFT, audiences)
    run.append(PROGRAMME_LIFT, [row for row in rows if isinstance(row, Programme)])
    return audiences


def _open_weeks(run: Run) -> dict[tuple[str, str], History]:
    """Return the weeks to write, with sums of their new members, by scope and name."""
    newest = run.as_of - run.timeframe.horizon
    histories = defaultdict[tuple[str, str], History](History)
    as_ofs = set[date]()
    for row in run.rows("result_weeks", since=newest - CATCH_UP, until=newest):
        as_ofs.add(row["week"])
        history = histories[row["scope"], row["name"]]
        history.audiences.update(row["audiences"])
        history.weeks[row["week"]] = Week(
            until=row["planned_until"], share=row["control_share"], is_open=True
        )
    if not histories:
        return {}
    window = run.use_case.window(run.settings, sorted(as_ofs), today=run.as_of)
    sql = run.use_case.statement("audience_outcomes")
    for row in run.warehouse.rows(sql, window):
        key = row["scope"], row["name"]
        # Another audience may have the date open.
        if key in histories and row["week"] in histories[key].weeks:
            sums = ProgrammeSums.of(dict(row))
            histories[key].weeks[row["week"]].sums.append(sums)
    return histories


def _rows_of(
    run: Run, scope: str, name: str, history: History
) -> Iterator[Uplift | Programme]:
    """Yield rows from the first open week on: of a control group by quarter, too."""
    weeks = sorted(history.weeks)
    yield from _rows_of_period(run, scope, name, history, weeks)
    if scope == GROUP:
        for quarter, of_quarter in groupby(weeks, quarter_of):
            yield from _rows_of_period(
                run, scope, name, history, list(of_quarter), quarter=quarter
            )


def _rows_of_period(
    run: Run,
    scope: str,
    name: str,
    history: History,
    weeks: Sequence[date],
    *,
    quarter: Quarter | None = None,
) -> Iterator[Uplift | Programme]:
    """
    Yield rows of the weeks of a quarter, or of all, each of all users so far.

    They are final once those of all weeks are.
    """
    first_open = history.first_open
    share = history.share
    so_far = list[ProgrammeSums]()
    is_whole = True
    for day in weeks:
        week = history.weeks[day]
        so_far += week.sums
        if day < first_open:
            continue
        is_whole = is_whole and (week.is_final or status(run, day) == "final")
        # All were members before.
        if not so_far:
            continue
        progress = progress_at(
            day,
            first=quarter.first if quarter else weeks[0],
            until=quarter.last if quarter else week.until,
        )
        is_final = week.is_final or is_whole
        shown = figures(
            so_far,
            control_share=share,
            errors=errors_at(progress),
            is_final=is_final,
        )
        shared: dict[str, Any] = {
            "use_case": run.use_case.name,
            "week": day,
            "week_end": day + run.timeframe.horizon,
            "status": "final" if is_final else "provisional",
            "run_id": run.run_id,
            "evaluated_at": run.began_at,
            "control_share": share,
            "figures": shown,
        }
        if scope == AUDIENCE:
            yield Uplift(
                audience=name,
                planned_until=week.until,
                sums=[GroupSums.of(group.columns()) for group in week.sums],
                **shared,
            )
        else:
            yield Programme(
                control_group=name,
                period=quarter.name if quarter else ALL,
                audiences=sorted(history.audiences),
                sums=week.sums,
                earned=earned_by(shown, so_far),
                **shared,
            )


def shown_uplifts(rows: Sequence[Uplift]) -> dict[str, object]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [row.columns() for row in rows]
    for row in shown:
        del row["sums"], row["run_id"]
    return {"audiences": shown} if shown else {}
