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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from offline.partitions import EXPORT, KEPT, PARTITIONS, Size, days
from offline.row_sizes import EXPORTED, row_bytes
from propensity import tables
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

SHARED = "shared"
# Where names of tables are listed: a query bills the least there is for it.
NAMES = "INFORMATION_SCHEMA.TABLES"
# Settings that decide which statement gives the features of a use case on the export.
INCREMENTAL = {
    "features": False,
    "incremental_features": True,
    "summed_days": True,
    "sum_user_days": True,
    "forget_user_days": True,
}


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
        return (NAMES,) if any(part.table == EXPORT for part in self.parts) else ()


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
def statements() -> tuple[Statement, ...]:
    """Return all statements, as the file orders them."""
    return tuple(
        Statement(
            name=name,
            use_case="" if section == SHARED else section,
            functions=tuple(entry["functions"]),
            is_lookup=entry.get("is_lookup", False),
            reads=tuple(
                Read(**{**read, "columns": tuple(read.get("columns", "").split())})
                for read in entry["reads"]
            ),
        )
        for section, entries in tomllib.loads(FILE.read_text("utf-8")).items()
        for name, entry in entries.items()
    )


# A function that asks for users whose events may be late reads more days of them.
LATE = {("score_stream", "first_day"): "first_day_late"}


# -- statements ------------------------------------------------------------------------


def readings(size: Size, settings: Settings | None = None) -> list[Reading]:
    """
    Return what each statement of each function reads that a size has a use for.
    """
    settings = settings or Settings(project="p")
    spans = days(size, settings)
    kept = tables.retention(settings.retention_days)
    result = []
    for statement in statements():
        if not _is_run(statement, size, settings):
            continue
        for function in statement.functions:
            parts = tuple(
                _part(read, function, size, spans=spans, kept=kept)
                for read in statement.reads
            )
            grows = any(
                read.days in (KEPT, "buckets") and read.table in GROWING
                for read in statement.reads
            )
            result.append(
                Reading(
                    statement=statement, function=function, parts=parts, grows=grows
                )
            )
    return result


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


def _is_run(statement: Statement, size: Size, settings: Settings) -> bool:
    """Tell whether a deployment of a size runs a statement."""
    if statement.use_case == "ga4_purchase" and statement.name in INCREMENTAL:
        needed = INCREMENTAL[statement.name] == settings.incremental_features
        return needed and bool(size.events_a_day)
    streamed = size.stream_events_a_day or size.scorings
    by_use_case = {
        "ga4_purchase": size.events_a_day,
        "first_day_churn": streamed and size.scores_users,
        "card_fraud": streamed and not size.scores_users,
    }
    if statement.use_case:
        return bool(by_use_case[statement.use_case])
    of_stream = {"score", "score_stream", "stream_features", "compact_features"}
    if set(statement.functions) <= of_stream:
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
