"""
Speed of the stream in process: ours against the flows of storey and Bytewax. Gates.

    python -m benchmarks.stream [--events 200000] [--rounds 5]

The same generated events go through three programs, each in a process and a virtual
environment of its own, one after another on one and the same core, several rounds long.

- Ours, from raw payloads to what is appended and published: JSON decoded, checked,
  enriched, and encoded as serialised Arrow rows and as JSON, in batches as large as a
  group of the deployed function, 1,000 as with Bytewax. Beside it, for comparison,
  with exact sums per user; in groups of 64, which is what the deployed function gets;
  and bare card transactions in such groups, which have 31 fields and no type.
- storey's ``AggregateByKey`` with sum, avg, count and stddev per user over a
  ``DataframeSource``, from a frame that is ready: nothing is parsed, checked, encoded.
  Which windows are fastest is found first. Told to emit nothing, it never computes avg
  and stddev; that informs only. It gets amounts in cents, since of fractions its sums
  make variances below zero, whose root it fails on.
- Bytewax, batch size 1,000: JSON decoded by orjson, and the same four aggregates kept
  per user and given out with every event. It checks nothing. Variants that give nothing
  out until the end, or keep nothing at all, inform only.

A rate is events by second of processor time: nothing here waits, and it tells less of
what else the machine does than time by the clock, which stands below it.

Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.report import Line, finish
from benchmarks.stream_peers import BYTEWAX, STOREY, STOREY_WINDOWS
from local import venvs
from local.generators.cards.cards import Cards
from local.generators.games.games import Games
from local.generators.games.towns import postcodes
from local.stack.state import LOCAL
from propensity import usecases
from propensity.events import reading
from propensity.events.catalogue import Catalogue
from propensity.events.messages import Message
from propensity.events.postcodes import PostcodeIndex, normalised
from propensity.events.rows import Rules
from propensity.stream.consumers import GROUP_MESSAGES

HERE = Path(__file__).resolve().parent
LEAST_OF_STOREY = 10.0
LEAST_OF_BYTEWAX = 1.0
# Microseconds of a processor in groups of 64: 400,000 events a second, and for cards.
MOST_US_AN_EVENT = 2.5
MOST_US_A_TRANSACTION = 4.0
SMALL_GROUP = 64
EVENTS_PER_USER = 50
SEARCHED_EVENTS = 50_000
CARDS = 50_000
USE_CASE = "first_day_churn"

OURS = "ours"
OURS_SUMMED = "ours, and sums per user"
OURS_SMALL = "ours, groups of 64"
OURS_CARDS = "ours, card transactions in groups of 64"
OF_OURS = {OURS, OURS_SUMMED, OURS_SMALL, OURS_CARDS}
STOREY_EVERY = "storey, every event"
STOREY_NEVER = "storey, nothing emitted"
BYTEWAX_EVERY = "Bytewax, every event"
BYTEWAX_JSON = "Bytewax, every event as JSON"
BYTEWAX_FOLD = "Bytewax, sums at the end"
BYTEWAX_MAP = "Bytewax, no state, JSON"


@dataclass(frozen=True)
class Rate:
    """Events a second, of processor time and by the clock."""

    processor: float
    clock: float


@dataclass(frozen=True)
class Program:
    """What is measured: a command that takes a file and a number of events."""

    name: str
    command: Sequence[str]
    arguments: Sequence[str] = ()

    def rate(self, path: Path, count: int) -> Rate:
        """Run it once, on the core that this process is on."""
        process = subprocess.run(
            [*self.command, str(path), str(count), *self.arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )
        answer = json.loads(process.stdout.splitlines()[-1])
        events = answer["events"]
        return Rate(events / answer["processor_s"], events / answer["clock_s"])


def write_events(path: Path, count: int) -> None:
    """Write payloads, one a line."""
    games = Games(users=max(1, count // EVENTS_PER_USER))
    with path.open("wb") as file:
        written = 0
        for payload, _ in islice(games.payloads(), count):
            file.write(payload + b"\n")
            written += 1
    if written < count:
        raise RuntimeError(f"the generator has {written} events, not {count}")


def pin() -> None:
    """Keep this process and those that it starts on one core, where that can be."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


# -- ours ------------------------------------------------------------------------------


Accept = Callable[[Sequence[Message]], reading.Accepted]


def acceptance(use_case: str = USE_CASE) -> Accept:
    """Return what stream_features does with messages between its edges."""
    catalogue = Catalogue([usecases.load(use_case)])
    table = postcodes()
    codes = [normalised(code) for code in table["postcode"].to_pylist()]
    index = PostcodeIndex.of(table.set_column(0, "postcode", pa.array(codes)))
    rules = Rules(
        maximum_bytes=256 * 1024,
        clock_skew=timedelta(seconds=600),
        lateness=timedelta(days=30),
        keeps_personal=False,
    )
    at = datetime.now(UTC)

    def accept(messages: Sequence[Message]) -> reading.Accepted:
        return reading.accept(messages, catalogue, index, received_at=at, rules=rules)

    return accept


def delivered(payloads: Sequence[bytes]) -> list[Message]:
    """Return payloads as the messages that were read out of their envelopes."""
    published_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.123Z"
    return [
        Message(data, str(10**15 + number), {}, published_at)
        for number, data in enumerate(payloads)
    ]


def summed(rows: pa.RecordBatch) -> pa.Table:
    """Return exact counts, sums and sums of squares per user and type of event."""
    amounts = rows.column("amount").cast(pa.decimal128(12, 2))
    table = pa.table(
        {
            "user_id": rows.column("user_id"),
            "event_type": rows.column("event_type"),
            "amount": amounts,
            "square": pc.multiply(amounts, amounts),
        }
    )
    return table.group_by(["user_id", "event_type"], use_threads=False).aggregate(
        [("amount", "count"), ("amount", "sum"), ("square", "sum")]
    )


def transactions(count: int) -> list[bytes]:
    """Return card transactions of now, as producers send most of them."""
    now = datetime.now(UTC)
    cards = Cards(transactions=count).drawn.stretched(now - timedelta(hours=2), now)
    return [
        json.dumps(event, separators=(",", ":")).encode() for event in cards.events()
    ]


def run_ours(path: Path, count: int, what: str) -> dict[str, Any]:
    """Measure ours; every event must come out as a row and as JSON."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    is_summed, is_cards = what == "sums", what == "cards"
    size_of_group = SMALL_GROUP if what in {"small", "cards"} else GROUP_MESSAGES
    payloads = (
        transactions(min(count, CARDS)) if is_cards else path.read_bytes().splitlines()
    )
    messages = delivered(payloads[:count])
    accept = acceptance("card_fraud" if is_cards else USE_CASE)
    # What is made on the first call is made once in an instance.
    accept(messages[:size_of_group])
    clock, processor = time.perf_counter(), time.process_time()
    rows = enriched = size = 0
    for start in range(0, len(messages), size_of_group):
        batch = accept(messages[start : start + size_of_group])
        size += len(batch.events.serialize())
        rows += batch.events.num_rows
        enriched += len(batch.enriched)
        if is_summed:
            summed(batch.rows)
    processor, clock = time.process_time() - processor, time.perf_counter() - clock
    if not rows == enriched == len(messages) or not size:
        raise RuntimeError(f"of {len(messages)} events {rows} were accepted")
    return {"events": rows, "processor_s": processor, "clock_s": clock}


# -- the run ---------------------------------------------------------------------------


def programs() -> tuple[list[Program], list[Program], list[Program]]:
    """Return what is measured: ours, storey's configurations, Bytewax's variants."""
    say = print if sys.stderr.isatty() else lambda _: None
    pythons = {
        peer: venvs.python_of(
            HERE / f"requirements-{peer}.txt", folder=LOCAL / "venvs", say=say
        )
        for peer in ("storey", "bytewax")
    }
    own = [sys.executable, "-m", "benchmarks.stream", "--ours"]
    ours = [
        Program(name, own, (what,))
        for name, what in (
            (OURS, "rows"),
            (OURS_SUMMED, "sums"),
            (OURS_SMALL, "small"),
            (OURS_CARDS, "cards"),
        )
    ]
    storey = [
        Program(name, [str(pythons["storey"]), "-c", STOREY], (windows, emit))
        for name, emit in ((STOREY_EVERY, "every"), (STOREY_NEVER, "never"))
        for windows in STOREY_WINDOWS
    ]
    bytewax = [
        Program(name, [str(pythons["bytewax"]), "-c", BYTEWAX], (variant,))
        for name, variant in (
            (BYTEWAX_EVERY, "events"),
            (BYTEWAX_JSON, "json"),
            (BYTEWAX_FOLD, "fold"),
            (BYTEWAX_MAP, "map"),
        )
    ]
    return ours, storey, bytewax


def fastest(programs: Sequence[Program], path: Path, count: int) -> list[Program]:
    """Return the fastest program of each name, and print what all of them do."""
    rates = [(program, program.rate(path, count).processor) for program in programs]
    print("| storey | windows | k events/s |\n|:--|:--|--:|")
    for program, rate in rates:
        print(f"| {program.name} | {program.arguments[0]} | {rate / 1e3:,.1f} |")
    best = {
        program.name: program
        for program, _ in sorted(rates, key=lambda entry: entry[1])
    }
    return list(best.values())


def lines(rates: Mapping[str, Sequence[Rate]]) -> Iterator[Line]:
    """Yield the lines of the rates: by processor time, and ours by the clock."""
    thousands = {
        name: [rate.processor / 1e3 for rate in of_program]
        for name, of_program in rates.items()
    }
    own = thousands[OURS]
    bytewax = max(
        (BYTEWAX_EVERY, BYTEWAX_JSON), key=lambda name: median(thousands[name])
    )
    targets = {STOREY_EVERY: LEAST_OF_STOREY, bytewax: LEAST_OF_BYTEWAX}
    what, unit = "events a second of processor time", "k/s"
    for name, theirs in thousands.items():
        if name not in OF_OURS:
            least = targets.get(name)
            yield Line(
                what=what, unit=unit, ours=own, peer=name, theirs=theirs, least=least
            )
    clock = [rate.clock / 1e3 for rate in rates[OURS]]
    yield Line(what="events a second by the clock", unit=unit, ours=clock)
    yield Line(
        what=f"{what}, and sums per user", unit=unit, ours=thousands[OURS_SUMMED]
    )
    yield Line(
        what=f"{what}, in groups of {SMALL_GROUP}",
        unit=unit,
        ours=thousands[OURS_SMALL],
        peer=f"in groups of {GROUP_MESSAGES}",
        theirs=own,
    )
    yield Line(
        what=f"an event, in groups of {SMALL_GROUP}",
        unit="µs",
        ours=[1e6 / rate.processor for rate in rates[OURS_SMALL]],
        most=MOST_US_AN_EVENT,
    )
    yield Line(
        what=f"a card transaction, in groups of {SMALL_GROUP}",
        unit="µs",
        ours=[1e6 / rate.processor for rate in rates[OURS_CARDS]],
        most=MOST_US_A_TRANSACTION,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.stream")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.ours:
        path, count, what = options.ours
        answer = run_ours(Path(path), int(count), what)
        print(json.dumps(answer))
        return 0

    pin()
    ours, storey, bytewax = programs()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.ndjson"
        write_events(file, options.events)
        searched = min(options.events, SEARCHED_EVENTS)
        measured = [*ours, *fastest(storey, file, searched), *bytewax]
        rates: dict[str, list[Rate]] = {program.name: [] for program in measured}
        for number in range(options.rounds):
            for program in measured:
                rates[program.name].append(program.rate(file, options.events))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    print(
        f"\nMedians of {options.rounds} rounds of {options.events:,} events on one core"
        f"; ours in groups of {GROUP_MESSAGES}."
    )
    return finish(lines(rates))


if __name__ == "__main__":
    sys.exit(main())
