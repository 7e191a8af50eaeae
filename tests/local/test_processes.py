"""Processes, ports and environments of local mode; what its user sees meanwhile."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1 import BigQueryReadClient

from local import venvs
from local.errors import LocalError
from local.processes import (
    HOST,
    Process,
    free_ports,
    is_listening,
    spawn,
    start_time,
    stop,
)
from propensity.cli.progress import Progress
from propensity.gcp.clients import open_client
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
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
        """A number is given again. Defect: after a reboot a stranger was killed."""
        stranger = started(tmp_path, "stranger", ["sleep", "600"])
        stop([replace(stranger, started="long ago")])

        assert stranger.is_running
        stop([stranger])


@contextmanager
def killed_after(folder: Path, *words: str) -> Iterator[str]:
    """BigQuery with its data in a folder; yield its address, kill it at the end."""
    [port] = free_ports(1)
    module = [sys.executable, "-m", "local.emulators.bigquery"]
    command = [*module, "--port", str(port), "--data-dir", str(folder), *words]
    with subprocess.Popen(command) as process:
        try:
            eventually(lambda: is_listening(port))
            yield f"http://{HOST}:{port}"
        finally:
            process.kill()


def test_a_killed_emulator_keeps_every_project(tmp_path, monkeypatch):
    """Times are UTC wherever it runs."""
    projects = ("propensity-local", "other-project")
    [grpc_port] = free_ports(1)
    words = ["--grpc-port", str(grpc_port), "--project", projects[0]]
    with killed_after(tmp_path, *words) as url:
        for project in projects:
            settings = Settings(project=project, bigquery_endpoint=url)
            client = Warehouse.open(settings).client
            client.create_dataset("kept")
            for sql in (
                "TABLE kept.t AS SELECT TIMESTAMP '2026-03-01 23:30:00' AS at",
                "VIEW kept.v AS SELECT at, DATE(at) AS day FROM kept.t",
            ):
                client.query(f"CREATE {sql}").result()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with killed_after(tmp_path, *words) as url:
        reader = open_client(BigQueryReadClient, f"{HOST}:{grpc_port}")
        for project in projects:
            settings = Settings(project=project, bigquery_endpoint=url)
            client = Warehouse.open(settings).client
            rows = client.query("SELECT * FROM kept.v").result()
            table = rows.to_arrow(bqstorage_client=reader)
            assert table.schema.field("at").type == pa.timestamp("us", "UTC")
            assert table["day"].to_pylist() == [date(2026, 3, 1)]


class TestVirtualEnvironments:
    def test_virtual_environments_are_made_once(self, tmp_path):
        """Also by many at once; they are made anew where the file has changed, and
        after an interruption."""
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

        marker.touch()
        (python.parents[1] / venvs.INSTALLED).unlink()
        make()
        assert not marker.exists()


def test_a_patch_is_of_one_version(tmp_path):
    """Set-up says that another one is there, and leaves it as it is."""
    patch = tmp_path / "of-one.patch"
    patch.write_text("--- a/code/x.py\n+++ b/code/x.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n")
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "x.py"
    file.write_text("x = 1\n")
    venvs.apply_patch(patch, tmp_path)
    assert file.read_text() == "x = 2\n"

    file.write_text("x = 3\n")
    with pytest.raises(LocalError, match=r"of-one.patch does not fit"):
        venvs.apply_patch(patch, tmp_path)
    assert file.read_text() == "x = 3\n"


def test_a_terminal_has_one_line_of_progress():
    """It says what goes on, how far it is, and for how long, and makes room for text.
    Defect: each pause of six seconds added a line."""
    drawn = io.StringIO()
    now = [0.0]
    progress = Progress(drawn, clock=lambda: now[0])
    progress.terminal = drawn
    with progress.step("working"):
        for _ in progress.watched(["a", "b"], "weeks"):
            with progress.step("training"):
                now[0] += 9
                progress.tick()
            progress.say("done")
    lines = [line.partition("\x1b")[0][2:] for line in drawn.getvalue().split("\r")]

    assert "weeks (0 of 2): training, 9 s" in lines
    assert "weeks (1 of 2): training, 9 s" in lines
    assert drawn.getvalue().count("\n") == 2
