"""
How often statements run, what they bill, and which limits a size of deployment exceeds.

Functions that are scheduled run by the clock of ``functions.toml``. Those that serve
ask BigQuery as their code does: while queries are under way all who come wait, and
share the next one, so that an instance has so many queries under way at once and no
more (``WRITERS``); a request that comes alone pays a query of its own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from deploy.configuration import OWN, Deployment
from offline.partitions import Size
from offline.volumes import GIB, HEADROOM, STEP, Reading, readings
from propensity import usecases
from propensity.settings import PREFIX, Settings

DAYS = 365.25 / 12
WEEKS = DAYS / 7
MONTH_S = DAYS * 24 * 3600

# From when on somebody is told, where no setting says otherwise.
RUN_BYTES = int(OWN["DEPLOY_ALERT_RUN_BYTES"][0])
DAY_BYTES = int(OWN["DEPLOY_ALERT_DAY_BYTES"][0])

# Queries under way at once in an instance, and the users that one may ask for. Held
# against lookup.CONCURRENT_QUERIES, online.CONCURRENT_QUERIES and
# stream.score.SCORING_GROUPS, and what a group may hold, by a test.
WRITERS = {"get_proba": 4, "score": 4, "score_stream": 2}
QUERY_USERS = 1_000
# A small query of BigQuery takes about a second; a faster one makes more of them.
QUERY_S = 1.0

# Requests a second beyond which an instance gets company, as docs/benchmarks.md has
# measured, halved; and how much busier the busiest hour is.
CAPACITY = {
    "get_proba": 500,
    "score": 150,
    "stream_features": 300,
    "score_stream": 150,
    "archive_events": 300,
}
PEAK = 3

# Of a usual evaluation: the newest week, and the one that became final. Of a usual
# compaction: a statement for the days that have closed.
EVALUATED_WEEKS = 2
# What is billed on a usual day: events that come within a day.
USUALLY_LATE_DAYS = 1

# Statements that a run runs more than once.
TIMES = {
    "predictions_in_force": EVALUATED_WEEKS,
    "evaluation_rows": EVALUATED_WEEKS,
    "evaluation_amounts": EVALUATED_WEEKS,
}
# Run only where something is odd: suppressed users, a rerun of a past week, users who
# are made anew; or where a person asks for reasons.
SELDOM = frozenset(
    {
        "unscored_converters",
        "champion_as_of",
        "rebuild_users",
        "forget_user_days",
        "lookup_reasons",
        "lookup_value",
    }
)
# Sums up the days that have changed and, in the first run of a month, all of them.
SUMS = "sum_user_days"
# The prediction index is made of it.
INDEXED = "current_predictions"
# A query an hour and instance, by PROPENSITY_POSTCODE_TTL_S.
BY_HOUR = "postcodes"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """
    A statement of a function, and how often it runs.

    ``runs`` are those of a month, ``daily`` those of its busiest day, and ``users``
    those that a query asks for.
    """

    reading: Reading
    runs: float
    daily: float
    users: float = math.inf

    @property
    def function(self) -> str:
        return self.reading.function

    @property
    def billed(self) -> float:
        """Return the bytes that a query bills."""
        return self.reading.billed(self.users)

    @property
    def least(self) -> float:
        """Return what a query would bill if clusters left the least there is."""
        return self.reading.least if self.reading.statement.is_lookup else self.billed


def requests(size: Size) -> dict[str, float]:
    """Return the requests of a month, by the function that serves them."""
    streamed = size.stream_events_a_day * DAYS
    return {
        "get_proba": size.lookups / size.lookups_a_query,
        "score": size.scorings,
        "stream_features": streamed,
        "score_stream": streamed,
        "archive_events": streamed,
    }


def instances(function: str, size: Size) -> int:
    """Return the instances that a function's requests need, where they come evenly."""
    rate = requests(size)[function] / MONTH_S
    return max(1, math.ceil(rate / CAPACITY[function]))


def queries(function: str, size: Size) -> tuple[float, float]:
    """
    Return the queries of a month for users, and the users that each asks for.

    Requests that come while an instance has its queries under way share the next ones.
    """
    requested = requests(size)[function]
    each = size.lookups_a_query if function == "get_proba" else 1
    if not requested:
        return 0.0, 0.0
    most = instances(function, size) * WRITERS[function] * MONTH_S / QUERY_S
    count = max(min(requested, most), requested * each / QUERY_USERS)
    return count, requested * each / count


def scans(size: Size, settings: Settings | None = None) -> Iterator[Scan]:
    """Yield every statement of a deployment of a size, as often as it runs."""
    settings = settings or Settings(project="p")
    late = min(size.late_days, USUALLY_LATE_DAYS)
    usual = replace(size, late_days=late, sums_all_days=False)
    monthly = [
        reading
        for reading in readings(replace(usual, sums_all_days=True), settings)
        if reading.statement.name == SUMS
    ]
    for reading in readings(usual, settings):
        runs, daily, users = _runs(reading, size, settings)
        if runs and reading.statement.name == SUMS:
            # The first of a month is the busiest day.
            full = float(size.use_cases)
            yield Scan(reading=reading, runs=runs - full, daily=0.0)
            for whole in monthly:
                yield Scan(reading=whole, runs=full, daily=daily)
        elif runs:
            yield Scan(reading=reading, runs=runs, daily=daily, users=users)


def _runs(
    reading: Reading, size: Size, settings: Settings
) -> tuple[float, float, float]:
    """Return runs a month, those of the busiest day, and users a query."""
    statement, function = reading.statement, reading.function
    if statement.name in SELDOM or _is_spared(statement.name, function, size):
        return 0.0, 0.0, math.inf
    if statement.is_lookup:
        count, users = queries(function, size)
        return count, count / DAYS, users
    streamed = bool(size.stream_events_a_day)
    on_stream = int(streamed or bool(size.scorings))
    if function in WRITERS:
        # Its instances load a version when it begins to serve, a few times a month.
        loads = float(requests(size)[function] > 0) * instances(function, size) * DAYS
        return loads, loads / DAYS, math.inf
    if statement.name == BY_HOUR:
        up = streamed * instances(function, size) * MONTH_S / settings.postcode_ttl_s
        return up, up / DAYS, math.inf
    if function == "compact_features":
        times = streamed * TIMES.get(statement.name, 1)
        return times * DAYS, float(times), math.inf
    by_use_case = {"": size.on_export + on_stream, "ga4_purchase": size.on_export}
    use_cases = by_use_case.get(statement.use_case, on_stream)
    if function == "predictions" and not size.scores_users:
        use_cases = min(use_cases, size.on_export)
    # The first of a month can be a Monday: then all of them run.
    daily = use_cases * TIMES.get(statement.name, 1)
    often = 1.0 if function == "model_training" else WEEKS
    return daily * often, float(daily), math.inf


def _is_spared(name: str, function: str, size: Size) -> bool:
    """Tell whether lookups ask no query, or no index has to be made."""
    if size.has_index:
        return (function, name) == ("get_proba", "lookup")
    return name == INDEXED


# -- limits ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A setting, its value, and what a size needs of it at most; all in bytes."""

    setting: str
    value: int
    needed: float
    what: str
    otherwise: str
    grows: bool = False

    @property
    def is_exceeded(self) -> bool:
        return self.needed > self.value

    @property
    def set_to(self) -> int:
        """Return a value that leaves half as much again."""
        return math.ceil(self.needed * HEADROOM / STEP) * STEP


def limits(
    size: Size,
    settings: Settings,
    *,
    run_bytes: int,
    day_bytes: int,
    only: Collection[str] | None = None,
) -> list[Limit]:
    """
    Return every limit on bytes, with what a size needs of it.

    Args:
        run_bytes, day_bytes: Bounds of the alerts.
        only: The functions that are deployed; all where None.
    """
    every = [
        reading
        for reading in readings(size, settings)
        if only is None or reading.function in only
    ]
    lookups = [reading for reading in every if _is_looked_up(reading, size)]
    others = [reading for reading in every if not reading.statement.is_lookup]
    bounds = [
        Limit(
            setting=f"{PREFIX}MAXIMUM_BYTES_BILLED",
            value=settings.maximum_bytes_billed,
            otherwise="it is refused",
            **_largest(others),
        )
    ]
    bounds += [
        Limit(
            setting=f"{PREFIX}LOOKUP_MAXIMUM_BYTES_BILLED",
            value=settings.lookup_maximum_bytes_billed,
            otherwise="it is refused where there is no index"
            if function == "get_proba" and size.has_index
            else "it is refused",
            **_largest([query for query in lookups if query.function == function]),
        )
        for function in WRITERS
        if any(reading.function == function for reading in lookups)
    ]
    scanned = [
        scan for scan in scans(size, settings) if only is None or scan.function in only
    ]
    runs: dict[str, float] = {}
    for scan in scanned:
        if scan.function not in WRITERS:
            times = TIMES.get(scan.reading.statement.name, 1)
            runs[scan.function] = runs.get(scan.function, 0.0) + scan.billed * times
    run = max(runs, key=lambda name: runs[name], default="")
    bounds += [
        Limit(
            setting="DEPLOY_ALERT_RUN_BYTES",
            value=run_bytes,
            needed=runs.get(run, 0.0),
            what=f"a run of `{run}`",
            otherwise="an alert at each",
        ),
        Limit(
            setting="DEPLOY_ALERT_DAY_BYTES",
            value=day_bytes,
            # An alert is for what is more than expected: the least is what must pass.
            needed=sum(scan.least * scan.daily for scan in scanned),
            what="the busiest day",
            otherwise="an alert on it",
        ),
    ]
    return bounds


def _is_looked_up(reading: Reading, size: Size) -> bool:
    """Tell whether users are asked for at all: no query, no limit."""
    return reading.statement.is_lookup and requests(size)[reading.function] > 0


def _largest(readings: list[Reading]) -> dict[str, Any]:
    if not readings:
        return {"needed": 0.0, "what": "nothing"}
    largest = max(readings, key=lambda reading: reading.bound)
    return {
        "needed": largest.bound,
        "what": f"`{largest.statement.name}.sql` of `{largest.function}`",
        "grows": largest.grows,
    }


def advice(limits: list[Limit]) -> list[str]:
    """Return which limits are exceeded, and what to set, as lines of plain text."""
    lines = []
    for limit in limits:
        if limit.is_exceeded:
            age = ", and it grows with the history" if limit.grows else ""
            lines.append(
                f"{limit.setting} is {limit.value / GIB:,.0f} GiB; {limit.what} may "
                f"need {limit.needed / GIB:,.0f} GiB ({limit.otherwise}){age}: set "
                f"it to {limit.set_to}"
            )
    return lines


def too_low(d: Deployment) -> list[str]:
    """Return which limits a deployment's size would exceed, as lines of plain text."""
    users, events, streamed, days = (
        int(d.own[f"DEPLOY_{name}"])
        for name in ("USERS", "EVENTS_A_DAY", "STREAM_EVENTS_A_DAY", "DAYS_KEPT")
    )
    if not users:
        return [
            "limits on bytes were compared with no size: DEPLOY_USERS is not set, nor "
            "how many events a day there are (propensity cost does the same)"
        ]
    targets = [function.target for function in d.functions]
    loaded = [usecases.load(name) for name in d.use_cases]
    size = Size(
        users=users,
        events_a_day=events,
        stream_events_a_day=streamed,
        days_kept=days,
        use_cases=sum(use_case.reads_export for use_case in loaded) or 1,
        scores_users=any(use_case.has_statement("stream_rows") for use_case in loaded),
        # Enough to say that they are there: a limit is of one query.
        lookups=int("get_proba" in targets),
        has_index=d.settings.lookup_source == "index",
        scorings=int("score" in targets),
    )
    bounds = limits(
        size,
        d.settings,
        run_bytes=int(d.own["DEPLOY_ALERT_RUN_BYTES"]),
        day_bytes=int(d.own["DEPLOY_ALERT_DAY_BYTES"]),
        only=targets,
    )
    size_words = f"{users:,} users, {events:,} events a day"
    if streamed:
        size_words += f", {streamed:,} on the stream"
    return advice(bounds) or [f"no limit on bytes is too low for {size_words}"]
