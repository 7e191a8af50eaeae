"""
What the product asks of Google, answered alike in the process and by the emulators.

The emulators are asked through Google's unmodified clients. Whether a statement of the
product is BigQuery's, Google's analyzer says (``tests/test_googlesql.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from google.pubsub_v1 import types

from local.emulators.pubsub.broker import Broker, RefusedError
from local.exports.sources import replace_table
from propensity.errors import (
    ArtifactError,
    Conflict,
    MissingTable,
    PropensityError,
    SchemaError,
    SettingsError,
)
from propensity.gcp.artifacts import Artifacts, Stored
from propensity.gcp.pubsub import Bus
from propensity.gcp.session import Session, session_of
from propensity.gcp.warehouse import Warehouse
from propensity.gcp.writes import Appends
from propensity.tables.models import EVALUATION, Category, Evaluation
from propensity.tables.stream import POSTCODE_INDEX, SUPPRESSED_USERS
from tests.conftest import opened
from tests.propensity.gcp.conftest import DAY, SCORES, counted, staged
from tests.support.deployment import Deployment
from tests.support.rows import evaluation

INJECTION = "x'; DROP TABLE ma_predictions_runs; --"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROWS = "(SELECT 'a' AS k, 3 AS n UNION ALL SELECT 'b', NULL UNION ALL SELECT 'a', 1)"
# Statements, and the rows that they answer: each type as clients get it. All others are
# asked beside Google's evaluator (``tests/local/statements.sql``).
ANSWERS: dict[str, list[Any]] = {
    # NUMERIC is exact, to nine decimals, rounded half away from zero.
    "SELECT a / b, -2 * a / (3 * a), a * b FROM "
    "(SELECT NUMERIC '1' AS a, NUMERIC '3' AS b)": [
        (Decimal("0.333333333"), Decimal("-0.666666667"), Decimal(3))
    ],
    f"SELECT k, COUNTIF(n > 1), COUNT(n), SUM(n) FROM {ROWS} GROUP BY k ORDER BY k": [
        ("a", 1, 2, 4),
        ("b", 0, 0, None),
    ],
    "SELECT APPROX_QUANTILES(x, 2) FROM UNNEST([1, 2, 3, 4, 5]) AS x": [([1, 3, 5],)],
    "SELECT s.a AS n, s.* FROM (SELECT STRUCT(2 AS a, [STRUCT('x' AS b)] AS c) AS s)": [
        (2, 2, [{"b": "x"}])
    ],
    "SELECT EXTRACT(DATE FROM t), EXTRACT(HOUR FROM t), TIMESTAMP_MICROS(0) "
    "FROM (SELECT TIMESTAMP '2026-03-02 02:00:00+00' t)": [
        (date(2026, 3, 2), 2, datetime(1970, 1, 1, tzinfo=UTC))
    ],
}
# Statements that are refused, and how.
REFUSED: dict[str, tuple[type[PropensityError], str]] = {
    "SELECT * FROM gone": (MissingTable, "gone"),
    "SELECT * FROM elsewhere.gone": (MissingTable, "elsewhere"),
    "SELECT * FROM `analytics.events_*`": (MissingTable, "events_"),
    "SELECT nothing FROM ma_predictions_runs": (SchemaError, "nothing"),
    "SELECT 1 / 0": (PropensityError, "division by zero"),
    # It may be a person's.
    "SELECT CAST('x' AS INT64)": (PropensityError, r"\(a value of a row\)"),
    "SELECT ERROR('stop')": (PropensityError, "stop"),
}


@pytest.fixture(scope="module", params=["ground", "emulators"])
def place(request) -> Iterator[Deployment]:
    """A deployment in the process, and one in the emulators."""
    if request.param == "ground":
        yield Deployment()
    else:
        yield from opened(request.getfixturevalue("emulators"))


@pytest.fixture(scope="module")
def warehouse(place) -> Warehouse:
    place.warehouse.create(SCORES)
    return place.warehouse


@pytest.fixture
def artifacts(place) -> Iterator[Artifacts]:
    yield place.artifacts
    place.empty_bucket()


def values(rows: list[Any]) -> list[Any]:
    return [tuple(row.values()) for row in rows]


def load(place: Deployment, name: str, **columns: list[Any]) -> None:
    """Have a table of the export hold rows alone, by a load job."""
    table = f"{place.project}.{place.ga4_dataset}.{name}"
    replace_table(place.warehouse.client, table, pa.table(columns))


class TestStatements:
    @pytest.mark.parametrize("sql", ANSWERS)
    def test_a_statement_answers_as_bigquery_does(self, warehouse, sql):
        assert values(warehouse.rows(sql)) == ANSWERS[sql]

    @pytest.mark.parametrize("sql", REFUSED)
    def test_a_statement_is_refused_as_by_bigquery(self, warehouse, place, sql):
        error, said = REFUSED[sql]

        with pytest.raises(error, match=said) as refused:
            warehouse.rows(sql.replace("analytics.", f"{place.ga4_dataset}."))
        assert type(refused.value) is error

    @pytest.mark.parametrize(
        "value",
        [True, 7, 0.5, Decimal("0.1"), INJECTION, DAY, NOON, ["a", INJECTION], [1, 2]],
    )
    def test_a_value_is_a_parameter(self, warehouse, value):
        """No SQL is made of f-strings: a value that is SQL is a value."""
        [row] = warehouse.rows("SELECT @value AS value", {"value": value})
        [found] = warehouse.lookup("SELECT @value AS value", {"value": value})

        assert row["value"] == found.value == value
        assert counted(warehouse) == (0, 0)

    @pytest.mark.parametrize(
        ("kind", "value"), [("DATE", None), ("NUMERIC", None), ("ARRAY<INT64>", [])]
    )
    def test_a_null_has_the_type_that_the_statement_names(self, warehouse, kind, value):
        sql = f"-- Parameters: @value {kind}.\nSELECT @value AS value"
        [row] = warehouse.rows(sql, {"value": value})

        assert row["value"] == value

    @pytest.mark.parametrize("count", [5, 30_000])
    def test_a_statement_answers_all_rows(self, warehouse, count):
        """Few come with the answer, many through the Storage API: all of them."""
        sql = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, @most)) AS n"
        table = warehouse.table(sql, {"most": count})
        batches = pa.Table.from_batches(warehouse.batches(sql, {"most": count}))

        expected = list(range(1, count + 1))
        assert sorted(table["n"].to_pylist()) == expected
        assert sorted(batches["n"].to_pylist()) == expected

    def test_bytes_of_any_text_are_those_of_utf8(self, warehouse):
        """And follow bytes that are given."""
        sql = (
            "SELECT TO_HEX(SHA256(CONCAT(@pad, CAST(k AS BYTES)))) AS hashed "
            "FROM (SELECT 'zoë@x' AS k)"
        )
        [row] = warehouse.rows(sql, {"pad": b"6"})

        assert row["hashed"] == hashlib.sha256(b"6" + "zoë@x".encode()).hexdigest()


def test_a_session_has_tables_of_its_own_until_it_ends(place, warehouse):
    """They are found by their names alone, in scripts as well, and a table of the
    dataset is not. None is left, for nobody."""
    before = warehouse.tables_of(f"{place.project}.{place.dataset}")
    made = "CREATE TEMP TABLE ours PARTITION BY day AS SELECT @day AS day, 7 AS n"
    with contextlib.closing(Session.open(place.settings)) as session:
        assert session.dry_run("SELECT 1 AS n") == 0
        session.execute(made, {"day": DAY})
        session.execute("CREATE TEMP TABLE more AS SELECT n + 1 AS n FROM ours;")
        table = session.table("SELECT n FROM ours UNION ALL SELECT n FROM more")
        with pytest.raises(PropensityError):
            session.rows(f"SELECT * FROM {SCORES.stored}")

    with pytest.raises(MissingTable):
        warehouse.rows("SELECT * FROM more")
    assert sorted(table["n"].to_pylist()) == [7, 8]
    assert warehouse.tables_of(f"{place.project}.{place.dataset}") == before


def test_a_session_of_a_deployment_finds_its_tables_as_well(place, warehouse):
    """Two at once have tables of one name; the deployment counts their bytes."""
    before = warehouse.bytes_billed
    made = "CREATE TEMP TABLE chosen AS SELECT @n AS n; SELECT MAX(n) AS n FROM chosen"
    with session_of(warehouse) as first, session_of(warehouse) as second:
        [row] = first.rows(made, {"n": 1})
        second.rows(made, {"n": 2})
        written = first.execute(
            f"INSERT INTO {SCORES.stored} (use_case, as_of, user_id, probability, "
            "run_id) SELECT 'a', @day, CAST(n AS STRING), 0.5, 'r' FROM chosen",
            {"day": DAY},
        )
        read = f"SELECT s.user_id FROM {SCORES.stored} AS s, chosen AS c "
        read += f"WHERE CAST(c.n AS STRING) = s.user_id AND s.as_of = '{DAY}'"
        [batch] = first.batches(read)
        found = second.rows(read)
        first.rows(f"SELECT COUNT(*) AS n FROM {SCORES.stored} WHERE as_of = '{DAY}'")
        with pytest.raises(MissingTable, match="no_such_table"):
            first.rows("SELECT * FROM chosen, no_such_table")
    warehouse.execute(f"DELETE FROM {SCORES.stored} WHERE TRUE")

    assert (row["n"], written, found) == (1, 1, [])
    assert batch["user_id"].to_pylist() == ["1"]
    # So much was counted when the sessions ended.
    assert warehouse.bytes_billed >= before + first.bytes_billed + second.bytes_billed


def test_the_columns_of_a_query_are_known_before_it_runs(warehouse):
    sql = (
        "SELECT @day AS day, NUMERIC '1' AS n, [1] AS l, STRUCT(1 AS a) AS s, 'a' AS t"
    )

    assert warehouse.types_of_query(sql, {"day": DAY}) == {
        "day": "DATE",
        "n": "NUMERIC",
        "l": "a list",
        "s": "STRUCT",
        "t": "STRING",
    }


@pytest.mark.usefixtures("warehouse")
class TestTables:
    @pytest.fixture(autouse=True)
    def emptied(self, warehouse) -> Iterator[None]:
        yield
        warehouse.execute("DELETE FROM ma_predictions_runs WHERE TRUE")

    @pytest.mark.parametrize("write", ["write", "append"])
    def test_rows_keep_their_values_whatever_the_order_of_columns(
        self, warehouse, write
    ):
        rows = staged(INJECTION)
        for given in (rows[:0], rows.select(rows.column_names[::-1])):
            getattr(warehouse, write)(SCORES, given)

        [row] = warehouse.rows("SELECT * FROM ma_predictions_runs")
        assert dict(row.items()) == rows.to_pylist()[0]

    @pytest.mark.parametrize("write", ["write", "append"])
    def test_a_struct_has_all_that_was_written_into_it(self, warehouse, write):
        """Lists as well, of structs."""
        category = Category(
            category="presence",
            value="away",
            users=7,
            conversions=1,
            mean_probability=0.1,
            base_rate=1 / 7,
        )
        savings = {"review_cost": 5, "alerted": 1, "alerted_conversions": 1, "saved": 0}
        costs = {"cost": Decimal("40.05"), "cost_without": Decimal(2)}
        row = evaluation(
            {
                "use_case": "u",
                "lacked": [],
                "categories": [category],
                **savings,
                **costs,
            }
        )
        warehouse.create(EVALUATION)
        getattr(warehouse, write)(EVALUATION, [row])

        [stored] = warehouse.rows("SELECT * FROM ma_model_evaluation")
        [read] = warehouse.rows(
            "SELECT metrics.cost AS paid, metrics.* FROM ma_model_evaluation"
        )
        assert Evaluation.of(stored) == row
        assert read["paid"] == read["cost"] == costs["cost"]
        assert [Category.of(each) for each in read["categories"]] == [category]

    async def test_rows_of_the_stream_are_there_once_they_are_acknowledged(self, place):
        place.warehouse.create(SUPPRESSED_USERS)
        named = ("use_case", "user_hash", "key_id", "suppressed_at", "suppressed_on")
        row = dict(zip(named, ("u", "h", "k", NOON, DAY), strict=True))
        batch = pa.RecordBatch.from_pylist(
            [row], schema=SUPPRESSED_USERS.arrow_schema()
        )
        await Appends(place.settings).append(SUPPRESSED_USERS, batch)

        assert place.count("suppressed_users") == 1

    def test_rows_replace_all_others(self, warehouse):
        """Whoever reads sees the old rows or the new ones."""
        row = {"socioeconomic_idx": 0.5, "is_outward": False, "loaded_on": DAY}
        warehouse.create(POSTCODE_INDEX)
        for postcode in ("A", "B"):
            rows = POSTCODE_INDEX.arrow([{**row, "postcode": postcode}])
            warehouse.replace(POSTCODE_INDEX, rows)

        [found] = warehouse.rows("SELECT postcode FROM postcode_index")
        assert found["postcode"] == "B"
        small = warehouse.read_small_table("postcode_index", ["postcode"])
        assert values(small) == [("B",)]

    @pytest.mark.parametrize("last", ["", "SELECT ERROR('stop');"])
    def test_transactions_are_seen_together_or_not_at_all(self, warehouse, last):
        """DELETE, INSERT and MERGE of one script; an error leaves all as it was."""
        warehouse.execute("CREATE OR REPLACE TABLE now AS SELECT 'a' AS u, 0.5 AS p")
        warehouse.execute(
            "CREATE OR REPLACE TABLE staging AS SELECT 'a' AS u, 0.1 AS p UNION ALL "
            "SELECT 'b', 0.2"
        )
        warehouse.execute("CREATE OR REPLACE TABLE history AS SELECT 'z' AS u")
        script = f"""
            BEGIN TRANSACTION;
            DELETE FROM history WHERE u != @kept;
            INSERT INTO history (u) SELECT u FROM staging;
            MERGE now AS n USING staging AS s ON n.u = s.u
            WHEN MATCHED THEN UPDATE SET p = s.p
            WHEN NOT MATCHED THEN INSERT (u, p) VALUES (s.u, s.p);
            {last}
            COMMIT TRANSACTION;
        """
        with pytest.raises(PropensityError) if last else contextlib.nullcontext():
            warehouse.execute(script, {"kept": "nobody"})

        history = values(warehouse.rows("SELECT u FROM history ORDER BY 1"))
        now = values(warehouse.rows("SELECT u, p FROM now ORDER BY 1"))
        assert history == ([("z",)] if last else [("a",), ("b",)])
        assert now == ([("a", 0.5)] if last else [("a", 0.1), ("b", 0.2)])

    def test_a_table_is_described(self, warehouse, place):
        path = (place.project, place.dataset, SCORES.name)
        types = warehouse.types_of(path)
        warehouse.write(SCORES, staged("a"))
        location, rows, size = warehouse.size_of(".".join(path))

        assert (types["user_id"], types["as_of"]) == ("STRING", "DATE")
        assert (types["probability"], types["effects"]) == ("FLOAT64", "a list")
        assert (location, rows, size > 0) == ("US", 1, True)

    def test_tables_of_another_location_are_refused(self, warehouse, place):
        """BigQuery joins nothing across locations; the message names the setting."""
        dataset = f"{place.project}.{place.dataset}"
        assert SCORES.name in warehouse.tables_of(dataset)

        abroad = place.with_settings(PROPENSITY_LOCATION="EU")
        with (
            contextlib.closing(Warehouse.open(abroad.settings)) as other,
            pytest.raises(SettingsError, match="PROPENSITY_LOCATION"),
        ):
            other.tables_of(dataset)


class TestDays:
    """Daily tables, as Analytics writes them."""

    def test_views_read_the_tables_of_now(self, warehouse, place):
        """A view on a view on a wildcard, whichever way a daily table came or went."""
        events = f"`{place.project}.{place.ga4_dataset}.events_*`"
        inner = f"`{place.project}.{place.dataset}.inner_v`"
        load(place, "events_20260301", n=[1])
        warehouse.replace_view("inner_v", f"SELECT *, _TABLE_SUFFIX AS s FROM {events}")
        warehouse.replace_view("outer_v", f"SELECT i.n, i.s FROM {inner} AS i")
        total = "WITH x AS (SELECT o.n FROM outer_v AS o) SELECT SUM(x.n) FROM x"
        assert values(warehouse.rows(total)) == [(1,)]

        load(place, "events_20260302", n=[2])
        assert values(warehouse.rows(total)) == [(3,)]
        day = "SELECT n FROM outer_v WHERE s = '20260302'"
        assert values(warehouse.rows(day)) == [(2,)]
        name = f"{place.project}.{place.ga4_dataset}.events_20260301"
        warehouse.client.delete_table(name)
        assert values(warehouse.rows(total)) == [(2,)]
        assert place.ga4_dataset in warehouse.view_text("inner_v")

    def test_a_table_of_a_day_says_when_its_rows_were_changed(self, warehouse, place):
        """By a load and by a statement. Who only reads changes nothing."""
        name = "events_20260401"

        def changed() -> int:
            [row] = warehouse.rows(
                "SELECT last_modified_time, size_bytes, row_count "
                f"FROM `{place.ga4_dataset}.__TABLES__` WHERE table_id = '{name}'"
            )
            assert row[1] > 0
            return int(row[0])

        load(place, name, user=["a", "b", "c"])
        loaded = changed()
        warehouse.rows(f"SELECT * FROM `{place.ga4_dataset}.{name}`")
        assert changed() == loaded
        warehouse.execute(f"DELETE FROM `{place.ga4_dataset}.{name}` WHERE user = 'a'")
        deleted = changed()
        load(place, name, user=["a"])

        assert loaded < deleted < changed()

    def test_days_are_written_to_the_bucket(self, warehouse, place, artifacts):
        warehouse.execute(
            f"EXPORT DATA OPTIONS (uri = '{artifacts.uri('days/')}part-*.parquet', "
            "format = 'PARQUET', overwrite = TRUE) AS SELECT 7 AS n"
        )
        [name] = artifacts.names("days/")
        rows = pa.parquet.read_table(pa.BufferReader(artifacts.read(name).data))

        assert rows.to_pylist() == [{"n": 7}]


class TestObjects:
    def test_an_object_is_written_once(self, artifacts):
        """With the same bytes it is the writer's own, whose answer was lost."""
        generation = artifacts.create("a/b.json", b"first")

        assert artifacts.create("a/b.json", b"first") == generation
        with pytest.raises(Conflict, match=r"a/b\.json"):
            artifacts.create("a/b.json", b"second")
        assert artifacts.read("a/b.json") == Stored(b"first", generation)

    def test_an_object_is_replaced_as_it_was_read_or_not_at_all(self, artifacts):
        """Absent, older or made up: what is not the newest generation loses."""
        artifacts.create("pointer", b"1")
        first = artifacts.read("pointer")
        artifacts.replace("pointer", b"2", first)

        for before in (None, first, Stored(b"2", 10**15)):
            with pytest.raises(Conflict):
                artifacts.replace("pointer", b"3", before)
        assert artifacts.read("pointer").data == b"2"

    def test_an_object_that_is_not_there_is_told_from_a_bucket(self, artifacts, place):
        assert artifacts.find("nothing") is None
        artifacts.delete("nothing")
        with pytest.raises(ArtifactError, match="nothing does not exist"):
            artifacts.read("nothing")
        nowhere = place.bucket.client.bucket("nobody-made-this")
        with pytest.raises(PropensityError, match="nobody-made-this"):
            Artifacts(nowhere, place.settings).create("a", b"")

    def test_a_file_is_uploaded_once(self, artifacts, tmp_path):
        """Of any size, also in several pieces."""
        path = tmp_path / "file"
        copy = tmp_path / "copy"
        path.write_bytes(b"x" * 9_000_000 + b"y")
        artifacts.create_from("large", path)
        artifacts.download("large", copy)
        generation = artifacts.read("large").generation
        with artifacts.opened("large", generation=generation) as file:
            file.seek(9_000_000)
            assert file.read() == b"y"

        assert copy.read_bytes() == path.read_bytes()
        with pytest.raises(Conflict):
            artifacts.create_from("large", copy)
        with pytest.raises(ArtifactError, match=r"gs://.*/gone does not exist"):
            artifacts.download("gone", copy)

    def test_bytes_that_are_damaged_are_refused(self, artifacts, place):
        """Bytes that are not those of their checksum are an error of the artifact."""
        artifacts.create("model", b"model")
        [live] = artifacts.generations("model")
        place.damage("model", b"modem")

        for generation in (None, live.generation):
            with pytest.raises(ArtifactError, match="/model is damaged"):
                artifacts.find("model", generation=generation)

    def test_a_versioned_bucket_keeps_what_was_there(self, artifacts, place):
        place.bucket.versioning_enabled = True
        place.bucket.patch()
        for name in ("b", "a"):
            artifacts.create(f"kept/{name}", b"1")
        artifacts.replace("kept/a", b"2", artifacts.read("kept/a"))
        artifacts.delete("kept/b")

        assert artifacts.names("kept/") == ["kept/a"]
        found = [(one.name, one.is_live) for one in artifacts.generations("kept/")]
        assert found == [("kept/a", False), ("kept/a", True), ("kept/b", False)]


class TestMessages:
    def test_a_message_is_published_with_its_attributes(self, place):
        topic = place.topic("contract")
        place.create_topic(topic)
        messages = [(b"%d" % number, {"n": str(number)}) for number in range(3)]
        with place.pulled("contract") as pull:
            asyncio.run(Bus(place.settings).publish(topic, messages))
            pulled = pull(3)

        found = sorted((one.data, dict(one.attributes)) for one in pulled)
        assert found == messages

    def test_messages_are_published_within_the_limits_of_a_request(self, place):
        """As many as there are, and as large as all are together. A message that no
        request can have is refused."""
        topic = place.topic("limits")
        place.create_topic(topic)
        bus = Bus(place.settings)
        many = [(b"%d" % number, {}) for number in range(1_001)]
        large = [(b"x" * 4_000_000, {}) for _ in range(3)]
        with place.pulled("limits") as pull:
            asyncio.run(bus.publish(topic, many))
            first = pull(1_000)
            asyncio.run(Bus(place.settings).publish(topic, large))
            too_large = [(b"x" * 10_000_001, {})]
            with pytest.raises(PropensityError):
                asyncio.run(Bus(place.settings).publish(topic, too_large))

        assert len(first) == 1_000


@pytest.mark.parametrize("messages", [[b""] * 1_001, [b"x" * 6_000_000] * 2])
def test_the_emulator_refuses_a_request_that_pubsub_refuses(messages):
    """A release that asks for more in a request must not pass here."""
    broker = Broker(lambda subscription: None)
    topic = types.Topic.pb()(name="projects/p/topics/t")
    broker.create_topic(topic)
    request = types.PublishRequest.pb()(topic=topic.name)
    for data in messages:
        request.messages.add(data=data)

    with pytest.raises(RefusedError, match="More than"):
        broker.publish(request)
