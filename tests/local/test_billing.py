"""The bytes of a month, specified: BigQuery's own rules, by arithmetic."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from local.billing import EXPORT, Contents, a_month, bytes_read, event_sizes, scans
from propensity import usecases
from propensity.settings import Settings

SETTINGS = Settings(project="p")
SHOP = usecases.load("ga4_purchase")
DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(10)]


def test_no_statement_reads_what_it_does_not_need():
    """Items and parameters are most of an event, and features alone need items."""
    read = {
        name: {
            column for scan in scans(SHOP.statement(name)) for column in scan.columns
        }
        for name in ("features", "labels", "days")
    }

    assert {name.partition(".")[0] for name in read["days"]} == {"table_suffix"}
    assert {name for name in read["features"] if name.startswith("items")} == {
        "items.item_id", "items.quantity",
    }  # fmt: skip
    assert not [name for name in read["labels"] if name.startswith("items")]
    for name, columns in read.items():
        size = sum(
            size
            for column, size in event_sizes().items()
            if any(f"{column}.".startswith(f"{one}.") for one in columns)
        )
        assert size < 0.6 * sum(event_sizes().values()), name


def test_a_month_of_a_large_shop_reads_six_tib_at_most():
    """Of 17 TiB, as it was when every statement read the whole row."""
    month = a_month(SHOP, SETTINGS, a_day=4_000_000)

    assert month.total < 6
    assert month.usd("europe-west1") < 40


def test_the_default_limit_stops_a_mistake_alone():
    """A large shop trains; a query of all columns and years of it is refused."""
    large = 20_000_000
    month = a_month(SHOP, SETTINGS, a_day=large)
    everything = 4 * 365 * large * sum(event_sizes().values())

    assert month.training * 1024**4 < SETTINGS.maximum_bytes_billed / 1.5
    assert everything > 2 * SETTINGS.maximum_bytes_billed


@pytest.mark.parametrize("name", ["training_rows", "features", "evaluation_rows"])
def test_every_run_bounds_the_days_of_the_export(name):
    window = SHOP.window(SETTINGS, [DAYS[0]])
    export = [scan for scan in scans(SHOP.statement(name)) if scan.table == EXPORT]
    years = [DAYS[0] + timedelta(days=n) for n in range(-1_000, 100)]
    known = Contents(
        "table_suffix", {"event_name": 1.0}, {f"{day:%Y%m%d}": 1 for day in years}
    )

    assert 60 < bytes_read(export, {EXPORT: known}, window)[EXPORT] < 135
