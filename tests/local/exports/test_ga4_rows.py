"""
Anyone's GA4 export rows, specified: what can be read, and what is refused.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from local.exports import ga4_rows
from local.exports.ga4_rows import ExportError

NOON = 1_740_830_400_000_000  # 2025-03-01 12:00:00 UTC
EMPTY = [{"key": "gclid", "value": {}}]


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
    """Return rows with what they have, in the order of days and files."""
    with ga4_rows.opened(source, progress=False) as database:
        tables = [ga4_rows.rows_of(database, day) for day in ga4_rows.days(database)]
    rows = [row for table in tables for row in table.to_pylist()]
    return [present(row) for row in rows]


def present(value: Any) -> Any:
    if isinstance(value, list):
        return [present(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: present(one) for name, one in value.items() if one is not None}


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
            # Downloads lose or gain an ending, and editors mark the first line.
            ("events.json", gzip.compress),
            ("events.ndjson", zstandard.compress),
            ("events.ndjson.gz", bytes),
            ("events.ndjson", b"\xef\xbb\xbf".__add__),
        ],
    )
    def test_reads_json_plain_and_compressed(self, tmp_path, name, pack):
        """NDJSON by its name, gzipped or in one or more zstd frames by its bytes."""
        path = tmp_path / name
        path.write_bytes(pack(ndjson(event(), event(event_name="scroll"))))

        assert [row["event_name"] for row in read(path)] == ["page_view", "scroll"]

    def test_reads_parquet_of_any_subset_of_the_columns(self, tmp_path):
        """Columns that a Parquet file lacks are null; nested ones are read."""
        row = event(items=[{"item_id": "a", "quantity": 2}])
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "events.parquet")

        assert read(tmp_path / "events.parquet") == [row]

    def test_reads_a_folder_in_the_order_of_names(self, tmp_path):
        """All files that hold rows are read, also in folders; others are left alone."""
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "2.ndjson").write_bytes(ndjson(event(event_name="second")))
        (tmp_path / "a.json").write_bytes(ndjson(event(event_name="first")) + b"\n")
        (tmp_path / "README.txt").write_text("not rows")

        assert [row["event_name"] for row in read(tmp_path)] == ["first", "second"]

    @pytest.mark.parametrize(
        "pack",
        [bytes, gzip.compress, zstandard.compress, b"\xef\xbb\xbf".__add__],
    )
    @pytest.mark.parametrize("option", [None, orjson.OPT_INDENT_2])
    def test_reads_an_array_of_rows(self, tmp_path, pack, option):
        """As `bq query --format=json` and `prettyjson` write rows. Defect: refused."""
        path = tmp_path / "rows.json"
        rows = [event(event_timestamp=str(NOON)), event(event_name="scroll")]
        path.write_bytes(pack(orjson.dumps(rows, option=option)))

        ga4_rows.check(path)
        assert [row["event_name"] for row in read(path)] == ["page_view", "scroll"]

    def test_leaves_out_what_the_schema_does_not_know(self, tmp_path):
        """Nested, too."""
        path = tmp_path / "e.ndjson"
        path.write_bytes(ndjson(event(mine=1, geo={"country": "Peru", "planet": "E"})))

        assert read(path) == [event(geo={"country": "Peru"})]

    def test_reads_the_real_sample(self, data_folder):
        """Every one of 471 real rows fits."""
        assert len(read(data_folder / "ga4_sample.ndjson.zst")) == 471


class TestIntradayTables:
    @pytest.fixture
    def folder(self, tmp_path):
        def write(*names: str) -> Path:
            rows = [event(event_timestamp=NOON + n) for n in range(3)]
            for name in names:
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).write_bytes(ndjson(*rows))
            return tmp_path

        return write

    @pytest.mark.parametrize(
        "daily", ["events_20250301.json", "events_20250301/00.json", "00.json"]
    )
    @pytest.mark.parametrize("intraday", ["{}.json", "{}/00.json"])
    def test_do_not_count_where_there_is_the_daily_table(self, folder, daily, intraday):
        """Defect: 6 events for 3."""
        source = folder(daily, intraday.format("events_intraday_20250301"))

        assert len(read(source)) == 3

    def test_count_where_they_are_alone(self, folder):
        """Of today there is no daily table yet."""
        assert len(read(folder("events_intraday_20250301.json"))) == 3

    def test_are_refused_where_names_do_not_tell(self, folder):
        """Nobody can say which of the two counts."""
        source = folder("a.json", "b.json")

        with pytest.raises(ExportError, match="a.json: most of its events of 20250301"):
            read(source)

    def test_are_refused_where_one_file_has_both(self, tmp_path):
        """As a query of the wildcard events_* writes rows: the intraday table knows no
        source of a new user yet. Defect: each event counted twice."""
        rows = [event(event_timestamp=NOON + n) for n in range(3)]
        source = {"traffic_source": {"source": "google", "medium": "organic"}}
        path = tmp_path / "e.json"
        path.write_bytes(ndjson(*rows, *(row | source for row in rows)))

        with pytest.raises(ExportError, match="e.json: most of its events of 20250301"):
            read(path)

    def test_are_not_found_in_what_was_sent_at_once(self, tmp_path):
        """Events of a batch have one time, and may be alike in name; repeats of a row
        are folded."""
        items = [event(items=[{"item_id": name}]) for name in "abc"]
        path = tmp_path / "e.json"
        path.write_bytes(ndjson(*items, items[0]))

        assert len(read(path)) == 4


class TestIds:
    @pytest.mark.parametrize(
        "columns",
        [
            {"user_pseudo_id": 1022133605},
            {"user_id": 2**53 - 1},
            {"ecommerce": {"transaction_id": 7}},
            {"items": [{"item_id": "a"}, {"item_id": 12}]},
        ],
        ids=str,
    )
    def test_may_be_whole_numbers(self, tmp_path, columns):
        """They are taken as they are written."""
        path = tmp_path / "events.ndjson"
        path.write_bytes(ndjson(event(**columns)))

        (name, value), (row,) = *columns.items(), read(path)
        assert row[name] == as_texts(value)

    @pytest.mark.parametrize(
        ("columns", "field", "found"),
        [
            ({"user_pseudo_id": 1022133605.1731382094}, "user_pseudo_id", "10221336"),
            ({"user_id": 1.0}, "user_id", "1.0"),
            ({"user_id": 2**53}, "user_id", "9007199254740992"),
            (
                {"ecommerce": {"transaction_id": 1e18}},
                "ecommerce.transaction_id",
                "1e18|1000000000000000000",
            ),
            ({"items": [{"item_id": "a"}, {"item_id": 5.5}]}, "items.item_id", "5.5"),
            (
                {
                    "event_params": [
                        {"key": "transaction_id", "value": {"double_value": 5.5}}
                    ]
                },
                "event_params.transaction_id",
                "5.5",
            ),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("kind", ["ndjson", "json.gz", "array", "parquet"])
    def test_that_are_other_numbers_are_refused(
        self, tmp_path, columns, field, found, kind
    ):
        """Defect: `1022133605.1731382094` was read as `1022133605.1731383`."""
        rows = [event(user_id=None), event(**{"user_id": None, **columns})]
        path = tmp_path / "events.json"
        if kind == "parquet":
            path = tmp_path / "events.parquet"
            # A user id as a text beside a number is no Parquet.
            row = {
                **rows[1],
                **({"items": [{"item_id": 5.5}]} if "items" in columns else {}),
            }
            pq.write_table(pa.Table.from_pylist([row] * 2), path)
        elif kind == "array":
            path.write_bytes(orjson.dumps(rows))
        else:
            pack = gzip.compress if kind == "json.gz" else bytes
            path.write_bytes(pack(ndjson(*rows)))

        for refused in (read, ga4_rows.check):
            with pytest.raises(ExportError, match=f"{field}: wanted.*{found}") as error:
                refused(path)
            row = 1 if kind == "parquet" else 2
            assert f"{path}, row {row}: " in str(error.value)
            assert "write ids as texts" in str(error.value)


def as_texts(value: Any) -> Any:
    if isinstance(value, list):
        return [as_texts(one) for one in value]
    if isinstance(value, dict):
        return {name: as_texts(one) for name, one in value.items()}
    return str(value)


class TestTypes:
    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            # INT64 is a number, a string in BigQuery's extract, a float in pandas'.
            ({"event_timestamp": NOON}, {}),
            ({"event_timestamp": str(NOON)}, {}),
            ({"event_timestamp": float(NOON)}, {}),
            # It was a number once.
            ({"stream_id": 2100450278}, {"stream_id": "2100450278"}),
            ({"user_ltv": {"revenue": "1.5"}}, {"user_ltv": {"revenue": 1.5}}),
            ({"user_id": None, "event_value_in_usd": float("nan")}, {}),
            # GA4 writes parameters whose value is empty.
            ({"event_params": EMPTY}, {"event_params": EMPTY}),
            # BigQuery's own Parquet has a repeated field as list.element.
            (
                {"items": {"list": [{"element": {"item_id": "a"}}]}},
                {"items": [{"item_id": "a"}]},
            ),
        ],
    )
    @pytest.mark.parametrize("kind", ["ndjson", "parquet"])
    def test_are_those_of_the_schema(self, tmp_path, given, kept, kind):
        """However a source spells a value; absent, null and NaN are one."""
        path = tmp_path / f"events.{kind}"
        if given == {"event_params": EMPTY} and kind == "parquet":
            pytest.skip("Parquet has no struct without fields")
        if "list" in given.get("items", ()) and kind == "ndjson":
            pytest.skip("only BigQuery's Parquet has it")
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist([event(**given)]), path)
        else:
            path.write_bytes(ndjson(event(**given)))

        assert read(path) == [event(**kept)]

    def test_the_date_follows_from_the_timestamp_where_it_is_missing(self, tmp_path):
        """Without event_date it is the UTC date."""
        row = event()
        del row["event_date"]
        (tmp_path / "e.json").write_bytes(ndjson(row, event(event_date="2025-03-01")))

        assert read(tmp_path / "e.json") == [event(), event()]


class TestRefusals:
    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"event_name": "x"}, ", row 2: event_timestamp: wanted a value"),
            (event(event_name=None), ", row 2: event_name: wanted a value"),
            (event(event_timestamp="noon"), ", row 2: event_timestamp: .*noon"),
            (event(event_timestamp=NOON + 0.5), "row 2: event_timestamp: wanted a w"),
            (
                event(items=[{"quantity": 1}, {"quantity": 7.5}]),
                "row 2: items.quantity: wanted a whole number.*found 7.5",
            ),
            (
                event(event_params=[{"key": "k", "value": {"int_value": 7.5}}]),
                "row 2: event_params.value.int_value: wanted a whole.*found 7.5",
            ),
            (event(event_timestamp=2**63), "wanted a whole number of 64 bits"),
            # Nanoseconds, whose years have five digits.
            (event(event_timestamp=NOON * 1000), "wanted microseconds since 1970"),
            (event(event_date="2025-13-01"), "event_date: wanted a date as YYYYMMDD"),
            (event(items={"item_id": "a"}), "items: wanted a list"),
            (event(items=[{"price": "dear"}]), 'items: wanted a list.*"dear"'),
            (event(geo="Peru"), "geo: wanted an object.*Peru"),
            (event(is_active_user="maybe"), "is_active_user: wanted true or false"),
            (event(user_id=["a"]), "user_id: wanted an id as a text"),
            ([event()], "wanted"),
        ],
    )
    def test_a_bad_row_is_named_with_what_was_wanted(self, tmp_path, row, message):
        """File, row, column, what was wanted and what was found."""
        path = tmp_path / "events.ndjson"
        path.write_bytes(ndjson(event(), row))

        with pytest.raises(ExportError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}")

    @pytest.mark.parametrize("unit", [1000, 1_000_000])
    def test_times_of_another_unit_are_refused(self, tmp_path, unit):
        """Seconds and milliseconds would be days of January 1970."""
        path = tmp_path / "events.ndjson"
        path.write_bytes(ndjson(*[event(event_timestamp=NOON // unit)] * 3))

        with pytest.raises(ExportError, match="wanted microseconds.*before 2000"):
            ga4_rows.check(path)

    def test_a_clock_that_is_wrong_is_no_other_unit(self, tmp_path):
        """Of one event: the others say what unit it is."""
        path = tmp_path / "events.ndjson"
        path.write_bytes(ndjson(event(event_timestamp=7), event()))

        ga4_rows.check(path)

    @pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
    def test_a_truncated_file_is_refused(self, tmp_path, pack):
        """A compressed file that ends early is an error, never fewer rows."""
        suffix = ".gz" if pack is gzip.compress else ".zst"
        path = tmp_path / f"events.json{suffix}"
        rows = [event(user_pseudo_id=str(hash((n, "x")))) for n in range(5000)]
        path.write_bytes(pack(ndjson(*rows))[:-40])

        with pytest.raises(ExportError, match="cannot be read"):
            read(path)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("events.json", "{}\nno", "line 2: wanted JSON, a row a line.*'no'"),
            ("events.json", "a,b\n1,2", "wanted JSON, a row a line or an array"),
            ("events.json", "{}".encode("utf-16"), "written in UTF-16"),
            ("events.json", "{}".encode("utf-16-le"), "written in UTF-16"),
            # A name alone makes no Parquet file.
            ("events.parquet", "PAR?", "cannot be read"),
            ("events.csv", "a,b", r"wanted \.ndjson"),
            ("missing.ndjson", None, "no such file"),
            ("", None, "found none of these in the folder"),
        ],
    )
    def test_what_holds_no_rows_is_refused(self, tmp_path, name, content, message):
        """Another format, no file, a folder without rows: it says what was wanted."""
        if content:
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(data)

        with pytest.raises(ExportError, match=message):
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
