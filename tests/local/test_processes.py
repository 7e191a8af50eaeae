"""Processes, ports and environments of local mode; what its user sees meanwhile."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from local import venvs
from local.processes import (
    Process,
    spawn,
    start_time,
    stop,
)
from tests.functions.streaming import eventually


def started(folder: Path, name: str, command: list[str]) -> Process:
    """Start a program that finds others by PATH."""
    places = {"PATH": os.environ["PATH"]}
    log = folder / f"{name}.log"
    return spawn(name, command, environment=places, folder=folder, port=1, log=log)


class TestStop:
    def test_a_stop_ends_what_a_process_has_started(self, tmp_path):
        """Also what ignores SIGTERM."""
        ignoring = "(trap '' TERM; echo $BASHPID; exec sleep 600) & wait"
        program = ["bash", "-c", ignoring]
        process = started(tmp_path, "parent", program)
        eventually(lambda: Path(process.log).read_text().strip())
        child = int(Path(process.log).read_text())

        assert stop([process]) == [process]
        eventually(lambda: start_time(child) is None)
        assert not process.is_running

    def test_a_stop_touches_no_stranger_of_the_same_number(self, tmp_path):
        """A number is given again, for example after a reboot."""
        stranger = started(tmp_path, "stranger", ["sleep", "600"])
        stop([replace(stranger, started="long ago")])

        assert stranger.is_running
        stop([stranger])


class TestVirtualEnvironments:
    def test_virtual_environments_are_made_once(self, tmp_path):
        """Also by many at once; they are made anew where the file has changed."""
        file = tmp_path / "requirements.txt"
        file.write_text("# nothing\n")

        def make(_: object = None) -> Path:
            python = venvs.python_of(file, folder=tmp_path)
            assert subprocess.run([python, "-c", ""], check=True).returncode == 0
            return python

        with ThreadPoolExecutor(8) as pool:
            [python] = {*pool.map(make, range(8))}
        marker = python.parent / "kept"
        marker.touch()
        make()
        assert marker.exists()

        file.write_text("# still nothing\n")
        make()
        assert not marker.exists()
