"""
How often a verdict on an audience is wrong.

Plays years of made-up audiences by the code that writes verdicts: how often one without
an effect gets a verdict at any of 52 weekly looks, and how often intervals have the
truth at all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from math import exp

import numpy as np
import pytest

from propensity.measures.looks import LOOKS, errors_at
from propensity.measures.uplift import figures
from propensity.tables.audiences import Figures, GroupSums

YEARS = 200
SEED = 83
# Three standard errors of a share of so many years.
NOISE = 0.045
# Of a made-up audience: new members a week, the share of them in the control group, the
# share of these that buys, and the deviation of the published probabilities.
A_WEEK = 500
SHARE = 0.1
RATE = 0.08
SPREAD = 0.06


def looks(
    effect: float, sigma: float, random: np.random.Generator
) -> Iterator[Figures]:
    """
    Yield the figures of a drawn year, up to each week.

    Args:
        effect: Relative to each probability.
        sigma: Of the logarithms of amounts.
    """
    held_out = round(SHARE * A_WEEK)
    treated = group_sums(A_WEEK - held_out, effect, sigma, random)
    control = group_sums(held_out, None, sigma, random)
    for look, groups in enumerate(zip(treated, control, strict=True), 1):
        errors = errors_at(look / LOOKS)
        yield figures(groups, control_share=0.0, errors=errors, is_final=True)


def group_sums(
    users: int, effect: float | None, sigma: float, random: np.random.Generator
) -> list[GroupSums]:
    """Return the sums of a group up to each week; of the control without an effect."""
    shape = (LOOKS, users)
    explained = SPREAD**2 / (RATE * (1 - RATE))
    size = (1 - explained) / explained
    chance = random.beta(RATE * size, (1 - RATE) * size, shape)
    buys = chance if effect is None else np.minimum(chance * (1 + effect), 1)
    bought = random.random(shape) < buys
    amount = bought * random.lognormal(0, sigma, shape)
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
        name: values.sum(axis=1).cumsum().tolist() for name, values in columns.items()
    }
    rows = []
    for week in range(LOOKS):
        sums = {name: values[week] for name, values in so_far.items()}
        sums["revenue"] = Decimal(sums["revenue"])
        is_control = effect is None
        members = users * (week + 1)
        rows.append(GroupSums(is_control=is_control, users=members, **sums))
    return rows


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_a_year_without_an_effect_gets_a_verdict_in_five_of_a_hundred():
    random = np.random.default_rng(SEED)
    misled = 0
    for _ in range(YEARS):
        verdicts = {shown.verdict for shown in looks(0.0, 1.0, random)}
        misled += bool(verdicts & {"helps", "harms"})

    assert misled / YEARS <= 0.05 + NOISE


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_all_intervals_of_a_year_have_the_truth_in_95_of_a_hundred():
    """Of buyers, and of sums of money that are very skewed."""
    effect = 0.2
    sigma = 1.5
    buyers = effect * RATE
    amount = buyers * exp(sigma**2 / 2)
    random = np.random.default_rng(SEED)
    right_buyers = 0
    right_amounts = 0
    for _ in range(YEARS):
        year = list(looks(effect, sigma, random))
        right_buyers += all(
            has(buyers, shown, "conversion_difference") for shown in year
        )
        right_amounts += all(
            has(amount, shown.revenue, "revenue_difference") for shown in year
        )

    assert right_buyers / YEARS >= 0.95 - NOISE
    assert right_amounts / YEARS >= 0.95 - NOISE


def has(truth: float, shown: object, name: str) -> bool:
    """An interval that is not there has the truth."""
    low = getattr(shown, f"{name}_low", None)
    high = getattr(shown, f"{name}_high", None)
    return low is None or high is None or low <= truth <= high
