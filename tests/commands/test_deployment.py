"""Processes of this machine as the doctor sees them, local states, and staging."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.cli import main
from commands.deployment import look_at_processes
from commands.exits import Exit
from commands.machine import state_up
from local.processes import Process, start_time
from local.stack.state import Options, Record
from offline.doctor.run import Report
from propensity.errors import RequestError


def process(name: str, pid: int) -> Process:
    """Return a process as a record has it."""
    return Process(name, pid, start_time(pid) or "", 8080, f"logs/{name}.log")


class TestProcesses:
    def test_that_have_ended_are_named(self):
        """With their log; a report with one of them does not end with 0."""
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
        processes = [process("storage", os.getpid()), process("score", child.pid)]
        record = Record(None, Options(), {}, processes)
        before, after = Report(), Report()
        look_at_processes(before, record)
        child.kill()
        child.communicate()
        look_at_processes(after, record)

        assert (before.findings, before.status) == ([], 0)
        assert [finding.what for finding in after.findings] == [
            "score has ended; its log is logs/score.log"
        ]
        assert after.status == 1
        assert after.checks == ["processes"]


class TestStage:
    def test_leaves_a_whole_archive_or_the_one_before(
        self, tmp_path, monkeypatch, capsys
    ):
        """Defect: a full disk left half an archive in the place of the last one."""
        target = tmp_path / "staged.zip"
        target.write_bytes(b"the last one")

        def half(base: str, *_: object) -> str:
            Path(f"{base}.zip").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("shutil.make_archive", half)
        status = main(["stage", "02-GetProba", str(target)])

        assert status == Exit.FAILED
        assert "No space left on device" in capsys.readouterr().err
        assert target.read_bytes() == b"the last one"
        assert [*tmp_path.iterdir()] == [target]


class TestStateUp:
    def test_is_the_one_that_is_named(self):
        """Others may be up: the message is about this one."""
        with pytest.raises(RequestError, match="local state nobody-has-this is not up"):
            state_up("nobody-has-this")
