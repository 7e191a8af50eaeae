"""A use case with its rows: what changed, and what needs attention."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from propensity import usecases
from propensity.audience import stop_file
from propensity.audience.declared import RUNS, audience_names
from propensity.audience.programme import Together, apart, programmes, shared_groups
from propensity.audience.result import (
    Result,
    brought_headline,
    by_week,
    newest,
    sentence,
)
from propensity.dashboard.reading import QueryResult, Row
from propensity.errors import ArtifactError, AudienceStopped, AudienceWaits
from propensity.gcp.artifacts import Artifacts
from propensity.ids import PRESENCE
from propensity.measures.looks import weeks_left
from propensity.pages.findings import Meaning, meanings
from propensity.pages.page import POLICY
from propensity.pages.words import (
    amount,
    cleaned,
    infinitive,
    percent,
    period,
    plural,
    present,
    share_of,
    unbroken_day,
)
from propensity.registry.leases import name_of, read_lease
from propensity.registry.versions import Registry
from propensity.runs.late import AGES, EXPORT_STOPPED_DAYS, is_late
from propensity.settings import Settings
from propensity.tables.models import Category
from propensity.timeframe import DAY
from propensity.usecases.kind import USERS, Kind
from propensity.weeks.evaluations import largest_by_week, report_name
from propensity.weeks.judged import (
    Judgement,
    conversions_text,
    judgement_of,
    revenue_text,
    unidentified,
)

Key = TypeVar("Key")
# An audience without new members for so long has ended.
OVER = timedelta(days=14)
# Runs of so many days say how old the export is, and which audiences were not sent.
LOOK_BACK_DAYS = 7
# Newest weeks of a use case whose reports are copied.
REPORTS = 40
# Someone who may write reports could put a script into one. The first policy in a file
# counts, and this one lets nothing run and loads nothing.
FIRST = f'<!DOCTYPE html><meta charset="utf-8">{POLICY}\n'


class Action(NamedTuple):
    """
    Something to do.

    Attributes:
        word: What was found, as ``findings.toml`` names it.
        text: The same in a sentence.
        source: The statement that finds it.
    """

    word: str
    text: str
    source: str

    @property
    def meaning(self) -> Meaning:
        """What it means for Monday's list, and who does what."""
        return meanings()[self.word]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """
    What a use case's folder, its pointer and its reports say.

    Attributes:
        outcome: What users or events of label 1 do, as in *users who buy*.
        unit: The currency of amounts, such as EUR; may be empty.
        export: The dataset of its GA4 export; empty where it reads none.
        prediction_days: When it is predicted: ``daily``, or weekdays.
        champion: The live version; None if there is none.
        damage: The fault of its pointer or a report; empty without one.
        judged_apart: Why its audiences can't be judged together; empty where they can.
        shared: Audiences of other use cases by the control group that they share.
        export_age_days: How many days before the newest run the export ended.
        not_sent: Newest days on which audiences were not sent whole.
        stopped: Audiences of which nothing is sent.
        reports: HTML of the report of a week, or day, by its first day.
        model_reports: HTML of the report of a version, by its number.
    """

    title: str
    outcome: str
    unit: str = ""
    export: str = ""
    kind: Kind = USERS
    horizon_days: int = 7
    prediction_days: str = "MON"
    champion: int | None = None
    damage: str = ""
    is_pinned: bool = False
    judged_apart: str = ""
    shared: Mapping[str, Sequence[str]] = field(default_factory=dict)
    export_age_days: int = 0
    not_sent: Sequence[date] = ()
    stopped: Collection[str] = ()
    reports: Mapping[date, str] = field(default_factory=dict)
    model_reports: Mapping[int, str] = field(default_factory=dict)

    @property
    def words(self) -> dict[str, str]:
        """The words for a scored row, an evaluated period, and a positive."""
        kind = self.kind
        whom = f"{kind.noun}s {kind.pronoun} {self.outcome}"
        span = period(kind.evaluated_days or self.horizon_days)
        return {"noun": kind.noun, "span": span, "whom": whom}


@dataclass(frozen=True, kw_only=True)
class Case:
    """
    A use case with its rows.

    Attributes:
        as_of: The day by which something is late.
        rows: By the name of the statement; the newest come first.
    """

    name: str
    as_of: date
    facts: Facts
    rows: Mapping[str, Sequence[Row]]

    @property
    def title(self) -> str:
        return self.facts.title

    @property
    def page(self) -> str:
        return f"use-case-{self.name}.html"

    @property
    def reports(self) -> dict[date, str]:
        """Files of reports by the first day of their week."""
        return {week: f"report-{self.name}-{week}.html" for week in self.facts.reports}

    @property
    def model_reports(self) -> dict[int, str]:
        """Files of the reports of versions."""
        versions = self.facts.model_reports
        return {version: f"model-{self.name}-{version}.html" for version in versions}

    @cached_property
    def weeks(self) -> list[Row]:
        """Evaluations with outcomes: of the version that scored most of each week."""
        rows = self.rows["evaluations"]
        with_outcomes = [row for row in rows if row["outcome"] != "no_predictions"]
        largest = largest_by_week(with_outcomes)
        newest_first = sorted(largest, reverse=True)
        return [{**largest[week], **_derived(largest[week])} for week in newest_first]

    @property
    def before(self) -> Row | None:
        """The week before the newest that has a ROC AUC."""
        return next((row for row in self.weeks[1:] if present(row["roc_auc"])), None)

    @property
    def drift(self) -> list[Row]:
        """Rows of drift of the newest publication that has any."""
        rows = self.rows["drift"]
        newest = [row for row in rows if row["as_of"] == rows[0]["as_of"]]
        return [{**row, "share": share_of(row["psi"], row["bound"])} for row in newest]

    @property
    def alarms(self) -> list[Row]:
        """Alarms of that publication."""
        return [row for row in self.drift if row["is_alarm"]]

    @property
    def saving(self) -> list[Row]:
        """Evaluations with costs of alerts, of all versions."""
        return [row for row in self.rows["evaluations"] if present(row["saved"])]

    @property
    def saved_by_day(self) -> list[Row]:
        """What alerts of all versions saved by day, the oldest first."""
        days: dict[date, dict[str, Any]] = {}
        for row in reversed(self.saving):
            day_sums = days.setdefault(row["week"], {"week": row["week"]})
            for name in ("saved", "cost_without"):
                amount = 0.0 if row[name] is None else row[name]
                day_sums[name] = day_sums.get(name, 0.0) + amount
        return list(days.values())

    @property
    def amounts(self) -> list[Row]:
        """Weeks with expected amounts, and the newest publication before them."""
        rows = list(self.weeks)
        evaluated = {row["week"] for row in rows}
        for row in self.rows["publications"][:1]:
            if row["as_of"] not in evaluated:
                rows.insert(0, {**row, "week": row["as_of"]})
        return [row for row in rows if row["value_promised"] is not None]

    @cached_property
    def uplifts(self) -> list[Row]:
        """
        The newest row of each audience, with what contacting brought up to each week.

        With ``weeks_left`` until an open verdict, None where no year decides it.
        """
        uplifts: list[Row] = []
        for _, of_audience in groupby(self.rows["lift"], itemgetter("audience")):
            rows = list(of_audience)[::-1]
            results = by_week(rows)
            more = {
                "weeks": rows,
                "weeks_left": weeks_left(rows),
                "results": results,
                "result": results[-1],
                "said": sentence(results[-1], self.facts.unit),
                "unit": self.facts.unit,
            }
            uplifts.append({**newest(rows), **more})
        return uplifts

    @cached_property
    def together(self) -> list[Together]:
        """What the audiences of each control group brought, the largest one first."""
        return programmes(self.rows["programme"], self.facts.shared)

    @property
    def once(self) -> str:
        """Why the first sum is not that of the audiences; empty for a single one."""
        for together in self.together[:1]:
            names = together.audiences
            each = [row for row in self.uplifts if row["audience"] in names]
            counted = sum(row["result"].contacted for row in each)
            repeated = counted - together.of_all.contacted
            if len(names) < 2 or repeated <= 0:
                return ""
            # Of three audiences a user may be in two or in all.
            who = plural(repeated, "user") if len(names) == 2 else "some"
            return (
                "Each user once: not the sum of those below, because "
                f"{who} are in more than one."
            )
        return ""

    @property
    def lists(self) -> list[Row]:
        """The members of each audience at the newest date of any."""
        rows = self.rows["audiences"]
        return [row for row in rows if row["as_of"] == rows[0]["as_of"]]

    @property
    def answers(self) -> Sequence[Result]:
        """
        What contacting brought up to each week, the oldest first.

        Of all audiences of one control group, or of a single one.
        """
        for together in self.together[:1]:
            if len(together.audiences) > 1:
                return together.weeks
        for row in self.uplifts[:1]:
            weeks: Sequence[Result] = row["results"]
            return weeks
        return ()

    @property
    def answer(self) -> Result | None:
        """What contacting brought up to the newest week."""
        return self.answers[-1] if self.answers else None

    @property
    def brought(self) -> list[Row]:
        """What contacting brought by week, where that is known."""
        rows = [each.columns() for each in self.answers]
        return [row for row in rows if row["brought"] is not None]

    @property
    def members(self) -> Row | None:
        """The members of an audience at its newest date, the largest audience's."""
        return max(self.lists, key=lambda row: row["members"], default=None)

    @property
    def judged(self) -> Judgement | None:
        """What was expected of the newest week beside what came."""
        for week in self.weeks[:1]:
            return judgement_of(week, self.facts.horizon_days, self.facts.unit)
        return None

    @property
    def coming(self) -> list[str]:
        """What is expected of the days from the newest publication on."""
        texts = []
        for row in self.rows["publications"][:1]:
            texts.append(conversions_text(row, self.facts.horizon_days))
            if row["value_promised"] is not None:
                days = self.facts.horizon_days
                texts.append(f"Revenue: {revenue_text(row, days, self.facts.unit)}")
        return texts

    @property
    def unidentified(self) -> str:
        """How many purchases of the newest week have no user id; may be empty."""
        return unidentified(self.weeks[0], self.facts.unit) if self.weeks else ""

    @property
    def kinds(self) -> list[Category]:
        """Active users and customers who were away, in the newest week."""
        categories = list[Row]()
        for week in self.weeks[:1]:
            if week["categories"]:
                categories = week["categories"]
        presence = [row for row in categories if row["category"] == PRESENCE]
        return [Category.of(row) for row in presence]

    @property
    def headline(self) -> str:
        """The answer: what acting on the predictions brought, or how right they are."""
        if self.answer is not None and self.answer.gain.amount is not None:
            return brought_headline(self.answer, self.facts.unit)
        unit = self.facts.unit
        saved = sum(row["saved"] for row in self.saving)
        if self.saving:
            verb = "saved" if saved >= 0 else "cost"
            more = "" if saved >= 0 else " more than they saved"
            days = len({row["week"] for row in self.saving})
            return (
                f"Alerts {verb} {amount(abs(saved), unit)}{more} in "
                f"{plural(days, 'day')}, after the cost of reviews"
            )
        for week in self.weeks[:1]:
            if present(week["mean_probability"]):
                return (
                    f"We expected {percent(week['mean_probability'])} of "
                    f"{plural(week['users'], self.facts.words['noun'])} "
                    f"{infinitive(self.facts.outcome)}; actual: "
                    f"{percent(week['base_rate'])}"
                )
        return f"No {self.facts.words['span']} has outcomes yet"

    @property
    def needs_person(self) -> bool:
        """Whether somebody has to do something soon."""
        return any(action.meaning.weight != "note" for action in self.actions)

    @cached_property
    def actions(self) -> list[Action]:
        """What to do, the most urgent first."""
        actions = list[Action]()
        actions.extend(self._to_train())
        actions.extend(self._to_stop())
        actions.extend(self._to_look())
        actions.extend(self._late())
        actions.extend(self._to_send())
        return actions

    def _to_train(self) -> Iterator[Action]:
        if self.facts.damage:
            yield Action("damaged", f"{self.facts.damage}.", "versions")
        elif self.facts.champion is None:
            text = "No model is live yet."
            for row in self.rows["versions"][:1]:
                text += f" Version {row['model_version']} was rejected: "
                text += f"{row['verdict']}."
            yield Action("no_model", text, "versions")

    def _to_look(self) -> Iterator[Action]:
        for week in self.weeks[:1]:
            if self.judged is not None and self.judged.is_alarm:
                span = self.facts.words["span"]
                when = f"The {span} of {unbroken_day(week['week'])} is far off"
                yield Action("season", f"{when}: {self.judged.text}.", "evaluations")
        for row in self.alarms[:1]:
            count = plural(len(self.alarms), "drift warning")
            yield Action("drift", f"{count}: {row['message']}.", "drift")

    def _late(self) -> Iterator[Action]:
        for week in self.weeks[:1]:
            newest = week["week_end"]
            if is_late("evaluate", newest, self.as_of, self.facts.prediction_days):
                text = f"No evaluation since {unbroken_day(newest)}."
                yield Action("run_missed_model_evaluation", text, "evaluations")
        age = self.facts.export_age_days
        if age > EXPORT_STOPPED_DAYS:
            since = unbroken_day(self.as_of - age * DAY)
            text = f"The GA4 export lacks all since {since}."
            yield Action("export_stopped", text, "publications")
            # Predictions of an export that has stopped are as old as it.
            return
        for row in self.rows["publications"][:1]:
            newest = row["as_of"]
            if is_late("predict", newest, self.as_of, self.facts.prediction_days):
                text = f"No predictions since {unbroken_day(newest)}."
                yield Action("run_missed_predictions", text, "publications")

    def _to_send(self) -> Iterator[Action]:
        for day in self.facts.not_sent:
            text = f"Audiences were not sent whole on {unbroken_day(day)}."
            yield Action("audience_not_sent", text, "deliveries")
        for audience in self.facts.stopped:
            text = f"Audience {audience} is stopped."
            yield Action("stopped", text, "deliveries")
        newest: dict[str, date] = {}
        for row in self.rows["deliveries"]:
            is_newest = newest.setdefault(row["audience"], row["as_of"]) == row["as_of"]
            if is_newest and row["pending"]:
                who = plural(row["pending"], "pending user")
                words = f"{row['audience']} --use-case {self.name}"
                text = f"Audience {row['audience']} has {who}: "
                text += f"propensity audience send {words}."
                yield Action("pending", text, "deliveries")
            if is_newest and row["rejected"]:
                who = plural(row["rejected"], "rejected user")
                text = f"Audience {row['audience']} has {who}."
                yield Action("rejected", text, "deliveries")

    def _to_stop(self) -> Iterator[Action]:
        for row in self.uplifts:
            # One without new members for so long is over.
            if self.as_of - row["week_end"] > OVER:
                continue
            name = row["audience"]
            verdict = row["result"].verdict
            if verdict.finding:
                text = f"Audience {name} {verdict.problem}."
                yield Action(verdict.finding, text, "lift")


def _derived(row: Row) -> dict[str, Any]:
    """Return what templates read of an evaluation beside its columns."""
    recall = row["recall_at_budget"]
    return {
        "missed": None if recall is None else (1 - recall) * row["conversions"],
        "paid_share": share_of(row["value_observed"], row["value_promised"]),
    }


def find(
    name: str,
    readings: Mapping[str, QueryResult],
    artifacts: Artifacts,
    *,
    settings: Settings,
    as_of: date,
) -> Facts:
    """Return what rows don't say of a use case, by a day."""
    use_case = usecases.load(name).with_label_event(settings)
    rows = [r for r in readings["evaluations"].rows if r["use_case"] == name]
    weeks = list(dict.fromkeys(row["week"] for row in rows))[:REPORTS]
    trained = [r for r in readings["versions"].rows if r["use_case"] == name]
    versions = [row["model_version"] for row in trained][:REPORTS]
    champion = None
    is_pinned = False
    reports = dict[date, str]()
    model_reports = dict[int, str]()
    damage = ""
    age = 0
    not_sent = list[date]()
    stopped = list[str]()
    try:
        pointer = Registry(artifacts, name).champion()
        if pointer:
            champion = pointer.version
            is_pinned = pointer.pinned
        weekly = {week: report_name(name, week) for week in weeks}
        reports = _copies(weekly, artifacts, under=f"reports/{name}/")
        of_versions = {
            version: f"models/{name}/{version}/report.html" for version in versions
        }
        model_reports = _copies(of_versions, artifacts, under=f"models/{name}/")
        file = stop_file.read(artifacts)
        stopped = [each for each in audience_names(use_case) if file.covers(name, each)]
        age = _export_age(artifacts, name, as_of=as_of)
        not_sent = _not_sent(artifacts, name, as_of=as_of)
    except ArtifactError as error:
        # The damage is of one use case; the pages of the others are still written.
        damage = error.message
    return Facts(
        title=cleaned(use_case.title),
        outcome=cleaned(use_case.outcome),
        unit=use_case.currency,
        export=use_case.settings(settings).ga4_dataset if use_case.reads_export else "",
        kind=use_case.kind,
        horizon_days=use_case.horizon_days,
        prediction_days=use_case.chosen_prediction_days(settings),
        champion=champion,
        damage=damage,
        judged_apart=cleaned(apart(settings, use_case)),
        shared=shared_groups(readings["plans"].rows, name),
        is_pinned=is_pinned,
        export_age_days=age,
        not_sent=not_sent,
        stopped=stopped,
        reports=reports,
        model_reports=model_reports,
    )


def _export_age(artifacts: Artifacts, use_case: str, *, as_of: date) -> int:
    """Return ``export_age_days`` of the newest run of these days; 0 without one."""
    for back in range(LOOK_BACK_DAYS):
        for kind in reversed(AGES):
            name = name_of(use_case, kind, as_of - back * DAY)
            _, file = read_lease(artifacts, name)
            days = file.answer.get("export_age_days") if file.answer else None
            if isinstance(days, int):
                return days
    return 0


def _not_sent(artifacts: Artifacts, use_case: str, *, as_of: date) -> list[date]:
    """Return the days on which audiences were not sent whole, the oldest first."""
    days = []
    for back in reversed(range(LOOK_BACK_DAYS)):
        day = as_of - back * DAY
        _, file = read_lease(artifacts, name_of(use_case, RUNS, day))
        if file.error in (AudienceStopped.__name__, AudienceWaits.__name__):
            days.append(day)
    return days


def _copies(
    files: Mapping[Key, str], artifacts: Artifacts, *, under: str
) -> dict[Key, str]:
    """Return the HTML of those reports that there are."""
    copies = {}
    existing = set(artifacts.names(under))
    for key, file in files.items():
        stored = artifacts.find(file) if file in existing else None
        if stored:
            copies[key] = FIRST + stored.data.decode(errors="replace")
    return copies
