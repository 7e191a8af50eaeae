"""Emulators for a while, on free ports and in a temporary folder; nothing is left."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.functions import Function
from local.processes import free_ports
from local.stack.stack import Stack
from local.stack.state import PORTS, State


@contextlib.contextmanager
def emulators(*functions: Function) -> Iterator[Stack]:
    """Run the emulators, and some functions on them."""
    with tempfile.TemporaryDirectory(prefix="propensity-") as folder:
        state = State("temporary", Path(folder))
        with Stack(state, base=free_ports(PORTS)[0], functions=functions) as stack:
            yield stack
