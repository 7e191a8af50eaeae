"""Processes of local mode, specified: with a leader goes all that it has started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from local.processes import Process, free_ports, is_free, myself, spawn, stop
from local.stack.starting import refuse_running
from local.stack.state import Options, Record, State
from tests.local.waiting import wait_until

# As a server whose workers do not notice that it was killed.
WORKER = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"  # noqa: E501
LEADER = "import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}, *sys.argv[1:]])"  # noqa: E501


@pytest.fixture
def killed(tmp_path) -> Iterator[Process]:
    """A leader that was killed, and whose worker listens on."""
    [port] = free_ports(1)
    process = spawn(
        "server",
        [sys.executable, "-c", LEADER.format(worker=WORKER), str(port)],
        environment={},
        folder=tmp_path,
        port=port,
        log=tmp_path / "log",
    )
    wait_until(lambda: not is_free(port))
    [worker] = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not process.is_running)
    yield process
    if worker.is_running():
        worker.kill()


class TestStop:
    def test_ends_what_a_killed_leader_left_behind(self, killed):
        """Else its port stays taken, and nothing can be started again."""
        assert not is_free(killed.port)

        assert stop([killed]) == []
        assert is_free(killed.port)

    def test_ends_it_before_the_next_start(self, killed, tmp_path):
        """Defect: where a program was killed with all that it had started, the next
        one stopped what ran of that alone. A worker kept its port, and the next start
        was refused: "taken by another program"."""
        state = State("demo", home=tmp_path)
        state.folder.mkdir()
        gone = replace(myself("owner"), started="long ago")
        state.record_file.write_text(
            Record(gone, Options(), {}, "", [killed]).to_json()
        )
        refuse_running(state)

        assert is_free(killed.port)
        assert state.record() is None

    def test_touches_no_stranger_of_the_same_number(self, killed):
        """A number is given again: a group of another command is somebody else's."""
        stop([replace(killed, port=1)])

        assert not is_free(killed.port)
