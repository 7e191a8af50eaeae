"""
The peers of ``benchmarks.stream``: flows of storey and of Bytewax.

Each is a program for a Python that has the peer, and prints how many events it took,
and seconds.
"""

# Arguments: file of events, how many. Prints seconds.
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

path, count = sys.argv[1:]
fields = {"new_bet": "bet_amount", "new_win": "win_amount", "new_purchases": "amount"}
events = []
with open(path, "rb") as lines:
    for number, line in zip(range(int(count)), lines):
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
clock, processor = time.perf_counter(), time.process_time()
flow.run().await_termination()
processor, clock = time.process_time() - processor, time.perf_counter() - clock
print(json.dumps({"events": len(frame), "processor_s": processor, "clock_s": clock}))
"""
# Arguments: file of events, how many. Prints seconds.
BYTEWAX = """
import json, math, sys, time

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

BATCH = 1_000
path, count = sys.argv[1:]
with open(path, "rb") as file:
    lines = file.read().splitlines()[: int(count)]
amounts = {"new_bet": "bet_amount", "new_win": "win_amount", "new_purchases": "amount"}


class Part(StatefulSourcePartition):
    def __init__(self):
        self.place = 0

    def next_batch(self):
        if self.place >= len(lines):
            raise StopIteration
        self.place += BATCH
        return lines[self.place - BATCH : self.place]

    def snapshot(self):
        return self.place


class Source(FixedPartitionedSource):
    def list_parts(self):
        return ["lines"]

    def build_part(self, step_id, for_part, resume_state):
        return Part()


class End(StatelessSinkPartition):
    def write_batch(self, items):
        pass


class Sink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return End()


def user(event):
    return event["user_id"]


def added(state, event):
    count, total, squares = state
    amount = event.get(amounts.get(event["event_type"]))
    if amount is None:
        return state
    return count + 1, total + amount, squares + amount * amount


def aggregated(state, event):
    state = added(state or (0, 0.0, 0.0), event)
    count, total, squares = state
    event["sum"], event["count"] = total, count
    event["avg"] = total / count if count else None
    event["stddev"] = None
    if count > 1:
        rest = (count * squares - total * total) / (count * (count - 1))
        event["stddev"] = math.sqrt(max(0.0, rest))
    return state, event


flow = Dataflow("benchmark")
events = op.map("decode", op.input("in", flow, Source()), orjson.loads)
keyed = op.key_on("key", events, user)
found = op.stateful_map("sum", keyed, aggregated)
op.output("out", found, Sink())
clock, processor = time.perf_counter(), time.process_time()
run_main(flow)
processor, clock = time.process_time() - processor, time.perf_counter() - clock
print(json.dumps({"events": len(lines), "processor_s": processor, "clock_s": clock}))
"""
