"""A use case by its tables: what changed, what it is worth, what to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from offline.dashboard import amounts, late, ranking
from offline.dashboard.parts import fate
from offline.dashboard.reading import Readings, Row, by_use_case
from propensity.ids import NAME
from propensity.pages.words import (
    count,
    decimals,
    money,
    percent,
    plural,
    present,
    sentence,
    shared,
)

# A new version is news for a week.
_NEWS = timedelta(days=7)
# So many alarms of a publication have a line of their own.
_LINES = 3
# Places in a chart; older ones are left out.
POINTS = 60
# Characters of a text from data.
LONG = 240


@dataclass(frozen=True, kw_only=True)
class Known:
    """
    What the folder of a use case and the pointer of its champion say.

    Attributes:
        outcome: What users or events of label 1 do, as in *those who buy*.
        currency: Currency of what alerts save; empty if unknown.
        champion: The version that serves; None where nothing does, or nobody knows.
        note: Why the champion is unknown; empty where it is known.
        reports: Where the report of a week (or day) is, from a page, by its first day.
        has_folder: Whether the project has a folder of it; without, it was removed.
    """

    title: str = ""
    outcome: str = "are of label 1"
    currency: str = ""
    is_of_events: bool = False
    horizon_days: int = 7
    champion: int | None = None
    is_pinned: bool = False
    note: str = ""
    reports: Mapping[date, str] = field(default_factory=dict)
    has_folder: bool = True


@dataclass(frozen=True, kw_only=True)
class Deed:
    """
    What to do, and whether something is wrong.

    Attributes:
        is_urgent: Whether figures or users suffer until it is done.
    """

    text: str
    source: str
    is_urgent: bool = True


@dataclass(frozen=True, kw_only=True)
class Case:
    """A use case with its rows; ``as_of`` is the day by which something is late."""

    name: str
    as_of: date
    known: Known = field(default_factory=Known)
    evaluations: Sequence[Row] = ()
    versions: Sequence[Row] = ()
    published: Sequence[Row] = ()
    drift: Sequence[Row] = ()
    scores: Sequence[Row] = ()
    lifts: Sequence[Row] = ()

    @property
    def page(self) -> str:
        """Name of its page; of a name that no file should have, by its hash."""
        name = self.name
        if not NAME.fullmatch(name):
            name = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16]
        return f"use-case-{name}.html"

    @property
    def title(self) -> str:
        """Its title on pages."""
        return self.known.title or self.name

    @property
    def span(self) -> str:
        """The span of a row of figures: a week, or a day of events."""
        return "day" if self.known.is_of_events else "week"

    @property
    def rows(self) -> str:
        """What its rows count: users or events."""
        return "event" if self.known.is_of_events else "user"

    @property
    def whom(self) -> str:
        """Those of label 1, in words."""
        that = "that" if self.known.is_of_events else "who"
        return f"those {that} {self.known.outcome}"

    @cached_property
    def weeks(self) -> list[Row]:
        """Figures that have outcomes, newest first: of what served, one a week."""
        best: dict[date, Row] = {}
        for row in self.evaluations:
            if row["outcome"] == "no_predictions":
                continue
            before = best.get(row["week"])
            if before is None or (row["users"] or 0) > (before["users"] or 0):
                best[row["week"]] = row
        return [best[week] for week in sorted(best, reverse=True)]

    @cached_property
    def saving(self) -> list[Row]:
        """Figures with costs of what served, newest first, several versions a day."""
        return [row for row in self.evaluations if row["saved"] is not None]

    @cached_property
    def publications(self) -> list[date]:
        """As-of dates of publications, newest first."""
        return sorted({row["as_of"] for row in self.drift}, reverse=True)

    @cached_property
    def users(self) -> dict[date, int]:
        """Users of each publication, newest first."""
        rows = sorted(self.drift, key=lambda row: row["as_of"], reverse=True)
        return {row["as_of"]: row["users"] for row in rows if row["kind"] == "users"}

    @cached_property
    def alarms(self) -> list[Row]:
        """
        Alarms of the newest publication, in the order of the run's answer.
        """
        newest = max((row["as_of"] for row in self.drift), default=None)
        raised = [
            row for row in self.drift if row["is_alarm"] and row["as_of"] == newest
        ]
        return sorted(raised, key=lambda row: (-(row["psi"] or 99.0), row["name"]))

    def money(self, value: float) -> str:
        """Write what alerts save or cost, with its currency where that is known."""
        return f"{money(value)} {self.known.currency}".rstrip()

    # -- in sentences -----------------------------------------------------------------

    def changes(self) -> Iterator[tuple[str, str]]:
        """Yield what is new, each with the statement that says so."""
        if self.weeks:
            ranked = ranking.sentence(self.weeks, is_of_events=self.known.is_of_events)
            yield ranked, "evaluations"
        if promise := self._promise():
            yield promise, "evaluations"
        dates = [*self.users]
        if dates:
            users = self.users[dates[0]]
            text = f"{plural(users, 'user')} got a probability on {dates[0]}"
            if len(dates) > 1 and self.users[dates[1]]:
                moved = users / self.users[dates[1]] - 1
                text += f", {_signed(moved)} on the date before"
            yield f"{text}.", "drift"
        for row in self.versions[:1]:
            day = row["as_of"] or row["training_date"]
            if self.as_of - day <= _NEWS:
                why = clipped(row["verdict"], 100)
                yield (
                    f"Version {row['model_version']} was trained as of {day} and "
                    f"{fate(row)}: {ended(why)}",
                    "versions",
                )
        for row in self.alarms[:_LINES]:
            yield sentence(clipped(row["message"])), "drift"

    def _promise(self) -> str:
        if not self.weeks:
            return ""
        newest = self.weeks[0]
        promised, came = newest["mean_probability"], newest["base_rate"]
        if not (present(promised) and present(came)):
            return ""
        return (
            f"{percent(promised)} of {plural(newest['users'], self.rows)} were "
            f"expected to be among {self.whom}; {percent(came)} were."
        )

    def worth(self) -> Iterator[tuple[str, str]]:
        """Yield what acting on it is worth, each with the statement that says so."""
        saving = self.saving
        if saving:
            days = {row["week"] for row in saving}
            saved = sum(float(row["saved"]) for row in saving)
            without = sum(float(row["cost_without"] or 0) for row in saving)
            over = f"over {plural(len(days), self.span)}, reviews paid."
            yield (
                f"Alerts saved {self.money(saved)} of {self.money(without)} in losses "
                f"{over}"
                if saved >= 0
                else f"Alerts cost {self.money(-saved)} more than they saved {over}",
                "evaluations",
            )
        newest = self.weeks[0] if self.weeks else {}
        reached, room = (
            newest.get("true_positives_at_budget"),
            newest.get("users_at_budget"),
        )
        rate = newest.get("base_rate")
        if present(reached) and present(room) and present(rate):
            recall = newest["recall_at_budget"]
            share = f", {percent(recall)} of all" if present(recall) else ""
            yield (
                f"The best {clipped(newest['budget'])} ({shared(room)} {self.rows}"
                f"{'' if room == 1 else 's'}) held {shared(reached)} of {self.whom}"
                f"{share}; as many at random would have held {shared(room * rate)}.",
                "evaluations",
            )
        yield from amounts.sentences(
            self.weeks, self.published, horizon_days=self.known.horizon_days
        )
        newest_of = newest_lifts(self.lifts)
        for row in newest_of[:_LINES]:
            yield audience_sentence(row), "lift"
        if len(newest_of) > _LINES:
            others = plural(len(newest_of) - _LINES, "more audience")
            yield f"{others} on the page of audiences.", "lift"

    def _repairs(self) -> Iterator[Deed]:
        """Yield what the alarms ask for."""
        for row in self.alarms[:_LINES]:
            text = ended(clipped(row["message"]))
            yield Deed(text=f"Look: {text}", source="drift")
        if len(self.alarms) > _LINES:
            rest = len(self.alarms) - _LINES
            yield Deed(
                text=f"See {plural(rest, 'more alarm')} on its page.", source="drift"
            )

    def deeds(self) -> Iterator[Deed]:
        """Yield what a person should do, the most urgent first."""
        if not self.known.has_folder:
            yield Deed(
                text="The project has no folder of it any more: its rows are history, "
                "and nothing is missed.",
                source="evaluations",
                is_urgent=False,
            )
            return
        if self.known.note:
            yield Deed(text=self.known.note, source="versions")
        elif self.known.champion is None:
            why = "Train a first one: call 00-ModelTraining."
            if self.versions:
                row = self.versions[0]
                why = (
                    f"Version {row['model_version']} was not let through: "
                    f"{ended(clipped(row['verdict']))}"
                )
            yield Deed(text=f"No version serves. {why}", source="versions")
        yield from self._repairs()
        overdue = late.sentences(
            self.evaluations,
            {*self.publications, *(row["as_of"] for row in self.published)},
            as_of=self.as_of,
            horizon_days=self.known.horizon_days,
            is_of_events=self.known.is_of_events,
        )
        for text, source in overdue:
            yield Deed(text=text, source=source)
        if not self.weeks and self.known.champion is not None:
            yield Deed(
                text="No outcomes were compared with probabilities yet: wait for the "
                "first evaluation, or call 03-ModelEvaluation.",
                source="evaluations",
                is_urgent=False,
            )
        days = self.known.horizon_days
        wrong = [
            row
            for row in newest_lifts(self.lifts)
            if row["verdict"] in ("harms", "sample_ratio")
            # One that had no new member for so long is over.
            and not late.is_late(row["week_end"], as_of=self.as_of, horizon_days=days)
        ]
        for row in wrong[:_LINES]:
            name = clipped(row["audience"])
            text = f"Stop audience {name}: it does harm."
            if row["verdict"] == "sample_ratio":
                text = (
                    f"Find out who was lost on the way of audience {name}: its groups "
                    "cannot be compared."
                )
            yield Deed(text=text, source="lift")
        if len(wrong) > _LINES:
            others = plural(len(wrong) - _LINES, "more audience")
            yield Deed(text=f"See {others} that went wrong.", source="lift")


def newest_lifts(lifts: Sequence[Row]) -> list[Row]:
    """Return the newest final row of each audience, by its name; else the newest."""
    newest: dict[str, Row] = {}
    for row in sorted(lifts, key=lambda row: (row["status"] == "final", row["week"])):
        newest[row["audience"]] = row
    return [newest[name] for name in sorted(newest)]


VERDICTS = {
    "helps": "acting helps",
    "harms": "acting does harm",
    "open": "not decided yet",
    "too_few": "too few conversions to say",
    "no_control": "nobody to compare with",
    "sample_ratio": "the groups' sizes cannot be chance; no figure can be trusted",
}


def audience_sentence(row: Row, *, name: str = "") -> str:
    """Say what acting on an audience was worth; ``name`` where it has a longer one."""
    name = name or clipped(row["audience"])
    verdict = VERDICTS.get(row["verdict"] or "", clipped(row["verdict"] or "unknown"))
    low, high = row["conversion_difference_low"], row["conversion_difference_high"]
    moved = row["conversion_difference"]
    if not (present(moved) and present(low) and present(high)):
        return f"Audience {name}: {verdict}."
    # Where few convert, a tenth of a point is much.
    is_small = max(abs(moved), abs(low), abs(high)) < 0.01
    points = decimals(2 if is_small else 1)
    return (
        f"Audience {name}: {verdict}; conversions of the treated less those of the "
        f"held out are {points(100 * moved)} percentage points (95% interval "
        f"{points(100 * low)} to {points(100 * high)}, "
        f"{count(row['treated_users'])} treated, "
        f"{count(row['control_users'])} held out)."
    )


def clipped(value: Any, length: int = LONG) -> str:
    """Cut a text from data, which may be of any length."""
    words = str(value if value is not None else "").strip().rstrip(".")
    return words if len(words) <= length else f"{words[: length - 1]}…"


def ended(words: str) -> str:
    """End a sentence, unless it was cut."""
    return words if words.endswith(("…", "!", "?")) else f"{words}."


def _signed(share: float) -> str:
    size = percent(abs(share))
    if abs(share) < 0.00005:
        return "as many as"
    return f"{size} {'more' if share > 0 else 'fewer'} than"


def cases(readings: Readings, known: Mapping[str, Known], *, as_of: date) -> list[Case]:
    """
    Return the use cases that have rows or are known to serve, by their names.
    """

    def of(source: str) -> dict[str, list[Row]]:
        return by_use_case(readings[source].rows)

    evaluations, versions, drift = of("evaluations"), of("versions"), of("drift")
    scores, lifts, published = of("scores"), of("lift"), of("publications")
    names = {*evaluations, *versions, *drift}
    names |= {name for name, beside in known.items() if beside.champion is not None}
    return [
        Case(
            name=name,
            as_of=as_of,
            known=known.get(name, Known()),
            evaluations=evaluations.get(name, ()),
            versions=versions.get(name, ()),
            published=published.get(name, ()),
            drift=drift.get(name, ()),
            scores=scores.get(name, ()),
            lifts=lifts.get(name, ()),
        )
        for name in sorted(names)
    ]
