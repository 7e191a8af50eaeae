"""
Speed of the stream in process: ours against storey's sums per user. Gates.

    python -m benchmarks.stream

The same generated events go through two programs, each in a process and a virtual
environment of its own, one after another on one and the same core.

- Ours, from raw payloads to rows appended and published: JSON decoded, checked,
  enriched, and encoded as serialised Arrow rows and as JSON, in groups of 1,000.
- storey's ``AggregateByKey`` with sum, avg, count and stddev per user over a
  ``DataframeSource``, from a frame that is ready: nothing is parsed, checked, encoded.
  It gets amounts in cents, since of fractions its sums make variances below zero.

A rate is events by second of processor time: nothing here waits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pyarrow as pa

from benchmarks.report import Line, finish
from local import venvs
from local.generators.games import Games, postcodes
from local.generators.streams import encode
from local.stack.state import LOCAL, ROOT
from propensity import usecases
from propensity.events.enrichment import PostcodeIndex, normalised
from propensity.events.messages import Message
from propensity.events.rows import Accepted, accept, rows_of
from propensity.events.types import Catalogue
from propensity.gcp.http import keep_modules
from propensity.tables.stream import STREAM_EVENTS

# How many times storey's speed, in groups of so many messages.
LEAST, GROUP = 5.0, 1_000
EVENTS, EVENTS_PER_USER, ROUNDS = 200_000, 50, 5
LATENESS = timedelta(days=30)
# Prints events a second of processor time.
STOREY = """
import json, sys, time
from datetime import datetime

import pandas as pd
from storey import AggregateByKey, DataframeSource, NoopDriver, Table, build_flow
from storey.dtypes import (
    EmitEveryEvent,
    FieldAggregator,
    SlidingWindows,
)

path = sys.argv[1]
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
print(len(frame) / (time.process_time() - processor))
"""


def ours(path: Path) -> float:
    """Return our events a second; each must come out as a row and as JSON."""
    pa.set_cpu_count(1)
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

    def made(part: Sequence[Message]) -> tuple[Accepted, pa.RecordBatch]:
        accepted = accept(part, catalogue, index, received_at=at)
        events = accepted.events
        rows = rows_of(STREAM_EVENTS, events, received_at=at, lateness=LATENESS)
        return accepted, rows

    keep_modules()  # as an instance of the function does
    # An instance makes some things once, on its first call.
    made(messages[:GROUP])
    processor = time.process_time()
    rows = 0
    for start in range(0, len(messages), GROUP):
        accepted, batch = made(messages[start : start + GROUP])
        rows += min(batch.num_rows, len(accepted.events)) if batch.serialize() else 0
    processor = time.process_time() - processor
    if rows != len(messages):
        raise RuntimeError(f"of {len(messages)} events {rows} were accepted")
    return rows / processor


def rate(command: Sequence[str]) -> float:
    """Run a program once on this core; return its thousands of events a second."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    text = subprocess.check_output(command, text=True, cwd=ROOT, env=environment)
    return float(text.split()[-1]) / 1e3


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    if len(sys.argv) > 1:
        print(ours(Path(sys.argv[1])))
        return 0
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    requirements = ROOT / "benchmarks" / "requirements-storey.txt"
    peer = venvs.python_of(requirements, folder=LOCAL / "venvs")
    rates: dict[str, list[float]] = {"ours": [], "storey": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.ndjson"
        games = Games(users=EVENTS // EVENTS_PER_USER)
        payloads = map(encode, islice(games.events(), EVENTS))
        file.write_bytes(b"\n".join(payloads))
        own = [sys.executable, "-m", "benchmarks.stream", f"{file}"]
        for _ in range(ROUNDS):
            rates["storey"].append(rate([f"{peer}", "-c", STOREY, f"{file}"]))
            rates["ours"].append(rate(own))
    what = f"events a second of processor time, groups of {GROUP:,}"
    return finish([Line(what, "k/s", rates, least=LEAST)])


if __name__ == "__main__":
    sys.exit(main())
