"""
Alarms: what of a publication, or of an evaluated week, a person should look at.

Everything that is watched shares one budget of false alarms, so that more features do
not make more of them, and neither do more weeks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from math import exp, isfinite, log

from propensity.drift import distance
from propensity.drift.distance import Bin
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

# Publications that are compared with, the newest with most weight, and the fewest.
MEMORY, FEWEST = 8, 2

# What is watched. A row of the table is one of them.
FEATURE, SCORE, USERS, OUTCOME = "feature", "score", "users", "outcome"
# Names of the things of which there is one alone.
PROBABILITY, MEAN, COUNT = "probability", "mean_probability", "count"
CALIBRATION = "calibration"

# Causes of alarms.
VALUES, MISSING, SOURCE = "feature", "missing values", "source"
SEASON, VOLUME, SCORES = "season", "users", "score"

# Moves that matter: of the logarithm of the mean probability, of the number of users,
# and of the log-odds of outcomes. Below, what an ordinary week is worth.
_MATTERS = {MEAN: 0.05, COUNT: 0.25, CALIBRATION: 0.05}
_ORDINARY = {MEAN: 0.01, COUNT: 0.05, CALIBRATION: 0.05}

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
        cause: Of an alarm; empty without.
        message: What has changed, in a sentence; empty without.
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
) -> list[Thing]:
    """
    Return what is watched of a publication, compared with the publications before it.

    Args:
        now: Sketches and levels of this publication.
        earlier: Publications before it, newest first.
        model_version: That scored; scores are compared with its own alone.
    """
    sketches = sum(thing.sketch is not None for thing in now)
    result = []
    for thing in now:
        # A version's probabilities are its own.
        is_score = thing.thing == SCORE
        known = [
            week.things[thing.key]
            for week in earlier
            if thing.key in week.things
            and _is_alike(thing, week.things[thing.key])
            and (not is_score or week.model_version == model_version)
        ]
        reference = known[:MEMORY]
        if len(reference) < FEWEST:
            result.append(thing)
        elif thing.sketch is not None:
            result.append(_of_sketch(thing, reference, _chance(sketches)))
        else:
            result.append(_of_level(thing, reference, _chance(len(now) - sketches)))
    return result


def _is_alike(now: Thing, before: Thing) -> bool:
    """
    Tell whether both are of one kind.

    A new version may make a category of what was a number: it begins anew.
    """
    kinds = {thing.sketch and thing.sketch.kind for thing in (now, before)}
    return len(kinds) == 1


def outcome(now: Level, earlier: Sequence[Thing]) -> Thing:
    """
    Return what an evaluated week says about the model: its calibration.

    Args:
        now: The log-odds that its probabilities lacked.
        earlier: The same of weeks before it, newest first.
    """
    thing = Thing(thing=OUTCOME, name=CALIBRATION, level=now)
    return _of_level(thing, earlier, _chance(1), target=0.0)


def rank(
    *, is_single: bool, distance: float | None, name: str
) -> tuple[bool, float, str]:
    """Return an alarm's place: single numbers last, then by distance and name."""
    return is_single, -(distance or 0.0), name


def _chance(things: int) -> float:
    """Return the chance of a false alarm of one of so many sketches, or numbers."""
    # Sketches have half of the budget, single numbers the other half.
    return FALSE_ALARMS / 2 / WEEKS / things


def _of_sketch(thing: Thing, reference: Sequence[Thing], chance: float) -> Thing:
    assert thing.sketch is not None
    before = [other.sketch for other in reference if other.sketch is not None]
    comparison = distance.compare(thing.sketch, before, chance=chance)
    measured = replace(
        thing,
        distance=comparison.distance,
        noise=comparison.noise,
        threshold=comparison.threshold,
    )
    if not comparison.is_beyond:
        return measured
    top = comparison.bins[0]
    return replace(
        measured,
        is_alarm=True,
        cause=_cause(thing, top),
        message=changed(thing.name, thing.sketch, top, before[0]),
    )


def _of_level(
    thing: Thing,
    reference: Sequence[Thing],
    chance: float,
    *,
    target: float | None = None,
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
    is_alarm = change.is_beyond(matters)
    cause, message = _level_sentence(thing, change) if is_alarm else ("", "")
    return replace(
        thing,
        distance=abs(change.moved),
        noise=change.noise,
        threshold=matters,
        is_alarm=is_alarm,
        cause=cause,
        message=message,
    )


def _cause(thing: Thing, top: Bin) -> str:
    if thing.thing == SCORE:
        return SCORES
    if top.is_missing:
        return MISSING
    assert thing.sketch is not None
    return SOURCE if thing.sketch.kind == CATEGORY else VALUES


def _level_sentence(thing: Thing, change: Move) -> tuple[str, str]:
    """Return the cause and the sentence of a number that moved."""
    ratio, is_many = _change(change.moved), change.moved > _TIMES
    moved = f"to {ratio} what was expected" if is_many else f"by {ratio}"
    if thing.name == MEAN:
        return SCORES, f"the mean probability has moved {moved}, the season aside"
    if thing.name == COUNT:
        return VOLUME, f"the number of users has moved {moved}"
    beside = "" if is_many else "beside "
    return SEASON, (
        f"the odds of all users were {ratio} {beside}the published ones, more than "
        "the season's shift has followed"
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
