"""
The plain command of each function's README, typed as it stands there.

From the project's folder it runs in the environment of `make setup`; from a staged
folder in one with the function's own requirements and no more. A function that answers
a GET has been loaded and served: no server answers so by itself.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import requests

from deploy import stage
from local.processes import HOST, Process, free_ports, spawn, stop
from local.stack.state import FUNCTIONS, ROOT
from tests.functions.instances import python_of
from tests.functions.streaming import DEADLINE_S

TARGETS = {function.target: function for function in FUNCTIONS}
# Of a lookup GET is served, and wants a user.
ANSWERS = {target: 400 if target == "get_proba" else 405 for target in TARGETS}


def readme(folder: str) -> str:
    return (ROOT / folder / "README.md").read_text()


def first_block(folder: str) -> list[str]:
    """Return the lines of the first block of commands in a function's README."""
    [first, *_] = re.findall(r"^```\n(.*?)^```$", readme(folder), re.M | re.S)
    return str(first).splitlines()


def typed(target: str) -> list[str]:
    """Return the words of the command that starts a function, as its README has it."""
    [line] = [
        line
        for line in first_block(TARGETS[target].folder)
        if line.startswith(f"functions-framework --target={target} ")
    ]
    return shlex.split(line)


@pytest.fixture
def started(request, target, module_workplace, tmp_path) -> Iterator[Process]:
    """A function, started by its command; ``PORT`` says where it listens."""
    [port] = free_ports(1)
    function = TARGETS[target]
    command, folder = typed(target), ROOT
    binaries = Path(sys.prefix) / "bin"
    if request.param == "staged":
        command = [word for word in command if not word.startswith("--source")]
        folder = stage.stage(
            ROOT / function.folder,
            tmp_path / "staged",
            requirements=function.requirements,
        )
        binaries = python_of(target).parent
    process = spawn(
        target,
        [str(binaries / command[0]), *command[1:]],
        environment={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HOST": HOST,
            "PORT": str(port),
            **module_workplace.environment,
        },
        folder=folder,
        port=port,
        log=tmp_path / "log",
    )
    try:
        yield process
    finally:
        stop([process])


def answer(process: Process) -> requests.Response:
    """Ask a function until it answers, or has ended."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return requests.get(f"http://{HOST}:{process.port}/", timeout=60)
        except requests.ConnectionError:
            assert process.is_running, Path(process.log).read_text()
            assert time.monotonic() < until, Path(process.log).read_text()
            time.sleep(0.1)


# One that is served asynchronously, and one by threads; all others take long.
QUICK = {("get_proba", "staged"), ("model_evaluation", "from the root")}


class TestCommands:
    @pytest.mark.parametrize(
        ("target", "started"),
        [
            pytest.param(*case, marks=() if case in QUICK else pytest.mark.long)
            for case in product(TARGETS, ("from the root", "staged"))
        ],
        indirect=["started"],
    )
    def test_start_the_function(self, started, target):
        """As everybody types it; its own answer comes back."""
        reply = answer(started)

        assert reply.status_code == ANSWERS[target], reply.text
        assert reply.headers["content-type"].startswith("application/json")
        assert reply.json()["error"] in ("bad_request", "method_not_allowed")
