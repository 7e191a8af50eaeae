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
from tests.support.golden import same_as_golden

WEEK = date(2026, 6, 3)
COST = Decimal("340.50")


def row(**changed):
    """Return a stored row of an audience; an interval of ±19.16 around 0.32."""
    stored = {"week": WEEK, "status": "final", "verdict": "open"}
    stored |= {"treated_users": 681, "control_users": 150, "revenue_difference": 0.32}
    stored |= {"revenue_difference_low": -18.83, "revenue_difference_high": 19.48}
    return {**stored, **changed}


# With a margin, a quarter of 6,810 is left, less 340.50.
STORED = [
    row(revenue_difference=10.0, margin=0.25, cost=COST),
    row(revenue_difference=-2.0),
    row(revenue_difference=None),
    row(control_users=0, revenue_difference=None),
    row(verdict="sample_ratio"),
    row(treated_users=0, revenue_difference=None),
    row(revenue_difference_low=None),
]


def test_a_sentence_says_the_sum_and_its_interval_or_why_there_is_none():
    said = [sentence(result(stored), "USD") for stored in STORED]

    assert result(STORED[0]).gain.profit.estimate == pytest.approx(1_362)
    same_as_golden("brought", {"by an audience": "\n".join(said)})


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

    # The largest comes first.
    assert smaller.control_group == "few"
    said = "\n".join(programme_lines(together, "EUR"))
    same_as_golden("brought-together", {"by a control group": said})
