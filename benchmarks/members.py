"""
What ten times as many members take of the memory of an audience's function. Gates.

    python -m benchmarks.members

The emulator makes predictions. `audience send` chooses all of a publication's users and
writes them to files, in a process of its own, of whose memory the ratio counts.
"""

import os
import resource
import subprocess
import sys
from datetime import UTC, date, datetime

from benchmarks.report import Line, finish
from local.stack import temporary
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables.models import PUBLICATIONS

SIZES = (1_000_000, 100_000)
MOST = 1.2
AUDIENCE = 'deciles = 10\ndestination = "{}"\n'
SCORED = """
INSERT INTO ma_predictions_runs (use_case, user_id, as_of, probability, run_id)
SELECT 'ga4_purchase', CONCAT(a, '.', b), @as_of, b / 10001, 'run'
FROM UNNEST(GENERATE_ARRAY(1, @tens)) AS a, UNNEST(GENERATE_ARRAY(1, 10000)) AS b
"""


def publish(warehouse: Warehouse, users: int, day: date) -> None:
    warehouse.execute(SCORED, {"as_of": day, "tens": users // 10_000})
    now = datetime.now(UTC)
    key = {"use_case": "ga4_purchase", "as_of": day, "run_id": "run"}
    row = {**key, "model_version": 0, "scored_at": now, "published_at": now}
    more = {"users": users, "quantiles": [], "value_deciles": []}
    warehouse.write(PUBLICATIONS, [{**row, **more}])


def main() -> int:
    memory = dict[str, dict[str, list[float]]]()
    with temporary.emulators() as stack:
        folder = stack.state.folder / "own" / "ga4_purchase" / "audiences"
        folder.mkdir(parents=True)
        environment = {
            **stack.environment,
            "PROPENSITY_GA4_DATASET": "",
            "PROPENSITY_USE_CASES": str(stack.state.folder / "own"),
            "PROPENSITY_QUERY_TIMEOUT_S": "3600",
        }
        warehouse = Warehouse.open(Settings.from_environment(environment))
        for day, users in enumerate(SIZES, start=1):
            publish(warehouse, users, date(2026, 3, day))
            for kind in ("csv", "bucket"):
                name = f"{kind}_{users}"
                (folder / f"{name}.toml").write_text(AUDIENCE.format(kind))
                megabytes = memory_of(name, environment)
                memory.setdefault(kind, {})[f"{users:,}"] = [megabytes]
    lines = []
    for kind, peaks in memory.items():
        lines.append(Line(f"members to {kind}, memory", "MB", peaks, most=MOST))
    return finish(lines)


def memory_of(name: str, environment: dict[str, str]) -> float:
    """Return the most megabytes of a process that sends an audience."""
    command = [sys.executable, "-m", "benchmarks.members", name]
    given = {**os.environ, **environment}
    done = subprocess.run(command, env=given, stdout=subprocess.PIPE, check=True)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    from commands.cli import main as propensity

    propensity(["audience", "send", sys.argv[1]])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
