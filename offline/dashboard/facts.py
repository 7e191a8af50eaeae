"""What no table says of a use case: its folder, its champion's pointer, its reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from offline.dashboard.reading import Reading
from propensity import usecases
from propensity.errors import ArtifactError
from propensity.gcp.artifacts import Artifacts
from propensity.pages.page import POLICY
from propensity.pages.words import cleaned, period
from propensity.registry.versions import Registry
from propensity.runs.report import report_name
from propensity.settings import Settings

# Newest weeks of a use case whose reports are copied.
REPORTS = 40
# Someone who may write reports could put a script into one. The first policy in a file
# counts, and this one lets nothing run and loads nothing.
FIRST = f'<!DOCTYPE html><meta charset="utf-8">{POLICY}\n'


@dataclass(frozen=True, kw_only=True)
class Facts:
    """
    What a use case's folder, its pointer and its reports say.

    Attributes:
        outcome: What users or events of label 1 do, as in *users who buy*.
        unit: The currency of amounts, in words.
        champion: The live version; None if there is none.
        damage: The fault of its pointer or a report; empty without one.
        reports: HTML of the report of a week, or day, by its first day.
    """

    title: str
    outcome: str
    unit: str = "the events' currency"
    is_of_events: bool = False
    horizon_days: int = 7
    champion: int | None = None
    damage: str = ""
    is_pinned: bool = False
    reports: Mapping[date, str] = field(default_factory=dict)

    @property
    def words(self) -> dict[str, str]:
        """The words for a scored row, an evaluated period, and a positive."""
        noun = "event" if self.is_of_events else "user"
        span = period(1 if self.is_of_events else self.horizon_days)
        who = "that" if self.is_of_events else "who"
        return {"noun": noun, "span": span, "whom": f"{noun}s {who} {self.outcome}"}


def find(
    name: str,
    readings: Mapping[str, Reading],
    artifacts: Artifacts,
    *,
    settings: Settings,
) -> Facts:
    """Find the facts of a use case."""
    use_case = usecases.load(name).titled(settings)
    rows = [r for r in readings["evaluations"].rows if r["use_case"] == name]
    weeks = [*dict.fromkeys(row["week"] for row in rows)][:REPORTS]
    champion, reports, damage = None, dict[date, str](), ""
    try:
        champion = Registry(artifacts, name).champion()
        reports = _reports(name, weeks, artifacts)
    except ArtifactError as error:
        # The damage is of one use case; the pages of the others are still written.
        damage = error.message
    return Facts(
        title=cleaned(use_case.title),
        outcome=cleaned(use_case.outcome),
        unit=use_case.money,
        is_of_events=use_case.scores_events,
        horizon_days=use_case.horizon_days,
        champion=champion.version if champion else None,
        damage=damage,
        is_pinned=champion is not None and champion.pinned,
        reports=reports,
    )


def _reports(name: str, weeks: Sequence[date], artifacts: Artifacts) -> dict[date, str]:
    reports, there = {}, {*artifacts.names(f"reports/{name}/")}
    for week in weeks:
        file = report_name(name, week)
        if file in there and (stored := artifacts.find(file)):
            reports[week] = FIRST + stored.data.decode(errors="replace")
    return reports
