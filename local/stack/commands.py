"""The commands ``up``, ``down`` and ``status``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from urllib.parse import quote

from local.processes import HOST, end_of, ending_on_signals
from local.progress import shown
from local.stack.stack import Stack, stop_record
from local.stack.state import Record, State


def table(record: Record) -> str:
    """List the services of a state: address, and whether each still runs."""
    rows = [("service", "address", "", "log")]
    for process in record.processes:
        state = f"running, pid {process.pid}" if process.is_running else "ENDED"
        rows.append((process.name, f"http://{HOST}:{process.port}", state, process.log))
        if process.name == "bigquery":
            address = f"{HOST}:{record.ports['bigquery_storage']} (gRPC)"
            rows.append(("bigquery_storage", address, state, process.log))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        + f"  {shown(row[3])}"
        for row in rows
    )


def directions(stack: Stack) -> str:
    """Return how to use a running state from a shell."""
    exports = "\n".join(f"export {k}={v}" for k, v in stack.environment.items())
    user, as_of = example_prediction(stack)
    which = "" if stack.state.name == State().name else f" --state {stack.state.name}"
    queries = f"{stack.url('bigquery')}/bigquery/v2/projects/{stack.options.project}"
    query = f"SELECT * FROM `{stack.options.dataset}.stream_features` LIMIT 10"
    return f"""\
To use it from any client of this machine:

{exports}

To look up a user; to train, evaluate and predict; to see features of the stream:

curl '{stack.url("get_proba")}/?user_id={user}'
curl -X POST {stack.url("model_training")} -d '{{"as_of": "{as_of}"}}'
curl -X POST {stack.url("model_evaluation")} -d '{{"as_of": "{as_of}"}}'
curl -X POST {stack.url("predictions")} -d '{{"as_of": "{as_of}"}}'
curl {queries}/queries -H 'Content-Type: application/json' \
-d '{{"useLegacySql": false, "query": "{query}"}}'

To look at the dashboard, and to write it anew:

{stack.url("dashboard")}
.venv/bin/propensity dashboard --local{which}

The bucket's objects are files in {shown(stack.bucket_folder)}/
`make down` stops it."""


def example_prediction(stack: Stack) -> tuple[str, str]:
    """Return a user that has a prediction and its date; placeholders without any."""
    import requests

    address = (
        f"{stack.url('bigquery')}/bigquery/v2/projects/{stack.options.project}/datasets/"
        f"{stack.options.dataset}/tables/ma_predictions_table/data"
    )
    asked = {"maxResults": "1000", "selectedFields": "user_id,as_of"}
    try:
        rows = requests.get(address, asked, timeout=5).json().get("rows") or []
    except (OSError, ValueError):
        rows = []
    found = [(str(row["f"][1]["v"]), str(row["f"][0]["v"])) for row in rows]
    as_of, user = max(found, default=("YYYY-MM-DD", "SOME_USER"))
    return quote(user, safe=""), as_of


def up(stack: Stack) -> int:
    """
    Start a state and leave it running; where it is up already, say so.

    Returns:
        1 where a process of it has ended, or where somebody has stopped it meanwhile.
    """
    state = stack.state
    if state.folder.exists():
        # Whoever starts or stops it now comes first.
        with state.locked():
            record = state.record()
    else:
        record = None
    if record and record.is_up:
        if record.ended:
            return report_ended(state, record)
        stack.ports, stack.options = record.ports, record.options
        _write_dashboard(stack)
        print(f"State {state.name!r} is up already.")
    else:
        with ending_on_signals():
            stack.start(stay=True)
            try:
                _write_dashboard(stack)
            except BaseException:
                # Ctrl-C among others: what was started is stopped, as in its start.
                stack.stop()
                raise
        record = state.record()
        if record is None:
            print(f"State {state.name!r} was stopped meanwhile.")
            return 1
        print(f"State {state.name!r} is up.")
    print(f"\n{table(record)}\n\n{directions(stack)}")
    return 0


def _write_dashboard(stack: Stack) -> None:
    """Write the dashboard where there is none."""
    if not (stack.state.dashboard / "index.html").exists() and (
        why := stack.write_dashboard()
    ):
        progress(f"there is no dashboard: {why}")


def down(chosen: Sequence[State]) -> int:
    """
    Stop the processes of ``up``, and those that a killed program left behind.

    Returns:
        1 where a program uses a state: that is not stopped, and its files are in use.
    """
    is_up = is_used = False
    for state in chosen:
        if not state.folder.exists():
            continue
        with state.locked():
            record = state.record()
            if record is None:
                continue
            if record.user:
                print(
                    f"State {state.name!r} is in use by process {record.user.pid}, "
                    "which stops what it started itself."
                )
                is_up = is_used = True
                continue
            ended = record.ended
            stopped = stop_record(record, state)
        for process in ended:
            print(f"{process.name} had ended before")
        for process in stopped:
            print(f"stopped {process.name} (pid {process.pid}, port {process.port})")
        if stopped:
            print(f"State {state.name!r} is down.")
        is_up = is_up or bool(stopped)
    if not is_up:
        print("Nothing is up.")
    return int(is_used)


def report_ended(state: State, record: Record) -> int:
    """Print which processes of a state have ended, and what to do."""
    print(f"\n{table(record)}\n")
    for process in record.ended:
        print(f"{process.name} of state {state.name!r} has ended. {end_of(process)}")
    print("`make down` stops the rest; then start again.")
    return 1


def status(chosen: Sequence[State]) -> int:
    """Print the running processes; return 1 if one has ended by itself."""
    code = 0
    found = [(state, record) for state in chosen if (record := state.record())]
    for state, record in found:
        if record.owner is None:
            print(f"State {state.name!r} is up.")
        elif record.user:
            print(f"State {state.name!r} is in use by process {record.owner.pid}.")
        else:
            print(
                f"State {state.name!r} was left behind by process {record.owner.pid}, "
                "which was killed; `make down` stops it."
            )
        if record.ended:
            code = report_ended(state, record)
        else:
            print(f"\n{table(record)}\n")
    if not found:
        print("Nothing is up.")
    return code


def progress(line: str) -> None:
    """Print what is going on; apart from the answer, which may be piped."""
    print(f"· {line}", file=sys.stderr, flush=True)
