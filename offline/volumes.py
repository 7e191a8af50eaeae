"""
Bytes of every statement, by the size of a deployment, before anything is deployed.

BigQuery compares ``maximum_bytes_billed`` with an estimate that it makes before a query
runs. The estimate knows which columns a statement names and which partitions its
constants leave, and not what clusters will spare. So it is rows times the bytes of the
columns: ``bound``. What is billed in the end is less where a query asks for a few users
of a table that is clustered by them: ``billed``.

``statements.toml`` says what each statement reads, this module how large that is. No
package but the project's own is needed, and nothing is asked of Google Cloud.

Sources:
    https://cloud.google.com/bigquery/docs/estimate-costs: bytes of each type, and
        that the estimate of a clustered table is an upper bound.
    https://cloud.google.com/bigquery/pricing: 10 MiB of each table at least; and,
        where rows are changed, the columns that are read, and all columns of the
        partitions that change.
    https://cloud.google.com/bigquery/docs/clustered-tables: tables and partitions
        under 64 MB gain nothing by clusters.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path

from propensity import tables, usecases
from propensity.schema import Column, Table
from propensity.settings import Settings

FILE = Path(__file__).with_name("statements.toml")

MIB, GIB = 1024**2, 1024**3

# What BigQuery bills of a table at least, whatever a query reads of it.
LEAST_BILLED = 10 * MIB
# How large a block of a clustered table is taken to be. What is documented is that
# clusters spare nothing in less.
BLOCK = 64 * MIB

# What a limit should leave above what is computed, and what it is rounded up to.
HEADROOM = 1.5
STEP = 1 * GIB

# A month is like any other, and so is its first day.
TODAY = date(2026, 3, 1)

SHARED = "shared"
EXPORT = "events_*"
# Where names of tables are listed: a query bills the least there is for it.
NAMES = "INFORMATION_SCHEMA.TABLES"
KEPT = "kept"

# What a run of 03 looks back for, of steps.CATCH_UP; held by a test.
CATCH_UP = timedelta(weeks=13)
# What it reads of evaluations before the oldest of these; held by a test.
MEMORY = timedelta(days=28)
# Days that one statement of the compaction takes on; held by a test.
AT_ONCE = 7
MONTH = 31

# Days of the export that a weekly run of 01 finds changed: those of the week, three
# that Analytics has written anew, and today's, which is streaming.
CHANGED_DAYS = 7 + 3 + 1
# Events of a user on a day with any; taken, not measured.
EVENTS_A_USER_DAY = 10
# Settings that decide which statement gives the features of a use case on the export.
INCREMENTAL = {
    "features": False,
    "incremental_features": True,
    "summed_days": True,
    "sum_user_days": True,
    "forget_user_days": True,
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """
    How large a deployment is.

    Args:
        users: With an event in the lookback of the export, or players of the stream.
        events_a_day: Of the GA4 export; 0 for none.
        stream_events_a_day: Of the stream; 0 for none.
        days_kept: Age of the history, in all tables without an expiry.
        late_days: How long after it happened an event of the stream may come.
        use_cases: Those on the GA4 export.
        returning: Share of a lookback's users who are there in the next one, too. The
            rest stay in ``ma_predictions_table``, and new ones come.
        scores_users: Whether the stream's events are scored by features of their
            users, and not by their own fields.
        lookups, scorings: Requests a month, of ``get_proba`` and of ``score``.
        lookups_a_query: Users that a lookup asks for.
        sums_all_days: Whether a run of 01 sums up all days of the export that it needs,
            as the first of a month does; otherwise those that have changed in a week.
    """

    users: int
    events_a_day: int
    stream_events_a_day: int = 0
    days_kept: int = 365
    late_days: int = 30
    use_cases: int = 1
    returning: float = 0.0
    scores_users: bool = True
    lookups: int = 0
    scorings: int = 0
    lookups_a_query: int = 1
    sums_all_days: bool = True


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a statement reads of a table: ``columns`` of the partitions of ``days``."""

    table: str
    columns: tuple[str, ...] = ()
    where: str = ""
    days: str = KEPT
    changes: bool = False


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of ``statements.toml``."""

    name: str
    use_case: str
    functions: tuple[str, ...]
    reads: tuple[Read, ...]
    is_lookup: bool = False


@dataclass(frozen=True, kw_only=True)
class Part:
    """
    What a statement reads of one table, at some size.

    Args:
        rows: In the partitions that are read.
        bytes: Of the columns that are read, of all these rows.
        partitions: Rows of each partition that is read.
        share: Of the bytes of whole rows that the columns have; 0 where the names of
            tables alone are read, which costs nothing.
        is_hashed: Whether partitions are buckets of users, which the query names.
    """

    table: str
    rows: float
    bytes: float
    partitions: tuple[float, ...]
    share: float
    is_hashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A statement of a function, and what it reads at some size."""

    statement: Statement
    function: str
    parts: tuple[Part, ...]
    grows: bool

    @property
    def bound(self) -> float:
        """Return the bytes that ``maximum_bytes_billed`` is compared with."""
        return sum(part.bytes for part in self.parts)

    def billed(self, users: float = math.inf) -> float:
        """
        Return the bytes that are billed: of each table no fewer than its least.

        Args:
            users: That the query asks for, where the tables are clustered by them.
        """
        by_table = dict.fromkeys(self._listed, 0.0)
        for part in self.parts:
            if not part.share:
                continue
            read = _clustered(part, users) if self.statement.is_lookup else part.bytes
            by_table[part.table] = by_table.get(part.table, 0.0) + read
        return sum(max(LEAST_BILLED, read) for read in by_table.values())

    @property
    def least(self) -> float:
        """Return what is billed at the very least: the minimum of each table."""
        read = {part.table for part in self.parts if part.share}
        return LEAST_BILLED * len(read.union(self._listed))

    @property
    def _listed(self) -> tuple[str, ...]:
        """Return the list of tables, which the view of the export asks beside it."""
        return (NAMES,) if any(one.table == EXPORT for one in self.parts) else ()


def _clustered(part: Part, users: float) -> float:
    """
    Return the bytes that a query for some users reads of a table.

    They lie in blocks by chance, in each partition: of B blocks, B (1 - (1 - 1/B)^n)
    hold one of n users. A partition of one block is read whole. Where partitions are
    buckets of users, the same holds of these, and each is one block.
    """
    if not part.rows:
        return 0.0
    row = part.bytes / part.rows
    if part.is_hashed and not math.isinf(users):
        buckets = len(part.partitions)
        return float(part.bytes * (1 - (1 - 1 / buckets) ** max(1.0, users)))
    read = 0.0
    for rows in part.partitions:
        blocks = math.ceil(rows * row / part.share / BLOCK) or 1
        hit = 1.0 if math.isinf(users) else 1 - (1 - 1 / blocks) ** max(1.0, users)
        read += rows * row * hit
    return read


@cache
def statements(file: Path = FILE) -> tuple[Statement, ...]:
    """Return all statements, as the file orders them."""
    return tuple(
        Statement(
            name=name,
            use_case="" if section == SHARED else section,
            functions=tuple(entry["functions"]),
            is_lookup=entry.get("is_lookup", False),
            reads=tuple(
                Read(**{**one, "columns": tuple(one.get("columns", "").split())})
                for one in entry["reads"]
            ),
        )
        for section, entries in tomllib.loads(file.read_text("utf-8")).items()
        for name, entry in entries.items()
    )


# -- rows ------------------------------------------------------------------------------


def days(size: Size, settings: Settings) -> dict[str, int]:
    """
    Return the days of partitions that constants leave, by their names.

    As the code sets the constants of a run on ``TODAY``. ``kept`` is all of them.
    """

    def window(name: str, as_ofs: int) -> dict[str, date]:
        use_case = usecases.load(name)
        chosen: tuple[date, ...] = (TODAY,)
        if as_ofs > 1:
            chosen = use_case.timeframe(settings).snapshots(
                today=TODAY, earliest=date(1971, 1, 1), at_most=as_ofs
            )
        made = use_case.window(settings, chosen, today=TODAY)
        shards = {name: made[name] for name in made if name.endswith("_suffix")}
        return {
            **{name: date.fromisoformat(text) for name, text in shards.items()},
            "earliest": made["earliest"],
        }

    def shards(as_ofs: int, kind: str = "") -> int:
        made = window("ga4_purchase", as_ofs)
        return (made[f"last_{kind}suffix"] - made[f"first_{kind}suffix"]).days + 1

    def since(first: date) -> int:
        return (TODAY - first).days + 1

    churn = usecases.load("first_day_churn")
    hours = settings.first_day_hours
    first_day = timedelta(days=hours // 24)
    week = TODAY - churn.timeframe(settings).horizon
    evaluated = churn.window(settings, (week,), today=TODAY)["earliest"]
    cards = usecases.load("card_fraud")
    day = TODAY - cards.timeframe(settings).horizon
    late = TODAY - timedelta(days=size.late_days)
    months = 12 * (TODAY.year - late.year) + TODAY.month - late.month + 1
    horizon = usecases.load("ga4_purchase").timeframe(settings).horizon
    lookback = max(usecases.load(name).lookback_days for name in usecases.names())
    return {
        KEPT: size.days_kept,
        "one": 1,
        "features": shards(1),
        "summed": shards(1) if size.sums_all_days else CHANGED_DAYS,
        "week_labels": shards(1, "label_"),
        "training_features": shards(settings.training_snapshots),
        "training_labels": shards(settings.training_snapshots, "label_"),
        "lookback": lookback,
        "in_force": lookback + 1,
        "catch_up": CATCH_UP.days + 1,
        # Weeks of that time, each a partition.
        "evaluated": CATCH_UP.days // 7 + 1,
        "remembered": (CATCH_UP + MEMORY).days + horizon.days + 1,
        # The watermark is of the run before, a day ago.
        "since_watermark": since(TODAY - timedelta(days=1)),
        # A step of the compaction, after a while in which it did not run.
        "counted": AT_ONCE,
        # Of today's events and of those that are late. One of another month costs that
        # month's tiles, those of six months in a step at most.
        "touched_months": MONTH * months,
        # The day before, for a wrong clock; so many days, and how late they can come.
        "exported": 1 + min(AT_ONCE, size.late_days) + size.late_days,
        "buckets": tables.USER_BUCKETS,
        "first_day": since(TODAY - timedelta(days=(hours + 47) // 24)),
        "first_day_late": since(late - timedelta(days=(hours + 47) // 24)),
        "registrations_found": since(
            churn.timeframe(settings).first_read(
                today=TODAY, at_most=settings.training_snapshots
            )
        ),
        "players_trained": since(
            window("first_day_churn", settings.training_snapshots)["earliest"]
            - first_day
        ),
        "players_scored": since(window("first_day_churn", 1)["earliest"] - first_day),
        "players_evaluated": since(evaluated - first_day),
        "cards_trained": cards.lookback_days + 2,
        "cards_evaluated": since(day - CATCH_UP - timedelta(days=1)),
    }


# A function that asks for users whose events may be late reads more days of them.
LATE = {("score_stream", "first_day"): "first_day_late"}


def players(size: Size) -> int:
    """Return the users who have an event of the stream on a day, at most."""
    return min(size.users, size.stream_events_a_day)


def _predicted(size: Size, kept: float) -> tuple[float, ...]:
    """
    Return the rows of ``ma_predictions_table`` in each of its partitions.

    Of the newest week those who were scored in it; of each week before, those who have
    not been since. Nothing removes them but the table's expiry.
    """
    lookback = usecases.load("ga4_purchase").lookback_days
    scored = float(size.users * size.use_cases)
    gone = scored * (1 - size.returning) * 7 / lookback
    weeks = max(0, math.ceil((kept - lookback) / 7))
    return (scored, *[gone] * (weeks if gone else 0))


def _known(size: Size, _: float) -> tuple[float, ...]:
    """Return the rows of ``stream_users``, of all who ever played, in each bucket."""
    lookback = usecases.load("ga4_purchase").lookback_days
    left = (1 - size.returning) * max(0, size.days_kept - lookback) / lookback
    known = size.users * (1 + left) * bool(size.scores_users)
    return (known / tables.USER_BUCKETS,) * tables.USER_BUCKETS


def _daily(rows: Callable[[Size], float]) -> Callable[[Size, float], tuple[float, ...]]:
    return lambda size, days: (rows(size),) * math.ceil(days)


def _every(
    step: int, rows: Callable[[Size], float]
) -> Callable[[Size, float], tuple[float, ...]]:
    return lambda size, days: (rows(size),) * max(1, math.ceil(days / step))


# By table: the rows of each partition in so many days.
PARTITIONS: Mapping[str, Callable[[Size, float], tuple[float, ...]]] = {
    EXPORT: _daily(lambda size: size.events_a_day),
    "export_user_days": _daily(
        lambda size: min(size.users, size.events_a_day / EVENTS_A_USER_DAY)
    ),
    "ma_predictions_table": _predicted,
    "ma_predictions_history": _every(7, lambda size: size.users * size.use_cases),
    "ma_predictions_staging": _daily(lambda size: size.users * size.use_cases),
    # A version a month; a row a week, or a day and version of a stream, twice.
    "ma_model_training_metadata": _every(30, lambda size: size.use_cases),
    "ma_preprocessors": lambda size, _: (float(size.use_cases),),
    "ma_model_evaluation": _daily(lambda size: 2 * size.use_cases),
    "ma_model_evaluation_staging": _daily(lambda size: 2 * size.use_cases),
    "stream_events": _daily(lambda size: size.stream_events_a_day),
    "stream_features_daily": _every(
        MONTH, lambda size: float(MONTH) * players(size) if size.scores_users else 0
    ),
    "stream_users": _known,
    "inference_log": _daily(lambda size: size.stream_events_a_day + size.scorings / 30),
    # What came of each event, at most.
    "truth_events": _daily(
        lambda size: 0 if size.scores_users else size.stream_events_a_day
    ),
    # Postcodes of the United Kingdom, former ones among them, by
    # https://geoportal.statistics.gov.uk (ONS Postcode Directory).
    "postcode_index": lambda _, __: (2_700_000.0,),
}


# -- bytes of a row --------------------------------------------------------------------

# https://cloud.google.com/bigquery/docs/estimate-costs; a null has none.
SIZES = {"INT64": 8, "FLOAT64": 8, "NUMERIC": 16, "DATE": 8, "TIMESTAMP": 8, "BOOL": 1}

# Means over rows of the GA4 export, of all in ga4_sample (471 rows of a real shop);
# tests/deploy/test_volumes.py measures them. A text has 2 bytes beside its own.
EXPORTED = {
    "event_timestamp": 8.0,
    "event_name": 13.4,
    "user_pseudo_id": 20.1,
    # Empty there. Where users log in:
    "user_id": 22.0,
    "user_first_touch_timestamp": 8.0,
    "event_params": 306.0,
    "event_value_in_usd": 0.1,
    "ecommerce.purchase_revenue": 0.1,
    "ecommerce.purchase_revenue_in_usd": 0.1,
    "ecommerce.refund_value": 0.1,
    "ecommerce.refund_value_in_usd": 0.1,
    "ecommerce.transaction_id": 1.2,
    "items.quantity": 0.1,
    "items.item_id": 11.3,
    "traffic_source.source": 10.2,
    "traffic_source.medium": 9.0,
    "device.category": 8.6,
    "device.operating_system": 6.6,
    "geo.country": 12.0,
}

# Texts, by column; where a table has others, by table and column. Ids of the stream are
# UUIDs, of the export "1234567890.1234567890".
TEXTS = {
    "use_case": 17,
    "user_id": 38,
    "ma_predictions_table.user_id": 23,
    "ma_predictions_history.user_id": 23,
    "ma_predictions_staging.user_id": 23,
    "run_id": 34,
    "event_id": 38,
    "message_id": 24,
    "inference_id": 66,
    "event_type": 10,
    "source": 8,
    "best_threshold_source": 13,
    "budget": 5,
    "postcode": 9,
}
# Of the sums of a user's day; a null has no bytes, and few days have a charge.
USER_DAY = {
    f"export_user_days.{name}": bytes_
    for name, bytes_ in {
        "user_id": EXPORTED["user_pseudo_id"],
        "sessions": 13.0,
        "visit": sum(
            EXPORTED[name]
            for name in (
                "traffic_source.source",
                "traffic_source.medium",
                "device.category",
                "device.operating_system",
                "geo.country",
            )
        ),
        "charges": 4.0,
        "source": 0.0,
        "definition": 0.0,
        "summed_at": 0.0,
    }.items()
}
# Of a registration, which one event in ten is taken to be.
REGISTERED = {
    "age": 8,
    "city": 10,
    "country": 9,
    "postcode": 9,
    "affiliate_url": 24,
    "campaign": 12,
    "socioeconomic_idx": 8,
    "label": 8,
}
REGISTRATIONS = 0.1
# JSON of a transaction's fields, with the event and with the score.
FIELDS = 770.0
# A JSON of few rows: features, candidates, parameters.
OTHER_JSON = 2_000.0
# Empty where personal fields are not kept.
PERSONAL = (
    "stream_events.name",
    "stream_events.street_address",
    "stream_events.date_of_birth",
)
# Of an evaluation; and about so many dates of a training.
DECILES = 10


def row_bytes(table: str, columns: tuple[str, ...], size: Size) -> float:
    """Return the mean bytes of columns of a table's row, of all of them without any."""
    if table == EXPORT:
        return sum(EXPORTED[name] for name in columns)
    declared = {column.name: column for column in _declared(table).columns}
    if not columns:
        return sum(_column_bytes(table, one, size) for one in declared.values())
    total = 0.0
    for path in columns:
        name, _, part = path.partition(".")
        column = declared[name]
        if part:
            only = tuple(one for one in column.fields if one.name == part)
            column = replace(column, fields=only)
        total += _column_bytes(table, column, size)
    return total


def _declared(name: str) -> Table:
    [found] = [one for one in tables.TABLES if one.name == name]
    return found


def _column_bytes(table: str, column: Column, size: Size) -> float:
    own = _of_size(size).get(f"{table}.{column.name}")
    if own is not None:
        return own
    if column.fields:
        # Deciles of an evaluation; or the one registration of a tile.
        many = DECILES if column.repeated else REGISTRATIONS
        return many * sum(_column_bytes(table, one, size) for one in column.fields)
    if column.type in SIZES:
        return float(SIZES[column.type] * (DECILES if column.repeated else 1))
    texts = {**REGISTERED, **TEXTS}
    return texts.get(f"{table}.{column.name}", texts.get(column.name, OTHER_JSON))


_REASONS = tuple(
    f"{table}.{column}"
    for table in ("ma_predictions_table", "ma_predictions_staging")
    for column in ("base_log_odds", "reasons")
)


def _thresholds(size: Size) -> float:
    """
    Return the bytes of an evaluation's counts by threshold, of 24 bytes each.

    All up to 100 rows; from there on one each time that they are a fiftieth more.
    """
    rows = max(size.users, size.stream_events_a_day)
    return 24.0 * (min(rows, 100) + math.log(max(rows, 100) / 100) / math.log(1.02))


@cache
def _of_size(size: Size) -> Mapping[str, float]:
    """Return bytes that depend on what a deployment streams, by table and column."""
    registered = {
        f"stream_events.{name}": bytes_ * REGISTRATIONS * size.scores_users
        for name, bytes_ in REGISTERED.items()
    }
    tile = size.stream_events_a_day / max(1, players(size))
    return {
        **registered,
        **dict.fromkeys(PERSONAL, 0.0),
        "stream_events.amount": 16.0 * size.scores_users,
        "stream_events.attributes": 0.0 if size.scores_users else FIELDS,
        "stream_features_daily.event_ids": TEXTS["event_id"] * tile,
        "inference_log.features": FIELDS,
        **USER_DAY,
        "ma_model_evaluation.thresholds": _thresholds(size),
        "ma_model_evaluation_staging.thresholds": _thresholds(size),
        # Without reasons, as by default.
        **dict.fromkeys(_REASONS, 0.0),
        # One of the two.
        "inference_log.probability": 4.0,
        "inference_log.anomaly_score": 4.0,
    }


# -- statements ------------------------------------------------------------------------


def readings(size: Size, settings: Settings | None = None) -> list[Reading]:
    """
    Return what each statement of each function reads that a size has a use for.

    Args:
        size: Of the deployment.
        settings: Of the deployment; the defaults where None.
    """
    settings = settings or Settings(project="p")
    spans = days(size, settings)
    kept = tables.retention(settings.retention_days)
    found = []
    for one in statements():
        if not _is_run(one, size, settings):
            continue
        for function in one.functions:
            parts = tuple(
                _part(read, function, size, spans=spans, kept=kept)
                for read in one.reads
            )
            grows = any(
                read.days in (KEPT, "buckets") and read.table in GROWING
                for read in one.reads
            )
            found.append(
                Reading(statement=one, function=function, parts=parts, grows=grows)
            )
    return found


# Tables that grow by users or events for as long as nothing expires in them.
GROWING = frozenset(
    {
        "ma_predictions_table",
        "stream_events",
        "stream_features_daily",
        "stream_users",
        "inference_log",
    }
)


def _is_run(one: Statement, size: Size, settings: Settings) -> bool:
    """Tell whether a deployment of a size runs a statement."""
    if one.use_case == "ga4_purchase" and one.name in INCREMENTAL:
        needed = INCREMENTAL[one.name] == settings.incremental_features
        return needed and bool(size.events_a_day)
    streamed = size.stream_events_a_day or size.scorings
    by_use_case = {
        "ga4_purchase": size.events_a_day,
        "first_day_churn": streamed and size.scores_users,
        "card_fraud": streamed and not size.scores_users,
    }
    if one.use_case:
        return bool(by_use_case[one.use_case])
    of_stream = {"score", "score_stream", "stream_features", "compact_features"}
    if set(one.functions) <= of_stream:
        return bool(streamed)
    return bool(size.events_a_day or streamed)


def _part(
    read: Read,
    function: str,
    size: Size,
    *,
    spans: Mapping[str, int],
    kept: Mapping[str, int],
) -> Part:
    name = LATE.get((function, read.days), read.days)
    span = spans[name]
    if expiry := kept.get(read.table):
        span = min(span, expiry)
    partitions = PARTITIONS[read.table](size, span)
    rows = sum(partitions)
    row = row_bytes(read.table, read.columns, size) if rows else 0.0
    if read.table == EXPORT and not read.columns:
        return Part(table=EXPORT, rows=rows, bytes=0.0, partitions=(), share=0.0)
    whole = (
        sum(EXPORTED.values())
        if read.table == EXPORT
        else row_bytes(read.table, (), size)
    )
    return Part(
        table=read.table,
        rows=rows,
        bytes=rows * row,
        partitions=partitions,
        share=row / whole if whole and row else 1.0,
        is_hashed=read.days == "buckets",
    )
