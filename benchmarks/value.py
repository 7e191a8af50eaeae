"""
What expected values are worth, forward in time.

    python -m benchmarks.value [--data FILE]... [--weeks 13] [--seeds 1] [--users N]

Plays months of a shop as ``benchmarks.quality`` does: a training each month on what was
final then, with its model of amounts, and a publication each week, which follows the
season. What the users paid in each week stands beside what was promised, and beside
the probability times the mean amount of all buyers, which is what anybody would try
first.

The generated shop is three times the demo's: of the demo's 1,700 buyers chance moves
the sum by more than its target. Where it does, the sum informs only.

Exit code 1 if a target is missed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from benchmarks import quality, shops
from benchmarks.report import Line, finish
from local.progress import Progress, say
from propensity.learning import amounts, data, fit, gate, gini, uncertainty, value
from propensity.learning.bootstrap import Difference
from propensity.models.value import ValueModel

# Three times the demo's: large enough for the target of the sum.
USERS = 18_000

# Targets: the sum of all weeks, where chance moves it by ``LARGEST_CHANCE`` at most, 19
# times in 20; the ranking of users against that by probability; the share of weeks
# whose sum is in its interval, and of groups of users.
SUM_WITHIN = 0.05
LARGEST_CHANCE = 0.035
RANKS_AS_WELL = 1.0
WEEKS_INSIDE = 0.9
GROUPS_INSIDE = 0.9


@dataclass(frozen=True, kw_only=True)
class Week:
    """
    A published week.

    Attributes:
        promised, low, high: The sum of the expected values, with its interval.
        paid: What the users paid, by expected value.
        plain: The same by probability times the mean amount.
        coverage: Share of groups of users within interval and chance.
    """

    day: date
    promised: float
    low: float
    high: float
    paid: gini.Paid
    plain: gini.Paid
    coverage: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    options = shops.options("value", arguments, users=USERS)
    warnings.simplefilter("ignore")
    lines: list[Line] = []
    with Progress():
        for source in shops.sources(
            options.data, seeds=options.seeds, users=options.users
        ):
            weeks, notes = play(quality.loaded(source, count=options.weeks))
            say("\n".join([f"\n{source.name}", *notes, "", *table(weeks)]))
            lines += judged(source.name, weeks)
    return finish(lines)


def play(shop: quality.Loaded) -> tuple[list[Week], list[str]]:
    """Train each month, publish each week; return the weeks and a note a training."""
    notes: list[str] = []
    worth: ValueModel | None = None
    mean = 0.0

    def learn(
        week: date, known: data.Slice, trained: fit.Trained, verdict: gate.Verdict
    ) -> bool:
        nonlocal worth, mean
        parts = data.of_users(
            known.rows,
            shop.use_case,
            shop.use_case.timeframe(shop.settings),
            settings=shop.settings,
        )
        valued = value.train(parts, trained, shop.use_case, seed=shop.settings.seed)
        notes.append(note(week, valued))
        if valued is not None and verdict.promoted:
            worth, mean = valued.model, mean_amount(known)
        return valued is not None

    weeks = []
    for week in quality.weeks_of(shop, notes, learn=learn):
        assert worth is not None
        weeks.append(published(week, worth, mean=mean))
    if not weeks:
        raise SystemExit("nothing was promoted:\n" + "\n".join(notes))
    return weeks, notes


def mean_amount(known: data.Slice) -> float:
    """Return what a buyer pays on average."""
    paid = amounts.paid(known)
    return float(paid[known.label == 1].mean())


def note(week: date, valued: value.Valued | None) -> str:
    """Say what a training has learned of amounts."""
    if valued is None:
        return f"{week}: no amounts"
    model = valued.model
    return (
        f"{week}: {valued.algorithm}, mean {model.mean:.2f}, level "
        f"{model.level:.3f}, error {model.uncertainty.error:.2f}, "
        f"{valued.buyers} buyers"
    )


def published(week: quality.Week, worth: ValueModel, *, mean: float) -> Week:
    """Publish a week's expected values, and hold them against what came."""
    part, probability = week.part, week.published
    amount = worth.shifted(
        worth.amounts_of(part.rows), probability, unshifted=week.unshifted
    )
    total = worth.total(probability, amount)
    low, high = worth.sum_interval(total, shift_error=week.shift_error)
    paid = amounts.paid(part)
    seen = gini.Paid(probability * amount, paid, np.ones(len(paid)))
    return Week(
        day=week.as_of,
        promised=total.value,
        low=low,
        high=high,
        paid=seen,
        plain=replace(seen, value=probability * mean),
        coverage=uncertainty.coverage(
            part, probability, amount, errors=worth.uncertainty
        ),
    )


def table(weeks: Sequence[Week]) -> list[str]:
    """Return a row for each week."""
    lines = [
        "| week | promised | 95% interval | came | over promised | Gini "
        "| plain mean: over promised | Gini |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for week in weeks:
        ratio, other = gini.ratio(week.paid), gini.ratio(week.plain)
        lines.append(
            f"| {week.day} | {week.promised:,.0f} | {week.low:,.0f} to {week.high:,.0f}"
            f" | {week.paid.observed:,.0f} | {_written(ratio)} "
            f"| {index(week.paid):.3f} | {_written(other)} | {index(week.plain):.3f} |"
        )
    return lines


def _written(ratio: Difference | None) -> str:
    return "-" if ratio is None else f"{ratio.estimate:.2f}"


def index(paid: gini.Paid) -> float:
    """Return the normalised Gini index; 0 where there is none."""
    gini_index = gini.normalised(paid)
    return gini_index.estimate if gini_index else 0.0


def _chance(weeks: Sequence[Week]) -> float:
    """Return by how much chance alone moves the sum of all weeks, as a share of it."""
    ratio = gini.ratio(
        gini.Paid(
            value=np.concatenate([week.paid.value for week in weeks]),
            amount=np.concatenate([week.paid.amount for week in weeks]),
            users=np.concatenate([week.paid.users for week in weeks]),
        )
    )
    return ratio.high / ratio.estimate - 1 if ratio else 0.0


def judged(name: str, weeks: Sequence[Week]) -> list[Line]:
    """Return the lines of a shop."""
    came = sum(week.paid.observed for week in weeks)
    off = came / sum(week.promised for week in weeks) - 1
    plain_off = came / sum(week.plain.promised for week in weeks) - 1
    chance = _chance(weeks)
    inside = [float(week.low <= week.paid.observed <= week.high) for week in weeks]
    groups = [week.coverage for week in weeks if week.coverage is not None]
    span = f"{name}, {len(weeks)} weeks"
    peer = "probability × mean amount"
    return [
        Line(
            what=f"{span}: sum, off by",
            ours=[abs(off)],
            peer=peer,
            theirs=[abs(plain_off)],
            most=SUM_WITHIN if chance <= LARGEST_CHANCE else None,
            bounds_ours=True,
        ),
        Line(
            what=f"{span}: what chance makes of the sum, 19 times in 20",
            ours=[chance],
        ),
        Line(
            what=f"{span}: normalised Gini, mean of weeks",
            ours=[float(np.mean([index(week.paid) for week in weeks]))],
            peer=peer,
            theirs=[float(np.mean([index(week.plain) for week in weeks]))],
            least=RANKS_AS_WELL,
        ),
        Line(
            what=f"{span}: weeks within their interval",
            ours=[float(np.mean(inside))],
            least=WEEKS_INSIDE,
        ),
        Line(
            what=f"{span}: groups of users within theirs, and chance",
            ours=[float(np.mean(groups))],
            least=GROUPS_INSIDE,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
