"""
Local mode, specified by what its user sees: addresses, messages, and nothing left over.

The functions here are a few lines each, in a project of their own. They have the
requirements of 02-GetProba, so that they share its virtual environment.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import requests

from local import venvs
from local.errors import LocalError
from local.processes import (
    Process,
    Work,
    cpu_s,
    free_ports,
    is_free,
    spawn,
    start_time,
    stop,
)
from local.stack.stack import Stack
from local.stack.starting import answers
from local.stack.state import (
    FUNCTIONS,
    LOCAL,
    PORT_OFFSETS,
    READY_VARIABLE,
    ROOT,
    Function,
    Options,
    Record,
    State,
    ports_from,
    ready_s_from,
)

REQUIREMENTS = ROOT / "02-GetProba" / "requirements.txt"
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
BROKEN = "raise RuntimeError('no champion in sight')\n"
# Works for three seconds and more before it answers, and for longer where it is slow.
SLOW = """
import time
began = time.process_time()
while time.process_time() - began < 3:
    pass
"""
HANGING = "import time\nprint('waiting for Godot', flush=True)\ntime.sleep(600)\n"
PROGRAM = """
import sys, time
from pathlib import Path
from tests.local.stack.test_stack import PLAIN, project_stack
with project_stack(Path(sys.argv[1]), *PLAIN) as stack:
    print("ready", flush=True)
    time.sleep(600)
"""

FACTS_FUNCTION = Function("00-ModelTraining", "model_training")
ASYNCHRONOUS_FUNCTION = Function("02-GetProba", "get_proba", is_asynchronous=True)
BROKEN_FUNCTION = Function("01-Predictions", "predictions")
PLAIN = (FACTS_FUNCTION,)


def make_project(folder: Path) -> Path:
    """Write a project with this project's functions, a few lines each."""
    sources = {
        function.target: ASYNCHRONOUS if function.is_asynchronous else FACTS
        for function in FUNCTIONS
    }
    for function in FUNCTIONS:
        place = folder / function.folder
        place.mkdir(parents=True, exist_ok=True)
        text = sources[function.target].format(target=function.target)
        # Functions of one folder are in one file, each under its own name.
        with (place / "main.py").open("a") as file:
            file.write(text)
        shutil.copy(REQUIREMENTS, place / function.requirements)
    copy_package("propensity", folder)
    return folder


def copy_package(name: str, folder: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / name, folder / name, ignore=skipped)


def project_stack(project: Path, *functions: Function, **options) -> Stack:
    """Return a stack of some functions of a project, on free ports, not started."""
    ports = dict(zip(PORT_OFFSETS, free_ports(len(PORT_OFFSETS)), strict=True))
    return Stack(
        options.pop("state", State("test", project / ".local" / "states")),
        ports=options.pop("ports", ports),
        functions=functions,
        root=project,
        venv_folder=LOCAL / "venvs",
        **options,
    )


def processes_of(state: State) -> list[Process]:
    return state.record().processes


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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


class TestFunctions:
    def test_run_from_their_staged_source(self, running, facts):
        """A function's folder and package are the staged copies, not the project's."""
        staged = running.state.folder / "staged" / "model_training"

        assert facts["folder"] == str(staged)
        assert facts["package"] == str(staged / "propensity" / "__init__.py")

    def test_have_their_own_requirements_alone(self, facts):
        """What is installed for development is not there for a function."""
        expected = LOCAL / "venvs" / venvs.key(REQUIREMENTS.read_text())

        assert facts["python"] == str(expected)
        assert not facts["pytest"]

    def test_inherit_nothing_but_where_things_are(self, running, facts):
        """An unknown setting of the user's shell reaches no function."""
        given = facts["environment"]

        assert running.environment.items() <= given.items()
        assert "PROPENSITY_STRANGER" not in given
        assert not {"VIRTUAL_ENV", "PYTHONPATH", "PYTEST_CURRENT_TEST"} & set(given)

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

    def test_leave_nothing_in_the_home_folder(self, running, facts):
        """gunicorn's control socket is in the state, one for each function."""
        folder = Path(facts["environment"]["XDG_RUNTIME_DIR"])

        assert folder == running.state.folder / "run" / "model_training"


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
        broken = shutil.copytree(project, tmp_path / "p", ignore=lambda *_: [".local"])
        (broken / BROKEN_FUNCTION.folder / "main.py").write_text(BROKEN)
        stack = project_stack(broken, *PLAIN, BROKEN_FUNCTION)

        with pytest.raises(LocalError, match="no champion in sight") as caught:
            stack.start()

        assert "predictions ended while it was starting" in str(caught.value)
        assert all(is_free(port) for port in stack.ports.values())
        assert stack.state.record() is None

    def test_waits_for_a_function_that_works(self, project, tmp_path, monkeypatch):
        """However little patience there is, what uses a processor is waited for."""
        slow = shutil.copytree(project, tmp_path / "p", ignore=lambda *_: [".local"])
        main = slow / FACTS_FUNCTION.folder / "main.py"
        main.write_text(SLOW + main.read_text())
        monkeypatch.setenv(READY_VARIABLE, "2")
        told = []

        with project_stack(slow, *PLAIN, say=told.append) as stack:
            assert answers(stack.url("model_training"))

        assert any("model_training up after" in line for line in told)

    def test_gives_up_on_a_function_that_hangs(self, project, tmp_path, monkeypatch):
        """What neither answers nor works is named, with its log and what to do."""
        stuck = shutil.copytree(project, tmp_path / "p", ignore=lambda *_: [".local"])
        (stuck / BROKEN_FUNCTION.folder / "main.py").write_text(HANGING)
        monkeypatch.setenv(READY_VARIABLE, "5")
        stack = project_stack(stuck, *PLAIN, BROKEN_FUNCTION)

        with pytest.raises(LocalError) as caught:
            stack.start()

        message = str(caught.value)
        port = stack.ports["predictions"]
        assert f"predictions does not answer on port {port}" in message
        assert "done nothing for 5 s" in message
        assert "waiting for Godot" in message
        assert "PROPENSITY_LOCAL_READY_S=20" in message
        assert all(is_free(port) for port in stack.ports.values())

    def test_names_a_taken_port(self, project, running):
        """Nothing is started when a port is taken; the message says how to go on."""
        taken = running.ports["storage"]
        stack = project_stack(project, state=State("late", project / "states"))
        stack.ports["storage"] = taken

        with pytest.raises(LocalError) as caught:
            stack.start()

        message = str(caught.value)
        assert f"port {taken}, needed for storage, is taken" in message
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


def start_program(project: Path, folder: Path) -> tuple[subprocess.Popen, State]:
    """Start a program with a stack, in a project of its own; returns once it is up."""
    copy = shutil.copytree(project, folder / "p", ignore=lambda *_: [".local"])
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(copy)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with program.stdout as output:
        assert output.readline() == b"ready\n"
    return program, State("test", copy / ".local" / "states")


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
            return subprocess.run(
                [sys.executable, "-m", "propensity", *arguments],
                cwd=home,
                env={**os.environ, **ports},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
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
        started = processes_of(self.state(home))
        for process in started:
            assert f"http://127.0.0.1:{process.port}" in first.stdout

        second = command("up")
        assert second.returncode == 0, second.stderr
        assert "is up already" in second.stdout
        assert second.stdout.partition("\n")[2] == first.stdout.partition("\n")[2]
        assert processes_of(self.state(home)) == started
        assert command("status").returncode == 0

        down = command("down")
        assert down.returncode == 0
        for process in started:
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
            told = command(verb)
            assert told.returncode == 1
            assert f"{victim.name} of state 'demo' has ended" in told.stdout
            assert "make down" in told.stdout

    def test_serves_what_another_program_left(self, home, command):
        """Options of a state are kept, so that ``up`` serves it as the demo did."""
        state = self.state(home)
        state.folder.mkdir(parents=True, exist_ok=True)
        options = replace(Options(), user_column="user_id", label_event="sign_up")
        state.options_file.write_text(json.dumps(asdict(options)))

        told = command("up").stdout

        assert "export PROPENSITY_USER_COLUMN=user_id" in told
        assert "export PROPENSITY_LABEL_EVENT=sign_up" in told

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
        stranger = spawn(
            "stranger",
            ["sleep", "600"],
            environment={"PATH": os.environ["PATH"]},
            folder=tmp_path,
            port=1,
            log=tmp_path / "log",
        )
        state = self.state(home)
        ours = replace(stranger, name="bigquery", started="long ago")
        record = Record(None, Options(), {}, "", [ours])
        state.folder.mkdir(parents=True, exist_ok=True)
        state.record_file.write_text(record.to_json())

        told = command("down").stdout

        assert stranger.is_running
        assert "bigquery had ended before" in told
        assert stop([stranger]) == [stranger]


class TestPorts:
    def test_have_a_base(self):
        """Functions have the number of their folder, from the base on."""
        assert ports_from({})["get_proba"] == 8082
        assert ports_from({"PROPENSITY_PORT_BASE": "9000"})["get_proba"] == 9002
        assert (
            ports_from({"PROPENSITY_PORT_BASE": "9000"}, base=7000)["storage"] == 7012
        )

    def test_can_be_moved_one_by_one(self):
        """A service's own variable and option come before the base."""
        environment = {"PROPENSITY_PORT_STORAGE": "4443"}

        assert ports_from(environment)["storage"] == 4443
        assert ports_from(environment, single={"storage": 4444})["storage"] == 4444

    @pytest.mark.parametrize(
        ("environment", "message"),
        [
            ({"PROPENSITY_PORT_BASE": "many"}, "PROPENSITY_PORT_BASE must be a port"),
            ({"PROPENSITY_PORT_BASE": "65530"}, "above 65535"),
            ({"PROPENSITY_PORT_STORAGE": "0"}, "PROPENSITY_PORT_STORAGE must be"),
            ({"PROPENSITY_PORT_STORAGE": "8080"}, "model_training and storage"),
        ],
    )
    def test_that_cannot_be_are_refused(self, environment, message):
        """What is wrong with a port is said by the name of what set it."""
        with pytest.raises(LocalError, match=message):
            ports_from(environment)


class TestPatience:
    def test_has_a_default(self):
        """Seconds in which a process must answer or work."""
        assert ready_s_from({}) == ready_s_from({READY_VARIABLE: ""}) == 90
        assert ready_s_from({READY_VARIABLE: "300"}) == 300

    @pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "٩", "86401"])
    def test_is_a_number_of_seconds(self, value):
        """Anything else is refused by its name."""
        with pytest.raises(LocalError, match=f"{READY_VARIABLE} must be a number"):
            ready_s_from({READY_VARIABLE: value})


class TestWork:
    """By a clock that is given, on real processes."""

    @pytest.fixture
    def started(self, tmp_path):
        """Start a program of Python; it is stopped after the test."""
        processes = []

        def start(program: str) -> Process:
            processes.append(
                spawn(
                    "program",
                    [sys.executable, "-u", "-c", program],
                    environment={"PATH": os.environ["PATH"]},
                    folder=tmp_path,
                    port=1,
                    log=tmp_path / "log",
                )
            )
            return processes[-1]

        yield start
        stop(processes)

    def test_is_seen_by_the_processor(self, started):
        """Also that of a process which the first has started."""
        program = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
        process = started(program.format("while True: pass"))
        now = [0.0]
        work = Work(process, clock=lambda: now[0])
        used = cpu_s(process)
        wait_until(lambda: cpu_s(process) > used + 1.5)

        now[0] = 100.0

        assert work.idle_s == 0

    def test_is_seen_by_the_log(self, started):
        """Whoever writes works."""
        process = started("import time\ntime.sleep(600)")
        now = [0.0]
        work = Work(process, clock=lambda: now[0])
        Path(process.log).write_text("half way through")

        now[0] = 100.0

        assert work.idle_s == 0

    def test_of_a_process_that_hangs_is_none(self, started):
        """The seconds since it last did something are counted."""
        process = started("print('ready')\nimport time\ntime.sleep(600)")
        wait_until(lambda: Path(process.log).read_text())
        wait_until(lambda: "S" in Path(f"/proc/{process.pid}/stat").read_text())
        now = [0.0]
        work = Work(process, clock=lambda: now[0])

        now[0] = 50.0
        first = work.idle_s
        now[0] = 100.0

        assert (first, work.idle_s) == (50, 100)


class TestState:
    def test_is_the_same_for_the_same_data(self, tmp_path, monkeypatch):
        """A file has one state, however its path is written; another has another."""
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "export.ndjson.zst").write_text("")
        monkeypatch.chdir(tmp_path)

        names = [
            State.of_data(path).name
            for path in (
                "a/export.ndjson.zst",
                str(tmp_path / "a" / "export.ndjson.zst"),
                "b/export.ndjson.zst",
            )
        ]

        assert names[0] == names[1] != names[2]
        assert names[0].startswith("export-")

    def test_of_a_named_data_set_has_its_name(self):
        """A data set that is no file is its name; none is the default."""
        assert State.of_data("online-retail").name == "online-retail"
        assert State.of_data(None).name == State.of_data("").name == "demo"

    @pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "é" * 3])
    def test_has_a_name_that_a_folder_can_have(self, name):
        """A name that would lead out of the folder of states is refused."""
        with pytest.raises(LocalError):
            State(name)


class TestVirtualEnvironments:
    def test_are_shared_by_equal_requirements(self):
        """Comments, blank lines and order make no other environment; a pin does."""
        text = "b==2\n# why\n\na==1  # because\n"

        assert venvs.key(text) == venvs.key("a==1\nb==2")
        assert venvs.key(text) != venvs.key("a==1\nb==3")

    def test_are_made_once_by_many(self, tmp_path):
        """Eight that need an environment at once get one, which one of them made."""
        file = tmp_path / "requirements.txt"
        file.write_text("# nothing\n")
        told = []

        with ThreadPoolExecutor(8) as pool:
            pythons = list(
                pool.map(
                    lambda _: venvs.python_of(file, folder=tmp_path, say=told.append),
                    range(8),
                )
            )

        assert len(set(pythons)) == 1
        assert len(told) == 1
        assert subprocess.run([pythons[0], "-c", ""], check=True).returncode == 0

    def test_are_made_anew_after_an_interruption(self, tmp_path):
        """What an interrupted installation left is not taken for an environment."""
        file = tmp_path / "requirements.txt"
        file.write_text("")
        python = venvs.python_of(file, folder=tmp_path)
        (python.parent.parent / venvs.COMPLETE).unlink()
        (python.parent.parent / "half").write_text("")

        venvs.python_of(file, folder=tmp_path)

        assert not (python.parent.parent / "half").exists()

    def test_say_what_pip_said(self, tmp_path):
        """Requirements that cannot be installed are an error with pip's last lines."""
        file = tmp_path / "requirements.txt"
        file.write_text("./no-such-package\n")

        with pytest.raises(LocalError, match="no-such-package"):
            venvs.python_of(file, folder=tmp_path)


class TestProcesses:
    def test_are_stopped_with_their_children(self, tmp_path):
        """What a process started goes with it, also when it ignores SIGTERM's cause."""
        log = tmp_path / "log"
        process = spawn(
            "parent",
            ["bash", "-c", "sleep 600 & echo $!; wait"],
            environment={"PATH": os.environ["PATH"]},
            folder=tmp_path,
            port=1,
            log=log,
        )
        wait_until(lambda: log.read_text().strip())
        child = int(log.read_text())

        stop([process])

        wait_until(lambda: start_time(child) is None)
        assert not process.is_running

    def test_have_ended_when_they_are_zombies(self):
        """A process whose status nobody has asked for does not run."""
        child = subprocess.Popen(["true"])
        try:
            wait_until(lambda: start_time(child.pid) is None)
        finally:
            child.wait()
