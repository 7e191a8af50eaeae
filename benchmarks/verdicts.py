"""
How often a verdict on an audience is wrong. Gates.

    python -m benchmarks.verdicts

Plays years of made-up audiences by the code that writes verdicts: how often one without
an effect gets a verdict at any of 52 weekly looks, and how often intervals have the
truth at all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp

import numpy as np

from benchmarks.measuring.report import Line, finish
from propensity.measures.uplift import LOOKS, errors_at, figures
from propensity.tables.audiences import GroupSums

YEARS = 1_000
SEED = 83
# Errors of a share of so many years.
NOISE = 0.015
# Of a made-up audience: new members a week, the share of them in the control group, the
# share of these that buys, and the deviation of the published probabilities.
A_WEEK = 500
SHARE = 0.1
RATE = 0.08
SPREAD = 0.06


@dataclass(frozen=True, kw_only=True)
class Audience:
    """
    A made-up audience.

    Attributes:
        effect: Relative to each probability.
        sigma: Of the logarithms of amounts.
    """

    effect: float
    sigma: float

    @property
    def difference(self) -> float:
        """The true one of the rates."""
        return self.effect * RATE

    @property
    def added(self) -> float:
        """The true difference of the amounts."""
        return self.difference * exp(self.sigma**2 / 2)

    def year(self, random: np.random.Generator) -> Iterator[list[GroupSums]]:
        """Yield the sums of both groups up to each week."""
        control = round(SHARE * A_WEEK)
        groups = [
            self._group(random, A_WEEK - control, is_control=False),
            self._group(random, control, is_control=True),
        ]
        for week in range(LOOKS):
            yield [group[week] for group in groups]

    def _group(
        self, random: np.random.Generator, users: int, *, is_control: bool
    ) -> list[GroupSums]:
        """Return the sums of a group up to each week."""
        shape = (LOOKS, users)
        explained = SPREAD**2 / (RATE * (1 - RATE))
        size = (1 - explained) / explained
        chance = random.beta(RATE * size, (1 - RATE) * size, shape)
        effect = 0.0 if is_control else self.effect
        bought = random.random(shape) < np.minimum(chance * (1 + effect), 1)
        amount = bought * random.lognormal(0, self.sigma, shape)
        columns = {
            "conversions": bought,
            "revenue": amount,
            "revenue_squares": amount**2,
            "probability": chance,
            "probability_squares": chance**2,
            "probability_conversions": chance * bought,
            "probability_revenue": chance * amount,
        }
        so_far = {
            name: values.sum(axis=1).cumsum().tolist()
            for name, values in columns.items()
        }
        rows = []
        for week in range(LOOKS):
            sums = {name: values[week] for name, values in so_far.items()}
            group = GroupSums(is_control=is_control, users=users * (week + 1), **sums)
            rows.append(group)
        return rows


@dataclass(frozen=True)
class Year:
    """
    What the verdicts of a year say.

    Attributes:
        has_verdict: Whether any look has one.
        has_difference, has_added: Whether the intervals have the truth at all looks.
    """

    has_verdict: bool
    has_difference: bool
    has_added: bool


def judged(audience: Audience, random: np.random.Generator) -> Year:
    """Draw a year of an audience, and return what is said of it."""
    verdicts = set[str]()
    has_difference = True
    has_added = True
    for look, groups in enumerate(audience.year(random), 1):
        errors = errors_at(look / LOOKS)
        shown = figures(groups, control_share=0.0, errors=errors, is_final=True)
        verdicts.add(shown.verdict)
        low = shown.conversion_difference_low
        high = shown.conversion_difference_high
        has_difference &= _has(audience.difference, low, high)
        if shown.revenue is not None:
            low = shown.revenue.revenue_difference_low
            high = shown.revenue.revenue_difference_high
            has_added &= _has(audience.added, low, high)
    has_verdict = bool(verdicts & {"helps", "harms"})
    return Year(has_verdict, has_difference, has_added)


def _has(truth: float, low: float | None, high: float | None) -> bool:
    """Return whether an interval has the truth; so has one that is not there."""
    return low is None or high is None or low <= truth <= high


def share(audience: Audience, attribute: str) -> float:
    """Return the share of drawn years of which an attribute is true."""
    random = np.random.default_rng(SEED)
    years = [judged(audience, random) for _ in range(YEARS)]
    return float(np.mean([getattr(year, attribute) for year in years]))


def main() -> int:
    """Run the benchmark; return the exit status."""
    misled = share(Audience(effect=0.0, sigma=1.0), "has_verdict")
    what = "false verdicts in a year"
    lines = [Line(what, "", {"ours": [misled]}, most=0.05 + NOISE)]
    for what, attribute in (
        ("conversions", "has_difference"),
        ("skewed sums of money", "has_added"),
    ):
        right = share(Audience(effect=0.2, sigma=1.5), attribute)
        name = f"{what}, intervals right at all looks of a year"
        lines.append(Line(name, "", {"ours": [right]}, least=0.95 - NOISE))
    return finish(lines)


if __name__ == "__main__":
    sys.exit(main())
