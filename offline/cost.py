"""
Say what a deployment costs a month, before there is one.

    python -m offline.cost --users 50000 --events-a-day 200000
    python -m offline.cost --users 2000000 --events-a-day 0 --stream-events-a-day 500000
    python -m offline.cost --users 50000 --events-a-day 200000 --json

What is scanned follows from ``offline/statements.toml`` and ``offline/limits.py``, what
is stored from rows and their retention, what is computed from
``deploy/functions.toml``, list prices from ``offline/prices.toml``. Taxes, discounts,
builds, the GA4 export's own storage and data that leave the region are left out.

Every estimate is on the high side where it has to guess. What a query for a few users
reads of a clustered table nobody documents: where that matters, two sums are printed.
After the tables it says which default limits are too low for the size, and what to set.
Reads no environment, asks nobody, and needs no package: Python 3.11 alone runs it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from pathlib import Path

from deploy import functions
from offline import volumes
from offline.limits import (
    CAPACITY,
    DAY_BYTES,
    DAYS,
    MONTH_S,
    PEAK,
    QUERY_USERS,
    RUN_BYTES,
    WEEKS,
    Limit,
    instances,
    limits,
    requests,
    scans,
)
from offline.volumes import Size, players, row_bytes
from propensity import topics
from propensity.settings import Settings

ALERTS = Path(__file__).parent.parent / "deploy" / "terraform" / "watch" / "alerts"
PRICES = Path(__file__).with_name("prices.toml")

MIB, GIB, TIB = 1024**2, 1024**3, 1024**4

# From then on data that do not change cost half.
LONG_TERM_DAYS = 90

# Of Pub/Sub: what a request counts at least, and a message that comes in a full one.
LEAST_REQUEST = 1_000
BATCHED_MESSAGE = 500
# An event is published by its producer and pushed, alone each time; enriched it is
# published many to a request, and so is its score.
BATCHED_MESSAGES = 2

# Seconds of a run on the processors of functions.toml, and users scored a second: well
# above what docs/benchmarks.md has measured.
RUN_S = 120.0
TRAINING_S = 600.0
USERS_A_SECOND = 50_000
# An instance is billed by 100 ms in which it serves somebody.
LEAST_BILLED_S = 0.1

# With keeps_cpu an instance is billed as long as it is up: while it starts and ends,
# and for so long at most after its last request, by
# https://cloud.google.com/run/docs/about-instance-autoscaling.
IDLE_S = 15 * 60
START_S = 20

PARQUET_SHARE = 0.3
# A line of the log as Cloud Logging counts it: the platform's of a request, or ours.
LOG_LINE = 600
# Every so often an instance that serves the stream or scores writes its counts.
COUNTS_EVERY_S = 10.0
POINTER_READ_S = 60
MODEL_BYTES = 50 * MIB

# A function's image: its installed packages (230 to 630 MB), compressed to a third, on
# a base that all share. Revisions that are kept, one a deploy.
IMAGE_BYTES = {
    "00-ModelTraining": 210 * MIB,
    "01-Predictions": 210 * MIB,
    "02-GetProba": 210 * MIB,
    "03-ModelEvaluation": 120 * MIB,
    "04-StreamFeatures": 210 * MIB,
}
BASE_IMAGE_BYTES = 250 * MIB
REVISIONS = 3

# A condition on a metric is evaluated twice a minute, over a few time series.
METRIC_CONDITIONS = frozenset({"conditionThreshold", "conditionAbsent"})
EVALUATIONS = DAYS * 24 * 3600 / 30
SERIES = 3


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
    """
    One thing that is used in a month: how much of it, and what for.

    ``least`` is what it would be if clusters spared all that they can; elsewhere the
    amount.
    """

    price: str
    what: str
    amount: float
    function: str = ""
    least: float | None = None


@cache
def prices(file: Path = PRICES) -> Mapping[str, Price]:
    """Return the list prices by name."""
    read = tomllib.loads(file.read_text("utf-8"))
    return {name: Price(**entry) for name, entry in read.items()}


# -- what is used ----------------------------------------------------------------------


def usage(size: Size) -> list[Line]:
    """Return all that a deployment of a size uses in a month."""
    return [
        *_scanned(size),
        *_stored(size),
        *_streamed(size),
        *_computed(size),
        *_others(size),
    ]


def _scanned(size: Size) -> Iterator[Line]:
    for scan in scans(size):
        one = scan.reading.statement
        users = f" for {_counted(scan.users)} users" if one.is_lookup else ""
        yield Line(
            price="query_tib",
            what=f"{_counted(scan.runs)} × `{one.name}`{users}",
            amount=scan.billed * scan.runs / TIB,
            least=scan.least * scan.runs / TIB,
            function=scan.function,
        )


def _counted(runs: float) -> str:
    return f"{runs:,.0f}" if runs >= 10 else f"{runs:.2g}"


def _stored(size: Size) -> Iterator[Line]:
    kept, streamed = size.days_kept, size.stream_events_a_day
    prediction = row_bytes("ma_predictions_table", (), size) * size.use_cases
    daily: dict[str, float] = {}
    if size.events_a_day:
        daily["probabilities of every week"] = size.users * prediction / 7
    if streamed:
        daily["events of the stream"] = streamed * row_bytes("stream_events", (), size)
    if streamed and size.scores_users:
        daily["tiles"] = players(size) * row_bytes("stream_features_daily", (), size)
    if scored := streamed + size.scorings / DAYS:
        daily["scores"] = scored * row_bytes("inference_log", (), size)
    for what, added in daily.items():
        young = min(kept, LONG_TERM_DAYS)
        yield Line(price="table_gib_month", what=what, amount=added * young / GIB)
        if kept > young:
            yield Line(
                price="old_table_gib_month",
                what=what,
                amount=added * (kept - young) / GIB,
            )
    if size.events_a_day:
        rows = sum(volumes.PARTITIONS["ma_predictions_table"](size, kept))
        yield Line(
            price="table_gib_month",
            what="newest probabilities",
            amount=rows * prediction / size.use_cases / GIB,
        )


def pushes() -> int:
    """Return how often an event is pushed to a function."""
    return sum(1 for one in topics.SUBSCRIPTIONS if one.function)


def days_retained() -> int:
    """Return the days that a topic keeps messages, as the set-up makes it."""
    made = (ALERTS.parent.parent / "messages.tf").read_text()
    [seconds] = set(re.findall(r'message_retention_duration += "([0-9]+)s"', made))
    return int(seconds) // (24 * 3600)


def _streamed(size: Size) -> Iterator[Line]:
    monthly = size.stream_events_a_day * DAYS
    event, score = (
        row_bytes(table, (), size) for table in ("stream_events", "inference_log")
    )
    rows = {
        "stream_features": monthly * event,
        "score_stream": monthly * score,
        "score": size.scorings * score,
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
        # Published alone by its producer, and pushed alone.
        alone = (1 + pushes()) * LEAST_REQUEST
        yield Line(
            price="message_tib",
            what="published and delivered",
            amount=monthly * (alone + BATCHED_MESSAGES * BATCHED_MESSAGE) / TIB,
        )
        # The event, enriched, and its score: each topic keeps what was published.
        days = days_retained()
        kept = size.stream_events_a_day * days * (1 + BATCHED_MESSAGES)
        yield Line(
            price="kept_message_gib_month",
            what=f"messages that topics keep for {days} days",
            amount=kept * BATCHED_MESSAGE / GIB,
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
    several = _instances_of(requests, capacity)
    return min(requests * LEAST_BILLED_S, MONTH_S * several)


def _instances_of(requests: float, capacity: int) -> int:
    return max(1, math.ceil(PEAK * requests / MONTH_S / capacity))


def kept_s(requests: float, capacity: int) -> float:
    """
    Return the seconds in which instances are up that are billed while they are.

    Requests are spread as evenly as can be, which keeps an instance up longer than any
    other way in which they can come; beside it those of the busiest hour, never fewer.
    """
    several = _instances_of(requests, capacity)
    return several * min(MONTH_S, requests * (START_S + IDLE_S))


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
    kept = {one.target for one in functions.load() if one.keeps_cpu}
    for target, asked in requests(size).items():
        if target not in kept:
            seconds[target] = (asked, instance_s(asked, CAPACITY[target]))
    for target, (asked, busy) in seconds.items():
        if not asked:
            continue
        yield from _instances(target, busy)
        yield Line(
            price="request_million",
            what="requests",
            amount=asked / 1e6,
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
        event, score = (
            row_bytes(table, (), size) for table in ("stream_events", "inference_log")
        )
        per_event = (2 * event + score) * PARQUET_SHARE
        objects += per_event * size.stream_events_a_day * size.days_kept
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
    yield from _logged(size)
    watched = conditions(is_streaming=bool(streamed))
    yield Line(price="condition_month", what="alert conditions", amount=len(watched))
    series = sum(SERIES for one in watched if one in METRIC_CONDITIONS)
    yield Line(
        price="series_million",
        what="time series that they look at",
        amount=series * EVALUATIONS / 1e6,
    )
    images = sum(IMAGE_BYTES[one.folder] for one in functions.load())
    yield Line(
        price="image_gib_month",
        what=f"images of functions, {REVISIONS} of each",
        amount=(BASE_IMAGE_BYTES + REVISIONS * images) / GIB,
    )


def conditions(*, is_streaming: bool) -> list[str]:
    """Return the kind of every alert condition that the set-up creates."""
    found = []
    for file in sorted(ALERTS.glob("*.json")):
        policy = json.loads(file.read_text())
        kinds = [
            next(key for key in one if key.startswith("condition"))
            for one in policy["conditions"]
        ]
        if is_streaming or "${subscriptions" not in file.read_text():
            # Of the runs that the compaction knows the age of, one each.
            found += kinds * (3 if "${field}" in file.read_text() else 1)
    return found


def _logged(size: Size) -> Iterator[Line]:
    """Yield the lines of a request, by the platform, and our own."""
    asked = requests(size)
    several = {
        "a line a lookup, by the platform": asked["get_proba"],
        "a line a query of lookups": asked["get_proba"],
        "a line a scoring": asked["score"],
        f"a line a push, {pushes()} an event": sum(
            asked[one.function] for one in topics.SUBSCRIPTIONS if one.function
        ),
        "counts of instances": sum(
            min(asked[name], instances(name, size) * MONTH_S / COUNTS_EVERY_S)
            for name in asked
            if name != "get_proba"
        ),
    }
    for what, lines in several.items():
        if lines:
            yield Line(price="log_gib", what=what, amount=lines * LOG_LINE / GIB)


# -- what it must be allowed -----------------------------------------------------------


def exceeded(size: Size) -> list[Limit]:
    """Return the settings that must be raised from their defaults."""
    every = limits(
        size,
        Settings(project="p"),
        run_bytes=RUN_BYTES,
        day_bytes=DAY_BYTES,
    )
    return [one for one in every if one.is_exceeded]


# -- what it costs ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What a month's use of one price comes to."""

    price: str
    service: str
    amount: float
    free: float
    usd: float


def charges(lines: Sequence[Line], *, is_least: bool = False) -> list[Charge]:
    """
    Return what is charged, one for each price, in the order of ``prices.toml``.

    Args:
        lines: What is used.
        is_least: Where clusters spare all that they can.
    """
    found = []
    for name, price in prices().items():
        amount = sum(
            line.amount if line.least is None or not is_least else line.least
            for line in lines
            if line.price == name
        )
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
    "kept_message_gib_month": "GiB of messages kept",
    "object_gib_month": "GiB of objects",
    "object_write_thousand": "thousand writes",
    "object_read_thousand": "thousand reads",
    "job_month": "schedules",
    "log_gib": "GiB of logs",
    "condition_month": "alert conditions",
    "series_million": "million time series looked at",
    "image_gib_month": "GiB of images",
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
    # What comes to less than a cent is left out.
    scanned = [
        f"| `{line.function}` | {line.what} | {shown(line.amount * 1024)} |"
        for line in lines
        if line.price == "query_tib" and line.amount * prices()["query_tib"].usd > 0.01
    ]
    if scanned:
        scanned = ["", "| function | scans a month | GiB |", "|---|---|--:|", *scanned]
    services = by_service(found)
    total = sum(services.values())
    summary = ", ".join(
        f"{name} {usd:,.2f}" for name, usd in services.items() if usd >= 0.005
    )
    least = sum(one.usd for one in charges(lines, is_least=True))
    is_range = total - least >= 0.005
    both = f"{least:,.2f} to {total:,.2f}" if is_range else f"{total:,.2f}"
    sums = f"**{both} USD a month**" + (f": {summary}." if summary else ".")
    if is_range:
        sums += f"\n{RANGE}"
    ups = [told_of_up(target, up) for target, up in up_s(size).items()]
    return "\n".join([sums, "", *rows, *scanned, *ups, "", *told_of_limits(size)])


RANGE = (
    "The lower sum is for queries for a few users that bill the least that BigQuery "
    "bills; the higher one, and all that follows, for the blocks of 64 MB that they "
    "lie in."
)


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
    found = exceeded(size)
    if not found:
        return ["No default limit on bytes is too low for this."]
    return [
        "Raise these before the first run, to half as much again as is computed:",
        "",
        "| setting | default, GiB | exceeded by | GiB | otherwise | set to, bytes |",
        "|---|--:|---|--:|---|--:|",
        *(
            f"| `{one.setting}` | {shown(one.value / GIB)} | {one.what} "
            f"| {shown(one.needed / GIB)}{' *' * one.grows} "
            f"| {one.otherwise} | {one.set_to} |"
            for one in found
        ),
        *(["", GROWS] if any(one.grows for one in found) else []),
    ]


GROWS = (
    "\\* grows with the age of the history: `PROPENSITY_RETENTION_DAYS` "
    "(such as `ma_predictions_table=90`) ends that."
)


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
            "usd_least": sum(one.usd for one in charges(usage(chosen), is_least=True)),
            "seconds_up": up_s(chosen),
            "limits": [
                {**asdict(one), "set_to": one.set_to} for one in exceeded(chosen)
            ],
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
    add(
        "--days-kept",
        type=one,
        default=least.days_kept,
        help="age of the history, where nothing expires",
    )
    add(
        "--late-days",
        type=some,
        default=least.late_days,
        help="that an event of the stream may come after it happened",
    )
    add(
        "--returning",
        type=_share,
        default=least.returning,
        help="share of a lookback's users who are there in the next one, 0 to 1; the "
        "others stay in the table of predictions",
    )
    add(
        "--lookups-a-query",
        type=_whole(1, QUERY_USERS),
        default=least.lookups_a_query,
        help=f"up to {QUERY_USERS:,}, where users are asked for by POST",
    )
    add(
        "--stream-scores-events",
        action="store_true",
        help="events are scored by their own fields, without a query, online as well",
    )
    add("--json", action="store_true", help="print all figures as JSON")
    options = vars(parser.parse_args(arguments))
    is_json = options.pop("json")
    scores_users = not options.pop("stream_scores_events")
    return Size(scores_users=scores_users, **options), is_json


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share, 0 to 1")
    return value


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
