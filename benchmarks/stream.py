"""
Speed of the stream in process: ours against storey's sums per user. Gates.

    python -m benchmarks.stream

The same generated events go through two programs, one after another on one and the
same core.

- Ours, from raw payloads to rows appended and published: JSON decoded, checked,
  enriched, and encoded as serialised Arrow rows and as JSON, in groups of 1,000.
- storey's ``AggregateByKey`` with sum, avg, count and stddev per user over a
  ``DataframeSource``, in a virtual environment of its own, from a frame that is ready:
  nothing is parsed, checked, encoded. It gets amounts in cents, since of fractions its
  sums make variances below zero.

A rate is events by second of processor time: nothing here waits.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa

from benchmarks.report import Line, by_peer, finish, in_turns
from local.generators.games import Games, postcodes
from local.generators.streams import encode
from propensity import usecases
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex, normalised
from propensity.events.rows import accept, stored_rows
from propensity.events.types import Catalogue
from propensity.gcp.http import freeze_gc
from propensity.tables.stream import STREAM_EVENTS

# How many times storey's speed, in groups of so many messages.
LEAST = 5.0
GROUP = 1_000
EVENTS = 200_000
EVENTS_PER_USER = 50
ROUNDS = 5
LATENESS = timedelta(days=30)
# Answers with thousands of events a second of processor time.
STOREY = """
import json, pickle, sys, time
from datetime import datetime

import pandas as pd
from storey import AggregateByKey, DataframeSource, NoopDriver, Table, build_flow
from storey.dtypes import EmitEveryEvent, FieldAggregator, SlidingWindows

[path] = pickle.load(sys.stdin.buffer)
answer, sys.stdout = sys.stdout.buffer, sys.stderr
fields = {"new_bet": "bet_amount", "new_win": "win_amount", "new_purchases": "amount"}
events = []
with open(path, "rb") as lines:
    for number, line in enumerate(lines):
        event = json.loads(line)
        moment = datetime.fromisoformat(event["event_time"])
        amount = event.get(fields.get(event["event_type"]))
        events.append(
            (
                number,
                event["user_id"],
                event["event_type"],
                # A registration has none, and is passed over.
                None if amount is None else round(100 * amount),
                int(moment.timestamp() * 1000),
            )
        )
names = ["number", "user_id", "event_type", "amount", "event_time"]
frame = pd.DataFrame(events, columns=names, dtype=object)
# One window of many hours with one bucket costs it least.
made = SlidingWindows(["24h"], "24h")
wanted = ["sum", "avg", "count", "stddev"]
aggregates = [FieldAggregator("amount", "amount", wanted, made)]
flow = build_flow(
    [
        DataframeSource(frame, key_field="user_id", id_field="number"),
        AggregateByKey(
            aggregates,
            Table("benchmark", NoopDriver()),
            time_field="event_time",
            emit_policy=EmitEveryEvent(),
        ),
    ]
)
processor = time.process_time()
flow.run().await_termination()
pickle.dump(len(frame) / (time.process_time() - processor) / 1e3, answer)
"""


def ours(path: Path) -> float:
    """Return our thousands of events a second; each must come out as row and JSON."""
    catalogue = Catalogue([usecases.load("first_day_churn")])
    table = postcodes()
    codes = [normalised(code) for code in table["postcode"].to_pylist()]
    index = PostcodeIndex(table.set_column(0, "postcode", pa.array(codes)))
    at = datetime.now(UTC)
    published_at = f"{at:%Y-%m-%dT%H:%M:%S}.123Z"
    messages = [
        Message(data, str(10**15 + number), {}, published_at)
        for number, data in enumerate(path.read_bytes().splitlines())
    ]

    def made(part: Sequence[Message]) -> int:
        events = accept(part, catalogue, index, received_at=at).events
        rows = stored_rows(STREAM_EVENTS, events, received_at=at, lateness=LATENESS)
        return min(rows.num_rows, len(events)) if rows.serialize() else 0

    # An instance makes some things once, on its first call.
    made(messages[:GROUP])
    began = time.process_time()
    rows = 0
    for start in range(0, len(messages), GROUP):
        rows += made(messages[start : start + GROUP])
    seconds = time.process_time() - began
    if rows != len(messages):
        raise RuntimeError(f"of {len(messages)} events {rows} were accepted")
    return rows / seconds / 1e3


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    # Programs that are started here get the same core.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    pa.set_cpu_count(1)
    freeze_gc()  # as an instance of the function does
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.ndjson"
        games = Games(users=EVENTS // EVENTS_PER_USER)
        payloads = map(encode, islice(games.events(), EVENTS))
        file.write_bytes(b"\n".join(payloads))
        storeys = partial(by_peer, "storey", STOREY, f"{file}")
        ways = {"ours": partial(ours, file), "storey": storeys}
        rates: dict[str, list[float]] = in_turns(ROUNDS, ways)
    what = f"events a second of processor time, groups of {GROUP:,}"
    return finish([Line(what, "k/s", rates, least=LEAST)])


if __name__ == "__main__":
    sys.exit(main())
