"""The bytes of a month, specified: BigQuery's own rules, by arithmetic."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from local.billing import EXPORT, Contents, a_month, bytes_read, event_sizes, scans
from offline.costs import DIGEST
from propensity import usecases
from propensity.settings import Settings
from propensity.tables.export import CONVERSIONS, USER_DAYS

SETTINGS = Settings(project="p")
SHOP = usecases.load("ga4_purchase")
DAYS = [date(2026, 1, 1) + timedelta(days=n) for n in range(10)]


def test_the_digest_reads_no_column_that_it_does_not_need():
    """Items and parameters are most of an event: of items it needs two fields."""
    read = {column for scan in scans(SHOP.statement(DIGEST)) for column in scan.columns}
    size = sum(
        size
        for column, size in event_sizes().items()
        if any(f"{column}.".startswith(f"{name}.") for name in read)
    )

    assert {name for name in read if name.startswith("items")} == {
        "items.item_id", "items.quantity",
    }  # fmt: skip
    assert size < 0.6 * sum(event_sizes().values())


@pytest.mark.parametrize("name", ["ga4_purchase", "ga4_value"])
def test_no_statement_of_a_run_reads_the_export(name):
    """Each byte of it is read once, by the digest."""
    use_case = usecases.load(name)
    statements = ("training_rows", "features", "evaluation_rows", "audience_outcomes")
    for statement in (*statements, "labels", "days"):
        tables = {scan.table for scan in scans(use_case.statement(statement))}
        assert EXPORT not in tables


def test_a_month_of_a_large_shop_reads_half_a_tib_at_most():
    """Of 6 TiB, as it was when every run read the export."""
    month = a_month(SHOP, SETTINGS, a_day=4_000_000)

    assert month.total < 0.5
    assert month.usd("europe-west1") == 0


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
    years = [DAYS[0] + timedelta(days=n) for n in range(-1_000, 100)]
    known = Contents("export_day", {"day": 1.0}, dict.fromkeys(years, 1))
    # The horizon, and days that tables of local days may add.
    further = 15
    for table, most in (
        (USER_DAYS.name, 2 * SHOP.lookback_days),
        (CONVERSIONS.name, SHOP.history_days),
    ):
        read = [scan for scan in scans(SHOP.statement(name)) if scan.table == table]
        counted = [replace(scan, columns=frozenset({"day"})) for scan in read]

        days = bytes_read(counted, {table: known}, window).get(table, 0)
        assert days < most + further
