"""
volumes, specified: what a statement reads is what its text says, and no more is known.
"""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pytest
import sqlglot

from benchmarks.features import size_of
from deploy import configuration, functions
from docs import scale as scale_page
from offline import limits, partitions, row_sizes, volumes
from offline.limits import queries, scans
from offline.partitions import KEPT, Size
from offline.volumes import GIB, MIB, readings, statements
from propensity import tables, usecases
from propensity.learning.metrics import outcomes
from propensity.learning.thresholds import by_threshold
from propensity.settings import Settings
from tests.events import bet, registration
from tests.functions.streaming import rows_of
from tests.offline.reading import DIALECT, EXPORTED, read_by

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "propensity"
SETTINGS = Settings(project="p")
SMALL = Size(users=50_000, events_a_day=100_000, stream_events_a_day=100_000)
LARGE = Size(users=10_000_000, events_a_day=20_000_000, stream_events_a_day=20_000_000)
# Views, and what follows a statement in its script and reads what that has written.
VALUES = ("expected_value", "expected_value_low", "expected_value_high")
VIEWS = {"ga_events", "stream_features", "export_day"}
# With names that are filled in; what scores in BigQuery reads what its features do.
FILLED = {
    "create_scoring_function",
    "import_model",
    "score_by_model",
    "score_table",
    "score_table_by_function",
}


def bound(size: Size, name: str, function: str) -> float:
    [found] = [
        one.bound
        for one in readings(size)
        if (one.statement.name, one.function) == (name, function)
        and one.statement.use_case in ("", "ga4_purchase", "first_day_churn")
    ][:1]
    return found


class TestStatements:
    @pytest.mark.parametrize(
        "one", statements(), ids=lambda one: f"{one.use_case or 'shared'}.{one.name}"
    )
    def test_read_what_is_declared(self, one):
        """Tables, columns and the condition on the partitions are those of the SQL."""
        declared = sorted(
            (read.table, read.where, tuple(sorted(read.columns)), read.changes)
            for read in one.reads
        )
        found = [
            (read.table, read.where, read.columns, read.changes)
            for read in read_by(one.name, one.use_case)
        ]

        assert declared == sorted(found), (
            f"offline/statements.toml should have of {one.use_case or 'shared'}."
            f"{one.name}:\n" + "\n".join(map(str, found))
        )

    def test_are_all_that_a_deployed_function_runs(self):
        """No statement of the package is left out, and none is made up."""
        files = {
            path.stem
            for path in PACKAGE.rglob("*.sql")
            if not path.read_text("utf-8").startswith("-- Part of")
        }
        named = {
            node.value
            for path in PACKAGE.rglob("*.py")
            # These name the files that a use case must have, and run none.
            if path.parent.name != "usecases"
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }

        assert {one.name for one in statements()} == (files & named) - VIEWS - FILLED

    def test_are_those_of_each_use_case(self):
        """No use case has a text of its own for a statement that all share."""
        for one in statements():
            own = {
                name
                for name in usecases.names()
                if usecases.load(name).has_statement(one.name)
            }
            if not one.use_case:
                assert own == set(), one.name

    @pytest.mark.parametrize("one", functions.load(), ids=lambda one: one.target)
    def test_are_run_by_functions_that_may(self, one):
        """Its statements read all tables that it has rights on, and no other."""
        read = {
            "ga_events" if part.table == partitions.EXPORT else part.table
            for statement in statements()
            if one.target in statement.functions
            for part in statement.reads
        }
        # A view is what it reads.
        allowed = {*one.reads, *one.writes} - functions.LISTED - {"stream_features"}

        assert read == allowed


class TestDays:
    def test_are_those_that_the_condition_leaves(self):
        """Each condition, with the constants that the code puts in, leaves so many
        days of all that there are up to today."""
        spans = partitions.days(LARGE, SETTINGS)
        wrong = {}
        for one in statements():
            for read in one.reads:
                for function in one.functions:
                    name = volumes.LATE.get((function, read.days), read.days)
                    if read.days == KEPT or name in ("one", "buckets"):
                        continue
                    found = days_left(read.where, parameters(one, name))
                    if name == "touched_months":
                        found = partitions.MONTH * -(-found // partitions.MONTH)
                    if found != spans[name]:
                        wrong[one.name, name] = (found, spans[name])

        assert wrong == {}

    def test_of_one_partition_are_an_equality(self):
        """What is said to be one partition is compared with one constant."""
        for one in statements():
            for read in one.reads:
                assert (read.days == "one") == (
                    " = @" in read.where and " AND " not in read.where
                ), one.name

    def test_of_no_condition_are_all(self):
        """Where no constant leaves a partition out, the age of the history counts."""
        for one in statements():
            for read in one.reads:
                every = ("1970", "@first_month", "user_bucket >= 0")
                if not read.where or any(text in read.where for text in every):
                    assert read.days == KEPT, one.name
                else:
                    assert read.days != KEPT, one.name


def parameters(one: volumes.Statement, name: str) -> dict[str, object]:
    """The constants of a run on ``TODAY``."""
    today = partitions.TODAY
    late = today - timedelta(days=LARGE.late_days)
    use_case = usecases.load(one.use_case or "ga4_purchase")
    timeframe = use_case.timeframe(SETTINGS)
    newest = today - timeframe.horizon
    as_ofs: tuple[date, ...] = (today,)
    if one.name in ("training_rows", "converter_amounts"):
        as_ofs = timeframe.snapshots(
            today=today,
            earliest=date(1971, 1, 1),
            at_most=SETTINGS.training_snapshots,
        )
    if one.name in (
        *("evaluation_rows", "evaluation_amounts"),
        *("unscored_converters", "audience_outcomes"),
    ):
        as_ofs = (newest,)
    lookback = timedelta(
        days=max(usecases.load(each).lookback_days for each in usecases.names())
    )
    first_read = timeframe.first_read(today=today, at_most=SETTINGS.training_snapshots)
    since = {
        "lookback": today - lookback,
        "in_force": newest - lookback,
        "catch_up": newest - partitions.CATCH_UP,
        "remembered": newest
        - partitions.CATCH_UP
        - timeframe.horizon
        - partitions.MEMORY,
        "reported": newest - partitions.CATCH_UP,
        "compared": newest
        - partitions.CATCH_UP
        - partitions.LOOK_BACK * timeframe.horizon,
        "cards_trained": today - timedelta(days=use_case.lookback_days),
        "cards_evaluated": newest - partitions.CATCH_UP,
    }
    return {
        **use_case.window(SETTINGS, as_ofs, today=today),
        "first_shard": today - timedelta(days=use_case.lookback_days + 1),
        "last_shard": today,
        "weeks": [
            newest - n * timeframe.horizon
            for n in range(partitions.CATCH_UP.days // 7 + 1)
        ],
        "as_of": today,
        "week": newest,
        # A report has the alarms up to the end of its week.
        "until": today - timedelta(days=1) if name == "reported" else newest,
        "since": since.get(name, today),
        "watermark_day": today - timedelta(days=1),
        "watermark_month": late.replace(day=1),
        "since_day": today - timedelta(days=6 if name == "counted" else 1),
        "until_day": today,
        "latest": today,
        "months": [
            (today.replace(day=1) - timedelta(days=back)).replace(day=1)
            for back in (0, 1, 32)
        ],
        "first_event_day": late if name.endswith("_late") else today,
        # A week of days, of which the last may still get events that are late.
        **({"earliest": late - timedelta(days=7)} if name == "exported" else {}),
        **({"earliest": first_read} if one.name == "first_day" else {}),
    }


def days_of(days: list[date]) -> list[sqlglot.exp.Expression]:
    return [
        sqlglot.exp.cast(sqlglot.exp.Literal.string(str(day)), "date") for day in days
    ]


def days_left(where: str, constants: dict[str, object]) -> int:
    """Count the days up to today that a condition holds for."""
    condition = sqlglot.exp.paren(sqlglot.parse_one(where, read=DIALECT))
    for division in list(condition.find_all(sqlglot.exp.IntDiv)):
        division.this.replace(sqlglot.exp.paren(division.this.copy()))
    [column] = {one.name for one in condition.find_all(sqlglot.exp.Column)}
    for parameter in list(condition.find_all(sqlglot.exp.Parameter)):
        value = constants[parameter.name]
        if isinstance(value, list):
            unnest = parameter.find_ancestor(sqlglot.exp.In)
            unnest.replace(sqlglot.exp.In(this=unnest.this, expressions=days_of(value)))
            continue
        [literal] = days_of([value]) if isinstance(value, date) else [None]
        parameter.replace(literal or sqlglot.exp.convert(value))
    day = "strftime(day, '%Y%m%d')" if column == "_TABLE_SUFFIX" else "day"
    months = column == "month"
    first = "date_trunc('month', day)::DATE" if months else day
    # The export has tables of the days to come, too, as far as a query can ask, and the
    # tiles of a month are its whole partition.
    to_come = {"_TABLE_SUFFIX": 400, "month": 30}.get(column, 0)
    last = partitions.TODAY + timedelta(days=to_come)
    [(count,)] = duckdb.sql(
        f'SELECT COUNT(*) FROM (SELECT day::DATE AS day, {first} AS "{column}" FROM '
        f"range(DATE '2020-01-01', DATE '{last}' + 1, INTERVAL 1 DAY) AS r(day)) "
        f"WHERE {condition.sql('duckdb')}"
    ).fetchall()
    return int(count)


class TestRows:
    def test_of_the_stream_are_as_large_as_those_that_are_written(self):
        """What is taken for a row is what the code makes of one, and not less."""
        at = datetime(2026, 3, 2, tzinfo=UTC)
        events = [
            make(
                user_id="0b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d11",
                event_id="5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
                event_time="2026-03-01T12:00:00Z",
            )
            for make in (*[bet] * 9, registration)
        ]
        rows = rows_of(events, received_at=at).to_pylist()
        for column in tables.STREAM_EVENTS.columns:
            mean = sum(size_of(row[column.name], column) for row in rows) / len(rows)
            taken = row_sizes.row_bytes("stream_events", (column.name,), SMALL)

            assert mean - 0.1 <= taken <= max(2.5 * mean, mean + 10), column.name

    def test_of_predictions_are_those_that_are_written(self):
        """A row of the tables that lookups read."""
        at = datetime(2026, 3, 2, tzinfo=UTC)
        row = {
            "use_case": "first_day_churn",
            "user_id": "1234567890.1234567890",
            "as_of": at.date(),
            "probability": 0.1,
            "percentile": 3,
            "model_version": 3,
            "scored_at": at,
            "data_until": at.date(),
            "feature_row": 7,
            "log_odds_shift": 0.1,
            "base_log_odds": None,
            "reasons": [],
            **dict.fromkeys(VALUES, Decimal(1)),
        }

        for table in (tables.PREDICTIONS, tables.PREDICTIONS_HISTORY):
            mean = sum(size_of(row[one.name], one) for one in table.columns)
            assert row_sizes.row_bytes(table.name, (), SMALL) == mean

    def test_of_an_evaluation_have_as_many_thresholds_as_are_written(self):
        """Of few users each one, of a million some hundreds."""
        for users in (1, 40, 1_000, 100_000):
            probability = np.linspace(0.01, 0.99, users)
            written = by_threshold(outcomes(probability, np.zeros(users)))
            taken = row_sizes.row_bytes(
                "ma_model_evaluation",
                ("thresholds",),
                Size(users=users, events_a_day=users),
            )

            assert 24 * len(written) == pytest.approx(taken, rel=0.1)

    def test_of_the_log_hold_a_transaction(self):
        """An inference has the fields that the model was given."""
        at = datetime(2026, 3, 2, tzinfo=UTC)
        names = usecases.load("card_fraud").features
        row = {
            "use_case": "card_fraud",
            "inference_id": "0" * 64,
            "event_id": "5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
            "user_id": "5b0f6c1e-9d4f-4b35-9d0b-0c9a0b1f0d12",
            "event_time": at,
            "event_date": at.date(),
            "model_version": 3,
            "probability": 0.1,
            "is_warm": True,
            "is_shadow": False,
            "epoch": 4,
            "source": "stream",
            "features": json.dumps(dict.fromkeys(names, -1.359807133673)),
            "scored_at": at,
            "scored_on": at.date(),
            "latency_ms": 3.0,
        }
        mean = sum(
            size_of(row.get(one.name), one) for one in tables.INFERENCE_LOG.columns
        )

        taken = row_sizes.row_bytes("inference_log", (), SMALL)
        assert mean <= taken <= 1.15 * mean

    def test_of_the_export_are_those_of_real_rows(self, data_folder):
        """Each column of a real export, as BigQuery counts its bytes."""
        import orjson
        import zstandard

        data = (data_folder / "ga4_sample.ndjson.zst").read_bytes()
        reader = zstandard.ZstdDecompressor().stream_reader(data)
        rows = [orjson.loads(line) for line in reader.read().splitlines()]
        integers = {"event_timestamp", "user_first_touch_timestamp"}

        def size(value, path, name):
            if isinstance(value, list):
                return sum(size(one, path, name) for one in value)
            if isinstance(value, dict) and not path:
                return sum(size(one, [], name) for one in value.values())
            if path:
                return size(value.get(path[0]), path[1:], name) if value else 0
            if isinstance(value, str) and name not in integers:
                return 2 + len(value.encode())
            return 8 if value is not None else 0

        for name, taken in row_sizes.EXPORTED.items():
            total = sum(size(row, name.split("."), name) for row in rows)
            if name != "user_id":
                mean = total / len(rows)
                assert mean - 0.1 <= taken <= 1.1 * mean + 0.2, name

    def test_of_the_export_are_all_that_the_view_reads(self):
        """The view names no column that has no size."""
        read = frozenset().union(*EXPORTED.values()) - {"table_suffix"}

        assert read == set(row_sizes.EXPORTED)


class TestBounds:
    @pytest.mark.parametrize(
        "field", ["users", "events_a_day", "stream_events_a_day", "days_kept"]
    )
    def test_never_fall_where_there_is_more(self, field):
        """More of anything reads no less, in any statement."""
        more = replace(LARGE, **{field: 2 * getattr(LARGE, field)})
        if field == "users":
            # A tile is of a user and day: as many events make more of them.
            more = replace(more, stream_events_a_day=2 * more.stream_events_a_day)
        for one, other in zip(readings(LARGE), readings(more), strict=True):
            assert other.bound >= one.bound

    def test_know_columns_and_partitions_and_no_clusters(self):
        """Rows of the days that are left, times the bytes of the columns: by hand."""
        size = Size(users=1_000_000, events_a_day=0, stream_events_a_day=2_000_000)
        [churn] = [
            one
            for one in readings(replace(size, late_days=0))
            if one.function == "score" and one.statement.is_lookup
        ]
        events, known = sorted(churn.parts, key=lambda part: part.table)

        # Today and two days before, by 24 hours of a first day and a wrong clock.
        assert events.rows == 3 * 2_000_000
        # Who has ever played: a year of sixty days, in each of them others.
        assert known.rows == pytest.approx(1_000_000 * (1 + (365 - 60) / 60))
        # use_case, user_id, the bucket, and the time of a registration, of one in ten.
        assert known.bytes == pytest.approx(known.rows * (17 + 38 + 8 + 0.8))

    def test_of_users_by_bucket_are_of_those_buckets(self):
        """A query names the buckets of its users: what is billed is a few of them."""
        [score] = [
            one
            for one in readings(LARGE)
            if one.function == "score" and one.statement.is_lookup
        ]
        [known] = [part for part in score.parts if part.table == "stream_users"]
        [events] = [part for part in score.parts if part.table == "stream_events"]
        only = replace(score, parts=(known,))

        assert only.billed(1) == max(10 * MIB, known.bytes / tables.USER_BUCKETS)
        assert score.bound == known.bytes + events.bytes

    def test_of_a_day_of_events_pass_one_gib(self):
        """From about 1.8 million events a day, where none is late."""

        def events(many: int) -> float:
            size = Size(users=10, events_a_day=0, stream_events_a_day=many, late_days=0)
            [found] = [
                part.bytes
                for one in readings(size)
                if one.function == "score" and one.statement.name == "stream_rows"
                for part in one.parts
                if part.table == "stream_events"
            ]
            return found

        assert events(1_500_000) < GIB < events(2_200_000)

    def test_count_an_event_that_is_late(self):
        """One late event in a group has all days since read."""
        late = replace(SMALL, late_days=60)

        assert bound(late, "stream_rows", "score_stream") > bound(
            replace(SMALL, late_days=0), "stream_rows", "score_stream"
        )
        assert bound(late, "stream_rows", "score") == bound(
            SMALL, "stream_rows", "score"
        )

    def test_say_what_grows_with_the_history(self):
        """Users who were never scored again stay; an expiry ends that."""
        [lookup] = [one for one in readings(SMALL) if one.statement.name == "lookup"]
        older = replace(SMALL, days_kept=3 * 365)
        kept = Settings(project="p", retention_days="ma_predictions_table=90")
        [ended] = [
            one for one in readings(older, kept) if one.statement.name == "lookup"
        ]

        assert lookup.grows
        assert bound(older, "lookup", "get_proba") > 2 * lookup.bound
        assert ended.bound < lookup.bound
        assert bound(
            replace(older, returning=1.0), "lookup", "get_proba"
        ) == pytest.approx(50_000 * 72)

    def test_of_first_day_reads_names_alone(self):
        """The first day of the export is that of its first table."""
        assert bound(LARGE, "first_day", "model_training") == 0


class TestUserDays:
    SHOP = Size(users=1_000_000, events_a_day=1_000_000)

    def bytes_of(self, *names: str, **fields: bool) -> float:
        found = readings(replace(self.SHOP, **fields))
        return sum(one.bound for one in found if one.statement.name in names)

    def test_take_a_quarter_of_what_the_export_takes(self):
        """A weekly run sums up eleven days, and reads the sums of sixty-two."""
        off = Settings(project="p", incremental_features=False)
        [full] = [
            one.bound
            for one in readings(self.SHOP, off)
            if one.statement.name == "features"
        ]
        week = self.bytes_of(*volumes.INCREMENTAL, sums_all_days=False)
        forgotten = self.bytes_of("forget_user_days")

        assert week - forgotten < 0.25 * full

    def test_are_summed_up_weekly_and_all_of_them_once_a_month(self):
        """Nearly four times the days that have changed, and once all."""
        found = [
            (one.runs, one.reading.bound)
            for one in scans(self.SHOP)
            if one.reading.statement.name == "sum_user_days"
        ]
        (weekly, few), (monthly, every) = found

        assert weekly + monthly == pytest.approx(limits.WEEKS)
        assert monthly == 1
        assert every / few == pytest.approx(62 / partitions.CHANGED_DAYS, rel=0.01)

    def test_are_not_counted_where_they_are_turned_off(self):
        """Then features.sql reads the export, and nothing else does."""
        off = Settings(project="p", incremental_features=False)
        names = {
            settings.incremental_features: {
                one.statement.name
                for one in readings(self.SHOP, settings)
                if one.statement.name in volumes.INCREMENTAL
            }
            for settings in (SETTINGS, off)
        }

        assert names[False] == {"features"}
        assert names[True] == set(volumes.INCREMENTAL) - {"features"}


class TestDeploy:
    BASE = {
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "PROPENSITY_BUCKET": "my-bucket",
        "PROPENSITY_GA4_DATASET": "analytics_1",
        "DEPLOY_REGION": "us-central1",
    }

    def told(self, **more: str) -> list[str]:
        return limits.too_low(configuration.of({**self.BASE, **more}))

    def test_says_which_limits_a_size_would_exceed(self):
        """As offline.cost does, of the functions that are deployed."""
        size = {
            "DEPLOY_USERS": "5000000",
            "DEPLOY_EVENTS_A_DAY": "10000000",
            "DEPLOY_STREAM_EVENTS_A_DAY": "20000000",
            "DEPLOY_USE_CASES": "ga4_purchase first_day_churn",
        }
        told = "\n".join(self.told(**size))

        for what in (
            "`training_rows.sql` of `model_training`",
            "`lookup_value.sql` of `get_proba`",
            "`stream_rows.sql` of `score`",
            "`stream_rows.sql` of `score_stream`",
        ):
            assert what in told
        few = "\n".join(self.told(**size, DEPLOY_FUNCTIONS="predictions get_proba"))
        assert "`lookup_value.sql` of `get_proba`" in few
        assert "score" not in few
        assert "model_training" not in few

    def test_goes_by_the_settings_of_the_deployment(self):
        """A limit that has been raised is exceeded no more."""
        size = {"DEPLOY_USERS": "1000000", "DEPLOY_EVENTS_A_DAY": "2000000"}
        raised = {
            "PROPENSITY_MAXIMUM_BYTES_BILLED": f"{500 * GIB}",
            "DEPLOY_ALERT_RUN_BYTES": f"{1_000 * GIB}",
        }

        assert "PROPENSITY_MAXIMUM_BYTES_BILLED" in self.told(**size)[0]
        assert self.told(**size, **raised) == [
            "no limit on bytes is too low for 1,000,000 users, 2,000,000 events a day"
        ]

    def test_says_that_it_was_told_no_size(self):
        """Without one nothing is compared, and that is said."""
        [line] = self.told()

        assert "DEPLOY_USERS is not set" in line

    def test_refuses_what_is_no_number(self):
        """A size is a whole number."""
        with pytest.raises(configuration.DeploymentError, match="DEPLOY_USERS"):
            self.told(DEPLOY_USERS="many")


class TestPage:
    def test_is_what_is_computed(self):
        """docs/scale.md has the bytes of today's statements, for every size."""
        page = (ROOT / "docs/scale.md").read_text("utf-8")

        assert page == scale_page.page(), "python -m docs.scale > docs/scale.md"
        assert len(scale_page.SIZES) >= 3

    def test_has_every_statement(self):
        """None is left out."""
        page = (ROOT / "docs/scale.md").read_text("utf-8")

        for one in statements():
            name = f"{one.use_case}/{one.name}" if one.use_case else one.name
            for function in one.functions:
                assert f"| `{function}` | `{name}` |" in page

    def test_says_from_which_size_a_limit_is_exceeded(self):
        """Just below it is not, and a tenth above it is."""
        for setting, part in (
            ("PROPENSITY_MAXIMUM_BYTES_BILLED", ""),
            ("DEPLOY_ALERT_RUN_BYTES", "a run"),
        ):
            users = scale_page.exceeded_from(setting, part)
            for factor, is_exceeded in ((0.9, False), (1.1, True)):
                [one] = [
                    one
                    for one in scale_page.limits_of(scale_page.of(int(users * factor)))
                    if one.setting == setting
                ]
                assert one.is_exceeded == is_exceeded


class TestBilled:
    def test_is_the_least_of_each_table(self):
        """Ten MiB, however little is read."""
        tiny = Size(users=1, events_a_day=1, stream_events_a_day=1)
        for one in readings(tiny):
            if one.statement.name == "postcodes":
                continue
            tables_read = {part.table for part in one.parts if part.share}
            is_listed = any(part.table == partitions.EXPORT for part in one.parts)
            assert one.billed(1) == (len(tables_read) + is_listed) * 10 * MIB

    @pytest.mark.parametrize("users", [10_000, 300_000, 450_000])
    def test_of_a_lookup_is_the_table_where_clusters_spare_nothing(self, users):
        """Under 64 MB the whole table is read, whomever a query asks for."""
        size = Size(users=users, events_a_day=1, returning=1.0)
        [lookup] = [one for one in readings(size) if one.statement.name == "lookup"]

        assert users * 144 < 64 * MIB
        assert lookup.billed(1) == max(10 * MIB, users * 72)

    def test_of_a_lookup_is_no_more_than_a_block_a_partition(self):
        """In a large table a user lies in one block of each partition."""
        size = Size(users=50_000_000, events_a_day=1, returning=1.0)
        [lookup] = [one for one in readings(size) if one.statement.name == "lookup"]

        assert lookup.billed(1) < 64 * MIB < lookup.bound
        # A thousand users lie in all of them.
        assert lookup.billed(1_000) == pytest.approx(lookup.bound, rel=0.01)


class TestQueries:
    def test_are_as_many_as_requests_where_these_are_few(self):
        """Who comes alone pays a query of his own."""
        few = Size(users=1, events_a_day=0, stream_events_a_day=1_000)

        assert queries("score_stream", few) == (pytest.approx(1_000 * limits.DAYS), 1)

    def test_are_shared_where_these_are_many(self):
        """An instance has so many under way at once, and no more."""
        many = Size(users=1, events_a_day=0, stream_events_a_day=20_000_000)
        made, users = queries("score_stream", many)
        instances = limits.instances("score_stream", many)

        assert instances == 2
        assert made == instances * 2 * limits.MONTH_S
        assert made * users == pytest.approx(20_000_000 * limits.DAYS)

    def test_ask_for_no_more_users_than_the_code_does(self):
        """A query names a thousand users at most."""
        many = Size(users=1, events_a_day=0, stream_events_a_day=2 * 10**12)

        assert queries("score_stream", many)[1] <= 1_000

    def test_are_written_by_as_many_writers_as_the_code_has(self):
        """The constants are those of the functions."""
        from propensity.online import lookup, question
        from propensity.online import score as online
        from propensity.runs import compact, evaluate, report, thresholds
        from propensity.stream import consumers
        from propensity.stream import score as streamed

        assert limits.WRITERS == {
            "get_proba": lookup.CONCURRENT_QUERIES,
            "score": online.CONCURRENT_QUERIES,
            "score_stream": streamed.SCORING_GROUPS,
        }
        assert (
            limits.QUERY_USERS
            == question.MAXIMUM_USERS
            == online.QUERY_USERS
            == consumers.GROUP_MESSAGES
        )
        assert partitions.CATCH_UP == evaluate.CATCH_UP
        assert partitions.MEMORY == thresholds.MEMORY
        assert partitions.LOOK_BACK == report.LOOK_BACK
        assert partitions.AT_ONCE == compact.DAYS_AT_ONCE
        assert Size(users=1, events_a_day=1).late_days == (
            SETTINGS.maximum_lateness_days
        )

    def test_of_postcodes_go_by_the_hour(self):
        """An instance of the stream reads the index again when it is an hour old."""
        [found] = [
            one for one in scans(SMALL) if one.reading.statement.name == "postcodes"
        ]

        assert found.runs == pytest.approx(limits.DAYS * 24)


class TestLimits:
    def all_of(self, size: Size, settings: Settings = SETTINGS):
        return limits.limits(size, settings, run_bytes=100 * GIB, day_bytes=1024 * GIB)

    def test_are_of_all_functions_that_serve(self):
        """score and score_stream have lookups' limit as get_proba's largest has."""
        size = replace(LARGE, lookups=1, scorings=1)
        names = [one.what for one in self.all_of(size) if "LOOKUP" in one.setting]

        assert names == [
            "`lookup_value.sql` of `get_proba`",
            "`stream_rows.sql` of `score`",
            "`stream_rows.sql` of `score_stream`",
        ]

    def test_hold_once_they_are_set_as_told(self):
        """What is told can be set as it stands, and is enough."""
        size = replace(LARGE, lookups=1, scorings=1)
        needed = [one for one in self.all_of(size) if one.is_exceeded]
        raised = {
            one.setting: str(
                max(each.set_to for each in needed if each.setting == one.setting)
            )
            for one in needed
            if one.setting.startswith("PROPENSITY_")
        }
        settings = Settings.from_environment({"GOOGLE_CLOUD_PROJECT": "p1", **raised})

        assert len(raised) == 2
        assert not [
            one
            for one in self.all_of(size, settings)
            if one.is_exceeded and one.setting in raised
        ]

    def test_are_told_in_words(self):
        """A line each: the setting, what exceeds it, by how much, and a value."""
        told = limits.told(self.all_of(replace(LARGE, lookups=1)))

        assert any(
            line.startswith("PROPENSITY_LOOKUP_MAXIMUM_BYTES_BILLED is 1 GiB; ")
            and "it grows with the history" in line
            for line in told
        )

    def test_of_a_small_site_are_kept(self):
        """Fifty thousand users need no setting."""
        shop = Size(users=50_000, events_a_day=100_000, lookups=30_000)

        assert limits.told(self.all_of(shop)) == []
