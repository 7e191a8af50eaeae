"""
Alarms: what of a publication, or of an evaluated week, a person should look at.

Everything that is watched shares one budget of false alarms, so that more features do
not make more of them, and neither do more weeks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from math import exp, isfinite, log
from typing import Any

from propensity.drift import distance
from propensity.drift.distance import Bin, Comparison
from propensity.drift.learned import LASTING, Known, Trained, expected
from propensity.drift.level import Level, Move, move
from propensity.drift.sentences import changed
from propensity.drift.sketch import (
    CATEGORY,
    Scores,
    Sketch,
    Sketches,
    of_scores,
)

# Chance of a single false alarm in all weeks of two years, and those weeks.
FALSE_ALARMS, WEEKS = 0.1, 104

# Publications that are compared with, and the fewest without an alarm of their own:
# after a change for good the new state is what is expected.
MEMORY, FEWEST = 8, 2

# What is watched. A row of the table is one of them.
FEATURE, SCORE, USERS, OUTCOME = "feature", "score", "users", "outcome"
# Names of the things of which there is one alone.
PROBABILITY, MEAN, COUNT = "probability", "mean_probability", "count"
CALIBRATION, RANKING = "calibration", "roc_auc"

# Causes of alarms.
VALUES, MISSING, SOURCE = "feature", "missing values", "source"
SEASON, VOLUME, SCORES, RELATION = "season", "users", "score", "relation"

# Moves that matter: of the logarithm of the mean probability, of the number of users,
# of the log-odds of outcomes and of ROC AUC. Below, what an ordinary week is worth.
_MATTERS = {MEAN: 0.05, COUNT: 0.25, CALIBRATION: 0.05, RANKING: 0.01}
_ORDINARY = {MEAN: 0.01, COUNT: 0.05, CALIBRATION: 0.05, RANKING: 0.003}

# A rise by more is written in times.
_TIMES = log(10)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """
    One thing that is watched, as a publication or a week has it.

    Attributes:
        thing, name: What it is, and its name among those.
        sketch: Of a feature or the probabilities; None for a single number.
        level: A single number; None for a sketch.
        cause: Of an alarm, or why none was raised; empty without.
        message: What has changed, in a sentence; empty without.
        weeks: Publications in a row with this alarm, this one included.
    """

    thing: str
    name: str
    sketch: Sketch | None = None
    level: Level | None = None
    distance: float | None = None
    noise: float | None = None
    threshold: float | None = None
    is_alarm: bool = False
    cause: str = ""
    message: str = ""
    weeks: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What it is, and its name."""
        return self.thing, self.name


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An earlier publication: its date, its version and what was watched."""

    as_of: date
    model_version: int
    things: Mapping[tuple[str, str], Thing] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to do: "nothing", "repair" or "retrain", and why."""

    action: str
    reason: str


def publication(sketches: Sketches, scores: Scores, *, users: int) -> list[Thing]:
    """
    Return what is watched of a publication: each feature, the scores and the users.
    """
    things = [
        *(
            Thing(thing=FEATURE, name=name, sketch=sketch)
            for name, sketch in sketches.features().items()
        ),
        Thing(thing=SCORE, name=PROBABILITY, sketch=of_scores(scores)),
        count(users),
    ]
    mean, error = scores.level()
    if isfinite(mean):
        level = Level(value=mean, error=error)
        things.append(Thing(thing=SCORE, name=MEAN, level=level))
    return things


def watched(
    now: Sequence[Thing],
    earlier: Sequence[Earlier],
    *,
    model_version: int,
    trained: Trained | None = None,
    last_year: Earlier | None = None,
) -> list[Thing]:
    """
    Return what is watched of a publication, compared with the publications before it.

    Args:
        now: Sketches and levels of this publication.
        earlier: Publications before it, newest first.
        model_version: That scored; scores are compared with its own alone.
        trained: When that version was; None where nobody knows.
        last_year: The publication of the same week a year ago: what was so then is
            the season, whichever version scored.
    """
    sketches = sum(thing.sketch is not None for thing in now)
    result = []
    for thing in now:
        # A version's probabilities are its own.
        is_score = thing.thing == SCORE
        weeks = [
            week
            for week in earlier
            if thing.key in week.things
            and _is_alike(thing, week.things[thing.key])
            and (not is_score or week.model_version == model_version)
        ]
        known = [week.things[thing.key] for week in weeks]
        reference = [before for before in known if not before.is_alarm][:MEMORY]
        if thing.thing == FEATURE and (learned := _learned(weeks, known, trained)):
            reference = learned[:MEMORY]
        # A single number that moved is followed: its season may go on.
        if len(reference) < FEWEST or thing.level is not None:
            reference = known[:MEMORY]
        if len(reference) < FEWEST:
            result.append(thing)
        elif thing.sketch is not None:
            before = None if last_year is None else last_year.things.get(thing.key)
            if before is not None and not _is_alike(thing, before):
                before = None
            result.append(
                _of_sketch(thing, reference, known, before, _chance(sketches))
            )
        else:
            chance = _chance(len(now) - sketches)
            result.append(_of_level(thing, reference, known, chance=chance))
    return result


def _learned(
    weeks: Sequence[Earlier], known: Sequence[Thing], trained: Trained | None
) -> list[Thing]:
    """Return a feature in publications as the model has learned it; none of others."""
    before = [
        Known(week.as_of, week.model_version, thing.is_alarm, thing.weeks)
        for week, thing in zip(weeks, known, strict=True)
    ]
    return [known[at] for at in expected(before, trained) or ()]


def _is_alike(now: Thing, before: Thing) -> bool:
    """
    Tell whether both are of one kind.

    A new version may make a category of what was a number: it begins anew.
    """
    kinds = {thing.sketch and thing.sketch.kind for thing in (now, before)}
    return len(kinds) == 1


def outcome(
    name: str,
    now: Level,
    earlier: Sequence[Thing],
    *,
    estimated: float | None = None,
) -> Thing:
    """
    Return what an evaluated week says about the model.

    Args:
        name: CALIBRATION, with log-odds that its probabilities lacked; RANKING, with
            its ROC AUC less the estimate.
        earlier: The same of weeks before it, newest first.
        estimated: The estimate of its ROC AUC.
    """
    thing = Thing(thing=OUTCOME, name=name, level=now)
    chance = _chance(len((CALIBRATION, RANKING)))
    # An alarm that goes on is not its own noise; an odd week that has passed is.
    reference = [*itertools.dropwhile(lambda week: week.is_alarm, earlier)]
    return _of_level(
        thing, reference, earlier, chance=chance, target=0.0, estimated=estimated
    )


def rank(
    *, is_single: bool, distance: float | None, name: str
) -> tuple[bool, float, str]:
    """Return an alarm's place: single numbers last, then by distance and name."""
    return is_single, -(distance or 0.0), name


def advice(things: Sequence[Thing]) -> Advice:
    """
    Return what to do about the alarms of a publication or a week.

    What is broken is repaired, not learned: a model that is trained on it has to be
    trained again after the repair. So nothing is learned beside a change that is new.
    """
    alarms = [thing for thing in things if thing.is_alarm]
    if not alarms:
        return Advice(action="nothing", reason="")
    new = [
        alarm for alarm in alarms if alarm.thing != OUTCOME and alarm.weeks < LASTING
    ]
    if new:
        return Advice(action="repair", reason=new[0].message)
    relation = [alarm for alarm in alarms if alarm.thing == OUTCOME]
    if relation:
        return Advice(action="retrain", reason=relation[0].message)
    longest = max(alarms, key=lambda alarm: alarm.weeks)
    return Advice(
        action="retrain",
        reason=f"for {longest.weeks} publications in a row {longest.message}: repair "
        "it, or train on it if it is to stay",
    )


def _chance(things: int) -> float:
    """Return the chance of a false alarm of one of so many sketches, or numbers."""
    # Sketches have half of the budget, single numbers the other half.
    return FALSE_ALARMS / 2 / WEEKS / things


def _of_sketch(
    thing: Thing,
    reference: Sequence[Thing],
    known: Sequence[Thing],
    last_year: Thing | None,
    chance: float,
) -> Thing:
    assert thing.sketch is not None
    before = [other.sketch for other in reference if other.sketch is not None]
    comparison = distance.compare(thing.sketch, before, chance=chance)
    if not comparison.is_beyond:
        return _measured(thing, comparison)
    top = comparison.bins[0]
    cause = _cause(thing, top)
    is_season = (
        last_year is not None
        and last_year.sketch is not None
        # A season is an alarm in its first year, as long as nothing knows it. What was
        # lost then, and repaired, may be lost again.
        and not (last_year.is_alarm and _is_loss(top))
        and not distance.compare(
            thing.sketch, [last_year.sketch], chance=chance
        ).is_beyond
    )
    message = changed(thing.name, thing.sketch, top, before[0])
    return _measured(
        thing,
        comparison,
        is_alarm=not is_season,
        cause=SEASON if is_season else cause,
        message=f"{message}, as a year ago" if is_season else message,
        weeks=0 if is_season else _weeks(known),
    )


def _measured(thing: Thing, comparison: Comparison, **more: Any) -> Thing:
    return replace(
        thing,
        distance=comparison.distance,
        noise=comparison.noise,
        threshold=comparison.threshold,
        **more,
    )


def _of_level(
    thing: Thing,
    reference: Sequence[Thing],
    known: Sequence[Thing],
    *,
    chance: float,
    target: float | None = None,
    estimated: float | None = None,
) -> Thing:
    assert thing.level is not None
    change = move(
        thing.level,
        [other.level for other in reference if other.level is not None],
        ordinary=_ORDINARY[thing.name],
        chance=chance,
        target=target,
    )
    matters = _MATTERS[thing.name]
    # A ROC AUC that is better than its estimate is no reason to wake anybody.
    is_better = thing.name == RANKING and change.moved > 0
    is_alarm = change.is_beyond(matters) and not is_better
    cause, message = _level_sentence(thing, change, estimated) if is_alarm else ("", "")
    return replace(
        thing,
        distance=abs(change.moved),
        noise=change.noise,
        threshold=matters,
        is_alarm=is_alarm,
        cause=cause,
        message=message,
        weeks=_weeks(known) if is_alarm else 0,
    )


def _weeks(known: Sequence[Thing]) -> int:
    """Return how many in a row have this alarm, with the one that has it now."""
    # The newest has counted those that are too old to be looked at.
    return known[0].weeks + 1 if known and known[0].is_alarm else 1


def _is_loss(top: Bin) -> bool:
    """Tell whether what has changed most are users without a value, or with none."""
    return top.is_missing or top.first == top.last == 0.0


def _cause(thing: Thing, top: Bin) -> str:
    if thing.thing == SCORE:
        return SCORES
    if top.is_missing:
        return MISSING
    assert thing.sketch is not None
    return SOURCE if thing.sketch.kind == CATEGORY else VALUES


def _level_sentence(
    thing: Thing, change: Move, estimated: float | None
) -> tuple[str, str]:
    """Return the cause and the sentence of a number that moved."""
    ratio, is_many = _change(change.moved), change.moved > _TIMES
    moved = f"to {ratio} what was expected" if is_many else f"by {ratio}"
    if thing.name == MEAN:
        return SCORES, f"the mean probability has moved {moved}, the season aside"
    if thing.name == COUNT:
        return VOLUME, f"the number of users has moved {moved}"
    if thing.name == CALIBRATION:
        beside = "" if is_many else "beside "
        return SEASON, (
            f"the odds of all users were {ratio} {beside}the published ones, more than "
            "the season's shift has followed"
        )
    assert thing.level is not None
    measured = (estimated or 0.0) + thing.level.value
    return RELATION, (
        f"the ROC AUC is {measured:.3f}, and {estimated or 0.0:.3f} was expected: "
        "features say less about the outcome than they did"
    )


def _change(log_ratio: float) -> str:
    """Write the logarithm of a ratio: as a percentage, or a large one in times."""
    if log_ratio <= _TIMES:
        return f"{exp(log_ratio) - 1:+.0%}"
    most = log(1_000_000)
    more = "over " if log_ratio > most else ""
    return f"{more}{exp(min(log_ratio, most)):,.0f} times"


def count(users: int) -> Thing:
    """Return the number of users as a thing that is watched."""
    level = Level(value=log(max(users, 1)), error=max(users, 1) ** -0.5)
    return Thing(thing=USERS, name=COUNT, level=level)
