"""What ``up``, ``down`` and ``status`` do and print; each returns its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from local.errors import LocalError
from local.processes import HOST, end_of
from local.progress import showing, shown
from local.stack.stack import Stack, stop_all
from local.stack.state import Record, State


def up(state: State) -> int:
    """
    Start a state and leave it running; where it is up already, print the same.

    Returns:
        1 where a process of it has ended.
    """
    record = state.record()
    if record.is_up and record.is_running:
        stack = Stack(state, base=record.base)
        print(f"State {state.name!r} is up already.")
    else:
        # Apart from the answer, which may be piped.
        with showing(sys.stderr), Stack(state, stays=True) as stack:
            if not (state.dashboard / "index.html").exists():
                stack.write_dashboard()
        record = state.record()
        print(f"State {state.name!r} is up.")
    print(f"\n{table(record)}\n\n{directions(stack)}")
    return report_ended(state, record)


def down(chosen: Sequence[State]) -> int:
    """
    Stop the processes of ``up``, and those that a killed program left behind.

    Returns:
        1 where a program uses a state: it stops what it started itself.
    """
    stopped, code = False, 0
    for state in chosen:
        if not state.record().processes:
            continue
        try:
            with state.held():
                for process in stop_all(state, state.record()):
                    print(f"stopped {process.name} (pid {process.pid})")
        except LocalError as error:
            print(error)
            code = 1
        else:
            stopped = True
            print(f"State {state.name!r} is down.")
    if not stopped and not code:
        print("Nothing is up.")
    return code


def status(chosen: Sequence[State]) -> int:
    """Print the running processes; return 1 if one has ended by itself."""
    code = 0
    known = [(state, state.record()) for state in chosen]
    found = [(state, record) for state, record in known if record.processes]
    for state, record in found:
        use = "is up" if record.is_up else f"was started by process {record.pid}"
        print(f"State {state.name!r} {use}.\n\n{table(record)}\n")
        code |= report_ended(state, record)
    if not found:
        print("Nothing is up.")
    return code


def report_ended(state: State, record: Record) -> int:
    """Print which processes of a state have ended, and what to do; 1 if one has."""
    for process in record.ended:
        print(f"{process.name} of state {state.name!r} has ended. {end_of(process)}")
        print("`make down` stops the rest; then start again.")
    return int(bool(record.ended))


def services(record: Record) -> list[dict[str, Any]]:
    """Return where each service of a state is, and whether it still runs."""
    return [
        {
            "service": process.name,
            "url": f"http://{HOST}:{process.port}",
            "pid": process.pid,
            "is_running": process.is_running,
            "log": process.log,
        }
        for process in record.processes
    ]


def table(record: Record) -> str:
    """Return the services of a state, one a line."""
    return "\n".join(
        f"{one['service']:<17} {one['url']:<23} "
        f"{'pid ' + str(one['pid']) if one['is_running'] else 'ENDED':<12} "
        f"{shown(one['log'])}"
        for one in services(record)
    )


def directions(stack: Stack) -> str:
    """Return how to use a running state from a shell."""
    exports = "\n".join(f"export {k}={v}" for k, v in stack.environment.items())
    user, as_of = example_prediction(stack)
    which = "" if stack.state.name == State().name else f" --state {stack.state.name}"
    runs = "\n".join(
        f'curl -X POST {stack.url(function)} -d \'{{"as_of": "{as_of}"}}\''
        for function in ("model_training", "model_evaluation", "predictions")
    )
    query = f"SELECT * FROM `{stack.options.dataset}.stream_features` LIMIT 10"
    return f"""\
To use it from any client of this machine:

{exports}

To look up a user; to train, evaluate and predict; to see features of the stream:

curl '{stack.url("get_proba")}/?user_id={user}'
{runs}
curl {tables(stack)}/queries -H 'Content-Type: application/json' \
-d '{{"useLegacySql": false, "query": "{query}"}}'

To look at the dashboard, and to write it anew:

{stack.url("dashboard")}
.venv/bin/propensity dashboard --local{which}

The bucket's objects are files in {shown(stack.bucket_folder)}/
`make down` stops it."""


def example_prediction(stack: Stack) -> tuple[str, str]:
    """Return a user that has a prediction and its date; placeholders without any."""
    import requests

    address = f"{tables(stack)}/datasets/{stack.options.dataset}/tables"
    asked = {"maxResults": "1000", "selectedFields": "user_id,as_of"}
    table = f"{address}/ma_predictions_table/data"
    try:
        rows = requests.get(table, asked, timeout=5).json().get("rows") or []
    except (OSError, ValueError):
        rows = []
    found = [(str(row["f"][1]["v"]), str(row["f"][0]["v"])) for row in rows]
    as_of, user = max(found, default=("YYYY-MM-DD", "SOME_USER"))
    return quote(user, safe=""), as_of


def tables(stack: Stack) -> str:
    """Return the address of BigQuery's API for the project."""
    return f"{stack.url('bigquery')}/bigquery/v2/projects/{stack.options.project}"
