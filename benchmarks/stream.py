"""
Events that a processor second takes in, against storey's sums per user. Gates.

We decode, check, enrich and encode raw payloads as rows and as JSON, in groups. storey
adds up a frame that is ready by ``AggregateByKey``, in cents, since of fractions
its sums make variances below zero. Both have one and the same core.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

import pyarrow as pa

from benchmarks.measuring.report import Line, by_peer, in_turns
from local.generators.games import Games, postcodes
from local.generators.streams import encode
from propensity import usecases
from propensity.gcp.asgi import freeze_gc
from propensity.streaming.events.messages import Message
from propensity.streaming.events.postcodes import PostcodeIndex, normalised
from propensity.streaming.events.rows import accept, stored_rows
from propensity.streaming.events.types import Catalogue
from propensity.tables.stream import STREAM_EVENTS

GROUP = 1_000
EVENTS = 200_000
ROUNDS = 5
STOREY = """
import json, pickle, sys, time
import pandas as pd
from storey import AggregateByKey, DataframeSource, NoopDriver, Table, build_flow
from storey.dtypes import EmitEveryEvent, FieldAggregator, SlidingWindows

[payloads] = pickle.load(sys.stdin.buffer)
answer, sys.stdout = sys.stdout.buffer, sys.stderr
frame = pd.DataFrame([json.loads(payload) for payload in payloads])
# A registration has no amount, and is passed over.
amount = frame[["bet_amount", "win_amount", "amount"]].bfill(axis=1).iloc[:, 0]
cents = (100 * amount).round().astype("Int64").astype(object)
frame["amount"] = cents.where(cents.notna(), None)
moments = pd.to_datetime(frame["event_time"], format="ISO8601")
frame["event_time"] = moments.astype("int64") // 10**6
frame = frame[["user_id", "event_type", "amount", "event_time"]].astype(object)
# One window of many hours with one bucket costs it least.
windows = SlidingWindows(["24h"], "24h")
wanted = ["sum", "avg", "count", "stddev"]
flow = build_flow(
    [
        DataframeSource(frame.reset_index(), key_field="user_id", id_field="index"),
        AggregateByKey(
            [FieldAggregator("amount", "amount", wanted, windows)],
            Table("benchmark", NoopDriver()),
            time_field="event_time",
            emit_policy=EmitEveryEvent(),
        ),
    ]
)
began = time.process_time()
flow.run().await_termination()
pickle.dump(len(frame) / (time.process_time() - began) / 1e3, answer)
"""


def ours(payloads: list[bytes]) -> float:
    """Return our thousands of events a second; each must come out as row and JSON."""
    catalogue = Catalogue([usecases.load("first_day_churn")])
    table = postcodes()
    codes = [normalised(code) for code in table["postcode"].to_pylist()]
    index = PostcodeIndex(table.set_column(0, "postcode", pa.array(codes)))
    at = datetime.now(UTC)
    published_at = f"{at:%Y-%m-%dT%H:%M:%S}.123Z"
    messages = [
        Message(data, str(10**15 + number), {}, published_at)
        for number, data in enumerate(payloads)
    ]
    lateness = timedelta(days=30)
    rows = 0
    began = 0.0
    # An instance makes some things once, with its first group.
    for start in range(0, EVENTS, GROUP):
        part = messages[start : start + GROUP]
        events = accept(part, catalogue, index, received_at=at).events
        stored = stored_rows(STREAM_EVENTS, events, received_at=at, lateness=lateness)
        stored.serialize()
        if start == 0:
            began = time.process_time()
        else:
            rows += min(stored.num_rows, len(events))
    seconds = time.process_time() - began
    if rows != EVENTS - GROUP:
        raise RuntimeError(f"of {EVENTS - GROUP} events {rows} were accepted")
    return rows / seconds / 1e3


def lines() -> list[Line]:
    # Programs that are started here get the same core.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    pa.set_cpu_count(1)
    freeze_gc()  # as an instance of the function does
    payloads = [encode(event) for event in islice(Games(users=4_000).events(), EVENTS)]
    storey = partial(by_peer, "storey", STOREY, payloads)
    rates: dict[str, list[float]] = in_turns(
        ROUNDS, {"ours": partial(ours, payloads), "storey": storey}
    )
    what = f"events a second of processor time, groups of {GROUP:,}"
    return [Line(what, "k/s", rates, least=5)]
