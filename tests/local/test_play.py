"""The demo's command, through ``make demo``: what it refuses, and how soon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from functools import partial

import pytest

from local import play
from local.errors import UnusableData
from local.processes import free_ports, is_free
from local.progress import showing
from local.stack.stack import Stack
from local.stack.state import PORTS, State
from tests.programs import execute

NOON = 1_740_830_400_000_000  # 2025-03-01 12:00:00 UTC
ROW = '{"event_timestamp": 1740830400000000, "event_name": "page_view"}\n'


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the user's command, in the environment that is set up already."""
    return execute(
        ["make", "-o", "setup", f"VENV={sys.prefix}", "demo", *words],
        env=os.environ,
        timeout=120,
        status=None,
    )


class TestRefusals:
    @pytest.mark.parametrize(
        ("variable", "name", "text", "message"),
        [
            ("DATA", "e.json", "", "has no rows of a GA4 export"),
            ("DATA", "missing.json", None, "there is no file or folder"),
            ("CARDS", "cards.csv", "a,b\n1,2\n", "lacks the columns Time"),
        ],
    )
    def test_refusals_come_before_anything_is_started(
        self, tmp_path, variable, name, text, message
    ):
        """By the name of the data; no process is started, and no state is left."""
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        process = demo(f"{variable}={path}")

        assert process.returncode == 2
        assert "demo: " in process.stderr
        assert message in process.stderr
        assert str(path) in process.stderr
        assert "Traceback" not in process.stderr
        assert "starting" not in process.stdout
        assert not State.of_data(path).folder.exists()

    def test_refusals_of_later_rows_leave_no_state_either(self, tmp_path, monkeypatch):
        """Where only a later row gives the data away, what was made for them goes."""
        file = tmp_path / "export.ndjson"
        times = [NOON + n for n in range(200)]
        file.write_text("".join(ROW.replace(str(NOON), str(one)) for one in times))
        state = State(f"test-{uuid.uuid4().hex[:8]}")
        ports = free_ports(PORTS)
        # No function is called before all rows are loaded.
        monkeypatch.setattr(play, "PLAYED", ())
        monkeypatch.setattr(play, "Stack", partial(Stack, base=ports[0]))
        try:
            says = pytest.raises(UnusableData, match="have no 'purchase'")
            with says, showing():
                play.play(state, play.Choice(data=file))
            assert not state.folder.exists()
        finally:
            shutil.rmtree(state.folder, ignore_errors=True)
        assert all(map(is_free, ports))


def test_the_first_line_needs_nothing_that_takes_long():
    """It is printed before a library is imported, so that it comes at once."""
    program = (
        "import os, sys; from commands.cli import main; from local import play; "
        "play.say = lambda _: os._exit(len(LONG & {*sys.modules})); "
        "LONG = {'numpy', 'pyarrow', 'requests', 'google.api_core', 'sklearn'}; "
        "main(['demo'])"
    )

    execute([sys.executable, "-c", program])
