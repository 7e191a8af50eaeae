"""The sum that contacting brought, specified: figures, interval, sentence."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from propensity.audience.boundary import errors_at
from propensity.audience.result import newest, result, sentence
from propensity.audience.uplift import figures
from propensity.tables.audiences import GroupSums

WEEK = date(2026, 6, 3)
PLAN = {"cost_per_contact": Decimal("0.50"), "margin": None}


def row(**changed):
    """Return a stored row of an audience; an interval of ±19.16 around 0.32."""
    stored = {
        "week": WEEK,
        "status": "final",
        "treated_users": 681,
        "control_users": 150,
        "verdict": "open",
        "revenue_difference": 0.32,
        "revenue_difference_low": -18.83,
        "revenue_difference_high": 19.48,
    }
    return {**stored, **changed}


def test_the_sentence_has_amounts_with_their_currency():
    assert sentence(result(row(), PLAN), "USD") == (
        "Contacting 681 users brought 218 USD more than not contacting them (95% "
        "interval −12,800 to 13,300); it cost 341 USD (first contacts at 0.50). The "
        "difference may be chance."
    )


def test_a_margin_turns_the_sum_into_a_profit_with_its_interval():
    """A quarter of 6,810 is left, less 340.50."""
    sold = {"low": 5.0, "high": 15.0}
    ends = {f"revenue_difference_{end}": value for end, value in sold.items()}
    found = result(row(revenue_difference=10.0, **ends), {**PLAN, "margin": 0.25})

    assert found.profit == pytest.approx(1_362)
    assert not found.may_be_chance
    assert sentence(found, "EUR").endswith(
        "At a margin of 25%, that is a profit of 1,362 EUR (95% interval 511 to 2,210)."
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"revenue_difference": -2.0}, "brought 1,362 USD less than not contacting"),
        ({"revenue_difference": None}, "because their outcomes have no amounts"),
        ({"control_users": 0, "revenue_difference": None}, "there is no control group"),
        ({"verdict": "sample_ratio"}, "because some users got lost on the way"),
        ({"treated_users": 0}, "No user has been contacted yet"),
        ({"revenue_difference_low": None}, "too few buyers for an interval"),
    ],
)
def test_the_sentence_says_why_there_is_no_sum_or_no_interval(changed, said):
    assert said in sentence(result(row(**changed)), "USD")


def test_the_newest_sum_is_shown_with_the_verdict_of_final_outcomes():
    """Defect: the headline, the weekly report and the chart had three sums."""
    later = row(week=date(2026, 6, 10), status="provisional", verdict="open")
    shown = newest([later, row(verdict="helps")])

    assert (shown["week"], shown["verdict"]) == (date(2026, 6, 10), "helps")
    assert "; provisional)" in sentence(result(shown), "USD")
    assert newest([later])["verdict"] == "open"
    assert newest([]) is None


def test_the_interval_of_a_sum_is_right_in_95_of_100():
    """At every weekly look of a year: 94 to 96 of 100, where contact adds 40%."""
    random = np.random.default_rng(11)
    audiences = 800
    weeks = 52
    users = (720, 180)
    rates = (0.14, 0.1)
    sigma = 1.0
    covered = 0
    for _ in range(audiences):
        totals = [
            _weekly(random, users[group], rates[group], weeks, sigma)
            for group in (0, 1)
        ]
        looks = [_has_truth(totals, users, rates, sigma, n) for n in range(weeks)]
        covered += all(looks)

    assert 0.94 <= covered / audiences <= 0.96


def _weekly(random, users, rate, weeks, sigma):
    """Return conversions, amounts and their squares up to each week."""
    bought = random.binomial(users, rate, weeks)
    paid = random.lognormal(0.0, sigma, bought.sum())
    last = bought.cumsum() - 1
    return bought.cumsum(), paid.cumsum()[last], (paid**2).cumsum()[last]


def _has_truth(totals, users, rates, sigma, week):
    sums = []
    for is_control, (bought, paid, squares) in enumerate(totals):
        group = GroupSums(
            is_control=bool(is_control),
            users=users[is_control] * (week + 1),
            conversions=int(bought[week]),
            revenue=paid[week],
            revenue_squares=squares[week],
        )
        sums.append(group)
    errors = errors_at((week + 1) / 52)
    columns = figures(sums, control_share=0.2, errors=errors, is_final=True).columns()
    found = result({"week": WEEK, "status": "final", **columns})
    if found.brought_low is None:
        return True
    truth = found.contacted * (rates[0] - rates[1]) * np.exp(sigma**2 / 2)
    return found.brought_low <= truth <= found.brought_high
