"""
What the season's shift does to probabilities, with drift in the odds and without.

    python -m benchmarks.season

Shops whose true probabilities are known are played week by week: a model that was
calibrated once publishes, the week comes, 03 evaluates it (provisional, then final),
and 01 takes the shift from ``propensity.learning.season``. The same weeks without a
shift stand beside it. Everything is seeded, and no time is measured.

Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from benchmarks.report import Line, finish
from propensity.learning import metrics, season
from propensity.settings import Settings

Floats = NDArray[np.float64]
Drift = Callable[[int], float]

USERS = (1_000, 10_000, 100_000)
BASE_RATES = (0.01, 0.03, 0.06, 0.12)
SEEDS = 20
WEEKS = 26

# Distinct probabilities of a shop, and the spread of their log-odds: a ROC AUC of 0.76.
_GROUPS = 500
_SPREAD = 1.0

_FIRST = date(2026, 1, 5)
_HORIZON = 7
_STEP_AT = 10
# A version learns the mean drift of so many weeks, the newest two weeks before it.
_LEARNED_WEEKS = 4
_SETTLED_WEEKS = 2

# Targets: a calibration error at most so much worse, the share of a step that is
# followed in the second week after it, and the calibration error of a season that is
# followed over that of one that is not.
NO_HARM = 0.001
FOLLOWED = 0.75
SEASON_RATIO = 0.6
# In a step's second week this many conversions have to be known for the target to hold.
_KNOWN_CONVERSIONS = 100


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """
    What happens to the odds of a shop.

    Attributes:
        drift: Log-odds by week that the first model knows nothing of.
        weekly_error: Standard deviation of what befalls a single week.
        late: Share of the newest week's conversions that come after its evaluation.
        trained_every: Weeks between two versions; 0 for a single one.
        is_compared: Whether a version's level was compared with that of the one before.
        is_step: Whether the target of steps holds.
        is_season: Whether the target of seasons holds.
    """

    name: str
    drift: Drift
    weekly_error: float = 0.0
    late: float = 0.0
    trained_every: int = 0
    is_compared: bool = True
    is_step: bool = False
    is_season: bool = False


@dataclass(frozen=True, kw_only=True)
class Week:
    """A played week, by group of equal probability: what came, and what was said."""

    week: int
    version: int
    users: Floats
    conversions: Floats
    truth: Floats
    unshifted: Floats
    shift: float | None

    @property
    def published(self) -> Floats:
        """The probabilities that were published."""
        return season.apply(self.unshifted, self.shift)


def none(week: int) -> float:
    """Return no drift."""
    return 0.0


def step(factor: float) -> Drift:
    """Return a step of the odds by a factor."""
    return lambda week: float(np.log(factor)) if week >= _STEP_AT else 0.0


def christmas(week: int) -> float:
    """Return the log-odds of 9 % to 16 % in eight weeks, and back in three."""
    rise = float(np.log(0.16 / 0.84) - np.log(0.09 / 0.91))
    up = np.clip((week - 8) / 8, 0, 1)
    down = np.clip((week - 17) / 3, 0, 1)
    return rise * float(up - down)


def slow(week: int) -> float:
    """Return odds that fall by a third in half a year."""
    return float(np.log(2 / 3)) * week / WEEKS


SCENARIOS = (
    Scenario(name="no drift", drift=none),
    Scenario(
        name="no drift, 5 % of odds a week at random", drift=none, weekly_error=0.05
    ),
    Scenario(name="no drift, 2 % of labels late", drift=none, late=0.02),
    Scenario(name="no drift, 10 % of labels late", drift=none, late=0.10),
    Scenario(name="no drift, a version a month", drift=none, trained_every=4),
    Scenario(name="step × 1.5", drift=step(1.5), is_step=True),
    Scenario(name="step × 2", drift=step(2.0), is_step=True),
    Scenario(name="step × 0.5", drift=step(0.5), is_step=True),
    Scenario(name="Christmas", drift=christmas, is_season=True),
    Scenario(name="Christmas, 10 % of labels late", drift=christmas, late=0.10),
    Scenario(name="Christmas, a version a month", drift=christmas, trained_every=4),
    Scenario(
        name="Christmas, a version a month, never compared",
        drift=christmas,
        trained_every=4,
        is_compared=False,
    ),
    Scenario(name="slow fall", drift=slow),
)


def play(
    scenario: Scenario, *, users: int, base_rate: float, seed: int, bound: float
) -> list[Week]:
    """Play a shop's weeks, as 01 and 03 would."""
    random = np.random.default_rng(seed)
    log_odds = _log_odds(base_rate)
    drifts = np.array([scenario.drift(week) for week in range(WEEKS)])
    drifts += random.normal(0, scenario.weekly_error, WEEKS)
    differences: list[season.LevelDifference] = []
    final: list[season.EvaluatedWeek] = []
    weeks: list[Week] = []
    learned, version = 0.0, 0
    for week, drift in enumerate(drifts):
        if scenario.trained_every and week and week % scenario.trained_every == 0:
            mature = drifts[: week + 1 - _SETTLED_WEEKS][-_LEARNED_WEEKS:]
            level = float(mature.mean())
            if scenario.is_compared:
                differences.append(
                    season.LevelDifference(
                        model_version=version + 1,
                        compared_version=version,
                        log_odds=level - learned,
                    )
                )
            learned, version = level, version + 1
        provisional = _evaluated(weeks[-1:], late=scenario.late, random=random)
        shift = season.shift(
            season.of_version([*final, *provisional], differences, version=version),
            week=_day(week),
            horizon_days=_HORIZON,
            minimum_conversions=Settings(project="p").minimum_conversions,
            bound=bound,
        )
        final += [
            replace(
                week,
                is_final=True,
                late=week.log_odds - provisional[0].log_odds if provisional else None,
            )
            for week in _evaluated(weeks[-1:], late=0.0, random=random)
        ]
        count = random.multinomial(users, np.full(_GROUPS, 1 / _GROUPS))
        truth = _sigmoid(log_odds + drift)
        weeks.append(
            Week(
                week=week,
                version=version,
                users=count.astype(np.float64),
                conversions=random.binomial(count, truth).astype(np.float64),
                truth=truth,
                unshifted=_sigmoid(log_odds + learned),
                shift=shift.log_odds if shift else None,
            )
        )
    return weeks


def _evaluated(
    weeks: Sequence[Week], *, late: float, random: np.random.Generator
) -> list[season.EvaluatedWeek]:
    """Return weeks as 03 has them at first, without such as have one class alone."""
    evaluated = []
    for week in weeks:
        on_time = random.binomial(week.conversions.astype(np.int64), 1 - late)
        observed = metrics.grouped(
            week.published, week.users, on_time.astype(np.float64)
        )
        residual = season.residual(observed)
        if residual is None:
            continue
        evaluated.append(
            season.EvaluatedWeek(
                week=_day(week.week),
                model_version=week.version,
                log_odds=(week.shift or 0.0) + residual.log_odds,
                standard_error=residual.standard_error,
                conversions=int(on_time.sum()),
                others=int(week.users.sum() - on_time.sum()),
                is_final=False,
            )
        )
    return evaluated


def _day(week: int) -> date:
    return _FIRST + timedelta(days=_HORIZON * week)


def _sigmoid(log_odds: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-log_odds)), dtype=np.float64)


def _log_odds(base_rate: float) -> Floats:
    """Return the groups' log-odds: normal, with the mean probability ``base_rate``."""
    place = (np.arange(_GROUPS) + 0.5) / _GROUPS
    normal = _SPREAD * norm.ppf(place)
    middle = brentq(lambda mean: _sigmoid(normal + mean).mean() - base_rate, -15, 15)
    return np.asarray(normal + middle, dtype=np.float64)


# What is held against a target.
HARM = "without drift, calibration error above that without a shift"
STEP = "share of a step in the shift of the second week after"
CHRISTMAS = "Christmas, calibration error of that without a shift"


@dataclass(frozen=True, kw_only=True)
class Result:
    """
    What a scenario came to, in a shop or as means over its shops.

    Attributes:
        error: Calibration error of the published probabilities, weeks pooled.
        unshifted_error: The same without a shift.
        distance: Mean distance of the published from the true probabilities.
        unshifted_distance: The same without a shift.
        followed: Share of a step in the shift of the second week after it.
        known_conversions: Conversions in the week of the step.
    """

    error: float
    unshifted_error: float
    distance: float
    unshifted_distance: float
    followed: float
    known_conversions: float


def measured(
    scenario: Scenario, *, users: int, base_rate: float, seeds: int, bound: float
) -> Result:
    """Play a scenario with several seeds, and measure."""
    shops = []
    for seed in range(seeds):
        weeks = play(scenario, users=users, base_rate=base_rate, seed=seed, bound=bound)
        published = [week.published for week in weeks]
        unshifted = [week.unshifted for week in weeks]
        height = scenario.drift(_STEP_AT + 2)
        shops.append(
            Result(
                error=_pooled_error(weeks, published),
                unshifted_error=_pooled_error(weeks, unshifted),
                distance=_distance(weeks, published),
                unshifted_distance=_distance(weeks, unshifted),
                followed=(weeks[_STEP_AT + 2].shift or 0.0) / height if height else 0.0,
                known_conversions=float(weeks[_STEP_AT].conversions.sum()),
            )
        )
    return Result(
        **{
            field.name: statistics.fmean(getattr(shop, field.name) for shop in shops)
            for field in fields(Result)
        }
    )


def _pooled_error(weeks: Sequence[Week], probabilities: Sequence[Floats]) -> float:
    pooled = metrics.grouped(
        np.concatenate(probabilities),
        np.concatenate([week.users for week in weeks]),
        np.concatenate([week.conversions for week in weeks]),
    )
    return metrics.calibration_error(pooled) or 0.0


def _distance(weeks: Sequence[Week], probabilities: Sequence[Floats]) -> float:
    apart = [
        float((week.users * np.abs(probability - week.truth)).sum())
        for week, probability in zip(weeks, probabilities, strict=True)
    ]
    return sum(apart) / sum(float(week.users.sum()) for week in weeks)


def judged(scenario: Scenario, result: Result) -> tuple[str, float] | None:
    """Return which target a result is held against, and its figure; None for none."""
    if scenario.drift is none:
        return HARM, result.error - result.unshifted_error
    if result.known_conversions < _KNOWN_CONVERSIONS:
        return None
    if scenario.is_step:
        return STEP, result.followed
    if scenario.is_season:
        return CHRISTMAS, result.error / result.unshifted_error
    return None


def lines(ratios: Mapping[str, Sequence[float]]) -> Iterator[Line]:
    """Yield the worst figure of each target."""
    bounds = {
        HARM: (None, NO_HARM),
        STEP: (FOLLOWED, None),
        CHRISTMAS: (None, SEASON_RATIO),
    }
    for what, (least, most) in bounds.items():
        if figures := ratios.get(what):
            yield Line(
                what=f"{what}; the worst of {len(figures)}",
                ours=[max(figures) if least is None else min(figures)],
                least=least,
                most=most,
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulation; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.season")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"default: {SEEDS}")
    options = parser.parse_args(arguments)
    bound = Settings(project="p").maximum_log_odds_shift
    print(
        f"{WEEKS} weeks, means of {options.seeds} shops; published with the shift, and "
        "without it\n"
    )
    print(
        "| scenario | users a week | base rate | calibration error | without "
        "| distance from the truth | without | step followed |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    ratios: dict[str, list[float]] = {}
    for scenario in SCENARIOS:
        for users in USERS:
            for base_rate in BASE_RATES if scenario.drift is none else (0.03, 0.09):
                result = measured(
                    scenario,
                    users=users,
                    base_rate=base_rate,
                    seeds=options.seeds,
                    bound=bound,
                )
                if (judgement := judged(scenario, result)) is not None:
                    ratios.setdefault(judgement[0], []).append(judgement[1])
                followed = f"{result.followed:.2f}" if scenario.is_step else ""
                print(
                    f"| {scenario.name} | {users:,} | {base_rate:.0%} "
                    f"| {result.error:.4f} | {result.unshifted_error:.4f} "
                    f"| {result.distance:.4f} | {result.unshifted_distance:.4f} "
                    f"| {followed} |",
                    flush=True,
                )
    return finish(lines(ratios))


if __name__ == "__main__":
    sys.exit(main())
