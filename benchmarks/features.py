"""
What a lookup of one user's features costs, by the age of the history.

    python -m benchmarks.features

The same users have the same number of events on every day, for 1, 10 and 100 days, each
history in tables of its own, compacted as the scheduler has it compacted every night,
and then as many events again since. One user is looked up in the view
``stream_features``, and beside it in the events themselves, as it would be without
tiles: rows and bytes that must be read, and milliseconds on the emulator.

The emulator does not bill, so bytes are an estimate. BigQuery reads, of each table, the
columns that the statement names, in the partitions that its constant bounds leave, and
there the blocks that can hold the user, by whom all are clustered. The least that this
can be is the user's own rows in those partitions: they are counted, in the sizes of
BigQuery's price list. It bills 10 MiB of each table at least. A block is the least that
is read of a partition, so the number of partitions is told too.

Most of the time on the emulator goes to reading the statement, not the tables.

Both statements must say the same of the user. Gates: exits with 1 if the view takes
longer over 100 days than it may of its time over 1.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.report import Line, finish
from local import sandbox
from local.stack.stack import Stack
from propensity import tables, usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.registry.versions import Registry
from propensity.runs import compact
from propensity.runs.run import Run
from propensity.runs.watermark import read_watermark
from propensity.schema import Column, Table
from propensity.settings import Settings
from propensity.statements import statement
from propensity.timeframe import midnight

DAYS = (1, 10, 100)
MOST_OF_ONE_DAY = 1.5
USE_CASE = "first_day_churn"
USERS = 200
EVENTS_A_DAY = 10
USER = "user-007"
# Nothing but the differences to it matters.
NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
# A day is exported once it is closed, which here none ever is.
NEVER_CLOSED = date(1971, 1, 1)
LATENESS = timedelta(days=30)
LEAST_BILLED_BYTES = 10 * 1024**2
MIB = 1024**2

VIEW = """
SELECT
  *
FROM
  stream_features
WHERE
  use_case = @use_case
  AND user_id = @user_id
"""
WITHOUT_TILES = f"""
SELECT
  *
FROM
  ({statement("stream_features_as_of")})
WHERE
  use_case = @use_case
  AND user_id = @user_id
"""
VIEWED, RAW = "the view", "without tiles"
_EVENTS = tables.STREAM_EVENTS

# https://cloud.google.com/bigquery/pricing#data: bytes of a value that is not null.
SIZES = {"INT64": 8, "FLOAT64": 8, "NUMERIC": 16, "DATE": 8, "TIMESTAMP": 8, "BOOL": 1}
TYPES = ("new_bet", "new_win", "new_purchases")


@dataclass(frozen=True)
class Reading:
    """What a statement must read at least, of one table."""

    table: str
    rows: int
    partitions: int
    size_bytes: int


@dataclass(frozen=True)
class Cost:
    """What a lookup reads at least, and how long it takes on the emulator."""

    readings: Sequence[Reading]
    rounds: Sequence[float]

    @property
    def milliseconds(self) -> float:
        return statistics.median(self.rounds)

    @property
    def rows(self) -> int:
        return sum(reading.rows for reading in self.readings)

    @property
    def partitions(self) -> int:
        return sum(reading.partitions for reading in self.readings)

    @property
    def size_bytes(self) -> int:
        return sum(reading.size_bytes for reading in self.readings)

    @property
    def billed_bytes(self) -> int:
        return sum(
            max(LEAST_BILLED_BYTES, reading.size_bytes) for reading in self.readings
        )


@dataclass(frozen=True)
class History:
    """Tables with so many days of events behind them, compacted."""

    days: int
    warehouse: Warehouse
    watermark: datetime

    @property
    def first_day(self) -> date:
        return (NOW - timedelta(days=self.days)).date()

    @property
    def parameters(self) -> dict[str, Any]:
        return {"use_case": USE_CASE, "user_id": USER}

    @property
    def raw_parameters(self) -> dict[str, Any]:
        as_of = NOW + timedelta(days=1)
        return self.parameters | {"as_of": as_of, "earliest": self.first_day}


def events(first: date, days: int, *, registers: bool, seed: int) -> pa.Table:
    """
    Return rows of ``stream_events``: the same number for every user on every day.

    They are received when they happen. Where ``registers``, users do so on the first
    day, beside their other events.
    """
    random = np.random.default_rng(seed)
    users = [f"user-{number:03d}" for number in range(USERS)]
    columns: dict[str, list[Any]] = {column.name: [] for column in _EVENTS.columns}

    def add(user: str, kind: str, moment: datetime, **fields: Any) -> None:
        row = {
            "use_case": USE_CASE,
            "event_id": str(uuid.UUID(bytes=random.bytes(16), version=4)),
            "user_id": user,
            "event_type": kind,
            "event_time": moment,
            "event_date": moment.date(),
            "message_id": str(random.integers(10**15, 10**16)),
            "published_at": moment,
            "received_at": moment,
            "received_on": moment.date(),
            **fields,
        }
        for name, values in columns.items():
            values.append(row.get(name))

    for number in range(days):
        day = midnight(first + timedelta(days=number))
        for user in users:
            if registers and not number:
                add(
                    user,
                    "new_registration",
                    day,
                    age=30,
                    city="Ambermouth",
                    country="England",
                    postcode="QA1 2BD",
                    campaign="welcome_bonus",
                    socioeconomic_idx=3.0,
                )
            hours = random.integers(1, 24 * 3600, EVENTS_A_DAY)
            cents = random.integers(0, 10_000, EVENTS_A_DAY)
            kinds = random.choice(TYPES, EVENTS_A_DAY, p=(0.85, 0.05, 0.1))
            for seconds, amount, kind in zip(hours, cents, kinds, strict=True):
                moment = day + timedelta(seconds=int(seconds))
                add(user, str(kind), moment, amount=Decimal(int(amount)).scaleb(-2))
    return pa.Table.from_pydict(columns, schema=_EVENTS.arrow_schema())


def recent(rows: pa.Table) -> pa.Table:
    """Return a day's rows as received in the minutes after the watermark."""
    since = NOW - timedelta(minutes=1)
    place = rows.schema.get_field_index("received_at")
    moments = pa.array([since] * rows.num_rows, rows.schema.field(place).type)
    return rows.set_column(place, rows.schema.field(place), moments)


def history_of(stack: Stack, days: int) -> History:
    """Fill tables of their own with so many days, compact them, and add some events."""
    changed = {
        "PROPENSITY_DATASET": f"days_{days}",
        "PROPENSITY_BUCKET": f"days-{days}",
        "PROPENSITY_GA4_DATASET": "",
        # As deployed: local mode takes events of any day.
        "PROPENSITY_MAXIMUM_LATENESS_DAYS": str(LATENESS.days),
    }
    settings = Settings.from_environment(stack.environment | changed)
    warehouse = Warehouse.open(settings)
    warehouse.create_dataset(settings.dataset)
    for table in (
        _EVENTS,
        tables.STREAM_FEATURES_DAILY,
        tables.STREAM_USERS,
        tables.INFERENCE_LOG,
    ):
        warehouse.create(table)
    objects = stack.objects()
    objects.create_bucket(settings.bucket)
    artifacts = Artifacts(objects.bucket(settings.bucket), deadline_s=30.0)
    compact.prepare_view(warehouse, artifacts)
    first = (NOW - timedelta(days=days)).date()
    history = events(first, days, registers=True, seed=days)
    warehouse.append(_EVENTS, history, job_id=f"history-{days}-{uuid.uuid4().hex}")
    compact.compact(
        Run(
            function="compactFeatures",
            run_id=uuid.uuid4().hex,
            settings=settings,
            use_case=usecases.load(USE_CASE),
            as_of=NEVER_CLOSED,
            force=False,
            began_at=NOW,
            warehouse=warehouse.for_run(),
            registry=Registry(artifacts, "stream"),
        )
    )
    since = recent(events(NOW.date(), 1, registers=False, seed=0))
    warehouse.append(_EVENTS, since, job_id=f"since-{days}-{uuid.uuid4().hex}")
    watermark = read_watermark(artifacts).moment
    artifacts.close()
    return History(days, warehouse, watermark)


def columns_read(sql: str, table: Table) -> list[Column]:
    """Return the columns of a table that a statement names."""
    words = set(re.findall(r"\w+", re.sub(r"--.*", "", sql)))
    return [column for column in table.columns if column.name in words]


def size_of(value: Any, column: Column) -> int:
    """Return the bytes of a value as BigQuery counts them."""
    if value is None:
        return 0
    if column.repeated:
        return sum(2 + len(item.encode()) for item in value)
    if column.fields:
        return sum(size_of(value.get(part.name), part) for part in column.fields)
    if column.type == "STRING":
        return 2 + len(value.encode())
    return SIZES[column.type]


def reading(
    history: History, table: Table, sql: str, *, since: date | None = None
) -> Reading:
    """
    Return what a statement must read of a table for the user.

    Args:
        history: With the table.
        table: Read.
        sql: The statement, complete.
        since: The constant bound on the table's partitions; None if there is none.
    """
    chosen = columns_read(sql, table)
    names = ", ".join(
        {table.partition: None} | {column.name: None for column in chosen}
    )
    bound = f"AND {table.partition} >= @since" if since else ""
    rows = history.warehouse.rows(
        f"SELECT {names} FROM {table.name} "
        f"WHERE use_case = @use_case AND user_id = @user_id {bound}",
        history.parameters | ({"since": since} if since else {}),
    )
    return Reading(
        table=table.name,
        rows=len(rows),
        partitions=len({row[table.partition] for row in rows}),
        size_bytes=sum(
            size_of(row[column.name], column) for row in rows for column in chosen
        ),
    )


def readings(history: History) -> dict[str, list[Reading]]:
    """Return what each of the two ways must read."""
    view = compact.view_of(history.warehouse, history.watermark)
    first_month = (history.watermark - LATENESS).date().replace(day=1)
    return {
        VIEWED: [
            reading(history, tables.STREAM_USERS, view),
            reading(history, tables.STREAM_FEATURES_DAILY, view, since=first_month),
            reading(history, _EVENTS, view, since=history.watermark.date()),
        ],
        RAW: [reading(history, _EVENTS, WITHOUT_TILES, since=history.first_day)],
    }


def lookups(history: History) -> Iterator[tuple[str, float, Mapping[str, Any]]]:
    """Look the user up in both ways; yields way, milliseconds and features."""
    for way, sql, parameters in (
        (VIEWED, VIEW, history.parameters),
        (RAW, WITHOUT_TILES, history.raw_parameters),
    ):
        began = time.perf_counter()
        [row], _ = history.warehouse.lookup(sql, parameters)
        yield way, (time.perf_counter() - began) * 1e3, dict(row.items())


def measured(
    histories: Sequence[History], *, repeats: int
) -> tuple[dict[tuple[int, str], Cost], list[str]]:
    """Return the cost of each way at each age, and what the two do not agree on."""
    milliseconds_of: dict[tuple[int, str], list[float]] = {}
    differences: set[str] = set()
    for number in range(repeats + 1):
        for history in histories:
            features_by = {}
            for way, milliseconds, features in lookups(history):
                features_by[way] = features
                # The first of each reads files that the system does not hold yet.
                if number:
                    milliseconds_of.setdefault((history.days, way), []).append(
                        milliseconds
                    )
            differences.update(
                f"{name} after {history.days} days"
                for name, value in features_by[VIEWED].items()
                if value != features_by[RAW][name]
            )
    costs = {}
    for history in histories:
        for way, read in readings(history).items():
            key = (history.days, way)
            costs[key] = Cost(read, milliseconds_of[key])
    return costs, sorted(differences)


def report(costs: Mapping[tuple[int, str], Cost]) -> Line:
    """Print the tables of what is read; return the line of the oldest history."""
    print(
        "\n| days | lookup by | rows | partitions | kB | MiB billed "
        "| ms on the emulator | of 1 day |"
    )
    print("|--:|:--|--:|--:|--:|--:|--:|--:|")
    for (days, way), cost in sorted(costs.items(), key=lambda entry: entry[0][::-1]):
        ratio = cost.milliseconds / costs[DAYS[0], way].milliseconds
        print(
            f"| {days} | {way} | {cost.rows:,} | {cost.partitions} "
            f"| {cost.size_bytes / 1e3:,.1f} | {cost.billed_bytes / MIB:.0f} "
            f"| {cost.milliseconds:.1f} | {ratio:.2f} |"
        )
    print("\n| days | table, by the view | rows | partitions | kB |")
    print("|--:|:--|--:|--:|--:|")
    for days in DAYS:
        for reading in costs[days, VIEWED].readings:
            print(
                f"| {days} | {reading.table} | {reading.rows:,} | {reading.partitions} "
                f"| {reading.size_bytes / 1e3:,.1f} |"
            )
    oldest, youngest = costs[DAYS[-1], VIEWED], costs[DAYS[0], VIEWED]
    return Line(
        what=f"a lookup over {DAYS[-1]} days, on the emulator",
        unit="ms",
        ours=oldest.rounds,
        peer=f"over {DAYS[0]}",
        theirs=youngest.rounds,
        most=MOST_OF_ONE_DAY,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.features")
    parser.add_argument("--repeats", type=int, default=31, help="lookups of each kind")
    options = parser.parse_args(arguments)
    with ExitStack() as undo:
        stack = undo.enter_context(sandbox.emulators())
        histories = []
        for days in DAYS:
            histories.append(history_of(stack, days))
            undo.callback(histories[-1].warehouse.close)
            print(f"{days} days are compacted", file=sys.stderr)
        costs, differences = measured(histories, repeats=options.repeats)
    print(
        f"Medians of {options.repeats} lookups of one of {USERS} users with "
        f"{EVENTS_A_DAY} events a day each, and as many since the compaction."
    )
    problems = [f"the two do not agree on {difference}" for difference in differences]
    return finish([report(costs)], problems=problems)


if __name__ == "__main__":
    sys.exit(main())
