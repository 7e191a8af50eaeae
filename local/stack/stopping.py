"""Stopping all that runs in a state."""

from __future__ import annotations

import contextlib

from local.processes import Process, myself, stop
from local.stack.state import EMULATOR_PORTS, Record, State
from offline import whole_files


def stop_record(record: Record, state: State) -> list[Process]:
    """Stop functions first, so that none of them loses its tables while it works."""
    record.stopper = myself("stopper")
    # It is for whoever looks meanwhile; without it all is stopped as well.
    with contextlib.suppress(OSError):
        if state.record_file.exists():
            whole_files.write(state.record_file, record.to_json().encode())
    emulators = [p for p in record.processes if p.name in EMULATOR_PORTS]
    functions = [p for p in record.processes if p.name not in EMULATOR_PORTS]
    stopped = stop(functions) + stop(emulators)
    state.record_file.unlink(missing_ok=True)
    return stopped
