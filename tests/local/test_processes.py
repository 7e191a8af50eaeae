"""Processes, ports and environments of local mode; what its user sees meanwhile."""

from __future__ import annotations

import io
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from local import venvs
from local.errors import LocalError
from local.processes import Process, spawn, start_time, stop
from local.progress import QUIET_S, TICK_S, Progress, Step
from tests.local.projects import wait_until


def started(folder: Path, name: str, command: list[str]) -> Process:
    """Start a program that finds others by PATH."""
    places, log = {"PATH": os.environ["PATH"]}, folder / f"{name}.log"
    return spawn(name, command, environment=places, folder=folder, port=1, log=log)


class TestStop:
    def test_ends_what_a_process_has_started(self, tmp_path):
        """Also what ignores SIGTERM."""
        ignoring = "(trap '' TERM; echo $BASHPID; exec sleep 600) & wait"
        program = ["bash", "-c", ignoring]
        process = started(tmp_path, "parent", program)
        wait_until(lambda: Path(process.log).read_text().strip())
        child = int(Path(process.log).read_text())

        assert stop([process]) == [process]
        wait_until(lambda: start_time(child) is None)
        assert not process.is_running

    def test_touches_no_stranger_of_the_same_number(self, tmp_path):
        """A number is given again. Defect: after a reboot its process was killed."""
        stranger = started(tmp_path, "stranger", ["sleep", "600"])
        stop([replace(stranger, started="long ago")])

        assert stranger.is_running
        assert stop([stranger]) == [stranger]


class TestVirtualEnvironments:
    def test_are_made_once_by_many_and_anew_after_an_interruption(
        self, tmp_path, monkeypatch
    ):
        file, output = tmp_path / "requirements.txt", []
        file.write_text("# nothing\n")
        monkeypatch.setattr(venvs, "say", output.append)

        def make(_: object = None) -> Path:
            return venvs.python_of(file, folder=tmp_path)

        with ThreadPoolExecutor(8) as pool:
            [python] = {*pool.map(make, range(8))}
        assert len(output) == 1
        assert subprocess.run([python, "-c", ""], check=True).returncode == 0

        (python.parent.parent / venvs.COMPLETE).unlink()
        make()
        assert len(output) == 2

    def test_that_cannot_be_made_say_why(self, tmp_path):
        file = tmp_path / "requirements.txt"
        file.write_text("./no-such-package\n")

        with pytest.raises(LocalError, match="no-such-package"):
            venvs.python_of(file, folder=tmp_path)

    def test_take_packages_from_where_pip_does(self):
        """A company's index, set for pip alone, is where uv looks, too; a variable
        comes before a file."""
        variables = venvs.indexes(
            ":env:.index-url='https://pypi.example.com/simple'\n"
            "global.index-url='https://old.example.com/simple'\n"
            "global.extra-index-url='https://a.example.com\\nhttps://b.example.com'\n"
            "install.trusted-host='pypi.example.com'\n"
            "global.find-links='/wheels /more'\n"
            "global.cert='/etc/ssl/company.pem'\n"
            "global.timeout='180'\n"
        )

        assert variables == {
            "UV_DEFAULT_INDEX": "https://pypi.example.com/simple",
            "UV_INDEX": "https://a.example.com https://b.example.com",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_INSECURE_HOST": "pypi.example.com",
            "UV_FIND_LINKS": "/wheels,/more",
            "SSL_CERT_FILE": "/etc/ssl/company.pem",
        }


def test_progress_is_a_line_where_none_came():
    """It has what goes on, and for how long it has been."""
    stream, now = io.StringIO(), [0.0]
    progress = Progress(stream, clock=lambda: now[0])
    progress.steps.append(Step("loading", 0.0))

    def pass_time(seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            now[0] += TICK_S
            progress.tick()

    for number in range(5):
        progress.say(f"week {number}")
        pass_time(QUIET_S - 2 * TICK_S)
    assert "…" not in stream.getvalue()
    pass_time(3 * TICK_S)

    assert stream.getvalue().endswith("  … loading, 29 s\n")
