"""
Speed of the stream through HTTP: stream_features against a function that does nothing.

    python -m benchmarks.ingest

Two servers run from one virtual environment, which holds only the requirements of
04-StreamFeatures, each as functions-framework deploys it: stream_features from its
staged source, and an empty asynchronous handler. They take turns, several rounds long,
with the same requests: pushes of Pub/Sub, every one a distinct event. Only ratios
within a run mean anything.

What stream_features appends to and publishes to is a service of its own process, which
speaks the Storage Write API and Pub/Sub's Publish on Google's own types. It answers an
append 10 ms after it came, many at a time and in their order, and a publish at once:
the emulators are not what is measured. It counts rows, and reads their ids: every event
that was acknowledged must have been in an append.

The load comes from ``wrk`` where it is installed, see ``benchmarks.load``.

Gates: exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from benchmarks.append_service import APPEND_S, Counts, append_service, take_counts
from benchmarks.ingest_load import CONNECTIONS, pushes, unstored
from benchmarks.load import Generator, Load, add_options, generator
from benchmarks.report import Line, finish
from benchmarks.servers import EMPTY_ASYNCHRONOUS, Source, empty, servers
from deploy import stage
from local import sandbox, venvs
from local.generators.games.towns import postcodes
from local.processes import HOST, Process, cpu_s
from local.stack.stack import Stack
from local.stack.state import LOCAL, ROOT
from propensity import tables
from propensity.edges.warehouse import Warehouse
from propensity.events.postcodes import normalised
from propensity.settings import Settings

FUNCTION = ROOT / "04-StreamFeatures"
OWN = "stream_features"
EMPTY = "empty asynchronous"
LEAST_EVENTS = 20.0
MOST_APPENDS_OF_P50 = 3.0
LEAST_IN_FLIGHT = 1.0
# Processor time of a push, of the empty asynchronous handler's.
MOST_CPU_OF_EMPTY = 1.43
# More distinct requests than any of the servers can take in a second.
REQUESTS_PER_S = 30_000
CHECKED_REQUESTS = 20_000
WARM_UP_S = 1.0
# The table is read with the answer of its query: what the Storage Read API would stream
# is none of this benchmark's.
POSTCODES = 900


@dataclass(frozen=True)
class Round:
    """A load, what it cost the server, and what reached the service meanwhile."""

    load: Load
    cpu_us: float
    counts: Counts

    @property
    def rows(self) -> int:
        """Rows of all appends."""
        return sum(self.counts.rows)


# -- the run ---------------------------------------------------------------------------


def load_postcodes(stack: Stack) -> None:
    """Fill the postcode table with as many rows as are read without the Storage API."""
    table = postcodes().slice(0, POSTCODES)
    rows = {
        "postcode": [normalised(code.as_py()) for code in table["postcode"]],
        "socioeconomic_idx": table["socioeconomic_idx"].to_pylist(),
        "is_outward": [False] * table.num_rows,
        "loaded_on": [datetime.now(UTC).date()] * table.num_rows,
    }
    warehouse = Warehouse.open(Settings.from_environment(stack.environment))
    warehouse.create(tables.POSTCODE_INDEX)
    schema = tables.POSTCODE_INDEX.arrow_schema()
    table = pa.Table.from_pydict(rows, schema=schema)
    warehouse.append(tables.POSTCODE_INDEX, table, job_id=f"postcodes-{os.getpid()}")
    warehouse.close()


def measured(
    load: Generator,
    processes: Mapping[str, Process],
    service: int,
    *,
    rounds: int,
    seconds: float,
) -> dict[str, list[Round]]:
    """Let the servers take turns; return the rounds of each."""
    turns: dict[str, list[Round]] = {name: [] for name in processes}
    for process in processes.values():
        load(process.port, WARM_UP_S, CONNECTIONS)
    for number in range(rounds):
        for name, process in processes.items():
            take_counts(service)
            began = cpu_s(process)
            round_load = load(process.port, seconds, CONNECTIONS)
            spent = cpu_s(process) - began
            # What was under way when the load ended is appended too.
            time.sleep(20 * APPEND_S)
            cpu_us = spent / round_load.requests * 1e6
            turns[name].append(Round(round_load, cpu_us, take_counts(service)))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return turns


def lines(turns: Mapping[str, Sequence[Round]]) -> Iterator[Line]:
    """Yield the lines of the rounds of each server."""

    def figures(name: str, what: Callable[[Round], float]) -> list[float]:
        return [what(turn) for turn in turns[name]]

    own = turns[OWN]
    yield Line(
        what="requests a second",
        ours=figures(OWN, lambda turn: turn.load.requests_per_s),
        peer=EMPTY,
        theirs=figures(EMPTY, lambda turn: turn.load.requests_per_s),
    )
    appends = [turn.rows / len(turn.counts.rows) for turn in own]
    yield Line(what="events an append", ours=appends, least=LEAST_EVENTS)
    yield Line(
        what=f"p50, in appends of {APPEND_S * 1e3:g} ms",
        ours=figures(OWN, lambda turn: turn.load.p50_ms / (APPEND_S * 1e3)),
        most=MOST_APPENDS_OF_P50,
    )
    for name, of in (("p50", "p50_ms"), ("p99", "p99_ms")):
        yield Line(
            what=name,
            unit="ms",
            ours=[getattr(turn.load, of) for turn in own],
            peer=EMPTY,
            theirs=[getattr(turn.load, of) for turn in turns[EMPTY]],
        )
    yield Line(
        what="appends in flight, on average",
        ours=figures(OWN, lambda turn: statistics.fmean(turn.counts.in_flight or [0])),
        least=LEAST_IN_FLIGHT,
    )
    yield Line(
        what="appends in flight, at most",
        ours=figures(OWN, lambda turn: max(turn.counts.in_flight, default=0)),
    )
    yield Line(
        what="processor time of a push",
        unit="µs",
        ours=figures(OWN, lambda turn: turn.cpu_us),
        peer=EMPTY,
        theirs=figures(EMPTY, lambda turn: turn.cpu_us),
        most=MOST_CPU_OF_EMPTY,
    )


def problems(turns: Mapping[str, Sequence[Round]]) -> Iterator[str]:
    """Yield what was lost, refused or failed in the rounds of stream_features."""
    for number, turn in enumerate(turns[OWN], 1):
        acknowledged = turn.load.requests - turn.load.failures
        if turn.load.failures:
            yield f"round {number}: {turn.load.failures} pushes failed"
        if (lost := acknowledged - len(turn.counts.event_ids)) > 0:
            yield f"round {number}: {lost} acknowledged, never appended"
        if turn.counts.published != turn.rows:
            published = turn.counts.published
            yield f"round {number}: {turn.rows} appended, {published} published"
        if turn.counts.refused:
            yield f"round {number}: {turn.counts.refused} dead letters"
    if failures := sum(turn.load.failures for turn in turns[EMPTY]):
        yield f"{EMPTY}: {failures} requests failed"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser("python -m benchmarks.ingest")
    add_options(parser, rounds=5, seconds=3.0)
    options = parser.parse_args(arguments)
    say = print if sys.stderr.isatty() else lambda _: None
    python = venvs.python_of(
        FUNCTION / "requirements.txt", folder=LOCAL / "venvs", say=say
    )
    requests = pushes(round(REQUESTS_PER_S * options.seconds))
    with contextlib.ExitStack() as undo:
        stack = undo.enter_context(sandbox.emulators())
        folder = stack.state.home
        load_postcodes(stack)
        service = undo.enter_context(append_service(folder))
        environment = stack.environment | {
            "PATH": "/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{service}",
            "PUBSUB_EMULATOR_HOST": f"{HOST}:{service}",
        }
        sources = {
            OWN: Source(folder=stage.stage(FUNCTION, folder / OWN), target=OWN),
            EMPTY: empty(folder / "asynchronous", EMPTY_ASYNCHRONOUS),
        }
        processes = undo.enter_context(servers(sources, python, environment))
        turns = measured(
            generator(options.client, requests, folder),
            processes,
            service,
            rounds=options.rounds,
            seconds=options.seconds,
        )
        checked = unstored(requests[:CHECKED_REQUESTS], processes[OWN].port, service)
    print(
        f"Medians of {options.rounds} rounds of {options.seconds:g} s at {CONNECTIONS} "
        f"connections, load by {options.client}, one process a server."
    )
    acknowledged, missing, failures = checked
    print(
        f"\nOf {len(requests[:CHECKED_REQUESTS]):,} distinct events {acknowledged:,} "
        f"were acknowledged; {missing} of those were in no append, {failures} failed."
    )
    wrong = [*problems(turns)]
    if missing or failures:
        wrong.append(f"{missing} acknowledged events not appended, {failures} failed")
    return finish(lines(turns), problems=wrong)


if __name__ == "__main__":
    sys.exit(main())
