"""The dashboard of a state: written while its emulators answer, served by ``up``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from local.stack.stack import Stack
from local.stack.starting import answers
from local.stack.state import ROOT, State

SERVICE = "dashboard"
# It reads a few small tables.
WRITTEN_S = 300
SERVED_S = 30


def index(state: State) -> Path:
    """Return the file to open, where it was written."""
    return state.dashboard / "index.html"


def write(stack: Stack) -> str:
    """
    Write the dashboard of a state whose emulators are up.

    As whoever looks at a deployment does: by the command, in a process of its own,
    whose clients find the emulators by its environment.

    Returns:
        Why there is none; empty where there is.
    """
    process = subprocess.run(
        [
            *(sys.executable, "-m", "propensity", "dashboard", "--local"),
            *("--state", stack.state.name),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=WRITTEN_S,
    )
    reason = process.stderr.strip().splitlines() or ["it said nothing"]
    return reason[-1] if process.returncode else ""


def serve(stack: Stack) -> None:
    """Start what serves the dashboard of a state that was started to stay."""
    stack.state.dashboard.mkdir(parents=True, exist_ok=True)
    stack.spawn(
        SERVICE,
        [
            *(sys.executable, "-m", "http.server", str(stack.ports[SERVICE])),
            *("--bind", "127.0.0.1", "--directory", str(stack.state.dashboard)),
        ],
        environment={"PYTHONUNBUFFERED": "1"},
        folder=stack.state.dashboard,
    )
    deadline = time.monotonic() + SERVED_S
    while not answers(stack.url(SERVICE)) and time.monotonic() < deadline:
        time.sleep(0.05)
