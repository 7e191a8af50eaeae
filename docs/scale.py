"""
Write what every statement reads, for four sizes, and the limits that follow.

    python -m docs.scale > docs/scale.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

from docs import growth, memory, pace
from offline import limits
from offline.cost import usage
from offline.limits import Limit
from offline.partitions import EXPORT, KEPT, PARTITIONS, Size, days
from offline.row_sizes import EXPORTED, row_bytes
from offline.volumes import GIB, LATE, Reading, Statement, readings
from propensity import tables
from propensity.settings import Settings

BUCKETS = {table.name for table in tables.TABLES if table.buckets}
SETTINGS = Settings(project="p")


def of(users: int) -> Size:
    """Return a size: two events a day of each user, and as many on the stream."""
    return Size(
        users=users,
        events_a_day=2 * users,
        stream_events_a_day=2 * users,
        lookups=1,
        scorings=1,
    )


SIZES = {
    "small": of(50_000),
    "middle": of(1_000_000),
    "large": of(10_000_000),
    "outlook": of(50_000_000),
}

OPENING = """\
# Scale

<!-- Written by `python -m docs.scale > docs/scale.md`; edit docs/scale.py. -->

How many bytes each statement of each function reads at four sizes, which limits that exceeds, and what to change as you grow.
Nothing here has run on Google Cloud; `offline/volumes.py` computes the bytes from `offline/statements.toml`, and a test compares that file with the statements: tables, columns, and the condition on partitions.

BigQuery compares `maximum_bytes_billed` with an [estimate](https://cloud.google.com/bigquery/docs/estimate-costs) that it makes before a query runs.
The estimate knows the columns that a statement names and the partitions that its constants leave, but not what clusters will spare: it is rows × bytes of the columns.
A text counts its UTF-8 bytes and 2, `NUMERIC` 16, `BOOL` 1, every other value 8, a null nothing.
If a statement changes rows, all columns of the partitions that change count as well.

For a size of your own, and what it costs:

```
.venv/bin/propensity cost --users 1000000 --events-a-day 2000000 --stream-events-a-day 2000000
```

The deploy says the same in `deploy/setup.sh` and in a dry run, with `DEPLOY_USERS`, `DEPLOY_EVENTS_A_DAY` and `DEPLOY_STREAM_EVENTS_A_DAY` in its [settings](settings.md#for-the-deployment).

## Four sizes
"""  # noqa: E501

GROWING = """\
Bounds with a star grow with the age of the history, here {kept} days:

- `ma_predictions_table` keeps users who were never scored again.
  The worst case is counted: no user of a lookback is there in the next one (`--returning 0`); with 0.5 half as many rows are added.
  `PROPENSITY_RETENTION_DAYS="ma_predictions_table=90"` ends the growth, and a user who was last scored earlier is then unknown to a lookup.
- `stream_users` has a row for everybody who ever played, counted in the same way; a query for users reads a few of its 1,000 buckets, and the bound takes them all.
- `rebuild_users.sql` alone reads all months of `stream_features_daily`: it runs once, and when a run is forced.
- `first_day.sql` of `first_day_churn` looks for the first registration in all of `stream_events`; an expiry of that table bounds it.

Bounds of `score_stream` and of the compaction count an event that is {late} days late (`--late-days`): a single such event in a group makes a statement read all days since then.
"""  # noqa: E501

FIFTY = """\
## Fifty million users

Settings are enough for that size; the bill becomes the limit before any bound does:

{needed}

- 01-Predictions: by [what was measured](benchmarks.md#predictions), fifty million users take 800 processor seconds of the function's hour on two processors, and 0.5 GB of its 4 GiB, since rows are staged by the million.
  Besides, it waits for `features.sql` and the publication, each within `PROPENSITY_QUERY_TIMEOUT_S` (600 s): raise it to 1800.
  If the hour is too short, raise `--cpu` in `01-Predictions/deploy.sh`, or let BigQuery score (`PROPENSITY_SCORE_WITH=bigquery`).
- Cloud Scheduler waits 30 minutes: the run goes on after that, and the scheduler's next attempts are answered 409, then by the result.
- `score_stream` by features of users bills most of the day's partitions for each group: score events by their own fields, or buy [capacity](https://cloud.google.com/bigquery/docs/reservations-intro) instead of bytes.
"""  # noqa: E501


def page() -> str:
    """Return the page as Markdown."""
    late, kept = SIZES["large"].late_days, SIZES["large"].days_kept
    return "\n".join(
        [
            OPENING,
            *_sizes(),
            "",
            "Upper bounds, in GiB:",
            "",
            *_bounds(),
            "",
            GROWING.format(kept=kept, late=late),
            "## What is billed of a query for users",
            "",
            BILLED,
            *_billed(),
            "",
            "## Limits",
            "",
            LIMITS,
            *_limits(),
            "",
            *growth.lines(),
            "",
            *pace.lines(SIZES),
            *memory.lines(),
            "",
            FIFTY.format(needed="\n".join(_needed(SIZES["outlook"]))),
            FEATURES.format(
                days=SETTINGS.feature_retention_days,
                sets=usage.sets_kept(),
                size_bytes=usage.FEATURE_BYTES,
            ),
            *_features(),
            "",
            "## Rows",
            "",
            "Mean bytes of a row, all columns, of the middle size; tests measure them "
            "on rows that the functions write, and on a real export.",
            "",
            *_rows(),
            "",
        ]
    )


BILLED = """\
Clusters count in what is billed: at least 10 MiB of each table, and of a table that is clustered by user the blocks in which the users lie.
The size of a block is not documented, only that [clusters spare nothing in partitions under 64 MB](https://cloud.google.com/bigquery/docs/clustered-tables). So here a partition up to that size is read whole, and of a larger one a block of 64 MB for each user, until all are read.
In GiB a query:
"""  # noqa: E501

LIMITS = """\
From how many users on each default is exceeded, with two events a day of each user, in the export and on the stream, and a history of a year:
"""  # noqa: E501


FEATURES = """\
## Features of publications

01-Predictions keeps the features of each publication in the bucket for `PROPENSITY_FEATURE_RETENTION_DAYS`: by default {days} days, {sets:.1f} weekly publications of a use case.
A user is assumed to need {size_bytes} bytes of Parquet; users of the demo's shop need 47 to 63, and features drawn at random 280.
For one use case:
"""  # noqa: E501


def _features() -> list[str]:
    def row(what: str, value: Callable[[int], str]) -> list[str]:
        return [what, *(value(size.users) for size in SIZES.values())]

    return _table(
        ["", *SIZES],
        [
            row("a publication, GiB", lambda users: gib(users * usage.FEATURE_BYTES)),
            row("files of it", lambda users: f"{usage.feature_files(users):,}"),
            row(
                "all that are kept, GiB",
                lambda users: gib(users * usage.FEATURE_BYTES * usage.sets_kept()),
            ),
        ],
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(head)
    right = [
        "--:" if name in SIZES or name.endswith("GiB") else "---" for name in names
    ]
    lines = [names, right, *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _sizes() -> list[str]:
    def row(what: str, value: Callable[[Size], int]) -> list[str]:
        return [what, *(f"{value(size):,}" for size in SIZES.values())]

    return _table(
        ["", *SIZES],
        [
            row("users", lambda size: size.users),
            row("events a day, of the export", lambda size: size.events_a_day),
            row("events a day, on the stream", lambda size: size.stream_events_a_day),
            row("days of history", lambda size: size.days_kept),
        ],
    )


def _all() -> Iterable[tuple[Reading, ...]]:
    """Yield each reading at all sizes; those of card_fraud where events are scored."""
    players = [readings(size) for size in SIZES.values()]
    cards = [readings(replace(size, scores_users=False)) for size in SIZES.values()]
    yield from zip(*players, strict=True)
    # What 01 runs where user-day sums are turned off, and training in any case.
    off = replace(SETTINGS, incremental_features=False)
    exported = [readings(size, off) for size in SIZES.values()]
    for by_size in zip(*exported, strict=True):
        if by_size[0].statement.name == "features" and by_size[0].parts[0].table == (
            EXPORT
        ):
            yield by_size
    for by_size in zip(*cards, strict=True):
        if by_size[0].statement.use_case == "card_fraud":
            yield by_size


def _bounds() -> list[str]:
    spans = days(SIZES["large"], SETTINGS)
    rows = []
    for by_size in sorted(_all(), key=_order):
        statement = by_size[0].statement
        read = []
        for part in statement.reads:
            name = LATE.get((by_size[0].function, part.days), part.days)
            whole = "all days" if name == KEPT else f"{spans[name]} d"
            if part.table in BUCKETS:
                whole = "the users' buckets" if name == "buckets" else "all buckets"
            text = f"`{part.table}` {whole}{', changed' * part.changes}"
            if text not in read:
                read.append(text)
        rows.append(
            [
                f"`{by_size[0].function}`",
                f"`{_name_of(statement)}`",
                ", ".join(read),
                *(starred(reading) for reading in by_size),
            ]
        )
    return _table(["function", "statement", "reads", *SIZES], rows)


def _name_of(statement: Statement) -> str:
    """Return a statement's name, with its use case."""
    return f"{statement.use_case}/{statement.name}".removeprefix("/")


def starred(reading: Reading) -> str:
    """Return a bound, with a star where it grows with the history."""
    star = r" \*" if reading.grows and reading.bound else ""
    return gib(reading.bound) + star


def _order(by_size: tuple[Reading, ...]) -> tuple[str, str, str]:
    smallest = by_size[0]
    return smallest.function, smallest.statement.use_case, smallest.statement.name


def _billed() -> list[str]:
    rows = []
    for by_size in sorted(_all(), key=_order):
        if by_size[0].statement.is_lookup:
            for users in (1, 10, 1_000):
                rows.append(
                    [
                        f"`{by_size[0].function}`",
                        f"`{by_size[0].statement.name}`",
                        f"{users:,}",
                        *(gib(reading.billed(users)) for reading in by_size),
                    ]
                )
    return _table(["function", "statement", "users asked for", *SIZES], rows)


@cache
def limits_of(size: Size) -> list[Limit]:
    """Return all limits, as they are by default."""
    return limits.limits(
        size, SETTINGS, run_bytes=limits.RUN_BYTES, day_bytes=limits.DAY_BYTES
    )


def exceeded_from(setting: str, what: str) -> int | None:
    """Return the users from which on a limit's default is too low, to two digits."""

    def is_exceeded(users: int) -> bool:
        return any(
            limit.is_exceeded
            for limit in limits_of(of(users))
            if (limit.setting, _part(limit)) == (setting, what)
        )

    low, high = 1, 10**10
    if not is_exceeded(high):
        return None
    while high / low > 1.005:
        middle = round((low * high) ** 0.5)
        low, high = (low, middle) if is_exceeded(middle) else (middle, high)
    digits = 10 ** max(0, len(f"{high}") - 2)
    return high // digits * digits


def _limits() -> list[str]:
    seen: dict[tuple[str, str], None] = {}
    for size in SIZES.values():
        for limit in limits_of(size):
            seen[limit.setting, _part(limit)] = None
    rows = []
    for setting, part in seen:
        needed = []
        value = 0
        for size in SIZES.values():
            [limit] = [
                candidate
                for candidate in limits_of(size)
                if (candidate.setting, _part(candidate)) == (setting, part)
            ] or [None]
            needed.append(gib(limit.needed) if limit else "")
            value = limit.value if limit else value
        users = exceeded_from(setting, part)
        rows.append(
            [
                f"`{setting}`",
                part or "all other queries",
                gib(value),
                f"{users:,} users" if users else "never",
                *needed,
            ]
        )
    head = ["setting", "of", "default, GiB", "exceeded from"]
    return _table([*head, *SIZES], rows)


def _part(limit: Limit) -> str:
    """Return the part of a limit whose setting bounds several."""
    if "LOOKUP" in limit.setting:
        return limit.what
    if limit.setting.startswith("DEPLOY_"):
        return "the busiest day, at the least" if "DAY" in limit.setting else "a run"
    return ""


def _needed(size: Size) -> list[str]:
    return [f"- {line}." for line in limits.advice(limits_of(size))]


def _rows() -> list[str]:
    size = SIZES["middle"]
    names = [name for name in PARTITIONS if name != EXPORT]
    export = tuple(EXPORTED)
    rows = [[f"`{EXPORT}`", f"{row_bytes(EXPORT, export, size):,.0f}"]]
    rows += [[f"`{name}`", f"{row_bytes(name, (), size):,.0f}"] for name in names]
    return _table(["table", "bytes"], rows)


def gib(value: float) -> str:
    """Return bytes in GiB, with three digits that matter."""
    amount = value / GIB
    if amount >= 100:
        return f"{amount:,.0f}"
    return "0" if not amount else f"{amount:.3g}" if amount >= 0.001 else "< 0.001"


if __name__ == "__main__":
    sys.stdout.write(page())
