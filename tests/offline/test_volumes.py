"""
volumes, specified: what a statement reads is what its text says, and no more is known.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
import sqlglot

from deploy import functions
from docs import scale as scale_page
from offline import limits, partitions, volumes
from offline.limits import scans
from offline.partitions import KEPT, Size
from offline.volumes import GIB, MIB, readings, statements
from propensity import tables, usecases
from propensity.settings import Settings
from tests.offline.reading import DIALECT, read_by
from tests.offline.sizes import LARGE, SETTINGS, SMALL, reading_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "propensity"

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
    return reading_of(name, size, function).bound


class TestStatements:
    @pytest.mark.parametrize(
        "statement",
        statements(),
        ids=lambda statement: f"{statement.use_case or 'shared'}.{statement.name}",
    )
    def test_read_what_is_declared(self, statement):
        """Tables, columns and the condition on the partitions are those of the SQL."""
        declared = sorted(
            (read.table, read.where, tuple(sorted(read.columns)), read.changes)
            for read in statement.reads
        )
        found = [
            (read.table, read.where, read.columns, read.changes)
            for read in read_by(statement.name, statement.use_case)
        ]

        assert declared == sorted(found), (
            f"offline/statements.toml should have of {statement.use_case or 'shared'}."
            f"{statement.name}:\n" + "\n".join(map(str, found))
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

        assert {statement.name for statement in statements()} == (
            files & named
        ) - VIEWS - FILLED

    def test_are_those_of_each_use_case(self):
        """No use case has a text of its own for a statement that all share."""
        for statement in statements():
            own = {
                name
                for name in usecases.names()
                if usecases.load(name).has_statement(statement.name)
            }
            if not statement.use_case:
                assert own == set(), statement.name

    @pytest.mark.parametrize(
        "function", functions.load(), ids=lambda function: function.target
    )
    def test_are_run_by_functions_that_may(self, function):
        """Its statements read all tables that it has rights on, and no other."""
        read = {
            "ga_events" if part.table == partitions.EXPORT else part.table
            for statement in statements()
            if function.target in statement.functions
            for part in statement.reads
        }
        # A view is what it reads.
        allowed = (
            {*function.reads, *function.writes} - functions.LISTED - {"stream_features"}
        )

        assert read == allowed


class TestDays:
    def test_are_those_that_the_condition_leaves(self):
        """Each condition, with the constants that the code puts in, leaves so many
        days of all that there are up to today."""
        spans = partitions.days(LARGE, SETTINGS)
        wrong = {}
        for statement in statements():
            for read in statement.reads:
                for function in statement.functions:
                    name = volumes.LATE.get((function, read.days), read.days)
                    if read.days == KEPT or name in ("one", "buckets"):
                        continue
                    found = days_left(read.where, parameters(statement, name))
                    if name == "touched_months":
                        found = partitions.MONTH * -(-found // partitions.MONTH)
                    if found != spans[name]:
                        wrong[statement.name, name] = (found, spans[name])

        assert wrong == {}

    def test_of_one_partition_are_an_equality(self):
        """What is said to be one partition is compared with one constant."""
        for statement in statements():
            for read in statement.reads:
                assert (read.days == "one") == (
                    " = @" in read.where and " AND " not in read.where
                ), statement.name

    def test_of_no_condition_are_all(self):
        """Where no constant leaves a partition out, the age of the history counts."""
        for statement in statements():
            for read in statement.reads:
                every = ("1970", "@first_month", "user_bucket >= 0")
                if not read.where or any(text in read.where for text in every):
                    assert read.days == KEPT, statement.name
                else:
                    assert read.days != KEPT, statement.name


def parameters(statement: volumes.Statement, name: str) -> dict[str, object]:
    """The constants of a run on ``TODAY``."""
    today = partitions.TODAY
    late = today - timedelta(days=LARGE.late_days)
    use_case = usecases.load(statement.use_case or "ga4_purchase")
    timeframe = use_case.timeframe(SETTINGS)
    newest = today - timeframe.horizon
    as_ofs: tuple[date, ...] = (today,)
    if statement.name in ("training_rows", "converter_amounts"):
        as_ofs = timeframe.snapshots(
            today=today, earliest=date(1971, 1, 1), at_most=SETTINGS.training_snapshots
        )
    if statement.name in (
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
        "published_since": newest - partitions.CATCH_UP - lookback,
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
        **({"earliest": first_read} if statement.name == "first_day" else {}),
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
    [column] = {node.name for node in condition.find_all(sqlglot.exp.Column)}
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
        for before, after in zip(readings(LARGE), readings(more), strict=True):
            assert after.bound >= before.bound

    def test_know_columns_and_partitions_and_no_clusters(self):
        """Rows of the days that are left, times the bytes of the columns: by hand."""
        size = Size(users=1_000_000, events_a_day=0, stream_events_a_day=2_000_000)
        churn = reading_of("stream_rows", replace(size, late_days=0), "score")
        events, known = sorted(churn.parts, key=lambda part: part.table)

        # Today and two days before, by 24 hours of a first day and a wrong clock.
        assert events.rows == 3 * 2_000_000
        # Who has ever played: a year of sixty days, in each of them others.
        assert known.rows == pytest.approx(1_000_000 * (1 + (365 - 60) / 60))
        # use_case, user_id, the bucket, and the time of a registration, of one in ten.
        assert known.bytes == pytest.approx(known.rows * (17 + 38 + 8 + 0.8))

    def test_of_users_by_bucket_are_of_those_buckets(self):
        """A query names the buckets of its users: what is billed is a few of them."""
        score = reading_of("stream_rows", LARGE, "score")
        [known] = [part for part in score.parts if part.table == "stream_users"]
        [events] = [part for part in score.parts if part.table == "stream_events"]
        only = replace(score, parts=(known,))

        assert only.billed(1) == max(10 * MIB, known.bytes / tables.USER_BUCKETS)
        assert score.bound == known.bytes + events.bytes

    def test_of_a_day_of_events_pass_one_gib(self):
        """From about 1.8 million events a day, where none is late."""

        def events(many: int) -> float:
            size = Size(users=10, events_a_day=0, stream_events_a_day=many, late_days=0)
            parts = reading_of("stream_rows", size, "score").parts
            return sum(p.bytes for p in parts if p.table == "stream_events")

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
        lookup = reading_of("lookup", SMALL)
        older = replace(SMALL, days_kept=3 * 365)
        kept = Settings(project="p", retention_days="ma_predictions_table=90")
        ended = reading_of("lookup", older, settings=kept)

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
        return sum(
            reading.bound for reading in found if reading.statement.name in names
        )

    def test_take_a_quarter_of_what_the_export_takes(self):
        """A weekly run sums up eleven days, and reads the sums of sixty-two."""
        off = Settings(project="p", incremental_features=False)
        full = reading_of("features", self.SHOP, settings=off).bound
        week = self.bytes_of(*volumes.INCREMENTAL, sums_all_days=False)
        forgotten = self.bytes_of("forget_user_days")

        assert week - forgotten < 0.25 * full

    def test_are_summed_up_weekly_and_all_of_them_once_a_month(self):
        """Nearly four times the days that have changed, and once all."""
        found = [
            (scan.runs, scan.reading.bound)
            for scan in scans(self.SHOP)
            if scan.reading.statement.name == "sum_user_days"
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
                reading.statement.name
                for reading in readings(self.SHOP, settings)
                if reading.statement.name in volumes.INCREMENTAL
            }
            for settings in (SETTINGS, off)
        }

        assert names[False] == {"features"}
        assert names[True] == set(volumes.INCREMENTAL) - {"features"}


class TestPage:
    def test_has_every_statement(self):
        """None is left out, and no size that is told."""
        assert len(scale_page.SIZES) >= 3
        page = (ROOT / "docs/scale.md").read_text("utf-8")

        for statement in statements():
            name = (
                f"{statement.use_case}/{statement.name}"
                if statement.use_case
                else statement.name
            )
            for function in statement.functions:
                assert f"| `{function}` | `{name}` |" in page

    def test_says_from_which_size_a_limit_is_exceeded(self):
        """Just below it is not, and a tenth above it is."""
        for setting, part in (
            ("PROPENSITY_MAXIMUM_BYTES_BILLED", ""),
            ("DEPLOY_ALERT_RUN_BYTES", "a run"),
        ):
            users = scale_page.exceeded_from(setting, part)
            for factor, is_exceeded in ((0.9, False), (1.1, True)):
                [limit] = [
                    limit
                    for limit in scale_page.limits_of(
                        scale_page.of(int(users * factor))
                    )
                    if limit.setting == setting
                ]
                assert limit.is_exceeded == is_exceeded
