"""
Local mode by what its user sees: ports, states, functions, commands, nothing left over.

The functions here are a few lines each, in a project of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from local import venvs
from local.errors import LocalError
from local.processes import free_ports, is_free
from local.stack import commands
from local.stack.stack import SECRET, Stack
from local.stack.state import (
    EMULATORS,
    FUNCTIONS,
    PORT_BASE,
    PORTS,
    ROOT,
    Options,
    Record,
    State,
)
from tests.functions.streaming import eventually
from tests.promises import copied
from tests.support.programs import execute

KEY = "a-key-of-the-user-and-of-nobody-else"
BROKEN = "raise RuntimeError('no champion in sight')\n"
PROGRAM = """
import signal, sys, time
from pathlib import Path
from local.processes import free_ports
from local.stack import stack
from local.stack.state import PORTS, State
# A shell has what it runs in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
# BigQuery is left out, because its start takes seconds.
stack.EMULATORS = ("storage", "pubsub")
state, [base, *_] = State("test", Path(sys.argv[1])), free_ports(PORTS)
made = stack.Stack(state, base=base, functions=())
_, *processes = made.processes({})
made.processes, made.ready = lambda _: processes, lambda: None
with made:
    print("ready", flush=True)
    time.sleep(600)
"""


FACTS = """
import importlib.util, os, sys
import functions_framework
import propensity

@functions_framework.http
def {target}(request):
    return {{
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "package": propensity.__file__,
        "python": sys.prefix,
        "pytest": importlib.util.find_spec("pytest") is not None,
    }}
"""
ASYNCHRONOUS = """
import functions_framework.aio

@functions_framework.aio.http
async def {target}(request):
    return {{"server": type(request).__module__}}
"""
BY_TARGET = {function.target: function for function in FUNCTIONS}


def make_project(folder: Path, *packages: str) -> Path:
    """Write a project with this project's functions, a few lines each."""
    for function in FUNCTIONS:
        target_folder = folder / function.folder
        target_folder.mkdir(parents=True, exist_ok=True)
        source = ASYNCHRONOUS if function.is_asynchronous else FACTS
        # Functions of one folder are in one file, each under its own name.
        with (target_folder / "main.py").open("a") as file:
            file.write(source.format(target=function.target))
        # Each function's script says how it is deployed.
        for script in (ROOT / function.folder).glob("*.sh"):
            shutil.copy(script, target_folder)
        shutil.copy(ROOT / function.folder / function.requirements, target_folder)
    for name in ("propensity", *packages):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=skipped)
    return folder


def project_stack(project: Path, *targets: str) -> Stack:
    """Return a stack of some functions of a project, on free ports, not started."""
    state = State("test", project / ".local" / "states")
    functions = [BY_TARGET[target] for target in targets]
    base, *_ = free_ports(PORTS)
    return Stack(state, base=base, functions=functions, root=project)


class TestState:
    def test_a_state_is_of_one_data_set(self, tmp_path, monkeypatch):
        """However a path is written. Also where names agree in 64 characters, and where
        a label event has a blank."""
        monkeypatch.chdir(tmp_path)
        paths = [tmp_path / ("export-" * 12 + end) for end in "ab"]
        names = {
            State.of_data(path, Options(label_event=label)).name
            for path in (None, *paths, Path(paths[0].name))
            for label in ("purchase", "generate lead", "generate-lead")
        }

        assert len(names) == 9


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def running(project):
    """Two functions that run, beside an environment that is none of their business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROPENSITY_STRANGER", "1")
        patch.setenv(SECRET, KEY)
        with project_stack(project, "model_training", "get_proba") as stack:
            yield stack


class TestFunctions:
    def test_functions_run_as_they_deploy(self, running):
        """From their staged source, each with what its own lock has alone, and with
        nothing of the user's environment but places and the key, which no file has."""
        facts = requests.post(running.url("model_training"), timeout=10).json()
        staged = running.state.folder / "staged" / "model_training"
        python = venvs.function_python(BY_TARGET["model_training"])
        environment = facts["environment"]

        assert facts["folder"] == str(staged)
        assert facts["package"] == str(staged / "propensity" / "__init__.py")
        assert facts["python"] == str(python.parents[1])
        assert not facts["pytest"]
        assert running.environment.items() <= environment.items()
        assert not {"PROPENSITY_STRANGER", "VIRTUAL_ENV", "PYTHONPATH"} & {*environment}
        assert environment[SECRET] == KEY
        answer = requests.get(running.url("get_proba"), timeout=10).json()
        assert answer == {"server": "starlette.requests"}

        kept = [file for file in running.state.folder.rglob("*") if file.is_file()]
        assert SECRET not in running.environment
        assert [file for file in kept if KEY.encode() in file.read_bytes()] == []


class TestStack:
    def test_a_stack_refuses_a_state_in_use_or_a_taken_port(self, project, running):
        beside = f"make demo STATE=test-2 PROPENSITY_PORT_BASE={running.base + 1000}"
        with pytest.raises(LocalError, match=f"(?s)by process {os.getpid()}.*{beside}"):
            project_stack(project, "model_training").start()

        late = State("late", running.state.home)
        with pytest.raises(LocalError, match="needed for model_training, is taken"):
            Stack(late, base=running.base, functions=()).start()

        assert not running.state.record().ended
        assert not late.record().processes

    def test_a_stack_says_why_a_function_did_not_start(self, tmp_path):
        """The message has the end of the log, and everything is stopped again."""
        broken = make_project(tmp_path)
        (broken / BY_TARGET["predictions"].folder / "main.py").write_text(BROKEN)
        stack = project_stack(broken, "model_training", "predictions")
        with pytest.raises(LocalError, match="no champion in sight") as caught:
            stack.__enter__()

        assert "predictions ended while it was starting" in str(caught.value)
        assert all(is_free(stack.base + offset) for offset in range(PORTS))

    def test_a_stack_stops_with_its_program(self, tmp_path):
        """Of a program that was killed whoever comes next stops the rest; after Ctrl-C,
        as after a termination, nothing is left."""
        state = State("test", tmp_path)
        started = []
        for number in (signal.SIGKILL, signal.SIGINT):
            program = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(tmp_path)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            with program.stdout as output:
                assert output.readline() == b"ready\n"
            started += state.record().processes
            program.send_signal(number)
            program.wait(timeout=30)

        assert len(started) == 4
        assert not any(process.is_running for process in started)
        assert all(is_free(process.port) for process in started)
        assert not state.record().processes


def test_commands_of_a_state_are_not_about_the_deployment_of_the_shell(
    tmp_path, monkeypatch
):
    """Defect: a demo sent its audiences to the people of that deployment."""
    monkeypatch.setenv("PROPENSITY_DEPLOYMENT", str(tmp_path / "production.env"))
    monkeypatch.setenv("PROPENSITY_TYPO", "1")
    stack = Stack(State("test", tmp_path), base=20_000, functions=())
    stack.command("usecase", "new", "some_use_case", "--dry-run")


def test_a_call_of_a_function_that_has_died_names_its_log(tmp_path):
    state = State("test", tmp_path)
    stack = Stack(state, base=free_ports(PORTS)[0], functions=())
    with pytest.raises(LocalError, match=r"ConnectionError.*model_training\.log"):
        stack.call("model_training", {})


def test_down_fails_where_a_program_uses_a_state(running, tmp_path):
    """`make clean` would remove the files of a demo that goes on. Of a state that there
    is not it makes nothing."""
    nothing = State("nothing", tmp_path)

    assert commands.down([nothing]) == {"stopped": [], "in_use": []}
    assert not nothing.folder.exists()
    [problem] = commands.down([running.state])["in_use"]
    assert f"in use by process {os.getpid()}" in problem
    assert not running.state.record().ended


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A copy of the project that can be run from the command line."""
    folder = tmp_path_factory.mktemp("home")
    make_project(folder, "local", "deploy", "offline", "commands")
    return folder


@pytest.mark.long
class TestCommandLine:
    """``up``, ``status`` and ``down``, in a copy of the project."""

    @pytest.fixture
    def command(self, home):
        """Run a command of local mode; whatever is up is down after the test."""
        ports = {PORT_BASE: str(free_ports(PORTS)[0])}

        def run(*arguments: str) -> subprocess.CompletedProcess:
            return execute(
                [sys.executable, "-m", "commands", *arguments],
                cwd=home,
                env={**os.environ, **ports},
                timeout=120,
                status=None,
            )

        yield run
        run("down")

    def test_up_serves_what_a_demo_left_until_down(self, home, command):
        """Up, up, status, down, down. Options of a state are kept; what is printed
        works in a shell; a function that has died is named, and `up` starts it again.
        """
        state = State(home=home / ".local" / "states")
        options = replace(Options(), user_column="user_id", label_event="sign_up")
        state.write(Record(options))
        first = command("up")
        assert first.returncode == 0, first.stderr
        # A shell's commands read and write your own use cases, and no copy of them.
        exports = command("up", "--env").stdout
        assert "PROPENSITY_USE_CASES" not in exports
        assert "export PROPENSITY_LABEL_EVENT=sign_up" in exports
        assert "export URL_GET_PROBA=http://127.0.0.1:" in exports
        processes = state.record().processes
        for process in processes:
            assert f"http://127.0.0.1:{process.port}" in first.stdout

        second = command("up")
        assert second.stdout == first.stdout
        assert state.record().processes == processes
        assert command("status").returncode == 0

        victim = processes[-1]
        os.kill(victim.pid, signal.SIGKILL)
        eventually(lambda: not victim.is_running)
        output = command("status")
        assert output.returncode == 1
        assert f"{victim.name} of state 'demo' has ended" in output.stdout
        assert "make up" in output.stdout

        third = command("up")
        assert (third.returncode, third.stdout) == (0, first.stdout)
        processes += state.record().processes

        down = command("down")
        assert down.returncode == 0
        for process in processes:
            assert not process.is_running
            assert is_free(process.port)
        again = command("down")
        assert (again.returncode, again.stdout.strip()) == (0, "Nothing was running.")


@pytest.mark.long
def test_a_first_state_of_any_name_comes_up_and_ends(tmp_path):
    """In a clone and a home that are empty, by the words of `make`."""
    clone = copied(tmp_path / "clone")
    (tmp_path / "home").mkdir()
    base = free_ports(PORTS)[0]
    place = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    make = {"cwd": clone, "env": {**place, PORT_BASE: str(base)}}
    state = State("first", clone / ".local" / "states")
    try:
        shown = execute(["make", "up", "STATE=first"], **make).stdout
        processes = state.record().processes
        running = [process.is_running for process in processes]
        listed = execute(["make", "status"], **make).stdout
    finally:
        execute(["make", "down"], **make)

    assert running == [True] * (len(EMULATORS) + len(FUNCTIONS) + 1)
    assert "propensity up --env --state first" in shown
    for process in processes:
        assert f"http://127.0.0.1:{process.port}" in listed
        assert not process.is_running
        assert is_free(process.port)
