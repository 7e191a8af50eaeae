"""
``.ci/run``, specified by what its steps find: a bare machine, and most of it offline.

``make`` is a program of the test's own here, that writes down what it was called with.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from local.stack.state import ROOT
from tests.local.test_bare_machine import CONNECT
from tests.programs import execute

MAKE = """#!{python}
import json, os, socket, subprocess, sys
from pathlib import Path
words = sys.argv[1:]
call = {{
    "words": [word for word in words if not word.startswith("PYTHON=")],
    "python": [word for word in words if word.startswith("PYTHON=")],
    "networks": sorted(name for _, name in socket.if_nameindex()),
    "home": [path.name for path in Path.home().iterdir()],
    "is_root": Path.home() == Path({home!r}),
    "files": sorted(path.name for path in Path.cwd().iterdir()),
    "variables": sorted(os.environ),
}}
with open({calls!r}, "a") as file:
    file.write(json.dumps(call) + "\\n")
if words[0] == {failing!r} and {only!r} in (*words, ""):
    sys.exit(subprocess.run([sys.executable, "-c", {program!r}]).returncode)
"""
BROWSER = ("chromium", "chromedriver")


@dataclass
class Checked:
    """What a run of the check printed, and what its steps found."""

    process: subprocess.CompletedProcess[str]
    calls: list[dict]

    @property
    def steps(self) -> list[str]:
        """The first words, in their order."""
        return [call["words"][0] for call in self.calls]


def run(
    folder: Path,
    *,
    failing: str = "",
    only: str = "",
    program: str = "",
    **environment: str,
) -> Checked:
    """Run the check in a small clone whose ``make`` does what the test says."""
    clone, programs = folder / "clone", folder / "programs"
    shutil.copytree(ROOT / ".ci", clone / ".ci")
    (clone / "tracked").touch()
    (clone / ".gitignore").write_text("/.venv*/\n")
    (clone / ".venv").mkdir()
    (clone / ".venv" / "left-over").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=clone, check=True)
    programs.mkdir()
    calls = folder / "calls"
    (programs / "make").write_text(
        MAKE.format(
            python=sys.executable,
            home=os.environ.get("HOME", ""),
            calls=str(calls),
            failing=failing,
            only=only,
            program=program,
        )
    )
    (programs / "make").chmod(0o755)
    for browser in BROWSER:  # a test installs nothing on the machine that it runs on
        (programs / browser).touch(0o755)
    process = execute(
        [clone / ".ci" / "run"],
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "UV_CACHE_DIR": "/a/cache",
            "PIP_CACHE_DIR": "/another",
            "PYTHONPATH": "/of/mine",
            **environment,
        },
        status=None,
    )
    lines = calls.read_text().splitlines() if calls.exists() else []
    checked = Checked(process, [json.loads(line) for line in lines])
    if "NOT CHECKED" in process.stdout:
        pytest.skip(process.stdout.partition("\n\n")[0])
    return checked


@pytest.fixture
def check(tmp_path):
    """Run the check as a test says."""
    return partial(run, tmp_path)


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> Checked:
    """A run of the check in which nothing fails."""
    return run(tmp_path_factory.mktemp("ci"))


class TestSteps:
    def test_are_the_commands_of_the_readme(self, checked):
        """Set-up, what installs, both commands of README.md, further tests; on
        the newest Python a demo; on those between the import of all modules."""
        assert checked.process.returncode == 0, (
            checked.process.stdout + checked.process.stderr
        )
        first = ["setup", "check", "test-install", "demo", "test", "test-runs"]
        assert checked.steps[:6] == first
        rest = checked.calls[6:]
        assert {call["words"][0] for call in rest} <= {"setup", "imports", "demo"}
        for call in rest:
            assert any(word.startswith("VENV=.venv-3.") for word in call["words"])

    def test_find_a_bare_machine(self, checked):
        """A home of their own, with nothing in it, no cache, nothing that git ignores,
        and no variable but those that say where packages come from."""
        for call in checked.calls:
            assert call["home"] == []
            assert not call["is_root"]
            assert call["files"] == [".ci", ".gitignore", "tracked"]
            assert not {"UV_CACHE_DIR", "PIP_CACHE_DIR", "PYTHONPATH"} & {
                *call["variables"]
            }

    def test_have_loopback_only_after_set_up(self, checked):
        """Only what installs has a network."""
        online = {"setup", "test-install"}
        for call in checked.calls:
            if call["words"][0] not in online:
                assert "lo" in call["networks"]
                assert not [n for n in call["networks"] if n.startswith(("e", "w"))]

    def test_say_how_long_they_took(self, checked):
        """At the end, each step and its seconds."""
        output = checked.process.stdout.partition("-- time of each step")[2]

        assert "make test\n" in output
        assert "make demo\n" in output
        assert "all of it\n" in output


class TestFailures:
    @pytest.mark.parametrize(
        "step",
        [
            "test-long",
            *(
                pytest.param(step, marks=pytest.mark.long)
                for step in ("check", "demo", "test", "test-runs")
            ),
        ],
    )
    def test_are_whatever_downloads(self, check, step):
        """A step that reaches for anything outside fails, and all of it with it. The
        tests that take minutes each come after the others, where they are asked for."""
        checked = check(failing=step, program=CONNECT, LONG="yes")

        assert checked.process.returncode != 0
        assert checked.steps[-1] == step
        if step == "test-long":
            assert checked.steps[-2] == "test-runs"
        assert "Network is unreachable" in checked.process.stderr
        assert f"make {step}" in checked.process.stdout.rpartition("failed: ")[2]

    @pytest.mark.parametrize(("step", "only"), [("demo", "WEEKS=1"), ("imports", "")])
    def test_of_a_further_python_are_failures(self, check, step, only):
        """The demo of the newest, and the imports beside it: their output is there."""
        program = "import os, sys; print('from', os.getcwd()); sys.exit(4)"
        checked = check(failing=step, only=only, program=program)
        further = [c for c in checked.calls[6:] if step == c["words"][0]]
        if not further:
            pytest.skip("too few Pythons are on this machine")

        assert checked.process.returncode == 4
        assert checked.process.stdout.count("from /") == len(further)
        assert "make demo WEEKS=1" in checked.process.stdout.rpartition("failed: ")[2]

    def test_of_any_step_are_failures(self, check):
        """Also of those that have a network."""
        checked = check(failing="setup", program="raise SystemExit(3)")

        assert (checked.process.returncode, checked.steps) == (3, ["setup"])


class TestWithoutNamespaces:
    def test_it_runs_and_says_so_loudly(self, tmp_path):
        """At the beginning and at the end: what was not checked."""
        clone, programs = tmp_path / "clone", tmp_path / "programs"
        shutil.copytree(ROOT / ".ci", clone / ".ci")
        subprocess.run(["git", "init", "--quiet"], cwd=clone, check=True)
        programs.mkdir()
        for name, code in (("unshare", 1), ("make", 0)):
            (programs / name).write_text(f"#!/bin/sh\nexit {code}\n")
            (programs / name).chmod(0o755)
        path = os.pathsep.join([str(programs), os.environ["PATH"]])

        process = execute([clone / ".ci" / "run"], env={**os.environ, "PATH": path})
        assert process.stdout.count("NOT CHECKED: that nothing downloads") == 2
