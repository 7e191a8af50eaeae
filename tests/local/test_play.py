"""
The demo's command, specified through ``make demo``: what it refuses, and how soon.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path

import pytest

from commands import machine
from local import play
from local.errors import LocalError, UnusableData
from local.processes import free_ports, is_free
from local.stack.stack import Stack
from local.stack.state import PORT_OFFSETS, ROOT, Options, State
from tests.programs import execute

STATES = ROOT / ".local" / "states"


def make(*words: str) -> list[str]:
    """Return the user's command, in the environment that is set up already."""
    return ["make", "-o", "setup", f"VENV={sys.prefix}", *words]


def demo(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    return execute(
        make("demo", *words),
        env={**os.environ, **environment},
        timeout=120,
        status=None,
    )


@pytest.fixture
def name():
    """Name of a state that nobody has; it is gone after the test."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    shutil.rmtree(STATES / name, ignore_errors=True)


def written(text: str, name: str = "export.json"):
    def write(folder: Path) -> Path:
        file = folder / name
        file.write_text(text)
        return file

    return write


class TestRefusals:
    @pytest.mark.parametrize(
        ("variable", "write", "message"),
        [
            ("DATA", written(""), "expected rows of a GA4 export, found none"),
            (
                "DATA",
                lambda folder: folder / "missing.ndjson",
                "there is no file or folder",
            ),
            ("CARDS", written("a,b\n1,2\n", "cards.csv"), "it lacks Time"),
        ],
        ids=["empty", "missing", "cards"],
    )
    def test_come_before_anything_is_started(self, tmp_path, variable, write, message):
        """By the name of the data; no process is started, and no state is left."""
        path = write(tmp_path)

        process = demo(f"{variable}={path}")

        assert process.returncode == 2
        assert "demo: " in process.stderr
        assert message in process.stderr
        assert str(path) in process.stderr
        assert "Traceback" not in process.stderr
        assert "starting" not in process.stdout
        assert not State.of_data(str(path)).folder.exists()

    def test_read_no_more_than_the_beginning(self, tmp_path, monkeypatch):
        """However large an export is, its beginning says what it is; and nothing that
        takes seconds to import is needed for it."""
        file = tmp_path / "export.ndjson"
        row = '{"event_timestamp": 1740830400000000, "event_name": "page_view"}\n'
        file.write_text(row * 100 + "broken\n")
        program = (
            "import sys; from local import play; "
            "play.check(play.Choice(data=sys.argv[1])); "
            "print({'pandas', 'sklearn', 'google.cloud.bigquery'} & {*sys.modules})"
        )

        process = execute([sys.executable, "-c", program, str(file)])

        assert process.stdout == "set()\n"

    def test_name_the_number_of_weeks(self):
        """WEEKS is a whole number from 1 on."""
        process = demo("WEEKS=1000")

        assert process.returncode == 2
        assert "WEEKS must be a whole number from 1 to 999, not '1000'" in (
            process.stderr
        )

    def test_of_later_rows_leave_no_state_either(self, name, tmp_path, monkeypatch):
        """Where only a later row gives the data away, what was made for them goes."""
        file = tmp_path / "export.ndjson"
        row = '{"event_timestamp": 1740830400000000, "event_name": "page_view"}\n'
        file.write_text(row * 200)
        state = State(name)
        options = play.Choice(data=str(file), state=name)
        ports = dict(zip(PORT_OFFSETS, free_ports(len(PORT_OFFSETS)), strict=True))
        for service, port in ports.items():
            monkeypatch.setenv(f"PROPENSITY_PORT_{service.upper()}", str(port))
        # No function is called before all rows are loaded.
        monkeypatch.setattr(play, "Stack", partial(Stack, functions=()))

        with pytest.raises(UnusableData, match="no event of the data is a 'purchase'"):
            play.play(state, Options(), options)

        assert not state.folder.exists()
        assert all(is_free(port) for port in ports.values())


class TestWeeks:
    def test_pass_through_make(self):
        """``make demo WEEKS=4`` plays four."""
        output = execute(make("-n", "demo", "WEEKS=4")).stdout

        assert '${WEEKS:+--weeks "$WEEKS"}' in output
        assert play.Choice().weeks == machine.WEEKS


@pytest.mark.long
class TestSecondDemo:
    def test_is_told_the_command_that_works(self, name):
        """While one plays, another of the same clone gets the whole command with which
        it plays beside it; the first goes on, and nothing of it is left at its end."""
        [base] = free_ports(1)
        words = [f"STATE={name}", f"PROPENSITY_PORT_BASE={base}"]
        first = subprocess.Popen(
            make("demo", *words),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            lines = iter(first.stdout.readline, "")
            assert any("emulators and 9 functions answer" in line for line in lines)
            second = demo(*words)
            output = re.search(r"make demo (\S+) (\S+)$", second.stderr, re.MULTILINE)

            assert second.returncode == 2
            assert f"state '{name}' is in use" in second.stderr
            assert output.groups() == (
                f"STATE={name}-2",
                f"PROPENSITY_PORT_BASE={base + 1000}",
            )
            assert first.poll() is None
        finally:
            # Not SIGINT: whoever runs the tests in the background ignores it for all.
            os.killpg(first.pid, signal.SIGTERM)
            with first.stdout as rest:
                rest.read()
            first.wait(timeout=60)
        assert all(is_free(base + offset) for offset in PORT_OFFSETS.values())


class TestFirstLine:
    def test_needs_nothing_that_takes_long(self):
        """What is printed first is printed before a library is imported, so that it
        comes at once on any machine."""
        program = (
            "import sys; from commands.cli import main; from local import play; "
            "play.say = lambda _: sys.exit(repr(sorted(LONG & {*sys.modules}))); "
            "LONG = {'numpy', 'pyarrow', 'requests', 'google.api_core', 'sklearn'}; "
            "main(['demo'])"
        )
        process = execute([sys.executable, "-c", program], status=None)

        assert process.stderr == "[]\n"

    def test_of_a_state_that_cannot_be_is_its_refusal(self):
        """A state that would lead out of the folder of states."""
        with pytest.raises(LocalError, match="cannot name a local state"):
            play.state_of(play.Choice(state="../x"), Options())
