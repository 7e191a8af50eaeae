"""
Drift: false alarms, breaks that are found, and estimates of ROC AUC. Gates.

    python -m benchmarks.drift [--shops 20] [--weeks 26] [--users N] [--data FILE]...

1. Two years of weekly publications in which nothing breaks, by number of users: shares
   wobble from week to week, follow a season and a trend, and are drawn anew; and the
   weeks of a shop, whose users are drawn with replacement.
2. What 01-Predictions published over months of a shop, with a model of our own that is
   trained each month: features are broken in one week after the other, and each break
   that costs 0.02 of ROC AUC or 10% of the mean probability has to raise an alarm in
   its first week.
3. In the same weeks the ROC AUC that was estimated beside the one that was measured,
   and beside what the generator's true probabilities let expect, in which chance has
   no part.

It plays the generated shop of the demo and, with PROPENSITY_DATA, the real one.
Everything is seeded; no time is measured. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import shops
from benchmarks.drift_shop import (
    WARM_UP,
    Broken,
    Estimated,
    Week,
    broken,
    estimates,
    play,
    resampled,
    score_things,
    things_of,
)
from local.progress import Progress, say
from propensity.drift import alarms, estimate
from propensity.drift.alarms import Earlier, Thing
from propensity.drift.level import Level
from propensity.drift.sketch import CATEGORY, NUMBER, Sketch, Sketches, Value
from propensity.learning import metrics
from propensity.usecases import UseCase

Floats = NDArray[np.float64]

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
WEEKS = 104

# Targets: alarms in two years, the share of costly breaks that are found, and of weeks
# with an estimate so close to the truth. What is measured of few conversions is further
# from the truth than that, by chance: the table says how far.
TOGETHER = 8
MOST_ALARMS, FOUND, CLOSE, CLOSE_WEEKS = 1.0, 0.9, 0.015, 0.9

# Things of the made-up publications: bins of each feature.
_NUMBERS, _CATEGORIES, _BINS = 32, 5, 12
# Standard deviations of log shares: of a week, of the season's height, of a year.
_WOBBLE, _HEIGHT, _TREND = 0.05, 0.3, 0.3


# -- weeks in which nothing breaks -----------------------------------------------------


def made_up(
    users: int, weeks: int, random: np.random.Generator
) -> Iterator[tuple[list[Thing], Level]]:
    """Yield publications of a growing site, and the log-odds that each week lacked."""
    count = _NUMBERS + _CATEGORIES + 1
    base = random.normal(0, 1.2, (count, _BINS))
    phase = random.uniform(0, 2 * np.pi, (count, 1))
    height = random.normal(0, _HEIGHT, (count, _BINS))
    trend = random.normal(0, _TREND, (count, _BINS))
    growth = random.normal(0, 0.3)
    for week in range(WARM_UP + weeks):
        year = week / 52
        logs = base + height * np.sin(2 * np.pi * year + phase) + trend * year
        logs += random.normal(0, _WOBBLE, logs.shape)
        share = np.exp(logs)
        share /= share.sum(axis=1, keepdims=True)
        now = max(round(users * np.exp(growth * year + random.normal(0, 0.02))), 50)
        things = [
            Thing(
                thing=alarms.FEATURE,
                name=str(number),
                sketch=_sketch(random, now, part, is_number=number < _NUMBERS),
            )
            for number, part in enumerate(share[:-1])
        ]
        score = _sketch(random, now, share[-1], is_number=True)
        yield [*things, *score_things(score), alarms.count(now)], _residual(now, random)


def _sketch(
    random: np.random.Generator, users: int, share: Floats, *, is_number: bool
) -> Sketch:
    counts = random.multinomial(users, share)
    values: Sequence[Value] = [
        (0.001 * 2.0**place if is_number else str(place)) for place in range(_BINS - 1)
    ]
    return Sketch(
        kind=NUMBER if is_number else CATEGORY,
        users=users,
        missing=int(counts[-1]),
        counts={
            value: int(count)
            for value, count in zip(values, counts[:-1], strict=True)
            if count
        },
    )


def _residual(users: int, random: np.random.Generator) -> Level:
    """Return what a week lacked: chance, and an ordinary week."""
    error = (0.08 * 0.92 * users) ** -0.5
    return Level(value=random.normal(0, np.hypot(error, 0.05)), error=error)


def false_alarms(
    weeks: Iterator[tuple[list[Thing], Level | None]],
) -> list[str]:
    """Return what was alarmed of publications in which nothing broke."""
    earlier: list[Earlier] = []
    outcomes: list[Thing] = []
    raised = []
    for number, (things, residual) in enumerate(weeks):
        watched = alarms.watched(things, earlier, model_version=0)
        week = date.fromordinal(735_000 + 7 * number)
        if residual is not None:
            found_outcome = alarms.outcome(
                alarms.CALIBRATION, residual, outcomes[: alarms.MEMORY]
            )
            outcomes.insert(0, found_outcome)
            watched = [*watched, found_outcome]
        if number >= WARM_UP:
            raised += [
                f"{week} {thing.thing} {thing.name}: {thing.message}"
                for thing in watched
                if thing.is_alarm
            ]
        entry = Earlier(
            as_of=week, model_version=0, things={thing.key: thing for thing in watched}
        )
        earlier = [entry, *earlier][:13]
    return raised


# -- the report ------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift")
    parser.add_argument("--shops", type=int, default=20, help="made up, default: 20")
    parser.add_argument("--weeks", type=int, default=26, help="played, default: 26")
    parser.add_argument(
        "--calm",
        type=int,
        default=WEEKS,
        help=f"weeks in which nothing breaks, default: {WEEKS}",
    )
    parser.add_argument("--data", action="append", type=Path, metavar="FILE")
    shops.add_users(parser)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    is_missed = False
    with Progress():
        is_missed |= _report_made_up(options.shops, options.calm)
        for source in shops.sources(options.data, users=options.users):
            use_case, weeks = play(source, count=options.weeks)
            if len(weeks) <= WARM_UP:
                parser.error(
                    f"{source.name}: {len(weeks)} weeks were published, and more than "
                    f"{WARM_UP} are needed: give more --users or --weeks"
                )
            say(f"\n{source.name}: {len(weeks)} weeks from {weeks[0].as_of}")
            is_missed |= report_shop(use_case, weeks, options.calm)
    return int(is_missed)


def _report_made_up(count: int, calm: int) -> bool:
    say(f"\nFalse alarms in {calm} weekly runs, {count} made-up shops a size\n")
    say("| users a week | alarms, mean | shops with more than one | misses |")
    say("|--:|--:|--:|---|")
    is_missed = False
    for users in SIZES:
        counts = []
        for seed in range(count):
            random = np.random.default_rng([seed, users])
            counts.append(len(false_alarms(made_up(users, calm, random))))
        is_missed |= _false_alarm_row(f"{users:,}", counts)
    return is_missed


def _false_alarm_row(name: str, counts: Sequence[int]) -> bool:
    mean = statistics.fmean(counts)
    is_missed = mean > MOST_ALARMS
    several = sum(count > 1 for count in counts) / len(counts)
    miss = f"{mean:.2f} > {MOST_ALARMS:g}" if is_missed else ""
    say(f"| {name} | {mean:.2f} | {several:.0%} | {miss} |")
    return is_missed


def report_shop(use_case: UseCase, weeks: Sequence[Week], calm: int) -> bool:
    """Print the tables of a shop; return whether a target is missed."""
    is_missed = _report_calm(use_case, weeks, calm)
    is_missed |= _report_breaks(broken(use_case, weeks))
    is_missed |= _report_estimates(estimates(weeks, seed=0))
    _report_sizes(weeks[-1].published)
    return is_missed


def _report_calm(use_case: UseCase, weeks: Sequence[Week], calm: int) -> bool:
    # The scores of the newest version, in all weeks.
    score = weeks[-1].score
    things = [things_of(use_case, w.part.rows, score(w.part.rows)) for w in weeks]
    repeats = -(-calm // max(len(weeks) - WARM_UP, 1))
    say(f"\nFalse alarms in {calm} of its weeks, users drawn with replacement\n")
    say("| users a week | alarms, mean | more than one | misses |")
    say("|--:|--:|--:|---|")
    is_missed = False
    for users in SIZES:
        random = np.random.default_rng(users)
        count = sum(
            len(false_alarms(resampled(things, users, random))) for _ in range(repeats)
        )
        is_missed |= _false_alarm_row(f"{users:,}", [count])
    return is_missed


def _report_breaks(results: Sequence[Broken]) -> bool:
    costly = [result for result in results if result.is_costly]
    cheap = [result for result in results if not result.is_costly]
    say("\nBreaks that cost 0.02 of ROC AUC or 10% of the mean, found at once\n")
    say("| break | ways | of them costly | weeks | found | misses |")
    say("|---|--:|--:|--:|--:|---|")
    for kind in dict.fromkeys(result.broken.kind for result in results):
        of_kind = [result for result in costly if result.broken.kind == kind]
        ways = sum(result.broken.kind == kind for result in results)
        _break_row(kind, ways, of_kind, is_gate=False)
    is_missed = _break_row("all", len(results), costly, is_gate=True)
    raised = sum(result.found for result in cheap) / max(sum(o.weeks for o in cheap), 1)
    say(f"\nOf the {len(cheap)} cheaper breaks {raised:.0%} raised an alarm, too.")
    for result in costly:
        if result.found < result.weeks:
            say(
                f"  {result.broken.kind} {result.broken.name}: ROC AUC "
                f"-{result.auc:.3f}, mean {result.level:.0%}, "
                f"found in {result.found} of {result.weeks}"
            )
    return is_missed


def _break_row(name: str, ways: int, of: Sequence[Broken], *, is_gate: bool) -> bool:
    weeks, found = (
        sum(result.weeks for result in of),
        sum(result.found for result in of),
    )
    share = found / weeks if weeks else 1.0
    is_missed = is_gate and share < FOUND
    miss = f"{share:.0%} < {FOUND:.0%}" if is_missed else ""
    shown = f"{share:.0%}" if weeks else "-"
    say(f"| {name} | {ways} | {len(of)} | {weeks} | {shown} | {miss} |")
    return is_missed


def _report_estimates(results: Sequence[Estimated]) -> bool:
    say("\nROC AUC, estimated before the labels and measured after them\n")
    say("| week | estimated | 95% interval | measured | expected by the truth |")
    say("|---|--:|--:|--:|--:|")
    for week in results:
        expected = "" if week.expected is None else f"{week.expected:.4f}"
        say(
            f"| {week.week} | {week.estimated.value:.4f} | {week.estimated.low:.3f} to "
            f"{week.estimated.high:.3f} | {week.measured:.4f} | {expected} |"
        )
    apart = np.array([abs(week.estimated.value - week.measured) for week in results])
    inside = np.array(
        [week.estimated.low <= week.measured <= week.estimated.high for week in results]
    )
    noise = statistics.fmean(week.estimated.error for week in results)
    close = float((apart <= CLOSE).mean())
    together = [
        abs(statistics.fmean(week.estimated.value - week.measured for week in part))
        <= CLOSE
        for part in (
            results[start : start + TOGETHER]
            for start in range(len(results) - TOGETHER + 1)
        )
    ]
    say(
        f"\nWithin {CLOSE} of the measured in {close:.0%} of weeks, mean distance "
        f"{apart.mean():.4f}; the interval holds it in {inside.mean():.0%}.\n"
        f"The standard error, nearly all of it the chance of a week, is {noise:.4f}.\n"
        f"The means of {TOGETHER} weeks are within {CLOSE} of each other in "
        f"{statistics.fmean(together):.0%}."
    )
    known = [week for week in results if week.expected is not None]
    if not known:
        return False
    off = np.array(
        [abs(week.estimated.value - (week.expected or 0.0)) for week in known]
    )
    oracle = np.array(
        [abs(week.measured - (week.expected or 0.0)) <= CLOSE for week in known]
    )
    share = float((off <= CLOSE).mean())
    say(
        f"Within {CLOSE} of what the truth lets expect in {share:.0%}. Who knows the "
        f"truth is within it of the measured in {oracle.mean():.0%}."
    )
    is_missed = share < CLOSE_WEEKS
    if is_missed:
        say(f"Misses: {share:.0%} < {CLOSE_WEEKS:.0%}")
    return is_missed


def _report_sizes(probability: Floats) -> None:
    """Print how close an estimate can come, by the number of users."""
    say("\nThe same probabilities, and outcomes drawn from them\n")
    say(f"| users a week | conversions | within {CLOSE} of the measured |")
    say("|--:|--:|--:|")
    random = np.random.default_rng(1)
    for users in (1_000, 3_000, 10_000, 30_000, 100_000):
        p = random.choice(probability, users)
        sketches = Sketches({})
        sketches.add_scores(p)
        expected = estimate.roc_auc(sketches.scores(), None, seed=0)
        assert expected is not None
        near = []
        for _ in range(200):
            label = random.random(users) < p
            measured = metrics.roc_auc(metrics.outcomes(p, label))
            near.append(abs((measured or 0.5) - expected.value) <= CLOSE)
        share = statistics.fmean(near)
        say(f"| {users:,} | {p.sum():,.0f} | {share:.0%} |")


if __name__ == "__main__":
    sys.exit(main())
