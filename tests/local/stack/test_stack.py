"""
Local mode, specified by what its user sees: addresses, messages, and nothing left over.

The functions here are a few lines each, in a project of their own. They have the
requirements of 02-GetProba, so that they share its virtual environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from local import venvs
from local.errors import LocalError
from local.processes import is_free
from local.stack.starting import answers
from local.stack.state import LOCAL, READY_VARIABLE, ROOT, Function, State
from tests.local.stack.projects import (
    ASYNCHRONOUS_FUNCTION,
    FACTS_FUNCTION,
    PLAIN,
    make_project,
    processes_of,
    project_stack,
)

BROKEN = "raise RuntimeError('no champion in sight')\n"
HANGING = "import time\nprint('waiting for Godot', flush=True)\ntime.sleep(600)\n"
PROGRAM = """
import signal, sys, time
from pathlib import Path
from tests.local.stack.projects import PLAIN, project_stack
# A shell has what it runs in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
with project_stack(Path(sys.argv[1]), *PLAIN) as stack:
    print("ready", flush=True)
    time.sleep(600)
"""

BROKEN_FUNCTION = Function("01-Predictions", "predictions")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


KEY = "a-key-of-the-user-and-of-nobody-else"


@pytest.fixture(scope="module")
def running(project):
    """Two functions that run, beside an environment that is none of their business."""
    os.environ["PROPENSITY_STRANGER"] = "1"
    os.environ["PROPENSITY_SUPPRESSION_KEY"] = KEY
    try:
        with project_stack(project, FACTS_FUNCTION, ASYNCHRONOUS_FUNCTION) as stack:
            yield stack
    finally:
        del os.environ["PROPENSITY_STRANGER"], os.environ["PROPENSITY_SUPPRESSION_KEY"]


@pytest.fixture(scope="module")
def facts(running):
    """What the function of ``running`` says about itself."""
    return requests.post(running.url("model_training"), timeout=10).json()


class TestFunctions:
    def test_run_from_their_staged_source(self, running, facts):
        """A function's folder and package are the staged copies, not the project's."""
        staged = running.state.folder / "staged" / "model_training"

        assert facts["folder"] == str(staged)
        assert facts["package"] == str(staged / "propensity" / "__init__.py")

    def test_have_what_functions_require_alone(self, facts):
        """What is installed for development is not there for a function."""
        python = venvs.functions_python(ROOT, folder=LOCAL / "venvs")

        assert facts["python"] == str(python.parents[1])
        assert not facts["pytest"]

    def test_inherit_nothing_but_where_things_are(self, running, facts):
        """An unknown setting of the user's shell reaches no function."""
        environment = facts["environment"]

        assert running.environment.items() <= environment.items()
        assert "PROPENSITY_STRANGER" not in environment
        assert not {"VIRTUAL_ENV", "PYTHONPATH", "PYTEST_CURRENT_TEST"} & set(
            environment
        )

    def test_get_the_key_of_suppressed_users(self, running, facts):
        """It is the user's own; nothing that is printed or kept has it."""
        kept = [file for file in running.state.folder.rglob("*") if file.is_file()]

        assert facts["environment"]["PROPENSITY_SUPPRESSION_KEY"] == KEY
        assert "PROPENSITY_SUPPRESSION_KEY" not in running.environment
        assert [file for file in kept if KEY.encode() in file.read_bytes()] == []

    def test_that_are_asynchronous_are_served_so(self, running):
        """An asynchronous function is served by ASGI, as it deploys."""
        answer = requests.get(running.url("get_proba"), timeout=10).json()

        assert answer == {"server": "starlette.requests"}


@pytest.mark.long
class TestStack:
    def test_prepares_bucket_and_datasets(self, running):
        """What the functions expect to exist does, before they are asked anything."""
        datasets = f"/bigquery/v2/projects/{running.options.project}/datasets"
        named = [running.options.dataset, running.options.ga4_dataset]

        for dataset in named:
            assert answers(f"{running.url('bigquery')}{datasets}/{dataset}")
        assert running.bucket_folder.is_dir()

    def test_refuses_a_state_that_is_in_use(self, project, running):
        """Two programs cannot have one state at a time; the second is told so."""
        second = project_stack(project, *PLAIN)

        with pytest.raises(LocalError, match=f"in use by process {os.getpid()}"):
            second.start()

        assert all(process.is_running for process in processes_of(running.state))

    def test_stops_what_it_started_on_an_error(self, project):
        """An exception in the block leaves no process, no port and no record."""
        stack = project_stack(project, state=State("error", project / "states"))

        def fail():
            with stack:
                started.extend(processes_of(stack.state))
                raise ZeroDivisionError

        started = []
        with pytest.raises(ZeroDivisionError):
            fail()

        assert len(started) == 3
        assert not any(process.is_running for process in started)
        assert all(is_free(process.port) for process in started)
        assert stack.state.record() is None

    def test_says_why_a_function_did_not_start(self, project, tmp_path):
        """The message has the end of the log, and everything is stopped again."""
        broken = copied(project, tmp_path, {BROKEN_FUNCTION: BROKEN})
        stack = project_stack(broken, *PLAIN, BROKEN_FUNCTION)

        with pytest.raises(LocalError, match="no champion in sight") as caught:
            stack.start()

        assert "predictions ended while it was starting" in str(caught.value)
        assert all(is_free(port) for port in stack.ports.values())
        assert stack.state.record() is None

    def test_gives_up_on_a_function_that_hangs(self, project, tmp_path, monkeypatch):
        """What does not answer is named, with its log and what to do."""
        stuck = copied(project, tmp_path, {BROKEN_FUNCTION: HANGING})
        monkeypatch.setenv(READY_VARIABLE, "20")
        stack = project_stack(stuck, *PLAIN, BROKEN_FUNCTION)

        with pytest.raises(LocalError) as caught:
            stack.start()

        message = str(caught.value)
        port = stack.ports["predictions"]
        assert f"predictions does not answer on port {port}" in message
        assert "waiting for Godot" in message
        assert "PROPENSITY_LOCAL_READY_S=80" in message
        assert all(is_free(port) for port in stack.ports.values())

    def test_names_a_taken_port(self, project, running):
        """Nothing is started when a port is taken; the message says how to go on."""
        taken = running.ports["storage"]
        stack = project_stack(project, state=State("late", running.state.home))
        stack.ports["storage"] = taken

        with pytest.raises(LocalError) as caught:
            stack.start()

        message = str(caught.value)
        assert f"port {taken}, needed for storage, is taken" in message
        # Not by what `make down` stops.
        assert f"by state 'test', in use by process {os.getpid()}" in message
        assert "PROPENSITY_PORT_STORAGE" in message
        assert "Nothing was started" in message
        assert stack.state.record() is None

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stops_with_its_program(self, project, tmp_path, number):
        """Ctrl-C, a termination and a closed terminal leave nothing behind."""
        program, state = start_program(project, tmp_path)
        started = processes_of(state)

        program.send_signal(number)
        program.wait(timeout=30)

        assert len(started) == 4
        assert not any(process.is_running for process in started)
        assert all(is_free(process.port) for process in started)
        assert state.record() is None

    def test_cleans_up_after_a_killed_program(self, project, tmp_path):
        """Whoever comes next stops what a killed program could not."""
        program, state = start_program(project, tmp_path)
        left = processes_of(state)
        program.kill()
        program.wait()

        with project_stack(project, state=state):
            now = processes_of(state)

        assert not any(process.is_running for process in left)
        assert {process.pid for process in now}.isdisjoint({p.pid for p in left})


def copied(
    project: Path, folder: Path, mains: dict[Function, str] | None = None
) -> Path:
    """Copy a project, where some functions have another source."""
    copy = shutil.copytree(project, folder / "p", ignore=lambda *_: [".local"])
    for function, text in (mains or {}).items():
        (copy / function.folder / "main.py").write_text(text)
    return copy


def start_program(project: Path, folder: Path) -> tuple[subprocess.Popen, State]:
    """Start a program with a stack, in a project of its own; returns once it is up."""
    copy = copied(project, folder)
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(copy)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with program.stdout as output:
        assert output.readline() == b"ready\n"
    return program, State("test", copy / ".local" / "states")
