"""Events of one's own from files, specified: what is read, and what is refused."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.exports import own_events, sources
from propensity.errors import SchemaError
from propensity.usecases.declaration import Events

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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.parquet", parquet()),
        ("a.parquet", parquet(at="2026-01-05T10:00:00Z", total="12.50")),
    ],
)
def test_a_row_is_the_same_in_every_format(tmp_path, name, content):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        pq.write_table(content, tmp_path / name)

    assert sources.read(tmp_path / name, SHOP).to_pylist() == [ROW]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", CSV.replace("12.50", "12;50"), "row 1: .* total, found '12;50'"),
        ("a.csv", CSV.replace("2026-01-05", "05.01.2026"), "row 1: .* in column at"),
        ("a.csv", CSV.replace("at,", "day,"), "lacks the columns at"),
        ("a.csv", CSV.replace("7,", "1.2e+05,"), "customer is the number 1.2e.05"),
        ("a.parquet", parquet(at=1_767_607_200), "at: expected TIMESTAMP, found num"),
        ("notes.txt", CSV, "has no file of events"),
    ],
)
def test_what_is_no_event_is_named_by_file_row_and_value(tmp_path, name, content, said):
    if isinstance(content, str):
        (tmp_path / name).write_text(content)
    else:
        pq.write_table(content, tmp_path / name)

    with pytest.raises(SchemaError, match=said):
        own_events.load(None, tmp_path, SHOP)


@pytest.mark.parametrize(("hour", "last"), [(0, 10), (9, 9)])
def test_the_last_day_is_whole_only_where_times_are_days(hour, last):
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 10)]
    at = [*days, datetime(2026, 1, 10, hour, tzinfo=UTC)]
    rows = pa.table({"customer": ["a"] * 10, "at": at, "type": ["x"] * 10})

    assert own_events.summary(rows, SHOP).last_full_day == date(2026, 1, last)
