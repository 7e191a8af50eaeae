"""What a deployment of a size uses in a month."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from deploy import functions
from offline.cost import lookups
from offline.cost.prices import GIB, MIB, TIB, Line
from offline.limits import (
    CAPACITY,
    DAY_BYTES,
    DAYS,
    MONTH_S,
    PEAK,
    RUN_BYTES,
    WEEKS,
    Limit,
    instances,
    limits,
    requests,
    scans,
)
from offline.partitions import PARTITIONS, Size, players
from offline.row_sizes import row_bytes
from propensity import tables, topics
from propensity.settings import Settings

ALERTS = Path(__file__).parents[2] / "deploy" / "terraform" / "watch" / "alerts"

# From then on data that do not change cost half.
LONG_TERM_DAYS = 90

# Of Pub/Sub: what a request counts at least, and a message that comes in a full one.
LEAST_REQUEST = 1_000
BATCHED_MESSAGE = 500

# An event is published by its producer and pushed, alone each time; enriched it is
# published many to a request, and so is its score.
BATCHED_MESSAGES = 2

# Seconds of a run on the processors of deploy.sh, and users scored a second: well
# above what docs/benchmarks.md has measured.
RUN_S = 120.0
TRAINING_S = 600.0
USERS_A_SECOND = 50_000

# An instance is billed by 100 ms in which it has a request.
LEAST_BILLED_S = 0.1

# With keeps_cpu an instance is billed as long as it is up: while it starts and ends,
# and for so long at most after its last request, by
# https://cloud.google.com/run/docs/about-instance-autoscaling.
IDLE_S = 15 * 60
START_S = 20
PARQUET_SHARE = 0.3

# Features of a user as 01-Predictions keeps them, and the rows of a part. Users of the
# demo's shop take 63 bytes where 2,118 are a part, and 47 where a part is full.
FEATURE_BYTES = 100
FEATURE_ROWS = 16_384

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
        query = scan.reading.statement
        users = f" for {_counted(scan.users)} users" if query.is_lookup else ""
        yield Line(
            "query_tib",
            f"{_counted(scan.runs)} × `{query.name}`{users}",
            amount=scan.billed * scan.runs / TIB,
            least=scan.least * scan.runs / TIB,
            function=scan.function,
        )


def _counted(runs: float) -> str:
    return f"{runs:,.0f}" if runs >= 10 else f"{runs:.2g}"


def _stored(size: Size) -> Iterator[Line]:
    kept, streamed = size.days_kept, size.stream_events_a_day
    prediction = row_bytes("ma_predictions_table", (), size) * size.publishing
    daily: dict[str, float] = {}
    if size.publishing:
        daily["probabilities of every week"] = size.users * prediction / 7
    if streamed:
        daily["events of the stream"] = streamed * row_bytes("stream_events", (), size)
    if streamed and size.scores_users:
        daily["tiles"] = players(size) * row_bytes("stream_features_daily", (), size)
    if scored := streamed + size.scorings / DAYS:
        daily["scores"] = scored * row_bytes("inference_log", (), size)
    for what, added in daily.items():
        young = min(kept, LONG_TERM_DAYS)
        yield Line("table_gib_month", what, amount=added * young / GIB)
        if kept > young:
            yield Line("old_table_gib_month", what, amount=added * (kept - young) / GIB)
    if size.events_a_day:
        sums = tables.EXPORT_USER_DAYS
        yield Line(
            "table_gib_month",
            "sums of users' days",
            amount=sum(PARTITIONS[sums.name](size, sums.expiration_days))
            * size.use_cases
            * row_bytes(sums.name, (), size)
            / GIB,
        )
    if size.publishing:
        rows = sum(PARTITIONS["ma_predictions_table"](size, kept))
        yield Line(
            "table_gib_month",
            "newest probabilities",
            amount=rows * prediction / size.use_cases / GIB,
        )


def pushes() -> int:
    """Return how often an event is pushed to a function."""
    return sum(1 for subscription in topics.SUBSCRIPTIONS if subscription.function)


def days_retained() -> int:
    """Return the days that a topic keeps messages, as the set-up makes it."""
    text = (ALERTS.parent.parent / "messages.tf").read_text()
    [seconds] = set(re.findall(r'message_retention_duration += "([0-9]+)s"', text))
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
                "append_gib", "rows appended", amount=appended / GIB, function=function
            )
    if monthly:
        # Published alone by its producer, and pushed alone.
        alone = (1 + pushes()) * LEAST_REQUEST
        yield Line(
            "message_tib",
            "published and delivered",
            amount=monthly * (alone + BATCHED_MESSAGES * BATCHED_MESSAGE) / TIB,
        )
        # The event, enriched, and its score: each topic keeps what was published.
        days = days_retained()
        kept = size.stream_events_a_day * days * (1 + BATCHED_MESSAGES)
        yield Line(
            "kept_message_gib_month",
            f"messages that topics keep for {days} days",
            amount=kept * BATCHED_MESSAGE / GIB,
        )
    if size.publishing:
        # One row of features for each user, of some forty columns.
        read = size.users * 40 * 8 * WEEKS * size.publishing
        yield Line(
            "read_tib", "features of users", amount=read / TIB, function="predictions"
        )


def instance_s(requests: float, capacity: int) -> float:
    """
    Return the seconds in which instances of a function are billed.

    Alone, a request bills 100 ms. Where they come close together they share them, and
    an instance is billed all the time, as are those beside it at the busiest hour.
    """
    instances_up = _instances_of(requests, capacity)
    return min(requests * LEAST_BILLED_S, MONTH_S * instances_up)


def _instances_of(requests: float, capacity: int) -> int:
    return max(1, math.ceil(PEAK * requests / MONTH_S / capacity))


def kept_s(requests: float, capacity: int) -> float:
    """
    Return the seconds in which instances are up that are billed while they are.

    Requests are spread as evenly as can be, which keeps an instance up longer than any
    other way in which they can come; beside it those of the busiest hour, never fewer.
    """
    instances_up = _instances_of(requests, capacity)
    return instances_up * min(MONTH_S, requests * (START_S + IDLE_S))


def up_s(size: Size) -> dict[str, float]:
    """Return the seconds that each function is up which is billed while it is."""
    calls = {"score": size.scorings}
    return {
        function.target: kept_s(calls[function.target], CAPACITY[function.target])
        for function in functions.load()
        if function.keeps_cpu and calls[function.target]
    }


def clocked(size: Size) -> dict[str, int]:
    """Return for how many use cases the clock calls each function; the compaction once,
    and predictions for none whose events are scored."""
    called = {
        "model_training": size.trained,
        "model_evaluation": size.trained,
        "compact_features": int(size.trained > 0),
        "predictions": size.publishing,
    }
    return {target: times for target, times in called.items() if times}


def _computed(size: Size) -> Iterator[Line]:
    # How often in a month, and how long at a time.
    runs = {
        "model_training": (1.0, TRAINING_S),
        "predictions": (WEEKS, RUN_S + size.users / USERS_A_SECOND),
        "model_evaluation": (WEEKS, RUN_S),
        "compact_features": (DAYS, RUN_S),
    }
    seconds = {
        target: (runs[target][0] * called, math.prod(runs[target]) * called)
        for target, called in clocked(size).items()
    }
    kept = {function.target for function in functions.load() if function.keeps_cpu}
    for target, count in requests(size).items():
        if target not in kept:
            seconds[target] = (count, instance_s(count, CAPACITY[target]))
    for target, (count, busy) in seconds.items():
        if not count:
            continue
        yield from _instances(target, busy)
        yield Line("request_million", "requests", amount=count / 1e6, function=target)
    for target, up in up_s(size).items():
        # Their requests cost nothing beside.
        yield from _instances(target, up, of="kept_")


def _instances(target: str, seconds: float, *, of: str = "") -> Iterator[Line]:
    [function] = [
        deployed for deployed in functions.load() if deployed.target == target
    ]
    yield Line(
        f"{of}vcpu_s",
        f"{function.cpu} vCPU",
        amount=seconds * function.cpu,
        function=target,
    )
    yield Line(
        f"{of}gib_s",
        function.memory,
        amount=seconds * gib_of(function.memory),
        function=target,
    )


def gib_of(memory: str) -> float:
    """Return a memory size of ``deploy.sh`` in GiB."""
    if memory.endswith("Gi"):
        return float(memory[:-2])
    return float(memory.removesuffix("Mi")) / 1024


def _others(size: Size) -> Iterator[Line]:
    streamed = size.stream_events_a_day * DAYS
    objects: float = MODEL_BYTES * size.trained * 12
    if streamed:
        # The archive of enriched events, and the exports of events and scores.
        event, score = (
            row_bytes(table, (), size) for table in ("stream_events", "inference_log")
        )
        per_event = (2 * event + score) * PARQUET_SHARE
        objects += per_event * size.stream_events_a_day * size.days_kept
        linger = Settings(project="p").archive_linger_s
        yield Line(
            "object_write_thousand",
            "files of the archive",
            amount=min(streamed, MONTH_S / linger) / 1e3,
            function="archive_events",
        )
    yield Line("object_gib_month", "models, archive and exports", amount=objects / GIB)
    if size.publishing:
        yield from _features(size)
        if size.has_index:
            yield from lookups.lines(size)
    if streamed or size.scorings:
        yield Line(
            "object_read_thousand",
            "looks at the champion",
            amount=2 * MONTH_S / POINTER_READ_S / 1e3,
        )
    jobs = sum(clocked(size).values())
    yield Line("job_month", "schedules", amount=jobs)
    yield from _logged(size)
    watched = conditions(is_streaming=bool(streamed))
    yield Line("condition_month", "alert conditions", amount=len(watched))
    series = sum(SERIES for condition in watched if condition in METRIC_CONDITIONS)
    yield Line(
        "series_million",
        "time series that they look at",
        amount=series * EVALUATIONS / 1e6,
    )
    images = sum(IMAGE_BYTES[function.folder] for function in functions.load())
    yield Line(
        "image_gib_month",
        f"images of functions, {REVISIONS} of each",
        amount=(BASE_IMAGE_BYTES + REVISIONS * images) / GIB,
    )


def sets_kept() -> float:
    """Return the publications of a use case whose features are kept at a time."""
    return Settings(project="p").feature_retention_days / 7


def feature_files(users: int) -> int:
    """Return the objects of a publication's features: its parts and the manifest."""
    return math.ceil(users / FEATURE_ROWS) + 1


def _features(size: Size) -> Iterator[Line]:
    kept = size.users * FEATURE_BYTES * sets_kept() * size.publishing
    yield Line("object_gib_month", "features of publications", amount=kept / GIB)
    # A thousand objects are listed by one operation, and deleting them is free.
    yield Line(
        "object_write_thousand",
        "files of features",
        amount=feature_files(size.users) * WEEKS * size.publishing / 1e3,
        function="predictions",
    )


def conditions(*, is_streaming: bool) -> list[str]:
    """Return the kind of every alert condition that the set-up creates."""
    kinds_of_all = []
    for file in sorted(ALERTS.glob("*.json")):
        policy = json.loads(file.read_text())
        kinds = [
            next(key for key in condition if key.startswith("condition"))
            for condition in policy["conditions"]
        ]
        if is_streaming or "${subscriptions" not in file.read_text():
            # One for each kind of run whose age the compaction reports.
            kinds_of_all += kinds * (3 if "${field}" in file.read_text() else 1)
    return kinds_of_all


def _logged(size: Size) -> Iterator[Line]:
    """Yield the lines of a request, by the platform, and our own."""
    calls = requests(size)
    logged = {
        "a line a lookup, by the platform": calls["get_proba"],
        "a line a query of lookups": 0.0 if size.has_index else calls["get_proba"],
        "a line a scoring": calls["score"],
        f"a line a push, {pushes()} an event": sum(
            calls[subscription.function]
            for subscription in topics.SUBSCRIPTIONS
            if subscription.function
        ),
        "counts of instances": sum(
            min(calls[name], instances(name, size) * MONTH_S / COUNTS_EVERY_S)
            for name in calls
            if name != "get_proba"
        ),
    }
    for what, lines in logged.items():
        if lines:
            yield Line("log_gib", what, amount=lines * LOG_LINE / GIB)


def exceeded(size: Size) -> list[Limit]:
    """Return the settings that must be raised from their defaults."""
    every = limits(
        size, Settings(project="p"), run_bytes=RUN_BYTES, day_bytes=DAY_BYTES
    )
    return [limit for limit in every if limit.is_exceeded]
