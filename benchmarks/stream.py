"""
Speed of the stream in process: ours against the flows of storey and Bytewax. Gates.

    python -m benchmarks.stream

The same generated events go through three programs, each in a process and a virtual
environment of its own, one after another on one and the same core.

- Ours, from raw payloads to what is appended and published: JSON decoded, checked,
  enriched, and encoded as serialised Arrow rows and as JSON, in groups of 1,000. Beside
  it groups of 64, which is what the deployed function gets.
- storey's ``AggregateByKey`` with sum, avg, count and stddev per user over a
  ``DataframeSource``, from a frame that is ready: nothing is parsed, checked, encoded.
  It gets amounts in cents, since of fractions its sums make variances below zero.
- Bytewax, batch size 1,000: JSON decoded by orjson, and the same four aggregates kept
  per user and given out with every event. It checks nothing.

A rate is events by second of processor time: nothing here waits.
"""

from __future__ import annotations

import json
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
from benchmarks.stream_peers import BYTEWAX, STOREY
from local import venvs
from local.generators.games.games import Games
from local.generators.games.towns import postcodes
from local.stack.state import LOCAL, ROOT
from propensity import usecases
from propensity.events import rows as stream
from propensity.events.catalogue import Catalogue
from propensity.events.enrichment import PostcodeIndex, normalised
from propensity.events.messages import Message
from propensity.events.rows import Rules
from propensity.gcp.http import keep_modules
from propensity.stream.consumers import GROUP_MESSAGES

LEAST_OF_STOREY = 5.0
SMALL_GROUP = 64
EVENTS, EVENTS_PER_USER, ROUNDS = 200_000, 50, 5
OURS, SMALL = "groups of 1,000", "groups of 64"


def run_ours(path: Path, count: int, group: int) -> dict[str, float]:
    """Measure ours; every event must come out as a row and as JSON."""
    pa.set_cpu_count(1)
    catalogue = Catalogue([usecases.load("first_day_churn")])
    table = postcodes()
    codes = [normalised(code) for code in table["postcode"].to_pylist()]
    index = PostcodeIndex.of(table.set_column(0, "postcode", pa.array(codes)))
    rules = Rules(
        maximum_bytes=256 * 1024,
        clock_skew=timedelta(seconds=600),
        lateness=timedelta(days=30),
    )
    at = datetime.now(UTC)
    published_at = f"{at:%Y-%m-%dT%H:%M:%S}.123Z"
    messages = [
        Message(data, str(10**15 + number), {}, published_at)
        for number, data in enumerate(path.read_bytes().splitlines()[:count])
    ]

    def accept(part: Sequence[Message]) -> stream.Accepted:
        return stream.accept(part, catalogue, index, received_at=at, rules=rules)

    keep_modules()  # as an instance of the function does
    # What is made on the first call is made once in an instance.
    accept(messages[:group])
    processor = time.process_time()
    rows = enriched = size = 0
    for start in range(0, len(messages), group):
        batch = accept(messages[start : start + group])
        size += len(batch.rows.serialize())
        rows += batch.rows.num_rows
        enriched += len(batch.events)
    processor = time.process_time() - processor
    if not rows == enriched == len(messages) or not size:
        raise RuntimeError(f"of {len(messages)} events {rows} were accepted")
    return {"events": rows, "processor_s": processor}


def rate(command: Sequence[str]) -> float:
    """Run a program once on this core; return its thousands of events a second."""
    process = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
    )
    answer = json.loads(process.stdout.splitlines()[-1])
    return float(answer["events"] / answer["processor_s"] / 1e3)


def main() -> int:
    """Measure, print Markdown, and return 1 where a target is missed."""
    if len(sys.argv) > 1:
        path, count, group = sys.argv[1:]
        print(json.dumps(run_ours(Path(path), int(count), int(group))))
        return 0
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    peers = {
        name: venvs.python_of(
            ROOT / "benchmarks" / f"requirements-{name.lower()}.txt",
            folder=LOCAL / "venvs",
            say=print,
        )
        for name in ("storey", "Bytewax")
    }
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.ndjson"
        games = Games(users=EVENTS // EVENTS_PER_USER)
        payloads = [payload for payload, _ in islice(games.payloads(), EVENTS)]
        file.write_bytes(b"\n".join(payloads))
        own = [sys.executable, "-m", "benchmarks.stream", str(file), str(len(payloads))]
        given = [str(file), str(len(payloads))]
        commands = {
            OURS: [*own, str(GROUP_MESSAGES)],
            SMALL: [*own, str(SMALL_GROUP)],
            "storey": [str(peers["storey"]), "-c", STOREY, *given],
            "Bytewax": [str(peers["Bytewax"]), "-c", BYTEWAX, *given],
        }
        for _ in range(ROUNDS):
            for name, command in commands.items():
                rates.setdefault(name, []).append(rate(command))
    least = {"storey": LEAST_OF_STOREY}
    return finish(
        Line(
            what=f"events a second of processor time, {group}",
            unit="k/s",
            ours=rates[group],
            peer=peer,
            theirs=rates[peer],
            least=least.get(peer) if group == OURS else None,
        )
        for group in (OURS, SMALL)
        for peer in ("storey", "Bytewax")
    )


if __name__ == "__main__":
    sys.exit(main())
