"""
The uplift of audiences: contacted users beside their control group, week by week.

Results have a scope, a name and a period: an audience by itself, or the programme, all
audiences of a control group together, in which a user counts once, at the first date in
any of them. So an audience is a programme of one. A programme has rows of all its weeks
and of those of a quarter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from propensity.audience.result import earned_by
from propensity.measures.uplift import errors_at, figures, progress_at
from propensity.runs.evaluate import CATCH_UP
from propensity.runs.export import status
from propensity.tables.audiences import (
    ALL,
    AUDIENCE_LIFT,
    PROGRAMME_LIFT,
    Figures,
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
class History:
    """
    The weeks of an audience, or of a control group: an audience is a programme of one.

    Attributes:
        open: The share of the control group by week whose row is written (again).
        until: The last day of a week's plan; None for a year.
        sums: Of the new members of each week.
        final: Weeks without an outcome that is missing: in a run for an earlier date,
            too.
        audiences: Those with members.
    """

    open: dict[date, float | None] = field(default_factory=dict)
    until: dict[date, date | None] = field(default_factory=dict)
    sums: dict[date, list[ProgrammeSums]] = field(default_factory=dict)
    final: set[date] = field(default_factory=set)
    audiences: set[str] = field(default_factory=set)

    @property
    def share(self) -> float:
        """The share of the control group."""
        share = self.open[min(self.open)]
        return 0.0 if share is None else share

    def write_again(self, row: Mapping[str, Any]) -> None:
        """
        Note a week of an audience whose row is written.

        A week is planned until its audiences end: for a year where one has no end.
        """
        week = row["week"]
        until = row["planned_until"]
        longest = self.until.setdefault(week, until)
        if longest is None or until is None:
            self.until[week] = None
        else:
            self.until[week] = max(longest, until)
        self.open[week] = row["control_share"]
        self.audiences.add(row["audience"])
        self.sums[week] = []

    def remember(self, row: Uplift | Programme, until: date | None) -> None:
        """Note a row that is stored; sums of a week that is open are read again."""
        sums = [ProgrammeSums.of(each.columns()) for each in row.sums]
        self.sums.setdefault(row.week, sums)
        self.until.setdefault(row.week, until)
        if row.status == "final":
            self.final.add(row.week)


@dataclass(frozen=True, kw_only=True)
class WeekFigures:
    """Figures of all weeks up to one, with their sums."""

    week: date
    status: str
    so_far: Sequence[ProgrammeSums]
    figures: Figures


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
    newest = run.as_of - run.timeframe.horizon
    window = {"since": newest - CATCH_UP, "until": newest}
    histories = defaultdict[tuple[str, str], History](History)
    for row in run.rows("result_weeks", **window):
        histories[row["scope"], row["name"]].write_again(row)
    if not histories:
        return []
    for row in run.read(Uplift, "audience_lifts", **EVER):
        if (AUDIENCE, row.audience) in histories:
            histories[AUDIENCE, row.audience].remember(row, row.planned_until)
    for row in run.read(Programme, "programme_lifts", **EVER):
        if row.period == ALL and (GROUP, row.control_group) in histories:
            history = histories[GROUP, row.control_group]
            history.remember(row, None)
            history.audiences.update(row.audiences)
    _add_sums(run, histories)
    rows = list[Uplift | Programme]()
    for scope, name in sorted(histories):
        rows += _rows_of(run, scope, name, histories[scope, name])
    audiences = [row for row in rows if isinstance(row, Uplift)]
    run.append(AUDIENCE_LIFT, audiences)
    run.append(PROGRAMME_LIFT, [row for row in rows if isinstance(row, Programme)])
    return audiences


def _add_sums(run: Run, histories: Mapping[tuple[str, str], History]) -> None:
    """Add the sums of open weeks; none where all were members before."""
    as_ofs = set[date]().union(*(history.open for history in histories.values()))
    window = run.use_case.window(run.settings, sorted(as_ofs), today=run.as_of)
    sql = run.use_case.statement("audience_outcomes")
    for row in run.warehouse.rows(sql, window):
        history = histories.get((row["scope"], row["name"]))
        if history is not None and row["week"] in history.open:
            history.sums[row["week"]].append(ProgrammeSums.of(dict(row)))


def _rows_of(
    run: Run, scope: str, name: str, history: History
) -> Iterator[Uplift | Programme]:
    """Yield rows from the first open week on: of a control group by quarter, too."""
    weeks = sorted(history.sums)
    periods = {ALL: _looks(run, history, weeks, first=weeks[0], until=history.until)}
    by_quarter = defaultdict[Quarter, list[date]](list)
    for week in weeks if scope == GROUP else ():
        by_quarter[quarter_of(week)].append(week)
    for quarter, of_quarter in by_quarter.items():
        until = dict.fromkeys(of_quarter, quarter.last)
        looks = _looks(run, history, of_quarter, first=quarter.first, until=until)
        periods[quarter.name] = looks
    for period, looks in periods.items():
        for look in looks:
            sums = history.sums[look.week]
            shared: dict[str, Any] = {
                "use_case": run.use_case.name,
                "week": look.week,
                "week_end": look.week + run.timeframe.horizon,
                "status": look.status,
                "run_id": run.run_id,
                "evaluated_at": run.began_at,
                "control_share": history.share,
                "figures": look.figures,
            }
            if scope == AUDIENCE:
                yield Uplift(
                    audience=name,
                    planned_until=history.until[look.week],
                    sums=[GroupSums.of(group.columns()) for group in sums],
                    **shared,
                )
            else:
                yield Programme(
                    control_group=name,
                    period=period,
                    audiences=sorted(history.audiences),
                    sums=sums,
                    earned=earned_by(look.figures, look.so_far),
                    **shared,
                )


def _looks(
    run: Run,
    history: History,
    weeks: Sequence[date],
    *,
    first: date,
    until: Mapping[date, date | None],
) -> Iterator[WeekFigures]:
    """
    Yield the figures of weeks from the first open one on, each of all weeks so far.

    They are final once those of all weeks are.

    Args:
        first, until: First and last day of what is planned; None for a year.
    """
    so_far = list[ProgrammeSums]()
    is_whole = True
    for week in weeks:
        so_far += history.sums[week]
        if week < min(history.open):
            continue
        is_known = week in history.final
        is_whole = is_whole and (is_known or status(run, week) == "final")
        if not so_far:
            continue
        is_final = is_known or is_whole
        progress = progress_at(week, first=first, until=until.get(week))
        yield WeekFigures(
            week=week,
            status="final" if is_final else "provisional",
            so_far=list(so_far),
            figures=figures(
                so_far,
                control_share=history.share,
                errors=errors_at(progress),
                is_final=is_final,
            ),
        )


def shown_uplifts(rows: Sequence[Uplift]) -> dict[str, object]:
    """Return rows for an answer, without the sums; nothing where there are none."""
    shown = [row.columns() for row in rows]
    for row in shown:
        del row["sums"], row["run_id"]
    return {"audiences": shown} if shown else {}
