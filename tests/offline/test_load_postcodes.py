"""
Loading postcodes, specified: a table of them becomes postcode_index, or nothing.
"""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import main
from offline import load_postcodes
from propensity.errors import SchemaError
from propensity.events.enrichment import normalised, outward
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables import every as tables
from tests.proxy import Proxy

TODAY = date(2026, 11, 20)
CSV = """\
postcode,town,socioeconomic_idx
QA1 2BD,Ambermouth,3
qa1 2be,Ambermouth,5
 QA1  2BF,Ambermouth,9
QA1 2BD,Ambermouth,3.0
QD3 1AA,Dunmere,4
QD3 1AA,Dunmere,2
QD3 1AA,Dunmere,2
D02 X285,Elsewhere,6
QD4 1AA,Dunmere,
,Dunmere,4
"""
LOADED = {
    "QA12BD": 3.0,
    "QA12BE": 5.0,
    "QA12BF": 9.0,
    "QD31AA": 2.0,
    "D02X285": 6.0,
    "QA1": 5.0,
    "QD3": 2.0,
}
ONE = "postcode,socioeconomic_idx\nQA12BD,7\n"


@pytest.fixture
def written(tmp_path):
    def write(content: str | bytes, name: str = "postcodes.csv") -> str:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return write


@pytest.fixture
def warehouse(environment) -> Iterator[Warehouse]:
    opened = Warehouse.open(Settings.from_environment())
    opened.create(tables.POSTCODE_INDEX)
    yield opened
    opened.close()


def load(*arguments: str) -> int:
    return main(["load", "postcodes", *arguments])


def stored(warehouse: Warehouse) -> dict[str, float]:
    rows = warehouse.table(statement("postcodes")).to_pylist()
    return {row["postcode"]: row["socioeconomic_idx"] for row in rows}


class TestTheCommand:
    def test_loads_a_file(self, written, warehouse, capsys):
        """Postcodes in capitals without spaces, and outward codes with the median of
        their postcodes, are in the table; the output counts every row."""
        before = datetime.now(UTC).date()
        assert load(written(CSV), "--json") == 0

        answer = json.loads(capsys.readouterr().out)
        assert stored(warehouse) == LOADED
        assert (answer["rows"], answer["postcodes"], answer["outward_codes"]) == (
            10,
            5,
            2,
        )
        assert (answer["skipped"], answer["conflicts"]) == (2, 1)
        settings = warehouse.settings
        name = f"{settings.project}.{settings.dataset}.postcode_index"
        table = warehouse.client.get_table(name)
        # Still laid out as the tables are declared, and of the day that it is in UTC.
        assert table.time_partitioning.field == "loaded_on"
        assert table.clustering_fields == ["postcode"]
        [day] = {row["loaded_on"] for row in warehouse.client.list_rows(table)}
        assert before <= day <= datetime.now(UTC).date()

    def test_replaces_the_table_as_a_whole(self, written, environment):
        """Nothing of what was loaded before is left, and twice equals once; the
        command may come before the set-up."""
        for text in (CSV, ONE, ONE):
            assert load(written(text)) == 0

        with contextlib.closing(Warehouse.open(Settings.from_environment())) as opened:
            assert stored(opened) == {"QA1": 7, "QA12BD": 7}

    def test_leaves_the_old_table_where_it_fails(
        self, written, warehouse, monkeypatch, capsys
    ):
        """A load that BigQuery refuses changes nothing."""
        load(written(CSV))

        def refuse_uploads(request: Any) -> int | None:
            return 400 if request.path.startswith("/upload") else None

        with Proxy(warehouse.settings.bigquery_endpoint, refuse_uploads) as proxy:
            monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
            assert load(written(ONE)) == 1
            assert any(request.path.startswith("/upload") for request in proxy.asked)

        assert "BigQuery refuses" in capsys.readouterr().err
        assert stored(warehouse) == LOADED

    def test_checks_a_file_where_nothing_is_deployed(
        self, written, monkeypatch, capsys
    ):
        """A dry run loads nothing; without one the missing setting is named."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
        assert load(written(ONE), "--dry-run", "--json") == 0
        assert json.loads(capsys.readouterr().out)["highest"] == 7
        assert load(written(ONE)) == 1
        assert "GOOGLE_CLOUD_PROJECT" in capsys.readouterr().err
        assert load(written("pcds,rank\nQA1 2BD,3\n"), "--dry-run") == 1
        assert "lacks the columns postcode" in capsys.readouterr().err


class TestFiles:
    @pytest.mark.parametrize(
        ("codes", "values"),
        [
            (pa.string(), pa.float64()),
            (pa.dictionary(pa.int32(), pa.string()), pa.decimal128(9, 3)),
            (pa.large_string(), pa.string()),
        ],
        ids=str,
    )
    def test_may_be_parquet_of_any_types(self, tmp_path, codes, values):
        path = tmp_path / "postcodes.parquet"
        columns = {
            "postcode": pa.array(["QA1 2BD", None, "QA1 2BE"]).cast(codes),
            "socioeconomic_idx": pa.array(["3", "4", None]).cast(values),
        }
        pq.write_table(pa.table(columns), path)
        answer = load_postcodes.run(path, is_dry=True)

        assert (answer["postcodes"], answer["highest"]) == (1, 3.0)
        assert answer["skipped"] == 2

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ("QA1 2BD,3\nQA1 2BE,much\n", "socioeconomic_idx holds no numbers"),
            ("QA1 2BD,3\nQA1 2BE,inf\n", "row 2: an infinite"),
            ("12 Mill Lane Dunmere,3\n", "is no postcode"),
            ("QA1 2BD,3\nQA1 2BE\n", "Row #3: Expected 2 columns, got 1"),
            ("QA1 2BD,\n,3\n", "none of 2 rows has"),
            # A data frame writes 02139 as 2139.0 beside a gap: 21390 is elsewhere.
            (",3\n2139.0,4\n", "row 2: postcode is the number"),
        ],
        ids=["text", "infinite", "address", "short row", "nothing", "number"],
    )
    def test_are_refused_with_the_row(self, written, rows, message):
        """What can be neither postcode nor index is named."""
        path = Path(written(f"postcode,socioeconomic_idx\n{rows}"))
        with pytest.raises(SchemaError, match=message):
            load_postcodes.run(path, is_dry=True)


CODES = st.sampled_from(
    [
        "QA1 2BD",
        "qa12bd",
        "QA1 2BE",
        "QA12 1AA",
        "QA1",
        "QD3 1AA",
        "D02 X285",
        "-",
        None,
    ]
)
INDICES = st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(-1e9, 1e9))
SCHEMA = pa.schema([("postcode", pa.string()), ("socioeconomic_idx", pa.float64())])


class TestRows:
    @given(st.lists(st.tuples(CODES, INDICES), max_size=40), st.randoms())
    def test_are_the_same_for_any_order(self, rows, order):
        """Each postcode has the lower median of its different values, each outward
        code the lower median of its postcodes, however the rows come."""
        values: dict[str, set[float]] = {}
        for code, value in rows:
            if normalised(code or "") and value is not None:
                values.setdefault(normalised(code), set()).add(value)
        expected = {code: statistics.median_low(of) for code, of in values.items()}
        parts: dict[str, list[float]] = {}
        for code, value in expected.items():
            if (part := outward(code)) is not None:
                parts.setdefault(part, []).append(value)
        medians = {part: statistics.median_low(of) for part, of in parts.items()}
        order.shuffle(rows)
        columns = zip(*rows, strict=True) if rows else ((), ())
        read = pa.table([list(column) for column in columns], schema=SCHEMA)
        if not expected:
            with pytest.raises(SchemaError):
                load_postcodes.table_of(read, loaded_on=TODAY)
            return
        table, summary = load_postcodes.table_of(read, loaded_on=TODAY)

        assert {
            row["postcode"]: row["socioeconomic_idx"] for row in table.to_pylist()
        } == {
            **medians,
            **expected,
        }
        assert table.cast(tables.POSTCODE_INDEX.arrow_schema()).num_rows == len(
            {*medians, *expected}
        )
        complete = [
            row for row in rows if normalised(row[0] or "") and row[1] is not None
        ]
        assert summary["skipped"] == len(rows) - len(complete)
