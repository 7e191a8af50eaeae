"""The commands of local mode, specified: what they start, stop and say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace

import pytest

from local.errors import LocalError
from local.processes import free_ports, is_free, myself, stop
from local.stack import commands, pages
from local.stack.stack import Stack
from local.stack.starting import answers
from local.stack.state import LOCAL, PORT_OFFSETS, Options, Record, State
from local.stack.stopping import stop_record
from tests.local.stack.projects import (
    copy_package,
    make_project,
    processes_of,
    project_stack,
    started,
)
from tests.local.waiting import wait_until
from tests.programs import execute

pytestmark = pytest.mark.runs


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A project that can be run from the command line: local mode and functions."""
    folder = make_project(tmp_path_factory.mktemp("home"))
    copy_package("local", folder)
    copy_package("deploy", folder)
    copy_package("offline", folder)
    copy_package("commands", folder)
    (folder / ".local").mkdir()
    (folder / ".local" / "venvs").symlink_to(LOCAL / "venvs")
    return folder


# Ends half a second after it was told to, as a function that answers its last request.
SLOW = "trap 'sleep 0.5; exit' TERM; while true; do sleep 0.05; done"


class TestStatus:
    @pytest.mark.parametrize("name", ["demo", "up"])
    def test_of_what_is_being_stopped_names_nothing_as_ended(
        self, tmp_path, capsys, name
    ):
        """While a demo, or ``down``, stops one process after the other nothing is
        wrong. What has ended before is said to have."""
        state = State(name, home=tmp_path)
        scripts = {"get_proba": "sleep 600", "storage": SLOW}
        running = [
            started(tmp_path, service, ["bash", "-c", script], port=port)
            for port, (service, script) in enumerate(scripts.items(), start=1)
        ]
        owner = replace(running[0], pid=os.getpid()) if name == "demo" else None
        ports = {"bigquery_storage": 3}
        record = Record(owner, Options(), ports, "", running)
        state.folder.mkdir()
        state.record_file.write_text(record.to_json())
        stopping = threading.Thread(target=stop_record, args=(record, state))
        stopping.start()
        wait_until(lambda: not running[0].is_running)
        code = commands.status([state])
        output = capsys.readouterr().out
        is_slow_one_there = running[1].is_running
        stopping.join()

        assert is_slow_one_there
        assert (code, "is being stopped" in output) == (0, True)
        assert "ENDED" not in output
        assert [
            line.split()[2] for line in output.splitlines() if "http://" in line
        ] == [
            "stopped",
            "running,",
        ]
        assert commands.status([state]) == 0
        assert capsys.readouterr().out == "Nothing is up.\n"


class TestUp:
    def test_that_is_interrupted_leaves_nothing_running(self, tmp_path, monkeypatch):
        """Defect: after Ctrl-C while the first dashboard was written all stayed up."""

        def interrupted(_: object) -> str:
            raise KeyboardInterrupt

        monkeypatch.setattr(pages, "write", interrupted)
        stack = project_stack(tmp_path, state=State("up", tmp_path))
        with pytest.raises(KeyboardInterrupt):
            commands.up(stack)

        assert all(is_free(port) for port in stack.ports.values())
        assert stack.state.record() is None

    def test_is_up_once_all_of_it_is(self, tmp_path, monkeypatch, capsys):
        """Defect: a state was said to be up from its first process on. One whose start
        was killed had no tables, and `make up` left it so: "up already"."""
        records = []

        def prepare(stack: Stack) -> None:
            commands.status([stack.state])
            records.append((stack.state.record(), capsys.readouterr().out))

        monkeypatch.setattr(Stack, "prepare", prepare)
        stack = project_stack(tmp_path, state=State("up", tmp_path))
        commands.up(stack)
        after = stack.state.record()
        commands.down([stack.state])

        [(before, output)] = records
        assert before.owner == myself("owner")
        assert f"State 'up' is in use by process {os.getpid()}." in output
        assert after.owner is None

    def test_waits_for_another_one(self, tmp_path, monkeypatch, capsys):
        """Defect: the second said that all was up while the first still began."""
        state = State("up", tmp_path)
        lines = []

        def up() -> None:
            commands.up(project_stack(tmp_path, state=state))
            lines.append(capsys.readouterr().out)

        second = threading.Thread(target=up)

        def prepare(_: Stack) -> None:
            second.start()
            second.join(timeout=1)
            lines.append("prepared")

        monkeypatch.setattr(Stack, "prepare", prepare)
        monkeypatch.setattr(pages, "write", lambda _: "")
        commands.up(project_stack(tmp_path, state=state))
        second.join()
        commands.down([state])

        assert lines[0] == "prepared"
        assert "State 'up' is up already." in lines[1]


class TestDown:
    @pytest.mark.parametrize("when", ["serve", "write"])
    def test_leaves_nothing_of_what_still_begins(self, tmp_path, monkeypatch, when):
        """Defect: what `make up` started last stayed, and was told of as a state that
        is up and all of whose functions have ended."""
        state = State("up", tmp_path)
        down = threading.Thread(target=commands.down, args=([state],))
        original = getattr(pages, when)

        def beside_down(stack: Stack) -> object:
            down.start()
            down.join(timeout=1)
            return original(stack)

        monkeypatch.setattr(pages, when, beside_down)
        stack = project_stack(tmp_path, state=state)
        code = commands.up(stack)
        down.join()

        assert code in ((1,) if when == "write" else (0, 1))
        assert state.record() is None
        assert all(is_free(port) for port in stack.ports.values())

    def test_fails_where_a_program_uses_a_state(self, tmp_path, capsys):
        """Defect: it ended well, and `make clean` removed the files of a demo that
        went on."""
        state = State("demo", home=tmp_path)
        state.folder.mkdir()
        state.record_file.write_text(
            Record(myself("owner"), Options(), {}, "", []).to_json()
        )

        assert commands.down([state]) == 1
        assert f"in use by process {os.getpid()}" in capsys.readouterr().out
        assert state.record() is not None

    def test_makes_nothing_of_a_state_that_there_is_not(self, tmp_path):
        """Defect: a folder, which was a state from then on."""
        assert commands.down([State("typo", home=tmp_path)]) == 0
        assert list(tmp_path.iterdir()) == []


@pytest.mark.long
class TestCommandLine:
    """``up``, ``status`` and ``down``, in a copy of the project."""

    @pytest.fixture
    def command(self, home):
        """Run a command of local mode; whatever is up is down after the test."""
        numbers = free_ports(len(PORT_OFFSETS))
        ports = {
            f"PROPENSITY_PORT_{service.upper()}": str(port)
            for service, port in zip(PORT_OFFSETS, numbers, strict=True)
        }

        def run(*arguments: str) -> subprocess.CompletedProcess:
            return execute(
                [sys.executable, "-m", "propensity", *arguments],
                cwd=home,
                env={**os.environ, **ports},
                timeout=120,
                status=None,
            )

        yield run
        run("down")

    @staticmethod
    def state(home) -> State:
        return State(home=home / ".local" / "states")

    def test_up_stays_until_down(self, home, command):
        """Up, up, status, down, down: each says what is, and ends with 0."""
        first = command("up")
        assert first.returncode == 0, first.stderr
        assert "State 'demo' is up." in first.stdout
        processes = processes_of(self.state(home))
        for process in processes:
            assert f"http://127.0.0.1:{process.port}" in first.stdout

        second = command("up")
        assert second.returncode == 0, second.stderr
        assert "is up already" in second.stdout
        assert second.stdout.partition("\n")[2] == first.stdout.partition("\n")[2]
        assert processes_of(self.state(home)) == processes
        assert command("status").returncode == 0

        down = command("down")
        assert down.returncode == 0
        for process in processes:
            assert f"stopped {process.name} (pid {process.pid}" in down.stdout
            assert not process.is_running
            assert is_free(process.port)

        again = command("down")
        assert (again.returncode, again.stdout) == (0, "Nothing is up.\n")

    def test_up_prints_commands_that_work(self, command):
        """The printed ``export`` lines and ``curl`` are what a shell needs."""
        lines = command("up").stdout.splitlines()
        exports = [line for line in lines if line.startswith("export ")]
        script = "\n".join(exports) + "\ncurl -sf $STORAGE_EMULATOR_HOST/"
        lookup = next(line for line in lines if line.startswith("curl 'http"))

        shell = {"PATH": os.environ["PATH"]}
        subprocess.run(["bash", "-ec", script], env=shell, check=True)
        answer = subprocess.run(
            ["bash", "-ec", lookup], env=shell, check=True, capture_output=True
        )

        assert json.loads(answer.stdout) == {"server": "starlette.requests"}

    def test_status_and_up_report_what_has_ended(self, home, command):
        """A function that has died is named, with what to do, and 1 is returned."""
        command("up")
        victim = next(p for p in processes_of(self.state(home)) if p.port != 0)
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: not victim.is_running)

        for verb in ("status", "up"):
            output = command(verb)
            assert output.returncode == 1
            assert f"{victim.name} of state 'demo' has ended" in output.stdout
            assert "make down" in output.stdout

    def test_serves_what_another_program_left(self, home, command):
        """Options of a state are kept, so that ``up`` serves it as the demo did."""
        state = self.state(home)
        state.folder.mkdir(parents=True, exist_ok=True)
        options = replace(Options(), user_column="user_id", label_event="sign_up")
        state.options_file.write_text(json.dumps(asdict(options)))

        output = command("up").stdout

        assert "export PROPENSITY_USER_COLUMN=user_id" in output
        assert "export PROPENSITY_LABEL_EVENT=sign_up" in output

    def test_a_program_uses_what_is_up(self, home, command):
        """A stack on a state that is up attaches to it and leaves it up."""
        command("up")
        state = self.state(home)
        before = processes_of(state)

        with Stack(state, root=home, venv_folder=LOCAL / "venvs") as stack:
            assert answers(stack.url("model_training"))

        assert processes_of(state) == before
        assert all(process.is_running for process in before)

    def test_a_program_with_other_options_is_refused(self, home, command):
        """What is up with one label event does not answer for another."""
        command("up")
        options = replace(self.state(home).options(), label_event="something_else")

        stack = Stack(self.state(home), options=options, root=home)
        with pytest.raises(LocalError, match="label_event"), stack:
            pass

    def test_down_spares_a_process_with_a_recycled_id(self, home, command, tmp_path):
        """A process that has the id of an ended one of ours is not ours."""
        stranger = started(tmp_path, "stranger", ["sleep", "600"])
        state = self.state(home)
        ours = replace(stranger, name="bigquery", started="long ago")
        record = Record(None, Options(), {}, "", [ours])
        state.folder.mkdir(parents=True, exist_ok=True)
        state.record_file.write_text(record.to_json())

        output = command("down").stdout

        assert stranger.is_running
        assert "bigquery had ended before" in output
        assert stop([stranger]) == [stranger]
