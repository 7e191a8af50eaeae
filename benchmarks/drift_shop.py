"""
The weeks of a shop that `benchmarks.drift` plays, breaks and estimates.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks import quality, shops
from benchmarks.breaks import Break, breaks
from local.generators.shop.export import Shop
from propensity.drift import alarms, estimate
from propensity.drift.alarms import Earlier, Thing
from propensity.drift.level import Level
from propensity.drift.sketch import Sketch, Sketches
from propensity.learning import metrics
from propensity.usecases import UseCase

Floats = NDArray[np.float64]

WARM_UP = alarms.MEMORY
# What makes a break costly.
COSTLY_AUC, COSTLY_LEVEL = 0.02, 0.10


# -- a shop ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Week(quality.Week):
    """A published week, and the truth where it is known."""

    truth: Floats | None = None


def play(source: shops.Source, *, count: int) -> tuple[UseCase, list[Week]]:
    """Load a shop; train each month and publish each of its last weeks."""
    loaded = quality.loaded(source, count=count)
    truths = _truths(source.shop, loaded.weeks) if source.shop else {}
    weeks = []
    for week in quality.weeks_of(loaded, [], learn=lambda *_: True):
        truth = None
        if truths:
            users = week.part.rows["user_id"].to_pylist()
            truth = np.array([truths[week.as_of][user] for user in users])
        weeks.append(Week(**vars(week), truth=truth))
    return loaded.use_case, weeks


def _truths(shop: Shop, weeks: Sequence[date]) -> dict[date, dict[str, float]]:
    truths: dict[date, dict[str, float]] = {}
    for row in shop.true_probabilities(weeks).to_pylist():
        truths.setdefault(row["as_of"], {})[row["user_id"]] = row["probability"]
    return truths


def things_of(use_case: UseCase, rows: pa.Table, probability: Floats) -> list[Thing]:
    """Return what 01-Predictions watches of rows and their probabilities."""
    sketches = Sketches(use_case.features)
    sketches.add(rows.combine_chunks().to_batches()[0], probability)
    return alarms.publication(sketches, sketches.scores(), users=len(rows))


def score_things(sketch: Sketch) -> list[Thing]:
    """Return the things of probabilities, by a sketch of them."""
    value = np.array([v for v in sketch.counts if isinstance(v, float)])
    users = np.array(list(sketch.counts.values()), dtype=np.float64)
    mean = (value * users).sum() / users.sum()
    spread = np.sqrt((users * (value - mean) ** 2).sum()) / users.sum()
    level = Level(value=float(np.log(mean)), error=float(spread / mean))
    return [
        Thing(thing=alarms.SCORE, name=alarms.PROBABILITY, sketch=sketch),
        Thing(thing=alarms.SCORE, name=alarms.MEAN, level=level),
    ]


def resampled(
    weeks: Sequence[list[Thing]], users: int, random: np.random.Generator
) -> Iterator[tuple[list[Thing], None]]:
    """Yield the weeks of a shop as if it had so many users, by drawing from its own."""
    for things in weeks:
        drawn = [
            replace(thing, sketch=_redrawn(thing.sketch, users, random))
            for thing in things
            if thing.sketch is not None and thing.thing == alarms.FEATURE
        ]
        [score] = [thing.sketch for thing in things if thing.name == alarms.PROBABILITY]
        assert score is not None
        yield [*drawn, *score_things(_redrawn(score, users, random))], None


def _redrawn(sketch: Sketch, users: int, random: np.random.Generator) -> Sketch:
    share = np.array([*sketch.counts.values(), sketch.missing], dtype=np.float64)
    drawn = random.multinomial(users, share / share.sum())
    return Sketch(
        kind=sketch.kind,
        users=users,
        missing=int(drawn[-1]),
        counts={
            value: int(count)
            for value, count in zip(sketch.counts, drawn[:-1], strict=True)
            if count
        },
    )


# -- breaks ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Broken:
    """What a break cost over all weeks, and in how many it was found at once."""

    broken: Break
    auc: float
    level: float
    found: int
    weeks: int

    @property
    def is_costly(self) -> bool:
        """Whether it has to be found."""
        return self.auc >= COSTLY_AUC or self.level >= COSTLY_LEVEL


def broken(use_case: UseCase, weeks: Sequence[Week]) -> list[Broken]:
    """Break every week after the first ones, alone, in each way."""
    things = [things_of(use_case, week.part.rows, week.unshifted) for week in weeks]
    publications: list[Earlier] = []
    for week, known in zip(weeks, things, strict=True):
        watched = alarms.watched(known, publications, model_version=week.version)
        entry = Earlier(
            as_of=week.as_of,
            model_version=week.version,
            things={thing.key: thing for thing in watched},
        )
        publications.insert(0, entry)
    results = []
    for way in breaks(use_case):
        falls, levels, hits = [], [], 0
        tried = range(WARM_UP, len(weeks), 2)
        for place in tried:
            week = weeks[place]
            rows = way.apply(week.part.rows)
            label = rows["label"].to_numpy()
            probability = week.score(rows)
            intact = week.unshifted
            if len(rows) < len(intact):
                # Who is left has the same probability; those who are not have none.
                falls.append(0.0)
                levels.append(abs(len(rows) / len(intact) - 1))
            else:
                whole = metrics.roc_auc(metrics.outcomes(intact, label))
                now = metrics.roc_auc(metrics.outcomes(probability, label))
                falls.append((whole or 0.5) - (now or 0.5))
                levels.append(abs(probability.mean() / intact.mean() - 1))
            seen = alarms.watched(
                things_of(use_case, rows, probability),
                publications[len(weeks) - place :],
                model_version=week.version,
            )
            raised = [thing for thing in seen if thing.is_alarm]
            hits += bool(raised)
        results.append(
            Broken(
                broken=way,
                auc=statistics.fmean(falls),
                level=statistics.fmean(levels),
                found=hits,
                weeks=len(tried),
            )
        )
    return results


# -- estimates -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """A week's estimate, what was measured, and what the truth lets expect."""

    week: date
    estimated: estimate.Estimate
    measured: float
    expected: float | None


def estimates(weeks: Sequence[Week], *, seed: int) -> list[Estimated]:
    """Estimate each week as 01 would have, with what was known then."""
    past: list[estimate.Past] = []
    results = []
    for week in weeks:
        sketches = Sketches({})
        sketches.add_scores(week.unshifted)
        raw = estimate.roc_auc(sketches.scores(), week.shift, seed=seed)
        seen = metrics.outcomes(week.published, week.part.label)
        measured = metrics.roc_auc(seen)
        if raw is None or measured is None:
            continue
        expected = None
        if week.truth is not None:
            known = metrics.grouped(
                week.published, np.ones(len(week.truth)), week.truth
            )
            expected = metrics.roc_auc(known)
        results.append(
            Estimated(
                week=week.as_of,
                estimated=estimate.corrected(
                    raw, past, as_of=week.as_of, model_version=week.version
                ),
                measured=measured,
                expected=expected,
            )
        )
        past.insert(
            0,
            estimate.Past(
                as_of=week.as_of,
                model_version=week.version,
                estimated=raw.value,
                error=raw.error,
                measured=measured,
            ),
        )
        del past[13:]
    return results
