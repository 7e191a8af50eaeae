"""
How many members a verdict on an audience takes, and how often it is wrong. Gates.

    python -m benchmarks.verdicts

1. Boundaries for a year of weekly looks, by drawn paths of the standardised difference:
   the members that an effect needs to be found in 80 of 100 years, at most and on
   average, and after how many an effect of twice the size is found; in multiples of
   the members of a single look at a date that was fixed beforehand.
2. Years of made-up audiences, by the code that writes verdicts: how often one without
   an effect gets a verdict, how often intervals have the truth at all 52 looks, and
   whether so many members find the effect.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import exp
from statistics import NormalDist

import numpy as np

from benchmarks.report import Line, finish
from propensity.audience.boundary import LOOKS, errors_at
from propensity.audience.plan import members_needed
from propensity.audience.uplift import figures
from propensity.measures.intervals import POWER
from propensity.models.encoding import Floats
from propensity.tables.audiences import Figures, GroupSums

OURS = "ours, 3.5 at most"
POCOCK = "Pocock's"
PATHS = 40_000
YEARS = 1_000
SEED = 83
# Errors of a share of so many years.
NOISE = 0.015


@dataclass(frozen=True, kw_only=True)
class Audience:
    """
    A made-up audience.

    Attributes:
        a_week: New members a week.
        share: Of the members, in the control group.
        rate: Share of the control group that buys.
        spread: Standard deviation of the published probabilities; 0 for equal ones.
        effect: Relative to each probability.
        sigma: Of the logarithms of amounts.
    """

    a_week: int = 500
    share: float = 0.1
    rate: float = 0.08
    spread: float = 0.06
    effect: float = 0.0
    sigma: float = 1.0

    @property
    def explained(self) -> float:
        """Share of the variance of outcomes that the probabilities explain."""
        return self.spread**2 / (self.rate * (1 - self.rate))

    @property
    def difference(self) -> float:
        """The true one of the rates."""
        return self.effect * self.rate

    @property
    def added(self) -> float:
        """The true difference of the amounts."""
        return self.difference * exp(self.sigma**2 / 2)

    def year(self, random: np.random.Generator) -> Iterator[list[GroupSums]]:
        """Yield the sums of both groups up to each week."""
        control = round(self.share * self.a_week)
        groups = [
            self._group(random, self.a_week - control, is_control=False),
            self._group(random, control, is_control=True),
        ]
        for week in range(LOOKS):
            yield [group[week] for group in groups]

    def _group(
        self, random: np.random.Generator, users: int, *, is_control: bool
    ) -> list[GroupSums]:
        """Return the sums of a group up to each week."""
        shape = (LOOKS, users)
        chance = np.full(shape, self.rate)
        if self.spread:
            size = (1 - self.explained) / self.explained
            chance = random.beta(self.rate * size, (1 - self.rate) * size, shape)
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
        finds, harms: Whether any look's does.
        has_difference, has_added: Whether the intervals have the truth at all looks.
    """

    finds: bool
    harms: bool
    has_difference: bool
    has_added: bool

    @property
    def misleads(self) -> bool:
        """Whether any look has a verdict, for audiences without an effect."""
        return self.finds or self.harms


def figures_at(groups: Sequence[GroupSums], look: int) -> Figures:
    """Return the figures of a look, from 1 on."""
    errors = errors_at(look / LOOKS)
    return figures(groups, control_share=0.0, errors=errors, is_final=True)


def judged(audience: Audience, shown: Iterable[Figures]) -> Year:
    """Return what the figures of a year's looks say."""
    verdicts = set[str]()
    has_difference = True
    has_added = True
    for look in shown:
        verdicts.add(look.verdict)
        low = look.conversion_difference_low
        high = look.conversion_difference_high
        has_difference &= _has(audience.difference, low, high)
        if look.revenue is not None:
            low = look.revenue.revenue_difference_low
            high = look.revenue.revenue_difference_high
            has_added &= _has(audience.added, low, high)
    return Year(
        finds="helps" in verdicts,
        harms="harms" in verdicts,
        has_difference=has_difference,
        has_added=has_added,
    )


def _has(truth: float, low: float | None, high: float | None) -> bool:
    """Return whether an interval has the truth; so has one that is not there."""
    return low is None or high is None or low <= truth <= high


class Looks:
    """
    A year of even looks, as paths of the standardised difference without an effect.
    """

    def __init__(self) -> None:
        random = np.random.default_rng(SEED)
        self.progress = np.arange(1, LOOKS + 1) / LOOKS
        steps = random.standard_normal((PATHS, LOOKS))
        self.paths = steps.cumsum(axis=1) / np.sqrt(np.arange(1, LOOKS + 1))

    def misled(self, boundary: Floats) -> float:
        """Return the share of paths that leave a boundary at any look."""
        return float((np.abs(self.paths) > boundary).any(axis=1).mean())

    def founds(self, boundary: Floats, drift: float) -> Floats:
        """
        Return the part of the year after which each path finds an effect.

        Args:
            drift: The effect, in standard errors of the whole year.

        Returns:
            Infinity for those that do not, (paths,).
        """
        beyond = self.paths + drift * np.sqrt(self.progress) > boundary
        first = self.progress[beyond.argmax(axis=1)]
        return np.where(beyond.any(axis=1), first, np.inf)

    def drift(self, boundary: Floats) -> float:
        """Return the effect that is found in 80 of 100 years, in standard errors."""
        low = 2.0
        high = 6.0
        while high - low > 0.005:
            middle = (low + high) / 2
            if np.isfinite(self.founds(boundary, middle)).mean() < 0.8:
                low = middle
            else:
                high = middle
        return high

    def level(self, shape: Callable[[float], Floats]) -> Floats:
        """Return the boundary of a shape that misleads in 5 of 100 years."""
        low = 1.9
        high = 3.5
        while high - low > 0.002:
            middle = (low + high) / 2
            if self.misled(shape(middle)) > 0.05:
                low = middle
            else:
                high = middle
        return shape(high)


def boundaries(looks: Looks) -> dict[str, Floats]:
    """Return boundaries by who proposed them, and ours."""
    progress = looks.progress
    return {
        OURS: np.array([errors_at(part) for part in progress]),
        POCOCK: looks.level(lambda last: np.full(LOOKS, last)),
        "Wang and Tsiatis's, 0.25": looks.level(lambda last: last * progress**-0.25),
        "O'Brien and Fleming's": looks.level(lambda last: last * progress**-0.5),
    }


def compare(looks: Looks) -> Iterator[Line]:
    """Compare boundaries, and print what each of them takes."""
    single = (NormalDist().inv_cdf(0.975) + POWER) ** 2
    rows: dict[str, list[float]] = {}
    print("| boundary | first, last | misled | at most | on average | twice as large |")
    for name, boundary in boundaries(looks).items():
        drift = looks.drift(boundary)
        most = drift**2 / single
        row = [most]
        for times in (1, 2):
            founds = np.minimum(looks.founds(boundary, times * drift), 1)
            row.append(most * float(founds.mean()))
        rows[name] = row
        misled = looks.misled(boundary)
        members = " | ".join(f"{value:.2f}" for value in row)
        ends = f"{boundary[0]:.2f}, {boundary[-1]:.2f}"
        print(f"| {name} | {ends} | {misled:.1%} | {members} |", flush=True)
    for index, what in enumerate(
        ("at most", "on average", "on average, for an effect twice as large")
    ):
        ours = rows[OURS][index]
        others = rows[POCOCK][index]
        yield Line(f"members, {what}", "", {"ours": [ours], POCOCK: [others]})
    ours = rows[OURS][0] * (1 - Audience().explained)
    yield Line(
        f"members, at most, {Audience().explained:.0%} explained",
        "",
        {"ours": [ours], POCOCK: [rows[POCOCK][0]]},
        most=0.8,
    )
    yield from found(ours)


def found(members: float) -> Iterator[Line]:
    """
    Play years of as large an audience as should find its effect in 80 of 100.

    Args:
        members: In multiples of those of a single look.
    """
    effect = 0.4
    plain = Audience(effect=effect)
    errors = NormalDist().inv_cdf(0.975)
    single = members_needed(plain.rate, effect, share=plain.share, errors=errors)
    audience = Audience(effect=effect, a_week=round(members * single / LOOKS))
    what = f"found in a year, {audience.a_week * LOOKS:,} members"
    yield Line(what, "", {"ours": [share(years(audience), "finds")]})


def judge() -> Iterator[Line]:
    """Play years by the code that writes verdicts."""
    misleads = share(years(Audience()), "misleads")
    what = "false verdicts in a year"
    yield Line(what, "", {"ours": [misleads]}, most=0.05 + NOISE)
    with_effect = years(Audience(effect=0.2, sigma=1.5))
    for what, attribute in (
        ("conversions", "has_difference"),
        ("skewed sums of money", "has_added"),
    ):
        right = {"ours": [share(with_effect, attribute)]}
        name = f"{what}, intervals right at all looks of a year"
        yield Line(name, "", right, least=0.95 - NOISE)


def years(audience: Audience) -> list[Year]:
    """Draw years of an audience, and return what is said of them."""
    random = np.random.default_rng(SEED)
    drawn = []
    for _ in range(YEARS):
        looks = enumerate(audience.year(random), 1)
        shown = [figures_at(groups, look) for look, groups in looks]
        drawn.append(judged(audience, shown))
    return drawn


def share(all_years: Sequence[Year], attribute: str) -> float:
    """Return the share of the years of which an attribute is true."""
    return float(np.mean([getattr(year, attribute) for year in all_years]))


def main() -> int:
    """Run the benchmark; return the exit status."""
    lines = list(compare(Looks()))
    lines.extend(judge())
    return finish(lines)


if __name__ == "__main__":
    sys.exit(main())
