"""
What an audience of ten times as many members takes of its function's memory. Gates.

    python -m benchmarks.members

Predictions are made in the emulator of BigQuery, by a statement. Then `audience send`
chooses a publication's users and writes them to files: each time in a process of its
own, of whose largest memory the ratio counts. What the emulators take does not.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from datetime import UTC, date, datetime

from benchmarks.report import Line, finish
from local.stack import temporary
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables import every as tables
from propensity.tables.audiences import AUDIENCE_LEDGER, AUDIENCE_LISTS
from propensity.tables.models import PREDICTIONS_HISTORY, PUBLICATIONS

# Sizes may be named behind the command, the smallest first.
SIZES = (100_000, 1_000_000)
MOST = 1.2
NAMED = 'deciles = 10\ncontrol = "10%"\ndays = ["monday"]\ndestination = "{}"\n'
SCORED = """
INSERT INTO ma_predictions_runs (use_case, user_id, as_of, probability, run_id)
SELECT 'ga4_purchase', CONCAT(user_id, '.1742250600'), @as_of, score, @run
FROM (
  SELECT user_id, ABS(MOD(FARM_FINGERPRINT(user_id), 1000000)) / 1000001 AS score
  FROM (
    SELECT CAST(a * 10000 + b AS STRING) AS user_id
    FROM UNNEST(GENERATE_ARRAY(1, @tens)) AS a, UNNEST(GENERATE_ARRAY(1, 10000)) AS b
  )
)
"""


def publish(warehouse: Warehouse, users: int, day: date) -> None:
    """Publish predictions of so many users."""
    given = {"as_of": day, "run": f"{users}", "tens": users // 10_000}
    warehouse.execute(SCORED, given)
    now = datetime.now(UTC)
    row = {"use_case": "ga4_purchase", "as_of": day, "model_version": 0}
    row |= {"run_id": f"{users}", "scored_at": now, "published_at": now, "users": users}
    warehouse.write(PUBLICATIONS, [{**row, "quantiles": [], "value_deciles": []}])


def main(sizes: tuple[int, ...]) -> int:
    memory = dict[str, dict[str, list[float]]]()
    with temporary.emulators() as stack:
        folder = stack.state.folder / "own"
        audiences = folder / "ga4_purchase" / "audiences"
        audiences.mkdir(parents=True)
        environment = {**stack.environment, "PROPENSITY_GA4_DATASET": ""}
        environment |= {"PROPENSITY_USE_CASES": str(folder)}
        environment |= {"PROPENSITY_QUERY_TIMEOUT_S": "3600"}
        environment |= {"PROPENSITY_REFRESH_S": "60"}
        settings = Settings.from_environment(environment)
        warehouse = Warehouse.open(settings)
        for table in tables.TABLES:
            warehouse.create(table)
        views = tables.views(f"{settings.project}.{settings.dataset}")
        for name in (PREDICTIONS_HISTORY, AUDIENCE_LEDGER, AUDIENCE_LISTS):
            warehouse.replace_view(name, views[name])
        for place, users in enumerate(sizes):
            day = date(2026, 3, 2 + place)
            publish(warehouse, users, day)
            for kind in ("csv", "bucket"):
                name = f"{kind}_{users}"
                (audiences / f"{name}.toml").write_text(NAMED.format(kind))
                peak = sent(name, environment)
                memory.setdefault(kind, {})[f"{users:,}"] = [peak]
    lines = []
    for kind, peaks in memory.items():
        smallest, *_, largest = peaks
        compared = {largest: peaks[largest], smallest: peaks[smallest]}
        lines.append(Line(f"members to {kind}: memory", "MB", compared, most=MOST))
    return finish(lines)


def sent(name: str, environment: dict[str, str]) -> float:
    """Send an audience; return the megabytes of its process."""
    command = [sys.executable, "-m", "benchmarks.members", name]
    began = time.monotonic()
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True
    )
    *_, seconds, peak = done.stdout.split()
    print(name, f"{time.monotonic() - began:.0f} s", seconds, peak, file=sys.stderr)
    return float(peak)


def send(name: str) -> None:
    """Send an audience; print the processor seconds and megabytes of this process."""
    from commands.cli import main

    main(["audience", "send", name])
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].isdigit():
        send(sys.argv[1])
    else:
        sys.exit(main(tuple(map(int, sys.argv[1:])) or SIZES))
