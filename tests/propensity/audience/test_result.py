"""The sum that contacting brought, specified: figures, interval, sentence."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from propensity.audience.programme import (
    programme_lines,
    programmes,
)
from propensity.audience.result import (
    by_week,
    newest,
    result,
    sentence,
)

WEEK = date(2026, 6, 3)
COST = Decimal("340.50")


def row(**changed):
    """Return a stored row of an audience; an interval of ±19.16 around 0.32."""
    stored = {"week": WEEK, "status": "final", "verdict": "open"}
    stored |= {"treated_users": 681, "control_users": 150, "revenue_difference": 0.32}
    stored |= {"revenue_difference_low": -18.83, "revenue_difference_high": 19.48}
    return {**stored, **changed}


def test_a_margin_turns_the_sum_into_a_profit_with_its_interval():
    """A quarter of 6,810 is left, less 340.50."""
    sold = row(revenue_difference=10.0, revenue_difference_low=5.0)
    sold["revenue_difference_high"] = 15.0
    found = result({**sold, "cost": COST, "margin": 0.25})

    assert found.gain.profit.estimate == pytest.approx(1_362)
    assert sentence(found, "EUR").endswith(
        "At a margin of 25%, that is a profit of 1,362 EUR (95% interval 511 to 2,210)."
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"revenue_difference": -2.0}, "brought 1,362 USD less than not contacting"),
        ({"revenue_difference": None}, "is not known: their outcomes have no amounts"),
        ({"control_users": 0, "revenue_difference": None}, "there is no control group"),
        ({"verdict": "sample_ratio"}, "is not known: some users got lost on the way"),
        ({"treated_users": 0}, "No user has been contacted yet"),
        (
            {"revenue_difference_low": None},
            "is not known: it takes 40 buyers in each group",
        ),
    ],
)
def test_the_sentence_says_why_there_is_no_sum_or_no_interval(changed, said):
    assert said in sentence(result(row(**changed)), "USD")


def test_the_newest_sum_is_shown_with_the_verdict_of_final_outcomes():
    """The headline, the weekly report and the chart have one sum."""
    later = row(week=date(2026, 6, 10), status="provisional", verdict="open")
    before = row(week=date(2026, 5, 27), verdict="harms")
    shown = newest([later, row(verdict="helps"), before])

    assert (shown["week"], shown["verdict"]) == (date(2026, 6, 10), "helps")
    assert "; provisional)" in sentence(result(shown), "USD")
    assert newest([later])["verdict"] == "open"
    found = [
        (each.week.day, each.verdict.code) for each in by_week([later, row(), before])
    ]
    assert found == [(27, "harms"), (3, "open"), (10, "open")]
    assert by_week([later, before])[-1].verdict.code == "harms"


def programme_row(week, *, period="all", brought=900.0):
    stored = {"control_group": "shop", "audiences": ["mailing", "winback"]}
    stored |= {"period": period, "week": week, "status": "final", "verdict": "helps"}
    stored |= {"treated_users": 600, "control_users": 100, "margin": 0.5, "cost": 60.0}
    sums = {"conversion_difference": (40.0, 30.0)}
    sums["revenue_difference"] = (brought, 800.0)
    for name, (value, reach) in sums.items():
        stored |= {name: value / 600, f"{name}_low": (value - reach) / 600}
        stored[f"{name}_high"] = (value + reach) / 600
    return stored


def test_a_programme_says_what_it_brought_in_all_and_by_quarter():
    rows = [
        programme_row(date(2026, 3, 30)),
        programme_row(date(2026, 4, 6), brought=1_500.0),
        programme_row(date(2026, 3, 30), period="2026-Q1"),
        programme_row(date(2026, 4, 6), period="2026-Q2", brought=600.0),
    ]
    few = {"control_group": "few", "treated_users": 10}
    others = {**programme_row(date(2026, 4, 6)), **few}
    together, smaller = programmes([others, *rows], {})
    of_all, buyers, first, second = programme_lines(together, "EUR")

    # The largest comes first.
    assert smaller.control_group == "few"
    assert "(mailing, winback): Contacting 600 users brought 1,500 EUR more" in of_all
    assert "their first contacts cost 60.00 EUR" in of_all
    assert "profit of 690 EUR" in of_all
    assert "About 40 more users" in buyers
    assert first.startswith("2026-Q1: Contacting 600 users brought 900 EUR more")
    assert "the amount may be chance" in second
