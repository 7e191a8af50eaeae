"""
Say what a deployment costs a month, before there is one.

    python -m offline.cost --users 50000 --events-a-day 200000
    python -m offline.cost --users 2000000 --events-a-day 0 --stream-events-a-day 500000
    python -m offline.cost --users 50000 --events-a-day 200000 --json

What is scanned follows from the statements: the daily tables between the bounds that
a use case gives them, and the bytes of the columns that they read, as BigQuery counts
bytes. What is stored follows from rows and their retention, what is computed from
``deploy/functions.toml``, list prices from ``offline/prices.toml``. Taxes, discounts,
builds, the GA4 export's own storage and data that leave the region are left out.

Every estimate is on the high side where it has to guess: nobody shares a query or an
instance unless ``--lookups-a-query`` says so, and what is billed while it is up stays
up as long as the platform lets it. After the tables it says which default limits are
too low for the size, and what to set. Reads no environment and asks nobody.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

from deploy import functions
from deploy.deployment import Alerts
from propensity import usecases
from propensity.lookup import MAXIMUM_USERS
from propensity.settings import PREFIX, Settings

PRICES = Path(__file__).with_name("prices.toml")

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4

DAYS = 365.25 / 12
WEEKS = DAYS / 7
MONTH_S = DAYS * 24 * 3600

# A month is like any other, and so is its first day.
TODAY = date(2026, 3, 1)

# What BigQuery bills of a table at least, whatever a query reads of it.
LEAST_BILLED = 10 * MIB
# From then on data that do not change cost half.
LONG_TERM_DAYS = 90

# Bytes as BigQuery counts them, by tests/offline/test_cost.py: of a GA4 event what
# features.sql and labels.sql read (the mean of real rows), and of rows of our own.
FEATURE_BYTES = 413
LABEL_BYTES = 41
PREDICTION_BYTES = 77
EVENT_BYTES = 180
INFERENCE_BYTES = 920
# A tile's sums, and the id of each event that it has counted.
TILE_BYTES = 250
EVENT_ID_BYTES = 38

# Weeks that a usual evaluation looks at: the newest, and the one that became final.
EVALUATED_WEEKS = 2
# How often a publication reads each of the users' rows: to compare, to merge, to clear.
PUBLISHED_READS = 6

# Of Pub/Sub: what a request counts at least, and a message that comes in a full one.
LEAST_REQUEST = 1_000
BATCHED_MESSAGE = 500
# An event is published, pushed, published enriched, and pushed to two functions.
SINGLE_REQUESTS = 4
BATCHED_MESSAGES = 2

# Seconds of a run on the processors of functions.toml, and users scored a second: well
# above what docs/benchmarks.md has measured.
RUN_S = 120.0
TRAINING_S = 600.0
USERS_A_SECOND = 100_000
# An instance is billed by 100 ms in which it serves somebody.
LEAST_BILLED_S = 0.1
# Requests a second beyond which an instance gets company, as measured, halved.
CAPACITY = {
    "get_proba": 500,
    "score": 150,
    "stream_features": 300,
    "score_stream": 150,
    "archive_events": 300,
}
PEAK = 3

# With keeps_cpu an instance is billed as long as it is up: while it starts and ends,
# and for so long at most after its last request, by
# https://cloud.google.com/run/docs/about-instance-autoscaling.
IDLE_S = 15 * 60
START_S = 20

# What a limit should leave above what is computed, and what it is rounded up to.
HEADROOM = 1.5
STEP = 10 * GIB

PARQUET_SHARE = 0.3
LOG_LINE = 600
POINTER_READ_S = 60
MODEL_BYTES = 50 * MIB


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a deployment is."""

    users: int
    events_a_day: int
    lookups: int = 0
    scorings: int = 0
    stream_events_a_day: int = 0
    use_cases: int = 1
    retention_days: int = 365
    lookups_a_query: int = 1
    scores_users: bool = True


@dataclass(frozen=True, kw_only=True)
class Price:
    """One list price; ``free`` is in units of it."""

    usd: float
    free: float
    service: str
    note: str
    source: str
    checked: date
    seen_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that is used in a month: how much of it, and what for."""

    price: str
    what: str
    amount: float
    function: str = ""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """
    What the queries of one function read.

    ``scanned`` bytes a run, by ``queries`` of about the same size; ``runs`` are those
    of a month, ``daily`` those of its busiest day.
    """

    function: str
    what: str
    scanned: float
    runs: float = 1.0
    daily: float = 1.0
    queries: int = 1

    @property
    def billed(self) -> float:
        """Return the bytes that a run is billed: no fewer than a query's least."""
        return max(self.scanned, LEAST_BILLED)

    def line(self) -> Line:
        """Return what a month's runs use."""
        return Line(
            price="query_tib",
            what=self.what,
            amount=self.billed * self.runs / TIB,
            function=self.function,
        )


@cache
def prices(file: Path = PRICES) -> Mapping[str, Price]:
    """Return the list prices by name."""
    read = tomllib.loads(file.read_text("utf-8"))
    return {name: Price(**entry) for name, entry in read.items()}


# -- what is used ----------------------------------------------------------------------


def usage(size: Size) -> list[Line]:
    """Return all that a deployment of a size uses in a month."""
    return [
        *(scan.line() for scan in scans(size)),
        *_stored(size),
        *_streamed(size),
        *_computed(size),
        *_others(size),
    ]


def shards(as_ofs: int) -> tuple[int, int]:
    """
    Return how many daily tables features and labels read for a number of snapshots.

    By the bounds that the use case of the export gives its statements.
    """
    use_case, settings = usecases.load("ga4_purchase"), Settings(project="p")
    if as_ofs > 1:
        chosen = use_case.timeframe(settings).snapshots(
            today=TODAY, earliest=date(1971, 1, 1), at_most=as_ofs
        )
    else:
        chosen = (TODAY,)
    window = use_case.window(settings, chosen)

    def days(first: str, last: str) -> int:
        ends = (date.fromisoformat(window[name]) for name in (first, last))
        begun, ended = ends
        return (ended - begun).days + 1

    return (
        days("first_suffix", "last_suffix"),
        days("first_label_suffix", "last_label_suffix"),
    )


def scans(size: Size) -> Iterator[Scan]:
    """Yield what the queries of a deployment of a size read."""
    if size.events_a_day:
        yield from _scheduled_scans(size)
    if size.lookups:
        asked, queries = size.lookups_a_query, size.lookups / size.lookups_a_query
        yield Scan(
            function="get_proba",
            what=f"a query for {asked:,} lookup{'s' * (asked > 1)}",
            scanned=LEAST_BILLED,
            runs=queries,
            daily=queries / DAYS,
        )
    streamed = size.stream_events_a_day
    asking = {"score": size.scorings, "score_stream": streamed * DAYS}
    for function, scored in asking.items():
        if scored and size.scores_users:
            # Those that come while a query is under way share the next one.
            queries = min(scored, MONTH_S)
            yield Scan(
                function=function,
                what="features of users",
                scanned=2 * LEAST_BILLED,
                runs=queries,
                daily=queries / DAYS,
            )
    if streamed:
        yield Scan(
            function="compact_features",
            what="a day's events and the tiles of their month",
            scanned=streamed * (3 * EVENT_BYTES + DAYS * EVENT_ID_BYTES)
            + streamed * INFERENCE_BYTES,
            runs=DAYS,
        )


def _scheduled_scans(size: Size) -> Iterator[Scan]:
    daily = size.events_a_day
    table = size.users * PREDICTION_BYTES
    features, labels = shards(Settings(project="p").training_snapshots)
    # The first of a month can be a Monday: then all of them run.
    weekly = WEEKS * size.use_cases
    yield Scan(
        function="model_training",
        what=f"{features} days of features, {labels} of labels",
        scanned=daily * (features * FEATURE_BYTES + labels * LABEL_BYTES),
        runs=size.use_cases,
        daily=size.use_cases,
    )
    lookback, week = shards(1)
    yield Scan(
        function="predictions",
        what=f"{lookback} days of features, a week apart",
        scanned=daily * lookback * FEATURE_BYTES,
        runs=weekly,
        daily=size.use_cases,
    )
    yield Scan(
        function="predictions",
        what="compare, publish and clear",
        scanned=PUBLISHED_READS * table,
        queries=PUBLISHED_READS,
        runs=weekly,
        daily=size.use_cases,
    )
    # Who is in a week's cohort is read of its lookback.
    yield Scan(
        function="model_evaluation",
        what=f"{EVALUATED_WEEKS} weeks' outcomes and probabilities",
        scanned=EVALUATED_WEEKS * (daily * (lookback + week) * LABEL_BYTES + table),
        queries=EVALUATED_WEEKS,
        runs=weekly,
        daily=size.use_cases,
    )


def _stored(size: Size) -> Iterator[Line]:
    kept = size.retention_days
    tiles = min(size.stream_events_a_day, size.users)
    daily = {
        "probabilities of every week": (
            size.users * PREDICTION_BYTES * size.use_cases / 7
            if size.events_a_day
            else 0.0
        ),
        "events of the stream": float(size.stream_events_a_day * EVENT_BYTES),
        "scores with their features": (
            (size.stream_events_a_day + size.scorings / DAYS) * INFERENCE_BYTES
        ),
        "tiles": float(tiles * TILE_BYTES + size.stream_events_a_day * EVENT_ID_BYTES),
    }
    for what, added in daily.items():
        if not added:
            continue
        young = min(kept, LONG_TERM_DAYS)
        yield Line(price="table_gib_month", what=what, amount=added * young / GIB)
        if kept > young:
            yield Line(
                price="old_table_gib_month",
                what=what,
                amount=added * (kept - young) / GIB,
            )
    if size.events_a_day:
        yield Line(
            price="table_gib_month",
            what="newest probabilities",
            amount=size.users * PREDICTION_BYTES * size.use_cases / GIB,
        )


def _streamed(size: Size) -> Iterator[Line]:
    monthly = size.stream_events_a_day * DAYS
    rows = {
        "stream_features": monthly * EVENT_BYTES,
        "score_stream": monthly * INFERENCE_BYTES,
        "score": size.scorings * INFERENCE_BYTES,
    }
    for function, appended in rows.items():
        if appended:
            yield Line(
                price="append_gib",
                what="rows appended",
                amount=appended / GIB,
                function=function,
            )
    if monthly:
        each = SINGLE_REQUESTS * LEAST_REQUEST + BATCHED_MESSAGES * BATCHED_MESSAGE
        yield Line(
            price="message_tib",
            what="published and delivered",
            amount=monthly * each / TIB,
        )
    if size.events_a_day:
        # One row of features for each user, of some forty columns.
        read = size.users * 40 * 8 * WEEKS * size.use_cases
        yield Line(
            price="read_tib",
            what="features of users",
            amount=read / TIB,
            function="predictions",
        )


def instance_s(requests: float, capacity: int) -> float:
    """
    Return the seconds in which instances of a function are billed.

    Alone, a request bills 100 ms. Where they come close together they share them, and
    an instance is billed all the time, as are those beside it at the busiest hour.
    """
    instances = max(1, math.ceil(PEAK * requests / MONTH_S / capacity))
    return min(requests * LEAST_BILLED_S, MONTH_S * instances)


def kept_s(requests: float, capacity: int) -> float:
    """
    Return the seconds in which instances are up that are billed while they are.

    Requests are spread as evenly as can be, which keeps an instance up longer than any
    other way in which they can come; beside it those of the busiest hour, never fewer.
    """
    instances = max(1, math.ceil(PEAK * requests / MONTH_S / capacity))
    return instances * min(MONTH_S, requests * (START_S + IDLE_S))


def up_s(size: Size) -> dict[str, float]:
    """Return the seconds that each function is up which is billed while it is."""
    asked = {"score": size.scorings}
    return {
        one.target: kept_s(asked[one.target], CAPACITY[one.target])
        for one in functions.load()
        if one.keeps_cpu and asked[one.target]
    }


def _computed(size: Size) -> Iterator[Line]:
    scheduled = bool(size.events_a_day)
    streamed = size.stream_events_a_day * DAYS
    runs = size.use_cases * scheduled
    seconds: dict[str, tuple[float, float]] = {
        "model_training": (runs, TRAINING_S * runs),
        "predictions": (
            runs * WEEKS,
            (RUN_S + size.users / USERS_A_SECOND) * WEEKS * runs,
        ),
        "model_evaluation": (runs * WEEKS, RUN_S * WEEKS * runs),
        "compact_features": (DAYS, RUN_S * DAYS) if streamed else (0, 0.0),
    }
    served: Sequence[tuple[str, float]] = (
        ("get_proba", size.lookups),
        ("stream_features", streamed),
        ("score_stream", streamed),
        ("archive_events", streamed),
    )
    for target, requests in served:
        seconds[target] = (requests, instance_s(requests, CAPACITY[target]))
    for target, (requests, busy) in seconds.items():
        if not requests:
            continue
        yield from _instances(target, busy)
        yield Line(
            price="request_million",
            what="requests",
            amount=requests / 1e6,
            function=target,
        )
    for target, up in up_s(size).items():
        # Their requests cost nothing beside.
        yield from _instances(target, up, of="kept_")


def _instances(target: str, seconds: float, *, of: str = "") -> Iterator[Line]:
    [one] = [one for one in functions.load() if one.target == target]
    yield Line(
        price=f"{of}vcpu_s",
        what=f"{one.cpu} vCPU",
        amount=seconds * one.cpu,
        function=target,
    )
    yield Line(
        price=f"{of}gib_s",
        what=one.memory,
        amount=seconds * gib_of(one.memory),
        function=target,
    )


def gib_of(memory: str) -> float:
    """Return a memory size of ``functions.toml`` in GiB."""
    if memory.endswith("Gi"):
        return float(memory[:-2])
    return float(memory.removesuffix("Mi")) / 1024


def _others(size: Size) -> Iterator[Line]:
    streamed = size.stream_events_a_day * DAYS
    objects: float = MODEL_BYTES * size.use_cases * 12
    if streamed:
        # The archive of enriched events, and the exports of events and scores.
        per_event = (2 * EVENT_BYTES + INFERENCE_BYTES) * PARQUET_SHARE
        objects += per_event * size.stream_events_a_day * size.retention_days
        linger = Settings(project="p").archive_linger_s
        yield Line(
            price="object_write_thousand",
            what="files of the archive",
            amount=min(streamed, MONTH_S / linger) / 1e3,
            function="archive_events",
        )
    yield Line(
        price="object_gib_month",
        what="models, archive and exports",
        amount=objects / GIB,
    )
    if streamed or size.scorings:
        yield Line(
            price="object_read_thousand",
            what="looks at the champion",
            amount=2 * MONTH_S / POINTER_READ_S / 1e3,
        )
    jobs: float = 3 * size.use_cases * bool(size.events_a_day) + bool(streamed)
    yield Line(price="job_month", what="schedules", amount=jobs)
    lines = (
        size.lookups / size.lookups_a_query + size.lookups + size.scorings + streamed
    )
    yield Line(
        price="log_gib",
        what="a line of ours or of the platform's a request",
        amount=lines * LOG_LINE / GIB,
    )


# -- what it must be allowed -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit whose default is too low, all in bytes, and what comes of that."""

    setting: str
    default: int
    needed: float
    set_to: int
    what: str
    otherwise: str


def limits(size: Size) -> list[Limit]:
    """Return the settings that must be raised from their defaults."""
    every = list(scans(size))
    runs: dict[str, float] = {}
    for scan in every:
        runs[scan.function] = runs.get(scan.function, 0.0) + scan.billed
    # Queries of these have a limit of their own, far above the least that is billed.
    own = ("get_proba", "score", "score_stream")
    queries = [
        (scan.billed / scan.queries, f"a query of `{scan.function}`")
        for scan in every
        if scan.function not in own
    ]
    # The limit is compared with an upper bound, in which clustering does not count:
    # https://cloud.google.com/bigquery/docs/best-practices-costs
    current = float(size.users * size.use_cases * PREDICTION_BYTES)
    lookup = current if size.lookups else 0.0
    day = sum(scan.billed * scan.daily for scan in every)
    settings, alerts = Settings(project="p"), Alerts()
    found = (
        (
            f"{PREFIX}MAXIMUM_BYTES_BILLED",
            settings.maximum_bytes_billed,
            max(queries, default=(0.0, "")),
            "it is refused",
        ),
        (
            f"{PREFIX}LOOKUP_MAXIMUM_BYTES_BILLED",
            settings.lookup_maximum_bytes_billed,
            (lookup, "what BigQuery holds a query of `get_proba` to read at most"),
            "it is refused",
        ),
        (
            "DEPLOY_ALERT_RUN_BYTES",
            alerts.run_bytes,
            max(
                ((bytes_, f"a run of `{name}`") for name, bytes_ in runs.items()),
                default=(0.0, ""),
            ),
            "an alert at each",
        ),
        (
            "DEPLOY_ALERT_DAY_BYTES",
            alerts.day_bytes,
            (day, "the busiest day"),
            "an alert on it",
        ),
    )
    return [
        Limit(
            setting=setting,
            default=default,
            needed=needed,
            set_to=math.ceil(needed * HEADROOM / STEP) * STEP,
            what=what,
            otherwise=otherwise,
        )
        for setting, default, (needed, what), otherwise in found
        if needed > default
    ]


# -- what it costs ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What a month's use of one price comes to."""

    price: str
    service: str
    amount: float
    free: float
    usd: float


def charges(lines: Sequence[Line]) -> list[Charge]:
    """Return what is charged, one for each price, in the order of ``prices.toml``."""
    found = []
    for name, price in prices().items():
        amount = sum(line.amount for line in lines if line.price == name)
        billed = max(0.0, amount - price.free)
        found.append(
            Charge(
                price=name,
                service=price.service,
                amount=amount,
                free=min(amount, price.free),
                usd=billed * price.usd,
            )
        )
    return found


def by_service(found: Sequence[Charge]) -> dict[str, float]:
    """Return USD by service."""
    services: dict[str, float] = {}
    for one in found:
        services[one.service] = services.get(one.service, 0.0) + one.usd
    return services


UNITS = {
    "query_tib": "TiB scanned",
    "table_gib_month": "GiB stored",
    "old_table_gib_month": "GiB stored, unchanged for 90 days",
    "append_gib": "GiB appended",
    "read_tib": "TiB read",
    "vcpu_s": "vCPU-seconds",
    "gib_s": "GiB-seconds",
    "kept_vcpu_s": "vCPU-seconds up",
    "kept_gib_s": "GiB-seconds up",
    "request_million": "million requests",
    "message_tib": "TiB of messages",
    "object_gib_month": "GiB of objects",
    "object_write_thousand": "thousand writes",
    "object_read_thousand": "thousand reads",
    "job_month": "schedules",
    "log_gib": "GiB of logs",
}


def told(size: Size) -> str:
    """Return what a size comes to, as Markdown."""
    lines = usage(size)
    found = [one for one in charges(lines) if one.amount]
    rows = [
        "| service | used in a month | free | USD |",
        "|---|--:|--:|--:|",
        *(
            f"| {one.service} | {shown(one.amount)} {UNITS[one.price]} "
            f"| {shown(one.free)} | {one.usd:,.2f} |"
            for one in found
        ),
    ]
    scanned = [
        f"| `{line.function}` | {line.what} | {shown(line.amount * 1024)} |"
        for line in lines
        if line.price == "query_tib"
    ]
    if scanned:
        scanned = ["", "| function | scans a month | GiB |", "|---|---|--:|", *scanned]
    services = by_service(found)
    total = sum(services.values())
    summary = ", ".join(
        f"{name} {usd:,.2f}" for name, usd in services.items() if usd >= 0.005
    )
    sums = f"**{total:,.2f} USD a month**" + (f": {summary}." if summary else ".")
    ups = [told_of_up(target, up) for target, up in up_s(size).items()]
    return "\n".join([sums, "", *rows, *scanned, *ups, "", *told_of_limits(size)])


def told_of_up(target: str, up: float) -> str:
    """Return what is billed of a function whether or not it has requests."""
    return (
        f"\n`{target}` is billed while an instance of it is up, idle or not: taken to "
        f"be {up / 3600:,.0f} hours of the month's {MONTH_S / 3600:,.0f}, "
        f"{IDLE_S // 60} minutes beyond each request.\n"
        f"This is for who uses `{target}`: without scorings nothing is up."
    )


def told_of_limits(size: Size) -> list[str]:
    """Return which settings must be raised, and to what, as lines of Markdown."""
    found = limits(size)
    if not found:
        return ["No default limit on bytes is too low for this."]
    return [
        "Raise these before the first run, to half as much again as is computed:",
        "",
        "| setting | default, GiB | exceeded by | GiB | otherwise | set to, bytes |",
        "|---|--:|---|--:|---|--:|",
        *(
            f"| `{one.setting}` | {shown(one.default / GIB)} | {one.what} "
            f"| {shown(one.needed / GIB)} | {one.otherwise} | {one.set_to} |"
            for one in found
        ),
    ]


def shown(amount: float) -> str:
    """Return an amount with three digits that matter."""
    if amount == 0:
        return "0"
    if amount >= 100:
        return f"{amount:,.0f}"
    return f"{amount:.3g}"


# -- the command -----------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    chosen, is_json = parse(arguments)
    if is_json:
        found = charges(usage(chosen))
        report = {
            "size": asdict(chosen),
            "usage": [asdict(line) for line in usage(chosen)],
            "charges": [asdict(one) for one in found],
            "usd_by_service": by_service(found),
            "usd": sum(one.usd for one in found),
            "seconds_up": up_s(chosen),
            "limits": [asdict(one) for one in limits(chosen)],
        }
        print(json.dumps(report, indent=2))
    else:
        print(told(chosen))
    return 0


def parse(arguments: Sequence[str] | None) -> tuple[Size, bool]:
    """Read the command line; end with status 2 and what is wrong with it."""
    parser = argparse.ArgumentParser(
        prog="python -m offline.cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    least = Size(users=0, events_a_day=0)
    some, one = _whole(0), _whole(1)
    add = parser.add_argument
    add("--users", type=some, required=True, help="with an event in the lookback")
    add(
        "--events-a-day", type=some, required=True, help="of the GA4 export; 0 for none"
    )
    add("--lookups", type=some, default=0, help="a month, not cached")
    add(
        "--scorings",
        type=some,
        default=0,
        help="online, a month; instances of score are billed while they are up, idle "
        "or not, and without scorings none is",
    )
    add("--stream-events-a-day", type=some, default=0)
    add("--use-cases", type=one, default=least.use_cases, help="on the GA4 export")
    add("--retention-days", type=one, default=least.retention_days)
    add(
        "--lookups-a-query",
        type=_whole(1, MAXIMUM_USERS),
        default=least.lookups_a_query,
        help=f"up to {MAXIMUM_USERS:,}, where users are asked for by POST",
    )
    add(
        "--stream-scores-events",
        action="store_true",
        help="events are scored by their own fields, without a query, online as well",
    )
    add("--json", action="store_true", help="print all figures as JSON")
    options = vars(parser.parse_args(arguments))
    is_json = options.pop("json")
    size = replace(
        least, scores_users=not options.pop("stream_scores_events"), **options
    )
    return size, is_json


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads a number within bounds."""
    bounds = f"at least {least}" if most is None else f"{least} to {most:,}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text} is not a whole number, {bounds}")
        return value

    return read


if __name__ == "__main__":
    sys.exit(main())
