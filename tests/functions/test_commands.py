"""
The plain command of each function in CONTRIBUTING.md, typed as it stands there.

From the project's folder it runs in the environment of `make setup`. A function that
answers a GET has been loaded and served: no server answers so by itself.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path

import pytest
import requests

from local.processes import HOST, free_ports, spawn, stop
from local.stack.state import FUNCTIONS, ROOT
from tests.docs.pages import blocks
from tests.functions.streaming import eventually

TARGETS = [function.target for function in FUNCTIONS]


def typed(target: str) -> list[str]:
    """Return the words of the command that starts a function, as the page has it."""
    [line] = [
        line
        for block in blocks("CONTRIBUTING.md")
        for line in block.splitlines()
        if line.startswith(f"functions-framework --target={target} ")
    ]
    return shlex.split(line)


# One that is served by threads, and one asynchronously; all others take long.
@pytest.mark.parametrize(
    "target",
    [
        target
        if target in ("model_evaluation", "get_proba")
        else pytest.param(target, marks=pytest.mark.long)
        for target in TARGETS
    ],
)
def test_a_documented_command_starts_its_function(target, module_deployment, tmp_path):
    """As everybody types it; its own answer comes back."""
    [port] = free_ports(1)
    program, *words = typed(target)
    process = spawn(
        target,
        [str(Path(sys.prefix) / "bin" / program), *words],
        environment={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HOST": HOST,
            "PORT": str(port),
            **module_deployment.environment,
        },
        folder=ROOT,
        port=port,
        log=tmp_path / "log",
    )

    def answer() -> tuple[int, str] | None:
        assert process.is_running, Path(process.log).read_text()
        with contextlib.suppress(requests.ConnectionError):
            reply = requests.get(f"http://{HOST}:{port}/", timeout=60)
            return reply.status_code, reply.json()["error"]
        return None

    try:
        status, error = eventually(answer, f"{target} answers")
    finally:
        stop([process])

    # A lookup takes GET, and needs a user.
    assert status == (400 if target == "get_proba" else 405)
    assert error in ("bad_request", "method_not_allowed")
