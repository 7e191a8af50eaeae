"""Tables of the user's own from files: what is read and loaded, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from local.exports import sources
from propensity import usecases
from propensity.errors import SchemaError
from propensity.usecases.declaration import Events, OwnSource
from tests.support.deployment import Deployment

LOYALTY = OwnSource(
    table="crm-project.crm.loyalty",
    user_id="customer_id",
    valid_from="changed_at",
    columns={"points": "INT64"},
)
USE_CASE = replace(usecases.load("ga4_purchase"), sources={"loyalty": LOYALTY})
SHOP = Events(table="s.e", user_id="customer", time="at", name="type", amount="total")
ROW = {
    "customer": "7",
    "at": datetime(2026, 1, 5, 10, tzinfo=UTC),
    "type": "buy",
    "total": Decimal("12.50"),
}
CSV = "customer,at,type,total,more\n7,2026-01-05 10:00:00 UTC,buy,12.50,x\n"


def parquet(**changed):
    row = {"customer": 7, "at": ROW["at"], "type": "buy", "total": 12.5}
    return pa.Table.from_pylist([row | changed])


def file(folder: Path, name: str, content: str | pa.Table) -> Path:
    """Write a file of text or rows; return its path."""
    if isinstance(content, pa.Table):
        pq.write_table(content, folder / name)
    else:
        (folder / name).write_text(content)
    return folder / name


@pytest.fixture
def client() -> Any:
    return Deployment().warehouse.client


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.parquet", parquet()),
        ("a.parquet", parquet(at="2026-01-05T10:00:00Z", total="12.50")),
    ],
)
def test_an_event_is_the_same_in_every_format(tmp_path, name, content):
    assert sources.read(file(tmp_path, name, content), SHOP).to_pylist() == [ROW]


def test_times_that_are_numbers_are_refused(tmp_path):
    file(tmp_path, "a.parquet", parquet(at=1_767_607_200))

    with pytest.raises(SchemaError, match=r"column at has numbers \(int64\), which"):
        sources.load_events(None, tmp_path, SHOP)


def test_all_files_of_a_folder_are_read_or_named(tmp_path, client):
    """With rows that are left out, and rows that are there twice; `feb.CSV`, `mar.tsv`
    and files in folders, too."""
    (tmp_path / "2026-04").mkdir()
    file(tmp_path, "jan.csv", CSV)
    file(tmp_path, "feb.CSV", CSV.replace("7,", "8,") + "9,,buy,1,x\n")
    file(tmp_path, "mar.tsv", CSV.replace("7,", "9,").replace(",", "\t"))
    file(tmp_path / "2026-04", "part.csv", CSV)
    file(tmp_path, "notes.txt", "none")
    file(tmp_path, "._jan.csv", "hidden by macOS")
    summary = sources.load_events(client, tmp_path, SHOP)

    assert summary.rows == 4
    assert summary.remarks == [
        "1 files are left out, because of their ending: notes.txt",
        "1 rows without a user or a time are left out",
        "1 rows repeat another one, and count as further events",
    ]


@pytest.mark.parametrize(("hours", "last"), [([0], 10), ([0, 9], 10), ([9, 17], 9)])
def test_the_last_day_is_whole_where_times_are_days(hours, last):
    """One row with a time takes no day away."""
    days = [datetime(2026, 1, day, hours[0], tzinfo=UTC) for day in range(1, 11)]
    at = [*days, datetime(2026, 1, 10, hours[-1], tzinfo=UTC)]
    rows = pa.table({"customer": ["a"] * 11, "at": at, "type": ["x"] * 11})

    assert sources.summary_of(rows, SHOP).last_full_day == date(2026, 1, last)


def test_sources_are_loaded_by_their_names(tmp_path, client):
    """A day is its midnight, and an id of digits a text."""
    (tmp_path / "sources").mkdir()
    path = tmp_path / "sources" / "loyalty.csv"
    path.write_text("customer_id,changed_at,points,more\n17,2026-03-01,5,x\n")
    sources.load_folder(client, tmp_path, USE_CASE)
    [row] = client.query_and_wait(
        "SELECT customer_id, changed_at, points FROM `crm-project.crm.loyalty`"
    )

    assert tuple(row) == ("17", datetime(2026, 3, 1, tzinfo=UTC), 5)
