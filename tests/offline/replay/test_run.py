"""The command that replays, specified: how it stops, and what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from commands.cli import main
from commands.exits import Exit
from local.processes import free_ports
from local.stack.state import ROOT
from tests.offline.replay.conftest import EVER, lines


class TestTheCommand:
    def test_stops_at_ctrl_c_and_goes_on(self, bus, tmp_path):
        """What was sent is told, and how to go on; both together send every line, and
        none twice."""
        sent = [b'{"event_id":"e-%d"}' % number for number in range(400)]
        path = lines(tmp_path / "events", sent)
        topic = bus.topic()
        command = [sys.executable, "-m", "propensity", "replay", "file", path]
        running = subprocess.Popen(
            [*command, "--topic", topic, "--rate", "40"],
            cwd=ROOT,
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        messages = bus.acknowledged(topic, bus.pull(topic, within=60.0))
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=60)
        assert running.returncode == Exit.INTERRUPTED, errors
        skip = output.rpartition("--skip ")[2].strip().rstrip(".")
        assert f"{skip} messages sent" in output
        assert 0 < int(skip) < len(sent)
        status = main(
            ["replay", "file", path, "--topic", topic, "--rate", "0", "--skip", skip]
        )

        messages += bus.receive(topic, len(sent) - len(messages))
        assert status == 0
        assert Counter(message.data for message in messages) == Counter(sent)

    def test_stops_where_publishing_fails(self, environment, tmp_path, capsys):
        """A topic that is not there is named, with where to go on, and the exit
        status is 1."""
        path = lines(tmp_path / "events", [b"", *[b"{}"] * 100])
        status = main(["replay", "file", path, "--topic", "no-such-topic"])

        output = capsys.readouterr()
        assert status == 1
        assert "Pub/Sub does not find topic no-such-topic" in output.err
        assert "0 messages sent" in output.out
        assert "with --skip 1." in output.out

    def test_gives_up_where_nobody_answers(
        self, environment, monkeypatch, tmp_path, capsys
    ):
        """After the time that every call has."""
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_ports(1)[0]}")
        monkeypatch.setenv("PROPENSITY_DEADLINE_S", "2")
        status = main(["replay", "file", lines(tmp_path / "events", [b"{}"])])

        assert status == 1
        assert "Pub/Sub did not answer for topic events" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments",
        [
            ["events", "--from", "2026-01-01", "--to", "2026-01-01"],
            ["refused", *EVER, "--reason", "no_reason"],
            ["file", "x", "--rate", "-1"],
        ],
        ids=" ".join,
    )
    def test_leaves_with_2_for_a_wrong_command_line(self, arguments, capsys):
        """As any command does, before anything is done."""
        assert main(["replay", *arguments]) == 2
