"""
Anyone's GA4 export rows, specified: what can be read, what is refused, what is loaded.
"""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from local.exports import ga4_export, ga4_rows
from local.exports.ga4_export import Summary
from local.exports.ga4_rows import ExportError

NOON = 1_740_830_400_000_000  # 2025-03-01 12:00:00 UTC


def event(**columns: Any) -> dict[str, Any]:
    return {
        "event_date": "20250301",
        "event_timestamp": NOON,
        "event_name": "page_view",
        "user_pseudo_id": "1.2",
        **columns,
    }


def ndjson(*rows: Any) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def read(source: Path) -> list[dict[str, Any]]:
    return list(ga4_rows.read_rows(source, ignored=Counter(), progress=False))


@pytest.fixture
def fit():
    """Fit one object into a row, through the door that the readers use."""
    return ga4_rows.row_fitter(Counter())


class TestReading:
    @pytest.mark.parametrize(
        ("name", "pack"),
        [
            ("events.ndjson", bytes),
            ("events.jsonl", bytes),
            ("000000000000.json.gz", gzip.compress),
            ("events.ndjson.zst", zstandard.compress),
            (
                "frames.ndjson.zst",
                lambda rows: (
                    zstandard.compress(rows[:9]) + zstandard.compress(rows[9:])
                ),
            ),
        ],
    )
    def test_reads_json_plain_and_compressed(self, tmp_path, name, pack):
        """NDJSON is known by its name, also gzipped or in one or more zstd frames."""
        path = tmp_path / name
        path.write_bytes(pack(ndjson(event(), event(event_name="scroll"))))

        assert [row["event_name"] for row in read(path)] == ["page_view", "scroll"]

    @pytest.mark.parametrize(
        ("name", "pack"),
        [
            ("events.json", gzip.compress),
            ("events.ndjson", zstandard.compress),
            ("events.ndjson.gz", bytes),
            ("events.ndjson", b"\xef\xbb\xbf".__add__),
        ],
        ids=["gzip", "zstd", "plain", "mark"],
    )
    def test_tells_by_its_bytes_how_a_file_is_packed(self, tmp_path, name, pack):
        """Downloads lose or gain an ending, and editors mark the first line."""
        path = tmp_path / name
        path.write_bytes(pack(ndjson(event(), event(event_name="scroll"))))

        assert [row["event_name"] for row in read(path)] == ["page_view", "scroll"]

    def test_reads_parquet_of_any_subset_of_the_columns(self, tmp_path):
        """Columns that a Parquet file lacks are null; nested ones are read."""
        row = event(items=[{"item_id": "a", "quantity": 2}])
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "events.parquet")

        assert read(tmp_path / "events.parquet") == [row]

    def test_reads_the_lists_of_bigquerys_own_parquet(self, fit):
        """A repeated field written as list.element is that list."""
        wrapped = {"list": [{"element": {"item_id": "a"}}]}

        assert fit(event(items=wrapped))["items"] == [{"item_id": "a"}]

    def test_reads_a_folder_in_the_order_of_names(self, tmp_path):
        """All files that hold rows are read, also in folders; others are left alone."""
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "2.ndjson").write_bytes(ndjson(event(event_name="second")))
        (tmp_path / "a.json").write_bytes(ndjson(event(event_name="first")) + b"\n")
        (tmp_path / "README.txt").write_text("not rows")

        assert [row["event_name"] for row in read(tmp_path)] == ["first", "second"]

    def test_counts_unknown_fields_by_name(self, tmp_path):
        """What the schema does not know is left out, and reported, nested too."""
        path, ignored = tmp_path / "e.ndjson", Counter()
        path.write_bytes(ndjson(event(mine=1, geo={"country": "Peru", "planet": "E"})))

        (row,) = ga4_rows.read_rows(path, ignored=ignored, progress=False)

        assert ignored == {"mine": 1, "geo.planet": 1}
        assert row["geo"] == {"country": "Peru"}

    def test_reads_the_real_sample(self, data_folder):
        """Every one of 471 real rows fits, without an unknown field."""
        ignored: Counter[str] = Counter()
        source = data_folder / "ga4_sample.ndjson.zst"
        rows = list(ga4_rows.read_rows(source, ignored=ignored, progress=False))

        assert (len(rows), ignored) == (471, {})


class TestTypes:
    @pytest.mark.parametrize(
        "timestamp", [NOON, str(NOON), float(NOON)], ids=["int", "string", "float"]
    )
    def test_whole_numbers_come_in_three_spellings(self, fit, timestamp):
        """INT64 is a number, a string in BigQuery's extract, a float in pandas'."""
        assert fit(event(event_timestamp=timestamp))["event_timestamp"] == NOON

    def test_numbers_where_strings_belong_become_strings(self, fit):
        """stream_id was a number once."""
        assert fit(event(stream_id=2100450278))["stream_id"] == "2100450278"

    def test_decimal_numbers_may_be_strings(self, fit):
        """A price written as text is a number."""
        assert fit(event(user_ltv={"revenue": "1.5"}))["user_ltv"] == {"revenue": 1.5}

    def test_null_and_nan_are_nothing(self, fit):
        """Absent, null and NaN are one."""
        assert fit(event(user_id=None, event_value_in_usd=float("nan"))) == event()

    def test_a_value_of_no_type_stays_a_value(self, fit):
        """GA4 writes parameters whose value is empty; they are kept."""
        empty = [{"key": "gclid", "value": {}}]

        assert fit(event(event_params=empty))["event_params"] == empty

    def test_the_date_follows_from_the_timestamp_where_it_is_missing(self, fit):
        """Without event_date it is the UTC date."""
        row = event()
        del row["event_date"]

        assert fit(row)["event_date"] == "20250301"


class TestRefusals:
    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ([event()], "the row: wanted an object"),
            ({"event_name": "x"}, "event_timestamp: wanted a value"),
            (event(event_name=None), "event_name: wanted a value"),
            (event(event_timestamp="noon"), "event_timestamp: wanted a whole number"),
            (event(event_timestamp=True), "event_timestamp: wanted a whole number"),
            (event(event_timestamp=2**63), "wanted a whole number of 64 bits"),
            # Nanoseconds, whose years have five digits.
            (event(event_timestamp=NOON * 1000), "wanted microseconds since 1970"),
            (event(event_timestamp=2**63 - 1), "wanted microseconds since 1970"),
            (event(event_date="2025-13-01"), "event_date: wanted a date as YYYYMMDD"),
            (event(items={"item_id": "a"}), "items: wanted a list"),
            (event(items=[{"price": "dear"}]), "items.price: wanted a number"),
            (event(geo="Peru"), "geo: wanted an object, found 'Peru'"),
            (event(is_active_user="maybe"), "is_active_user: wanted true or false"),
            (event(user_id=["a"]), "user_id: wanted a string"),
        ],
    )
    def test_a_bad_row_is_named_with_what_was_wanted(self, tmp_path, row, message):
        """File, line, column, what was wanted and what was found."""
        path = tmp_path / "events.ndjson"
        path.write_bytes(ndjson(event(), row))

        with pytest.raises(ExportError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}, line 2: ")

    @pytest.mark.parametrize("unit", [1000, 1_000_000])
    def test_times_of_another_unit_are_refused(self, tmp_path, unit):
        """Seconds and milliseconds would be days of January 1970."""
        path = tmp_path / "events.ndjson"
        path.write_bytes(ndjson(*[event(event_timestamp=NOON // unit)] * 3))

        with pytest.raises(ExportError, match="wanted microseconds.*which is in 1970"):
            ga4_rows.check(path)

    def test_a_clock_that_is_wrong_is_no_other_unit(self, tmp_path):
        """Of one event: the others say what unit it is."""
        path = tmp_path / "events.ndjson"
        path.write_bytes(ndjson(event(event_timestamp=7), event()))

        ga4_rows.check(path)

    def test_json_that_is_not_a_row_a_line_is_refused(self, tmp_path):
        """A JSON array over many lines is not NDJSON, and the message says so."""
        path = tmp_path / "events.json"
        path.write_text("[\n{}\n]")

        with pytest.raises(ExportError, match=r"line 1: wanted one JSON object a line"):
            read(path)

    @pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
    def test_a_truncated_file_is_refused(self, tmp_path, pack):
        """A compressed file that ends early is an error, never fewer rows."""
        suffix = ".gz" if pack is gzip.compress else ".zst"
        path = tmp_path / f"events.json{suffix}"
        rows = [event(user_pseudo_id=str(hash((n, "x")))) for n in range(5000)]
        path.write_bytes(pack(ndjson(*rows))[:-40])

        with pytest.raises(ExportError, match="wanted a whole"):
            read(path)

    def test_a_file_that_is_no_parquet_is_refused(self, tmp_path):
        """A name alone makes no Parquet file."""
        (tmp_path / "events.parquet").write_bytes(b"PAR?")

        with pytest.raises(ExportError, match="wanted a Parquet file"):
            read(tmp_path)

    @pytest.mark.parametrize("name", ["missing.ndjson", "", "events.csv"])
    def test_nothing_to_read_is_refused(self, tmp_path, name):
        """No file, a folder without rows, a format that cannot be read."""
        if name.endswith("csv"):
            (tmp_path / name).write_text("a,b")

        with pytest.raises(ExportError, match=r"no such file|wanted \.ndjson"):
            read(tmp_path / name)

    @pytest.mark.parametrize(
        "fields", [("fullVisitorId", "visitId", "hits", "totals"), ("hits", "totals")]
    )
    def test_sessions_of_universal_analytics_are_told_what_they_are(
        self, tmp_path, fields
    ):
        """GA4's forerunner exported sessions: the message says so, and what to take."""
        session = {"date": "20170801", "visitNumber": 1, "device": {"browser": "x"}}
        path = tmp_path / "ga_sessions_20170801.ndjson"
        path.write_bytes(ndjson({**session, **dict.fromkeys(fields, "1")}))

        with pytest.raises(ExportError, match="sessions of Universal Anal") as caught:
            read(path)
        assert "not the GA4 export" in str(caught.value)
        assert "events_YYYYMMDD" in str(caught.value)
        assert "fullVisitorId" in str(caught.value) or "hits" in str(caught.value)


class TestLoading:
    @pytest.fixture
    def load(self, workplace, tmp_path):
        def call(*rows: Any) -> ga4_export.Summary:
            path = tmp_path / "events.ndjson"
            path.write_bytes(ndjson(*rows))
            return ga4_export.load_export(
                workplace.bigquery.client(workplace.project),
                workplace.ga4_dataset,
                path,
                progress=False,
            )

        return call

    @pytest.fixture
    def stored(self, workplace):
        def call(table: str) -> list[dict[str, Any]]:
            client = workplace.bigquery.client(workplace.project)
            name = f"{workplace.project}.{workplace.ga4_dataset}.{table}"
            return [dict(row) for row in client.list_rows(client.get_table(name))]

        return call

    def test_each_day_becomes_its_shard(self, load, stored):
        """Rows go to the table of their event_date, whatever their timestamp says."""
        summary = load(event(), event(event_date="20250302"), event())

        assert len(stored("events_20250301")) == 2
        assert len(stored("events_20250302")) == 1
        assert (summary.rows, summary.days, summary.users) == (3, 2, 1)
        assert (summary.first_date, summary.last_date) == (
            date(2025, 3, 1),
            date(2025, 3, 2),
        )
        assert summary.events == {"page_view": 3}

    def test_twice_equals_once(self, load, stored):
        """A shard is replaced, not added to."""
        load(event())
        load(event())

        assert len(stored("events_20250301")) == 1

    def test_nested_values_arrive_as_they_were(self, load, stored):
        """Parameters keep their type and order; what is absent is null."""
        params = [
            {"key": "a", "value": {"int_value": "7"}},
            {"key": "b", "value": {"double_value": 1.5}},
            {"key": "c", "value": {}},
        ]
        load(event(event_params=params, items=[{"item_id": "x", "quantity": 2.0}]))
        (row,) = stored("events_20250301")

        assert [list(p["value"].values()) for p in row["event_params"]] == [
            [None, 7, None, None],
            [None, None, None, 1.5],
            [None, None, None, None],
        ]
        assert row["items"][0]["quantity"] == 2
        assert row["ecommerce"] is None

    def test_a_bad_row_loads_nothing(self, load, workplace):
        """Nothing is loaded unless every row can be read."""
        with pytest.raises(ExportError):
            load(event(), event(event_timestamp=None))
        client = workplace.bigquery.client(workplace.project)

        assert not list(client.list_tables(workplace.ga4_dataset))

    def test_no_rows_are_refused(self, load):
        """An empty file is a mistake, not an empty export."""
        with pytest.raises(ExportError, match="found none"):
            load()


class TestWeeks:
    def test_the_newest_week_ends_with_the_data(self):
        """Counted back from the end, a horizon apart, each with a whole lookback."""
        weeks = ga4_export.weeks_allowed(
            date(2025, 1, 1), date(2025, 3, 31), lookback_days=60, horizon_days=7
        )

        assert weeks[-1] == date(2025, 3, 25)
        assert weeks[0] == date(2025, 3, 4)
        assert {b - a for a, b in zip(weeks, weeks[1:], strict=False)} == {
            7 * ga4_export.DAY
        }

    def test_too_little_data_allow_none(self):
        """Sixty-six days are one short of a lookback and a horizon."""
        weeks = ga4_export.weeks_allowed(
            date(2025, 1, 1), date(2025, 3, 7), lookback_days=60, horizon_days=7
        )

        assert weeks == []

    DAY_US = 86_400_000_000

    def cut(self, at_hour: float, *, zone: int = 0, days: int = 20) -> Summary:
        """Load twenty days with an event an hour, the last of which ends early."""
        census = ga4_export._Census()
        first = NOON - NOON % self.DAY_US
        for day in range(days):
            hours = at_hour if day == days - 1 else 24
            for hour in range(int(hours)):
                time = first + day * self.DAY_US + (hour - zone) * 3_600_000_000
                name = date(2025, 3, 1) + day * ga4_export.DAY
                census.add_row(event(event_date=f"{name:%Y%m%d}", event_timestamp=time))
        return census.summary({})

    def test_a_last_day_that_is_cut_short_does_not_count(self):
        """It ends earlier in the day than any of the two weeks before."""
        cut, whole = self.cut(13), self.cut(24)

        assert cut.is_cut_short
        assert cut.last_full_day == date(2025, 3, 19)
        assert not whole.is_cut_short
        assert whole.last_full_day == date(2025, 3, 20)

    @pytest.mark.parametrize(
        ("zone", "hour", "full"),
        [(9, 13, 19), (9, 4, 18), (-8, 13, 19), (-8, 22, 20)],
    )
    def test_cut_days_are_full_in_utc_as_far_as_they_go(self, zone, hour, full):
        """A local day that goes on past midnight UTC has the UTC day to its end."""
        summary = self.cut(hour, zone=zone)

        assert summary.is_cut_short
        assert summary.last_full_day == date(2025, 3, full)

    def test_of_a_few_days_nobody_can_tell(self):
        """What is usual takes two weeks to know."""
        assert not self.cut(3, days=10).is_cut_short

    def test_a_property_east_of_utc_ends_a_day_earlier(self, workplace, tmp_path):
        """Its last local day ends before the UTC day of the same name."""
        path = tmp_path / "events.ndjson"
        path.write_bytes(ndjson(event(event_date="20250302")))
        summary = ga4_export.load_export(
            workplace.bigquery.client(workplace.project),
            workplace.ga4_dataset,
            path,
            progress=False,
        )

        assert summary.last_full_day == date(2025, 3, 1)
