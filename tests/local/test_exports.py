"""Anyone's GA4 export and tables beside it: what is read, refused and loaded."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from local.exports import ga4_export
from local.exports.ga4_export import DAY, Summary
from propensity.errors import SchemaError
from tests.support.deployment import Deployment

NOON = 1_740_830_400_000_000  # 2025-03-01 12:00:00 UTC
DAY_US = 86_400_000_000


def event(**columns: Any) -> dict[str, Any]:
    return {
        "event_date": "20250301",
        "event_timestamp": NOON,
        "event_name": "page_view",
        "user_pseudo_id": "1.2",
        **columns,
    }


def at(day: int, hours: float, **columns: Any) -> dict[str, Any]:
    """Return an event of a day's table, so many hours after its midnight in UTC."""
    named = date(2025, 3, 1) + day * DAY
    time = NOON - DAY_US // 2 + day * DAY_US + round(hours * DAY_US / 24)
    return event(event_date=f"{named:%Y%m%d}", event_timestamp=time, **columns)


def ndjson(*rows: Any) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def read(source: Path) -> list[dict[str, Any]]:
    """Return the rows of a day with what they have, in the order of files."""
    with ga4_export.opened(source) as database:
        rows = ga4_export.rows_of(database, "events_20250301").to_pylist()
    return [present(row) for row in rows]


def present(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(present, value)]
    if isinstance(value, dict):
        return {name: present(one) for name, one in value.items() if one is not None}
    return value


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "pack", "is_array"),
        [
            ("000000000000.json.gz", gzip.compress, False),
            ("events.ndjson.zst", zstandard.compress, True),
            ("it's [1].json", bytes, True),
        ],
    )
    def test_files_of_json_may_be_packed(self, tmp_path, name, pack, is_array):
        """A row a line, or an array as `bq query --format=prettyjson` writes it."""
        rows = [event(event_timestamp=str(NOON)), event(event_name="scroll")]
        array = orjson.dumps(rows, option=orjson.OPT_INDENT_2)
        (tmp_path / name).write_bytes(pack(array if is_array else ndjson(*rows)))

        ga4_export.check(tmp_path / name)
        assert [row["event_name"] for row in read(tmp_path)] == ["page_view", "scroll"]

    def test_files_of_parquet_may_have_lists_plain_or_as_groups(self, tmp_path):
        """As BigQuery and Spark write them, ``list.element``, in one another, too."""

        def group(*rows: dict[str, Any]) -> dict[str, Any]:
            return {"list": [{"element": row} for row in rows]}

        plain = event(items=[{"item_id": "a", "quantity": 2}])
        pq.write_table(pa.Table.from_pylist([plain]), tmp_path / "a.parquet")
        params = [{"key": "a", "value": {"int_value": 2**62}}]
        grouped = event(event_params=group(*params)) | {
            "items": group({"item_id": "a", "item_params": group(*params)})
        }
        pq.write_table(pa.Table.from_pylist([grouped]), tmp_path / "b.parquet")

        assert read(tmp_path) == [
            plain,
            event(event_params=params, items=[{"item_id": "a", "item_params": params}]),
        ]

    def test_files_of_real_rows_fit(self, data_folder):
        with ga4_export.opened(data_folder / "ga4_sample.ndjson.zst") as database:
            assert ga4_export.summary(database).rows == 471


def test_a_day_has_the_rows_of_one_table(tmp_path):
    """The daily table's before the fresh, the streamed and the fresh streamed one's,
    whatever downloads and extracts add to the names of files."""
    daily = "events_20250301-000000000000.json"
    for name in (
        "events_fresh_intraday_20250301/0.json",
        "events_intraday_20250301 (1).ndjson",
        "analytics_12.events_fresh_20250301.json",
        daily,
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        rows = [event(event_name=name, event_timestamp=NOON + n) for n in (0, 1)]
        path.write_bytes(ndjson(*rows))
        assert [row["event_name"] for row in read(tmp_path)] == [name] * 2


def test_files_that_are_left_out_are_named(tmp_path):
    """Copies, parts without an ending, and formats that are not read."""
    others = [
        "events_20250301_backup.json",
        "events_20250302-000000000000",
        "events_20250303.csv",
    ]
    for name in ["events_20250301.json", "export.json", ".hidden.csv"] + others:
        (tmp_path / name).write_bytes(ndjson(event()))
    untold, left_out = ga4_export.remarks(tmp_path)

    assert len(read(tmp_path)) == 2
    assert untold.startswith("1 files do not name a table")
    assert "export.json" in untold
    assert left_out.startswith("3 files are left out")
    assert all(name in left_out for name in others)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        # INT64 is a number, a string in BigQuery's extract, a float in pandas'.
        ({"event_timestamp": float(NOON)}, {}),
        ({"items": [{"quantity": 2.0}]}, {"items": [{"quantity": 2}]}),
        ({"user_id": 2**53 - 1}, {"user_id": str(2**53 - 1)}),
        (
            {"ecommerce": {"transaction_id": 7}, "items": [{"item_id": 8}, {}]},
            {"ecommerce": {"transaction_id": "7"}, "items": [{"item_id": "8"}, {}]},
        ),
        ({"user_id": None, "event_value_in_usd": float("nan")}, {}),
        # GA4 writes parameters whose value is empty.
        ({"event_params": [{"key": "gclid", "value": {}}]},) * 2,
        ({"geo": {"country": "Peru", "mine": 1}}, {"geo": {"country": "Peru"}}),
        ({"event_date": None}, {}),
    ],
)
def test_values_are_read_however_a_source_writes_them(tmp_path, given, kept):
    """Absent, null and NaN are one; what the schema does not know is left out."""
    (tmp_path / "events.json").write_bytes(ndjson(event(**given)))

    assert read(tmp_path) == [event(**kept)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"event_name": "x"}, ", row 2: event_timestamp: expected a value"),
            (event(event_timestamp="noon"), "row 2: event_timestamp: .* found noon"),
            # DuckDB's words alone have no row and no field.
            (
                event(items=[{"price": 1}, {"price": "12,5"}]),
                r'row 2: items\[1\].price: found "12,5".* Compare it with the columns',
            ),
            # 1.5 pieces are not two, and true is not one.
            (
                event(items=[{"quantity": 1.5}]),
                r"row 2: items\[0\].quantity: .* found 1.5",
            ),
            (
                event(event_params=[{"key": "a", "value": {"int_value": True}}]),
                r"row 2: event_params\[0\].value.int_value: .* number, found true",
            ),
            (event(event_date="2025-13-01"), "event_date: expected a date as YYYYMMDD"),
            (
                event(items={"item_id": "a"}),
                "row 2: items: found .*, which is of another",
            ),
            # Read as a number it would be 1022133605.1731383.
            (event(user_pseudo_id=1022133605.1731382094), "row 2: user_pseudo_id: .*"),
            # An order would be two, as a number and as a text.
            (event(ecommerce={"transaction_id": 1.5e7}), "transaction_id: expected a"),
            # BigQuery would refuse the whole file, without a row.
            (event(event_params=[None]), r"row 2: event_params\[0\]: expected a rec"),
        ],
        ids=str,
    )
    def test_refusals_say_what_is_no_export(self, tmp_path, row, message):
        path = tmp_path / "events.ndjson"
        # BigQuery extracts whole numbers as texts.
        right = event(
            event_timestamp=str(NOON),
            items=[{"quantity": "1", "price": 2.5}],
            event_params=[{"key": "ga_session_id", "value": {"int_value": "17"}}],
        )
        path.write_bytes(ndjson(right, row))

        with pytest.raises(SchemaError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}")

    def test_refusals_are_of_times_of_another_unit(self, tmp_path):
        """Seconds and milliseconds would be days of January 1970. A single wrong clock
        is no other unit."""
        path = tmp_path / "events.ndjson"
        rows = [event(event_timestamp=NOON // 1000 + n) for n in range(3)]
        path.write_bytes(ndjson(*rows))
        with pytest.raises(SchemaError, match="before 2000. Convert"):
            ga4_export.check(path)

        path.write_bytes(ndjson(event(event_timestamp=7), event()))
        ga4_export.check(path)

    def test_refusals_are_of_files_that_end_early(self, tmp_path):
        """Never fewer rows."""
        path = tmp_path / "events.json.gz"
        rows = [event(user_pseudo_id=str(hash((n, "x")))) for n in range(5000)]
        path.write_bytes(gzip.compress(ndjson(*rows))[:-40])

        with pytest.raises(SchemaError, match="unexpected end of data"):
            read(path)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("events.json", b"{}\nno", "row 2: expected JSON, a row a line"),
            ("events.parquet", b"PAR?", "events.parquet cannot be read.*too small"),
            ("events.csv", b"a,b", r"events.csv has no file that ends with"),
        ],
    )
    def test_refusals_are_of_what_holds_no_rows(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content)

        with pytest.raises(SchemaError, match=message):
            read(tmp_path / name)


def test_a_load_replaces_the_shard_of_each_event_date(tmp_path):
    """Whatever the timestamp says; twice equals once. Parameters keep their type
    and order, and what is absent is null. Of bad rows nothing is loaded."""
    deployment = Deployment()
    client = deployment.warehouse.client
    path = tmp_path / "events.ndjson"

    def load(*rows: Any) -> Summary:
        path.write_bytes(ndjson(*rows))
        return ga4_export.load_export(client, deployment.ga4_dataset, path)

    def stored(table: str) -> list[dict[str, Any]]:
        dataset = f"{deployment.project}.{deployment.ga4_dataset}"
        return [dict(row) for row in client.list_rows(f"{dataset}.{table}")]

    for rows in ([event(), event(event_timestamp=None)], []):
        with pytest.raises(SchemaError):
            load(*rows)
    assert not [*client.list_tables(deployment.ga4_dataset)]
    params = [
        {"key": "a", "value": {"int_value": "7"}},
        {"key": "b", "value": {"double_value": 1.5}},
    ]
    rows = event(event_params=params), event(event_date="20250302"), event()
    assert load(*rows) == (summary := load(*rows))
    first, _ = stored("events_20250301")

    assert len(stored("events_20250302")) == 1
    assert [list(p["value"].values()) for p in first["event_params"]] == [
        [None, 7, None, None],
        [None, None, None, 1.5],
    ]
    assert first["ecommerce"] is None
    assert (summary.rows, summary.users, summary.events) == (3, 1, {"page_view"})
    assert summary.dates == {date(2025, 3, 1), date(2025, 3, 2)}
    assert summary.user_columns == {"user_pseudo_id"}


class TestSummary:
    def summed(self, folder: Path, *rows: Any) -> Summary:
        (folder / "e.json").write_bytes(ndjson(*rows))
        with ga4_export.opened(folder) as database:
            return ga4_export.summary(database)

    @pytest.mark.parametrize(
        ("table", "hours", "name"),
        [(10, 24 * 3650, "purchase"), (19, 30, "purchase"), (3, -24 * 400, "sign_up")],
    )
    def test_a_summary_ignores_a_wrong_clock(self, tmp_path, table, hours, name):
        """The days, the last whole one, and what can be predicted."""
        usual = [at(day, hour) for day in range(20) for hour in range(24)]
        wrong = at(table, hours, event_name=name, user_id="u")
        found = self.summed(tmp_path, *usual, wrong)

        assert found.dates == {date(2025, 3, 1) + n * DAY for n in range(20)}
        assert found.last_full_day == date(2025, 3, 20)
        assert found.events == {"page_view"}
        assert found.user_columns == {"user_pseudo_id"}

    @pytest.mark.parametrize(
        ("zone", "hours", "full"),
        [(0, 13, 19), (0, 24, 20), (9, 24, 19), (-8, 13, 19)],
    )
    def test_a_summary_says_which_day_is_the_last_full_one(
        self, tmp_path, zone, hours, full
    ):
        """A last day that ends earlier than on any of the two weeks before does not
        count. A local day that goes on past midnight UTC has the UTC day to its end:
        east of UTC the last one is a day earlier."""
        whole = [at(day, hour - zone) for day in range(19) for hour in range(24)]
        last = [at(19, hour - zone) for hour in range(hours)]

        found = self.summed(tmp_path, *whole, *last)
        assert found.last_full_day == date(2025, 3, full)
