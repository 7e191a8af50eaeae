"""
Local mode: the emulators and the functions, as processes on 127.0.0.1.

    with Stack(State("demo")) as stack:
        requests.post(stack.url("model_training"))

Functions run as they deploy: from their staged source, each in the virtual environment
of its own lock, under functions-framework, with variables of their own. As every server
here they answer programs of this machine alone. Everything of one state (data, logs,
staged source, what runs) is in its folder, ``.local/states/NAME``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from deploy import stage
from deploy.functions import Function
from local import venvs
from local.errors import LocalError
from local.place import DONE, Called, checked
from local.processes import (
    HOST,
    PATIENCE_S,
    Process,
    answers,
    deferred_signals,
    end_of,
    ending_on_signals,
    is_free,
    is_listening,
    served,
    spawn,
    stop,
)
from local.stack.state import (
    EMULATORS,
    FUNCTIONS,
    PORT_BASE,
    PORT_OFFSETS,
    ROOT,
    Options,
    Record,
    State,
    port_base,
)
from propensity import folders
from propensity.cli.answers import Exit
from propensity.cli.progress import say, watched
from propensity.settings import is_setting

LOOPBACK = ROOT / "local" / "loopback.py"
INHERITED = (
    "PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS", "PROPENSITY_LOCAL_MEMORY",
)  # fmt: skip
# A key is the user's own: functions get it, and nothing that is printed or kept has it.
SECRET = "PROPENSITY_SUPPRESSION_KEY"
POLL_S = 0.05
# Google answers within seconds; an emulator shares a machine that may be busy.
DEADLINE_S = 300
# Pauses after attempts of a call that failed: the scheduler's are an hour and more.
RETRIES_S = (1.0, 2.0, 0.0)


class Stack:
    """
    The emulators and functions of one state, started and stopped together.

    As a context manager it stops what it started however its block ends, by Ctrl-C,
    SIGTERM and SIGHUP too.

    Args:
        state: The state to serve.
        options: What the functions are set to; by default what the state was last
            set to.
        base: The first port; by default PROPENSITY_PORT_BASE.
        functions: Which functions to start; none of them for the emulators alone.
        root: Holds the functions' folders and ``propensity/``.
        stays: Whether all is left running when the block ends without an error; then
            the dashboard has an address, too.
    """

    def __init__(
        self,
        state: State | None = None,
        *,
        options: Options | None = None,
        base: int | None = None,
        functions: Sequence[Function] = FUNCTIONS,
        root: Path = ROOT,
        stays: bool = False,
    ) -> None:
        self.state = State() if state is None else state
        self.options = self.state.record().options if options is None else options
        self.base = base if base else port_base()
        self.functions = tuple(functions)
        self._root = root
        self._stays = stays
        self._began = time.monotonic()
        self._record = Record()
        self._undo = contextlib.ExitStack()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which any client, and every function, finds all this."""
        options = self.options
        return {
            "GOOGLE_CLOUD_PROJECT": options.project,
            "BIGQUERY_EMULATOR_HOST": self.url("bigquery"),
            "BIGQUERY_STORAGE_EMULATOR_HOST": self.address("bigquery_storage"),
            "STORAGE_EMULATOR_HOST": self.url("storage"),
            "SECRET_MANAGER_EMULATOR_HOST": self.url("storage"),
            "PUBSUB_EMULATOR_HOST": self.address("pubsub"),
            "PROPENSITY_DATASET": options.dataset,
            "PROPENSITY_GA4_DATASET": options.ga4_dataset,
            "PROPENSITY_BUCKET": options.bucket,
            "PROPENSITY_USER_COLUMN": options.user_column,
            "PROPENSITY_LABEL_EVENT": options.label_event,
            "PROPENSITY_USE_CASE": options.use_case,
            "PROPENSITY_DEADLINE_S": str(DEADLINE_S),
            # Someone who tries it does not want to wait a minute for a new version.
            "PROPENSITY_REFRESH_S": "1",
            # The events of a demo happened long ago.
            "PROPENSITY_MAXIMUM_LATENESS_DAYS": "36500",
            "PROPENSITY_MAXIMUM_SCORE_DELAY_DAYS": "36500",
        }

    def url(self, service: str) -> str:
        """Return the address of a function, by its target, or of an emulator."""
        return f"http://{self.address(service)}"

    def address(self, service: str) -> str:
        return f"{HOST}:{self.port(service)}"

    def port(self, service: str) -> int:
        return self.base + PORT_OFFSETS[service]

    @property
    def bucket_folder(self) -> Path:
        """Folder of the bucket's objects, which can be opened as they are."""
        return self.state.folder / "storage" / self.options.bucket

    @property
    def audiences_folder(self) -> Path:
        """Folder of use cases with audiences of this state: functions get them, too."""
        return self.state.folder / folders.OWN

    def share_use_cases(self) -> None:
        """Link your own use cases beside the audiences of this state, for a shell."""
        # Commands of this class read the functions' copies, which are no originals.
        is_copy = folders.own().is_relative_to(self.state.folder)
        if is_copy or not self.audiences_folder.is_dir():
            return
        for file in sorted(folders.own().rglob("*")):
            link = self.audiences_folder / file.relative_to(folders.own())
            if file.is_file() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                # A file that was moved leaves a link to nothing.
                link.unlink(missing_ok=True)
                link.symlink_to(file.resolve())

    def prepare(self) -> None:
        """
        Create what the functions expect: bucket, tables, views, topics, a first model.

        The view of the export can be made once the export has a table; until then a
        function that reads it says that it is missing.
        """
        from google.api_core.exceptions import Conflict
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        from local.stack import topics
        from offline import load_model
        from propensity.errors import MissingTable, PropensityError
        from propensity.gcp.artifacts import Artifacts
        from propensity.gcp.warehouse import Warehouse
        from propensity.runs import setup
        from propensity.settings import Settings

        settings = Settings.from_environment(self.environment)
        warehouse = Warehouse.open(settings)
        warehouse.create_dataset(self.options.ga4_dataset)
        objects = Client(
            project=self.options.project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.url("storage")},
        )
        bucket = objects.bucket(self.options.bucket)
        with contextlib.suppress(Conflict):
            bucket.create()
        with contextlib.suppress(MissingTable):
            setup.prepare(warehouse, settings)
        endpoints = {
            function.target: self.url(function.target) for function in self.functions
        }
        if "score_stream" in endpoints:
            try:
                load_model.load(warehouse, Artifacts(bucket, settings), settings)
            except PropensityError as error:
                # All else works without a first model, and a training makes one.
                say(f"the shipped model was not loaded: {error.message}")
        objects.close()
        topics.create(settings.project, settings.pubsub_endpoint, endpoints=endpoints)

    def command(
        self, *words: str, codes: Collection[int] = DONE
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a ``propensity`` command on this state and the functions' use cases.

        Raises:
            LocalError: It ended with another code than these.
        """
        environment = dict[str, str]()
        for name, value in os.environ.items():
            # The shell's settings may be of a deployment, where people are contacted.
            if name == SECRET or not is_setting(name):
                environment[name] = value
        environment |= self.environment_of_commands
        done = subprocess.run(
            [sys.executable, "-m", "commands"] + list(words),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        return checked(done, words, codes)

    @property
    def environment_of_commands(self) -> dict[str, str]:
        """The settings of the functions, and the use cases that they have."""
        staged = self.state.folder / "staged" / "audiences" / folders.OWN
        own = {"PROPENSITY_USE_CASES": str(staged)} if staged.is_dir() else {}
        return {**self.environment, "PROPENSITY_DEPLOYMENT": "", **own}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this process read the deployment as a command does."""
        entered = self.environment_of_commands
        before = {name: os.environ.get(name) for name in entered}
        os.environ.update(entered)
        try:
            yield
        finally:
            # Threads of the streams read others meanwhile.
            for name, value in before.items():
                del os.environ[name]
                if value is not None:
                    os.environ[name] = value

    def call(self, target: str, body: Mapping[str, Any]) -> Called:
        """Call a function as the scheduler does, and again where it asks for that."""
        import requests

        headers = {
            "X-CloudScheduler": "true",
            # The same at each attempt.
            "X-CloudScheduler-ScheduleTime": datetime.now(UTC).isoformat(),
        }
        for pause_s in RETRIES_S:
            try:
                response = requests.post(
                    self.url(target), json=body, headers=headers, timeout=PATIENCE_S
                )
            except requests.RequestException as error:
                raise LocalError(
                    f"{target} did not answer: {type(error).__name__}",
                    hint=f"Its log is {self.log_of(target)}",
                ) from error
            if response.ok:
                break
            time.sleep(pause_s)
        answer = {"message": response.text[:1000]}
        with contextlib.suppress(ValueError):
            answer = response.json()
        return Called(status=response.status_code, answer=answer)

    def token(self, target: str) -> Mapping[str, str]:
        """Return nothing: every function here answers this machine."""
        return {}

    def log_of(self, target: str) -> str:
        return f"{self.state.logs}/{target}.log"

    def write_dashboard(self) -> bool:
        """Write the pages; return whether there are some."""
        words = ("dashboard", "--out", str(self.state.dashboard))
        # A wrong folder of a use case leaves the pages of the others out, too.
        process = self.command(*words, codes=(Exit.DONE, Exit.FAILED))
        if process.returncode:
            say(f"There is no dashboard: {process.stderr.strip()}")
        return process.returncode == 0

    # -- starting ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        try:
            self.ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._stays and error is None:
            with deferred_signals():
                self._record.is_up = True
                self.state.write(self._record)
        self.stop()

    def start(self) -> None:
        """
        Start everything, and wait until the emulators answer.

        Raises:
            LocalError: A port is taken, the state is in use, requirements cannot be
                installed, or a process ended or did not answer in time. All is stopped.
        """
        with contextlib.ExitStack() as undo:
            undo.enter_context(ending_on_signals())
            undo.enter_context(self.state.held())
            self._refuse_what_runs()
            pythons = {
                function.target: venvs.function_python(function)
                for function in self.functions
            }
            self._began = time.monotonic()
            say("starting the emulators and the functions …")
            self._record = Record(self.options, self.base, os.getpid())
            undo.callback(self._stop)
            for name, command, environment, folder in self.processes(pythons):
                self._spawn(name, command, environment, folder)
            for name in EMULATORS:
                self._wait_for(name)
            self._undo = undo.pop_all()

    def ready(self) -> None:
        """Create what the functions expect, and wait until they answer."""
        self.prepare()
        for process in watched(self._record.processes, "starting services"):
            self._wait_for(process.name)
        say(f"all answer after {time.monotonic() - self._began:.1f} s")

    def stop(self) -> None:
        """Stop what this stack started, unless it is to stay up."""
        self._undo.close()

    def _stop(self) -> None:
        if not self._record.is_up:
            stop_all(self.state, self._record)

    def _refuse_what_runs(self) -> None:
        """Refuse a state that is up or a taken port; stop what a killed run left."""
        record = self.state.record()
        if record.serves:
            raise LocalError(
                f"state {self.state.name!r} is running",
                hint="Stop it with `make down`, then start again",
            )
        stop_all(self.state, record)
        for name in PORT_OFFSETS:
            if not is_free(self.port(name)):
                raise LocalError(
                    f"port {self.port(name)}, needed for {name}, is taken. Nothing was "
                    "started",
                    hint="`make status` lists what is running. To use other ports, "
                    f"set {PORT_BASE}={self.base + 1000}",
                )

    def processes(
        self, pythons: Mapping[str, Path]
    ) -> Iterator[tuple[str, list[str], dict[str, str], Path]]:
        """Yield name, command, environment and folder of all that is to run."""
        folder = self.state.folder
        parent = [] if self._stays else ["--parent", str(os.getpid())]
        buckets = {"STORAGE_EMULATOR_HOST": self.url("storage")}
        for service, words in {
            "bigquery": [
                f"--grpc-port={self.port('bigquery_storage')}",
                f"--project={self.options.project}",
                f"--data-dir={folder / 'bigquery'}",
            ],
            "storage": [
                f"--data-dir={folder / 'storage'}",
                f"--secrets-dir={folder / 'secrets'}",
            ],
            "pubsub": [],
        }.items():
            port = ["--port", str(self.port(service))]
            module = [sys.executable, "-m", f"local.emulators.{service}"]
            yield service, module + port + words + parent, buckets, ROOT
        secret = {SECRET: os.environ[SECRET]} if SECRET in os.environ else {}
        for function in self.functions:
            target = function.target
            # gunicorn keeps a socket there; in the user's home one would be all
            # functions'.
            runtime = folder / "run" / target
            runtime.mkdir(parents=True, exist_ok=True)
            options = served(target, self.port(target), function.is_asynchronous)
            command = [str(pythons[target]), str(LOOPBACK)] + options
            source = self._root / function.folder
            staged = folder / "staged" / target
            stage.stage(source, staged, requirements=function.requirements)
            if self.audiences_folder.is_dir():
                shutil.copytree(
                    self.audiences_folder,
                    staged / folders.OWN,
                    dirs_exist_ok=True,
                    ignore_dangling_symlinks=True,
                )
            variables = {
                "XDG_RUNTIME_DIR": str(runtime),
                **secret,
                **function.variables,
            }
            yield target, command, self.environment | variables, staged
        if self._stays:
            self.state.dashboard.mkdir(parents=True, exist_ok=True)
            server = [sys.executable, str(LOOPBACK), str(self.port("dashboard"))]
            yield "dashboard", server, {}, self.state.dashboard

    def _spawn(
        self, name: str, command: list[str], environment: dict[str, str], folder: Path
    ) -> None:
        """Start a process, and record it."""
        # Pass on only PATH-like variables and thread limits.
        kept = {key: os.environ[key] for key in INHERITED if key in os.environ}
        # Processes compute at the same time. With a thread for each processor, one
        # statement of the emulator would take half as much processor time again.
        threads = max(1, multiprocessing.cpu_count() // 2)
        kept.setdefault("OMP_NUM_THREADS", str(threads))
        # A signal between starting and recording would leave a process behind.
        with deferred_signals():
            process = spawn(
                name,
                command,
                environment={**kept, "PYTHONUNBUFFERED": "1", **environment},
                folder=folder,
                port=self.port(name),
                log=self.state.logs / f"{name}.log",
            )
            self._record.processes.append(process)
            self.state.write(self._record)

    def _wait_for(self, name: str) -> None:
        """Wait until a service answers; none that has started may end meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers(name):
            for process in self._record.ended:
                raise LocalError(
                    f"{process.name} ended while it was starting. {end_of(process)}"
                )
            if time.monotonic() > deadline:
                raise LocalError(
                    f"{name} does not answer on port {self.port(name)} after "
                    f"{PATIENCE_S} s: {self.state.logs}/{name}.log"
                )
            time.sleep(POLL_S)

    def _answers(self, name: str) -> bool:
        # An emulator listens once it can answer. The framework of a function listens
        # before that, and answers this path itself.
        if name in EMULATORS:
            return is_listening(self.port(name))
        return answers(self.url(name) + "/robots.txt")


def stop_all(state: State, record: Record) -> list[Process]:
    """
    Stop the processes of a state, functions first, since they may be using tables;
    return those that were still running.
    """
    emulators = [process for process in record.processes if process.name in EMULATORS]
    with deferred_signals():
        stopped = stop(
            [process for process in record.processes if process not in emulators]
        )
        stopped += stop(emulators)
        if record.processes:
            state.write(Record(record.options, record.base))
    return stopped
