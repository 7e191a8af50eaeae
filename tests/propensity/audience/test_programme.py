"""The programme of a control group, specified: by draws of overlapping audiences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pytest

from propensity.audience.boundary import LOOKS, errors_at
from propensity.audience.programme import programme_lines, programmes
from propensity.audience.result import earned_by
from propensity.audience.uplift import figures
from propensity.runs.uplifts import quarter_of
from propensity.tables.audiences import ProgrammeSums

PROGRAMMES = 400
USERS = 12_000
RATE = 0.08
SPREAD = 0.06
SHARE = 0.15
# What a user pays on average, and the deviation of its logarithm.
AMOUNT = np.exp(0.5)
# Of three audiences: which share of all users are ever members, more of the likely.
REACH = (0.6, 0.4, 0.3)
NEVER = LOOKS


@dataclass(frozen=True)
class Year:
    """
    A drawn programme.

    Attributes:
        looks: Sums of both groups up to each week.
        truths: What contacting adds to a contacted user's amount, up to each week.
        twice: How many users are members of several audiences.
    """

    looks: list[list[ProgrammeSums]]
    truths: np.ndarray
    twice: int


def drawn(random: np.random.Generator, effects: tuple[float, ...]) -> Year:
    """Draw a year of audiences that contact their members, but for one control group.

    Args:
        effects: Of each audience, relative to a user's probability.
    """
    size = RATE * (1 - RATE) / SPREAD**2 - 1
    chance = random.beta(RATE * size, (1 - RATE) * size, USERS)
    entry = np.full((len(effects), USERS), NEVER)
    for audience, reach in zip(entry, REACH, strict=False):
        is_member = random.random(USERS) < np.minimum(reach * chance / RATE, 1)
        audience[is_member] = random.integers(0, LOOKS, is_member.sum())
    first = entry.min(axis=0)
    is_control = random.random(USERS) < SHARE
    # Whoever becomes a member of two audiences at once is contacted by both.
    added = chance * ((entry == first) * np.array(effects)[:, None]).sum(axis=0)
    bought = random.random(USERS) < chance + np.where(is_control, 0, added)
    paid = bought * random.lognormal(0, 1, USERS)
    columns = {
        "users": np.ones(USERS),
        "conversions": bought,
        "revenue": paid,
        "revenue_squares": paid**2,
        "probability": chance,
        "probability_squares": chance**2,
        "probability_conversions": chance * bought,
        "probability_revenue": chance * paid,
    }
    groups = []
    for is_group in (~is_control, is_control):
        of_group = is_group & (first < NEVER)
        sums = {
            name: np.bincount(first[of_group], values[of_group], LOOKS).cumsum()
            for name, values in columns.items()
        }
        groups.append(sums)
    looks = []
    for week in range(LOOKS):
        shown = []
        for number, sums in enumerate(groups):
            values = {name: float(of_weeks[week]) for name, of_weeks in sums.items()}
            shown.append(ProgrammeSums(is_control=number == 1, **values))
        looks.append(shown)
    members = first < NEVER
    counts = np.bincount(first[members], minlength=LOOKS).cumsum()
    truths = np.bincount(first[members], added[members], LOOKS).cumsum() / counts
    twice = ((entry < NEVER).sum(axis=0) > 1).sum()
    return Year(looks, truths * AMOUNT, int(twice))


def years(effects: tuple[float, ...]):
    """
    Yield whether any look at a drawn programme claims an effect, of users or of money,
    and whether all looks have the truth in the interval of what contacting brought.
    """
    random = np.random.default_rng(20)
    for _ in range(PROGRAMMES):
        year = drawn(random, effects)
        assert year.twice > 1_000
        claims = False
        is_right = True
        for week, sums in enumerate(year.looks):
            errors = errors_at((week + 1) / LOOKS)
            shown = figures(sums, control_share=SHARE, errors=errors, is_final=True)
            claims |= shown.verdict in ("helps", "harms")
            earned = earned_by(shown, sums)
            truth = year.truths[week] * shown.treated_users
            if earned.brought_low is not None:
                claims |= not earned.brought_low <= 0 <= earned.brought_high
                is_right &= earned.brought_low <= truth <= earned.brought_high
        yield claims, is_right


@pytest.mark.long
def test_programmes_without_an_effect_seldom_claim_one():
    """At any of 52 weekly looks: 5 of 100, and two standard errors of 400 draws."""
    claims = sum(claim for claim, _ in years((0.0, 0.0, 0.0)))

    assert claims <= 29


@pytest.mark.long
def test_the_sum_of_overlapping_audiences_has_the_truth_in_its_interval():
    """At all looks of a year in 95 of 100, whatever each of the audiences adds."""
    right = sum(is_right for _, is_right in years((0.5, 0.2, 0.0)))

    assert right >= 371


def row(week, *, period="all", group="shop", contacted=600, brought=900.0):
    return {
        "control_group": group,
        "audiences": ["mailing", "winback"],
        "period": period,
        "week": week,
        "status": "final",
        "treated_users": contacted,
        "control_users": 100,
        "verdict": "helps",
        "added_buyers": 40.0,
        "added_buyers_low": 10.0,
        "added_buyers_high": 70.0,
        "brought": brought,
        "brought_low": brought - 800,
        "brought_high": brought + 800,
        "cost": 60.0,
        "margin": 0.5,
        "profit": 0.5 * brought - 60,
        "profit_low": 0.5 * brought - 460,
        "profit_high": 0.5 * brought + 340,
    }


def test_a_programme_says_what_it_brought_in_all_and_by_quarter():
    rows = [
        row(date(2026, 3, 30)),
        row(date(2026, 4, 6), brought=1_500.0),
        row(date(2026, 3, 30), period="2026-Q1"),
        row(date(2026, 4, 6), period="2026-Q2", brought=600.0),
    ]
    [together] = programmes(rows)
    of_all, buyers, first, second = programme_lines(together, "EUR")

    assert "(mailing, winback): Contacting 600 users brought 1,500 EUR more" in of_all
    assert "it cost 60.00 EUR" in of_all
    assert "profit of 690 EUR" in of_all
    assert "About 40 more users" in buyers
    assert first.startswith("2026-Q1: Contacting 600 users brought 900 EUR more")
    assert "The difference may be chance" in second


def test_the_largest_control_group_comes_first():
    rows = [row(date(2026, 4, 6), group="small", contacted=5), row(date(2026, 4, 6))]

    assert [each.control_group for each in programmes(rows)] == ["shop", "small"]


@pytest.mark.parametrize(
    ("day", "name", "ends"),
    [
        (date(2026, 1, 1), "2026-Q1", (date(2026, 1, 1), date(2026, 3, 31))),
        (date(2026, 12, 31), "2026-Q4", (date(2026, 10, 1), date(2026, 12, 31))),
        (date(2028, 6, 30), "2028-Q2", (date(2028, 4, 1), date(2028, 6, 30))),
    ],
)
def test_a_quarter_has_three_months(day, name, ends):
    quarter = quarter_of(day)

    assert (quarter.name, (quarter.first, quarter.last)) == (name, ends)
