"""What a month of queries costs, specified by two shops of three million users."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from propensity import usecases
from propensity.runs import digest_state
from propensity.settings import Settings
from propensity.timeframe import SCHEDULED
from propensity.usecases import costs

OPERATE = (Path(__file__).parents[2] / "docs/operate.md").read_text("utf-8")
SETTINGS = Settings(project="p")
PURCHASE, VALUE = map(usecases.load, ("ga4_purchase", "ga4_value"))


@pytest.mark.parametrize(
    ("events", "days_of_purchase", "days_of_value", "tib"),
    [
        (2, "MON", "MON", 2.4),
        (2, "daily", "daily", 8.6),
        (2, "daily", "MON", 4.7),
        (20, "MON", "MON", 4.4),
        (20, "daily", "daily", 11.4),
        (20, "daily", "MON", 7.5),
    ],
)
def test_a_month_is_predictions_trainings_evaluations_and_new_days(
    events, days_of_purchase, days_of_value, tib
):
    """Every user comes each day, with so many events, and a tenth of them orders."""
    shop = costs.Shop(users=3e6, events=3e6 * events, orders=3e5)
    weekdays = ["MON"] if days_of_purchase == "MON" else SCHEDULED
    month = costs.new_days(shop, weekdays)
    month += costs.estimated(PURCHASE, SETTINGS, shop).a_month(days_of_purchase)
    month += costs.estimated(VALUE, SETTINGS, shop).a_month(days_of_value)

    assert month == pytest.approx(tib, abs=0.05)
    assert f"| {tib} |" in OPERATE


def test_a_month_of_audiences_is_mostly_their_log():
    """Of which 7.9 TiB were read while each send read all dates, and the log more."""
    shop = costs.Shop(users=3e6, events=6e6, orders=3e5)
    audiences = costs.daily_audiences(shop, audiences=3, members=3e5)
    newest = date(2026, 12, 1)
    visits = newest - digest_state.visits_from(SETTINGS, newest=newest)
    orders = digest_state.reach(SETTINGS)
    doctor = costs.suppressed_looks(
        shop, visits_days=visits.days, orders_days=orders.days
    )

    assert f"| {audiences:.1f} | {audiences:.1f} |" in OPERATE
    assert f"| {doctor:.1f} | {doctor:.1f} |" in OPERATE
