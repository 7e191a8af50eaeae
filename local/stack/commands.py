"""The commands ``up``, ``down`` and ``status``."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

from local import venvs
from local.processes import HOST
from local.progress import shown
from local.stack import pages
from local.stack.signals import deferred_signals, ending_on_signals
from local.stack.stack import Stack
from local.stack.starting import end_of
from local.stack.state import Record, State
from local.stack.stopping import stop_record

NO_SUCH_USER = "SOME_USER"


def table(record: Record, *, gone: str = "ENDED") -> str:
    """List the services of a state: address, and whether each still runs."""
    rows = [("service", "address", "", "log")]
    for process in record.processes:
        state = f"running, pid {process.pid}" if process.is_running else gone
        rows.append((process.name, f"http://{HOST}:{process.port}", state, process.log))
        if process.name == "bigquery":
            address = f"{HOST}:{record.ports['bigquery_storage']} (gRPC)"
            rows.append(("bigquery_storage", address, state, process.log))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False))])
        + f"  {shown(row[3])}"
        for row in rows
    )


def directions(stack: Stack) -> str:
    """Return how to use a running state from a shell."""
    exports = "\n".join(f"export {k}={v}" for k, v in stack.environment.items())
    user, as_of = example_prediction(stack)
    lookup = f"{stack.url('get_proba')}/?user_id={user}"
    body = f' -d \'{{"as_of": "{as_of}"}}\'' if as_of else ""
    return (
        "To use it from any client of this machine:\n\n"
        f"{exports}\n\n"
        "To look up a user, to train, to evaluate and to predict:\n\n"
        f"curl '{lookup}'\n"
        f"curl -X POST {stack.url('model_training')}{body}\n"
        f"curl -X POST {stack.url('model_evaluation')}{body}\n"
        f"curl -X POST {stack.url('predictions')}{body}\n\n"
        f"{dashboard_directions(stack)}\n\n"
        f"{stream_directions(stack)}\n\n"
        f"The bucket's objects are files in {shown(stack.bucket_folder)}/\n"
        "`make down` stops it."
    )


def dashboard_directions(stack: Stack) -> str:
    """Return where the dashboard is, and how to write it anew."""
    which = "" if stack.state.name == State().name else f" --state {stack.state.name}"
    # A state may have been left running by a version without one.
    place = stack.url(pages.SERVICE) if pages.SERVICE in stack.ports else "not served"
    return (
        f"To look at the dashboard, and to write it anew:\n\n{place}\n"
        f".venv/bin/propensity dashboard --local{which}"
    )


def stream_directions(stack: Stack) -> str:
    """Return how to send an event to the stream, and how to read its features."""
    event = (
        '{"user_id": "ana", "event_type": "new_bet", "event_id": "1", '
        '"event_time": "\'$(date -u +%FT%TZ)\'", "bet_amount": 12.50}'
    )
    json_body = "-H 'Content-Type: application/json'"
    view = f"{stack.options.project}.{stack.options.dataset}.stream_features"
    queries = (
        f"{stack.url('bigquery')}/bigquery/v2/projects/{stack.options.project}/queries"
    )
    return (
        "To push an event to the stream, to see its user's features, to compact:\n\n"
        f"EVENT=$(printf '%s' '{event}' | base64 | tr -d '\\n')\n"
        f"curl {stack.url('stream_features')} {json_body} "
        '-d \'{"message": {"messageId": "1", "data": "\'$EVENT\'"}}\'\n'
        f"curl -s {queries} {json_body} -d "
        f'\'{{"useLegacySql": false, "query": "SELECT TO_JSON_STRING(f) FROM '
        f'`{view}` AS f WHERE user_id = \\"ana\\""}}\'\n'
        f"curl -X POST {stack.url('compact_features')}"
    )


def example_prediction(stack: Stack) -> tuple[str, str]:
    """Return a user that has a prediction and its date; a placeholder without any."""
    from urllib.parse import quote

    address = (
        f"{stack.url('bigquery')}/bigquery/v2/projects/{stack.options.project}/datasets/"
        f"{stack.options.dataset}/tables/ma_predictions_table/data"
        "?maxResults=1000&selectedFields=user_id,as_of"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            rows = json.load(answer).get("rows") or []
    except (OSError, ValueError):
        rows = []
    predictions = [(str(row["f"][0]["v"]), str(row["f"][1]["v"])) for row in rows]
    user, as_of = max(
        predictions, key=lambda prediction: prediction[1], default=(NO_SUCH_USER, "")
    )
    return quote(user, safe=""), as_of


def up(stack: Stack) -> int:
    """
    Start a state and leave it running; where it is up already, say so.

    Returns:
        1 where a process of it has ended, or where somebody has stopped it meanwhile.
    """
    record = stack.state.settled_record()
    if record and record.owner is None and record.running:
        if record.ended:
            return report_ended(stack.state, record)
        stack.attach(record)
        _write_pages(stack)
        print(f"State {stack.state.name!r} is up already.")
    else:
        with ending_on_signals():
            stack.start(stay=True)
            try:
                _write_pages(stack)
            except BaseException:
                # Ctrl-C among others: what was started is stopped, as in its start.
                stack.stop()
                raise
        record = stack.state.record()
        if record is None:
            print(f"State {stack.state.name!r} was stopped meanwhile.")
            return 1
        print(f"State {stack.state.name!r} is up.")
    print(f"\n{table(record)}\n\n{directions(stack)}")
    return 0


def _write_pages(stack: Stack) -> None:
    """Write the dashboard where there is none."""
    if not pages.index(stack.state).exists() and (why := pages.write(stack)):
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
        with venvs.locked(state.folder / "lock"):
            record = state.record()
            if record is None:
                continue
            if record.owner and record.owner.is_running:
                print(
                    f"State {state.name!r} is in use by process {record.owner.pid}, "
                    "which stops what it started itself."
                )
                is_up = is_used = True
                continue
            with deferred_signals():
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
    """Say which processes of a state have ended, and what to do."""
    print(f"\n{table(record)}\n")
    for process in record.ended:
        print(f"{process.name} of state {state.name!r} has ended. {end_of(process)}")
    print("`make down` stops the rest; then start again.")
    return 1


def status(chosen: Sequence[State]) -> int:
    """Print the running processes; return 1 if one has ended by itself."""
    code, is_up = 0, False
    for state in chosen:
        record = state.record()
        if record is not None and record.ended:
            # Somebody may have begun to stop it since it was read.
            record = state.record()
        if record is None:
            continue
        is_up = True
        if record.is_being_stopped:
            print(f"State {state.name!r} is being stopped.")
            print(f"\n{table(record, gone='stopped')}\n")
            continue
        if record.owner is None:
            print(f"State {state.name!r} is up.")
        elif record.owner.is_running:
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
    if not is_up:
        print("Nothing is up.")
    return code


def progress(line: str) -> None:
    """Tell the user what is going on; apart from the answer, which may be piped."""
    print(f"· {line}", file=sys.stderr, flush=True)
