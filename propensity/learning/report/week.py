"""
The report of an evaluated week: what happened, against what was promised.

What stands on the page is gathered here, as plain texts and charts, from rows of the
tables; the template says where it stands, and escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any

from propensity.learning.metrics import rate_interval
from propensity.learning.report import promise, weeks
from propensity.learning.report.content import (
    OF_SCORES,
    alert_costs,
    tile,
    written_interval,
)
from propensity.learning.report.selection import selection
from propensity.pages.page import filled
from propensity.pages.words import (
    DASH,
    bounded,
    cleaned,
    compact,
    count,
    decimals,
    moment,
    money,
    percent,
    plural,
    present,
    shared,
)

Row = Mapping[str, Any]

_VERDICTS = {
    "helps": "it helps",
    "harms": "it harms",
    "open": "still open",
    "too_few": "too few outcomes",
    "no_control": "nobody to compare with",
    "sample_ratio": "the groups' sizes are wrong: look how they were made",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    What a report is made of; nothing of it is about a single user.

    Attributes:
        entity: What a row is: ``user``, or the id's name of events.
        week: First day of the outcomes.
        is_daily: Whether a day is evaluated, and not a week.
        rows: The week's rows of ``ma_model_evaluation``, one of each version.
        weeks: Rows of ``weeks_to_report``, this week's among them, the oldest first.
        trained: Rows of ``trained_figures`` by version.
        alarms: Rows of ``alarms_to_report``.
        lifts: Rows of ``lifts_to_report``.
        has_read_alarms, has_read_lifts: Whether their tables could be read: no alarm is
            another thing than not knowing.
        lacked: Days of the outcomes that the export lacks.
    """

    use_case: str
    title: str
    outcome: str
    entity: str
    week: date
    is_daily: bool
    rows: Sequence[Row]
    weeks: Sequence[Row]
    trained: Mapping[int, Row]
    alarms: Sequence[Row]
    lifts: Sequence[Row]
    has_read_alarms: bool = True
    has_read_lifts: bool = True
    lacked: Sequence[date] = ()


def evaluation_page(report: Report) -> str:
    """
    Write the page of an evaluated week: what came, then how, then week over week.

    Returns:
        An HTML document without scripts or references to anything outside it.

    Raises:
        ValueError: No row of the week has figures.
    """
    safe = Report(
        **{part.name: cleaned(getattr(report, part.name)) for part in fields(Report)}
    )
    return filled(__package__, "week.html", _Week(safe).content())


class _Week:
    """The content of a report."""

    def __init__(self, report: Report) -> None:
        self.report = report
        rows = [row for row in report.rows if row.get("users")]
        if not rows:
            raise ValueError(f"no row of {report.week} has figures")
        # A day may have several versions: the one that scored most is the headline's.
        self.rows = sorted(rows, key=lambda row: -row["users"])
        self.row = self.rows[0]
        self.period = "day" if report.is_daily else "week"
        self.noun = report.entity.removesuffix("_id")
        self.who = "that" if report.is_daily else "who"
        self.trained = report.trained.get(self.row["model_version"]) or {}
        self.before = [row for row in report.weeks if row["week"] < report.week]

    def content(self) -> dict[str, Any]:
        """Return what the template reads."""
        report, row = self.report, self.row
        last = row["week_end"] - timedelta(days=1)
        is_final = row.get("status") == "final"
        return {
            "use_case": report.use_case,
            "title": report.title,
            "outcome": report.outcome,
            "noun": self.noun,
            "who": self.who,
            "period": self.period,
            "when": str(report.week)
            if self.period == "day"
            else f"{report.week} to {last}",
            "status": row.get("status") or DASH,
            "is_final": is_final,
            "lacked": [str(day) for day in report.lacked],
            "version": row["model_version"],
            "headline": self._headline(),
            "ranking": self._ranking(),
            "verdict": promise.verdict(row, noun=self.noun, outcome=report.outcome),
            "drifted": self._drifted(),
            "tiles": self._tiles(),
            "blocks": [self._block(row) for row in self.rows],
            "weeks": weeks.table(
                report.weeks, period=self.period, of_users=not report.is_daily
            ),
            "shown_weeks": self._shown_weeks(),
            "charts": weeks.charts(
                self._by_week(),
                trained=self.trained,
                period=self.period,
                outcome=report.outcome,
            ),
            "alarms": self._alarms(),
            "watches": not report.is_daily,
            "has_read_alarms": report.has_read_alarms,
            "has_read_lifts": report.has_read_lifts,
            "lifts": self._lifts(),
            "facts": self._facts(),
        }

    def _shown_weeks(self) -> str:
        shown = len({row["week"] for row in self.report.weeks})
        return self.period if shown == 1 else plural(shown, self.period)

    def _headline(self) -> str:
        row, outcome = self.row, self.report.outcome
        rows = plural(row.get("users"), self.noun)
        promised, base_rate = row.get("mean_probability"), row.get("base_rate")
        if not present(promised):
            return f"{percent(base_rate)} of {rows} {outcome}."
        return (
            f"It was promised that {percent(promised)} of {rows} {outcome}; it was "
            f"{percent(base_rate)}."
        )

    def _ranking(self) -> str:
        auc, row = self.row.get("roc_auc"), self.row
        if not present(auc):
            why = "not measured"
            if row.get("outcome") == "one_class":
                why = "all rows are of one class, so that no figure of a ranking exists"
            return f"How well it ranks could not be measured: {why}."
        trained = self.trained.get("roc_auc")
        beside = (
            f" On the rows held out of its training it was {100 * trained:.0f}."
            if present(trained)
            else ""
        )
        return (
            f"Of one of those {self.who} {self.report.outcome} and one of the others, "
            f"it ranked the right one higher {100 * auc:.0f} times in 100.{beside}"
        )

    def _drifted(self) -> str:
        """Say in a sentence whether anything has drifted."""
        alarms = self.report.alarms
        return f"{plural(len(alarms), 'alarm')} of drift." if alarms else ""

    def _tiles(self) -> list[tuple[str, str, str]]:
        row = self.row
        low, high = rate_interval(row.get("conversions") or 0, row["users"])
        lift, budget = row.get("lift_at_budget"), row.get("budget")
        why = "not measured"
        return [
            (
                "Came",
                percent(row.get("base_rate")),
                (
                    f"promised {percent(row['mean_probability'])}; "
                    if present(row.get("mean_probability"))
                    else ""
                )
                + f"{percent(low)} to {percent(high)}",
            ),
            tile("ROC AUC", row, "roc_auc", why=why),
            tile("Calibration error", row, "calibration_error", 4, why=why),
            (
                f"Lift of the best {budget}" if budget else "Lift",
                f"{decimals(1)(lift)}×" if present(lift) else DASH,
                written_interval(row, "lift_at_budget", 1) or why,
            ),
        ]

    def _block(self, row: Row) -> dict[str, Any]:
        """Return what is said of the scores of one version."""
        name = f"Version {row['model_version']}"
        return {
            "name": name if len(self.rows) > 1 else "",
            "users": plural(row.get("users"), self.noun),
            "figures": self._figures(row),
            "groups": promise.groups(row),
            "selection": selection(row, noun=self.noun, outcome=self.report.outcome),
            "missed": promise.missed(
                row, noun=self.noun, who=f"{self.who} {self.report.outcome}"
            ),
            "cost": self._cost(row),
            "source": {
                "evaluations": "best on the 28 days before",
                "training": "best on the rows that the version was chosen on",
            }.get(str(row.get("best_threshold_source")), ""),
        }

    def _figures(self, row: Row) -> list[tuple[str, ...]]:
        """Return measures with interval, as in training and in earlier weeks."""
        trained = self.report.trained.get(row["model_version"]) or {}
        cells: list[tuple[str, ...]] = []
        for measure in OF_SCORES:
            key, write = measure.key, decimals(measure.places)
            if not present(row.get(key)):
                continue
            cells.append(
                (
                    *tile(measure.name, row, key, measure.places, why=DASH),
                    bounded(trained, key, write),
                    weeks.span(self.before, key, write),
                )
            )
        return cells

    def _cost(self, row: Row) -> dict[str, Any] | None:
        """Return what a version's alerts cost; none for one without a threshold."""
        threshold, saved = row.get("alert_threshold"), row.get("saved")
        if not (present(threshold) and present(saved)):
            return None
        share = row.get("saved_share")
        where = (
            "The version has no alerts: none paid its review when it was trained"
            if threshold > 1
            else f"Its alerts, from score {decimals(4)(threshold)} on, "
            + (
                f"saved {money(saved)} of {money(row.get('cost_without'))}"
                if saved >= 0
                else f"cost {money(-saved)} more than they brought"
            )
            + (f" ({percent(share)})" if present(share) else "")
        )
        return alert_costs(
            row,
            where,
            conversions=row.get("conversions"),
            noun=self.noun,
            whose="Its alerts",
        )

    def _by_week(self) -> list[Row]:
        """Return one row of each week: that of the version that scored most."""
        newest: dict[date, Row] = {}
        for row in self.report.weeks:
            other = newest.get(row["week"])
            if row.get("users") and (other is None or row["users"] >= other["users"]):
                newest[row["week"]] = row
        return [newest[week] for week in sorted(newest)]

    def _alarms(self) -> list[tuple[str, ...]]:
        return [
            (
                str(alarm.get("message") or alarm.get("name")),
                str(alarm.get("cause") or DASH),
            )
            for alarm in self.report.alarms
        ]

    def _lifts(self) -> list[tuple[str, ...]]:
        """Return what acting was worth, by audience."""
        return [
            (
                str(lift.get("audience")),
                f"{count(lift.get('treated_conversions'))} of "
                f"{count(lift.get('treated_users'))}",
                f"{count(lift.get('control_conversions'))} of "
                f"{count(lift.get('control_users'))}",
                bounded(lift, "conversion_difference", percent),
                percent(lift.get("conversion_lift")),
                bounded(lift, "revenue_difference", money),
                _VERDICTS.get(str(lift.get("verdict")), DASH),
            )
            for lift in self.report.lifts
        ]

    def _facts(self) -> list[tuple[str, str]]:
        row, report = self.row, self.report
        until, published = row.get("data_until"), row.get("prediction_as_of")
        shift = row.get("log_odds_shift")
        facts = [
            ("Evaluated", moment(row["evaluated_at"].isoformat(timespec="seconds")))
        ]
        if published:
            facts.append(("Published as of", str(published)))
        if until:
            facts.append(("Export read until", f"{until}, not included"))
        if report.is_daily:
            labels = (
                f"{shared(row.get('unknown_outcomes'))} stay unknown, "
                f"{shared(row.get('conflicting_outcomes'))} were told to be both, and "
                "the latest counts"
            )
            facts.append(("Labels", labels))
        if present(shift):
            sign = "+" if shift > 0 else ""
            by = f"{sign}{decimals(2)(shift)}"
            facts.append(("Season", f"log-odds of all {self.noun}s shifted by {by}"))
        return [
            *facts,
            ("Budget", str(row.get("budget") or DASH)),
            ("Fixed threshold", compact(row.get("threshold"))),
            (
                "Page of the version",
                f"models/{report.use_case}/{row['model_version']}/report.html",
            ),
            ("Tables", "ma_model_evaluation, ma_drift, ma_audience_lift"),
        ]
