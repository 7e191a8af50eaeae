"""
Local mode: the emulators and the functions, as processes on 127.0.0.1.

    with Stack(State("demo")) as stack:
        requests.post(stack.url("model_training"))

Functions run as they deploy: from their staged source, in a virtual environment that
holds only what functions require, under functions-framework, with an environment of
their own. Everything of one state (data, logs, staged source, what runs) is in its
folder, ``.local/states/NAME``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploy import stage
from local import venvs
from local.errors import LocalError
from local.processes import HOST, Process, myself, spawn, stop
from local.stack.services import (
    answers,
    emulator_commands,
    end_of,
    function_command,
    refuse_running,
    refuse_taken_ports,
    wait_for,
)
from local.stack.state import (
    EMULATOR_PORTS,
    FUNCTIONS,
    LOCAL,
    ROOT,
    Function,
    Options,
    Record,
    State,
    ports_from,
)
from offline import whole_files
from propensity.settings import is_setting

if TYPE_CHECKING:
    from google.cloud.storage import Client as StorageClient

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS")
# A key is the user's own: functions get it, and nothing that is printed or kept has it.
SECRET = "PROPENSITY_SUPPRESSION_KEY"
DASHBOARD_S = 300


class Stack:
    """
    The emulators and functions of one state, started and stopped together.

    As a context manager it stops what it started however its block ends, by Ctrl-C,
    SIGTERM and SIGHUP too. Where ``up`` has left the state running it uses that, and
    leaves it running.

    Args:
        state: The state to serve.
        options: What the functions are set to; by default what the state was last
            set to.
        ports: Service to port, for every service started.
        functions: Which functions to start; none of them for the emulators alone.
        root: Holds the functions' folders and ``propensity/``.
        venv_folder: Of virtual environments.
        say: Told what happens, line by line.
    """

    def __init__(
        self,
        state: State | None = None,
        *,
        options: Options | None = None,
        ports: Mapping[str, int] | None = None,
        functions: Sequence[Function] = FUNCTIONS,
        root: Path = ROOT,
        venv_folder: Path = LOCAL / "venvs",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.state = state or State()
        self.options = options or self.state.options()
        self.ports = dict(ports or ports_from(os.environ))
        self.functions = tuple(functions)
        self._root = root
        self._venv_folder = venv_folder
        self._say = say
        self._record: Record | None = None
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
            "PUBSUB_EMULATOR_HOST": self.address("pubsub"),
            "PROPENSITY_DATASET": options.dataset,
            "PROPENSITY_GA4_DATASET": options.ga4_dataset,
            "PROPENSITY_BUCKET": options.bucket,
            "PROPENSITY_USER_COLUMN": options.user_column,
            "PROPENSITY_LABEL_EVENT": options.label_event,
            "PROPENSITY_USE_CASE": options.use_case,
            # Whoever plays with it does not want to wait a minute for a new version.
            "PROPENSITY_REFRESH_S": "1",
            # What is played here happened long ago.
            "PROPENSITY_MAXIMUM_LATENESS_DAYS": "36500",
        }

    def url(self, service: str) -> str:
        """Return the address of a function, by its target, or of an emulator."""
        return f"http://{self.address(service)}"

    def address(self, service: str) -> str:
        """Return host and port of a service."""
        return f"{HOST}:{self.ports[service]}"

    @property
    def bucket_folder(self) -> Path:
        """Folder of the bucket's objects, which can be opened as they are."""
        return self.state.folder / "storage" / self.options.bucket

    def objects(self) -> StorageClient:
        """Return a client of the emulated Cloud Storage, whatever the environment."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        return Client(
            project=self.options.project,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.url("storage")},
        )

    def prepare(self) -> None:
        """
        Create what the functions expect: bucket, tables, views, topics, a first model.

        The view of the export can be made once the export has a table; until then a
        function that reads it says that it is missing.
        """
        from google.api_core.exceptions import Conflict

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
        objects = self.objects()
        bucket = objects.bucket(self.options.bucket)
        with contextlib.suppress(Conflict):
            bucket.create()
        artifacts = Artifacts(bucket, deadline_s=float(settings.deadline_s))
        with contextlib.suppress(MissingTable):
            setup.prepare(warehouse, artifacts, settings)
        if any(function.target == "score_stream" for function in self.functions):
            try:
                load_model.load(warehouse, artifacts, settings)
            except PropensityError as error:
                # All else works without a first model, and a training makes one.
                self._say(f"the shipped model was not loaded: {error.message}")
        objects.close()
        topics.create(
            settings.project,
            settings.pubsub_endpoint,
            endpoints={one.target: self.url(one.target) for one in self.functions},
        )

    def write_dashboard(self) -> str:
        """
        Write the pages of a state whose emulators are up, by the ordinary command.

        Returns:
            Why there are none; empty where there are.
        """
        command = [sys.executable, "-m", "propensity", "dashboard", "--local"]
        process = subprocess.run(
            [*command, "--state", self.state.name],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=DASHBOARD_S,
        )
        reason = process.stderr.strip().splitlines() or ["it said nothing"]
        return reason[-1] if process.returncode else ""

    # -- starting ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        record = self.state.settled_record()
        if record and record.is_up:
            self.attach(record)
            self._say(f"using what is up in state {self.state.name!r}")
            return self
        with contextlib.ExitStack() as undo:
            undo.enter_context(ending_on_signals())
            self.start()
            undo.callback(self.stop)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def start(self, *, stay: bool = False) -> None:
        """
        Start everything and wait until it answers; on any failure stop it again.

        Args:
            stay: It is to outlive this program.

        Raises:
            LocalError: A port is taken, the state is in use, requirements cannot be
                installed, or a process ended or did not answer in time.
        """
        with venvs.locked(self.state.folder / "lock"):
            refuse_running(self.state)
            refuse_taken_ports(self.ports, self.functions, home=self.state.home)
            self._record = Record(myself("owner"), self.options, self.ports)
            options = json.dumps(dataclasses.asdict(self.options), indent=2)
            whole_files.write(self.state.options_file, options.encode())
            try:
                self._start_all(stay=stay)
                if stay:
                    # From now on nobody owns what is up.
                    self._record.owner = None
                    self._record.write(self.state)
            except BaseException:
                self.stop()
                raise

    def _start_all(self, *, stay: bool) -> None:
        from local.emulators.pubsub.server import is_serving

        assert self._record is not None
        began, folder = time.monotonic(), self.state.folder
        python = Path(sys.executable)
        if self.functions:
            python = venvs.functions_python(
                self._root, folder=self._venv_folder, say=self._say
            )
        what = f"emulators and {len(self.functions)} functions"
        what = what if self.functions else "emulators"
        self._say(f"starting {what} …")
        if unused := ignored(os.environ, self.environment):
            self._say(
                f"  functions here do not get {', '.join(unused)}: docs/settings.md"
            )
        parent = [] if stay else ["--parent", str(os.getpid())]
        for service, command in emulator_commands(
            self.options, self.ports, folder
        ).items():
            self._spawn(service, [*command, *parent], {}, ROOT)
        for function in self.functions:
            self._start_function(function, python)
        if stay:
            self.state.dashboard.mkdir(parents=True, exist_ok=True)
            port = str(self.ports["dashboard"])
            server = [sys.executable, "-m", "http.server", port, "--bind", HOST]
            self._spawn("dashboard", server, {}, self.state.dashboard)
        wait = partial(wait_for, self._record, began=began, say=self._say)
        datasets = f"/bigquery/v2/projects/{self.options.project}/datasets"
        ready: dict[str, Callable[[], bool]] = {
            "bigquery": lambda: answers(self.url("bigquery") + datasets),
            "storage": lambda: answers(self.url("storage") + "/"),
            "pubsub": lambda: is_serving(self.address("pubsub")),
        }
        wait(ready)
        self.prepare()
        # The framework answers this path itself once it has loaded the function; a
        # client error is an answer too.
        names = [function.target for function in self.functions]
        names += ["dashboard"] if stay else []
        wait({name: partial(answers, self.url(name) + "/robots.txt") for name in names})
        self._say(f"{what} answer after {time.monotonic() - began:.1f} s")

    def _start_function(self, function: Function, python: Path) -> None:
        # gunicorn keeps a socket there; in the user's home one would be all functions'.
        runtime = self.state.folder / "run" / function.target
        runtime.mkdir(parents=True, exist_ok=True)
        staged = stage.stage(
            self._root / function.folder,
            self.state.folder / "staged" / function.target,
            requirements=function.requirements,
            root=self._root,
        )
        environment = {**self.environment, "XDG_RUNTIME_DIR": str(runtime)}
        if SECRET in os.environ:
            environment[SECRET] = os.environ[SECRET]
        command = function_command(function, python, self.ports[function.target])
        self._spawn(function.target, command, environment, staged)

    def _spawn(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        """Start a process; of the user's environment it gets places, and threads."""
        assert self._record is not None
        kept = {key: os.environ[key] for key in INHERITED if key in os.environ}
        # A signal between starting and recording would leave a process behind.
        with deferred_signals():
            process = spawn(
                name,
                command,
                environment={**kept, "PYTHONUNBUFFERED": "1", **environment},
                folder=folder,
                port=self.ports[name],
                log=self.state.logs / f"{name}.log",
            )
            self._record.processes.append(process)
            self._record.write(self.state)

    def attach(self, record: Record) -> None:
        """
        Use what ``up`` has left running.

        Raises:
            LocalError: One of its processes has ended, or it is set to something else.
        """
        if ended := record.ended:
            raise LocalError(
                f"state {self.state.name!r} is up, but {ended[0].name} has ended. "
                f"{end_of(ended[0])}\n`make down` stops the rest; then start again."
            )
        expected = dataclasses.asdict(self.options)
        changed = [
            f"{name} {now!r} instead of {expected[name]!r}"
            for name, now in dataclasses.asdict(record.options).items()
            if now != expected[name]
        ]
        if changed:
            raise LocalError(
                f"state {self.state.name!r} is up with {', '.join(changed)}; "
                "`make down` stops it; then start again."
            )
        self.ports = dict(record.ports)

    # -- stopping ---------------------------------------------------------------------

    def stop(self) -> None:
        """Stop what this stack started."""
        if self._record is not None:
            stop_record(self._record, self.state)
            self._record = None


def stop_record(record: Record, state: State) -> list[Process]:
    """Stop functions first, so that none of them loses its tables while it works."""
    emulators = [p for p in record.processes if p.name in EMULATOR_PORTS]
    functions = [p for p in record.processes if p.name not in EMULATOR_PORTS]
    with deferred_signals():
        stopped = stop(functions) + stop(emulators)
        state.record_file.unlink(missing_ok=True)
    return stopped


def ignored(environment: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """Return the settings of the user's environment that no function here gets."""
    return sorted(
        name
        for name, value in environment.items()
        if is_setting(name) and name != SECRET and value not in ("", given.get(name))
    )


# -- signals --------------------------------------------------------------------------


@contextlib.contextmanager
def _handled(handler: Callable[..., Any], *numbers: signal.Signals) -> Iterator[None]:
    """Have a handler called in the block, which only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


def ending_on_signals() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: by an exception."""
    return _handled(
        lambda number, _: sys.exit(128 + number), signal.SIGTERM, signal.SIGHUP
    )


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP until the block has ended."""
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with _handled(lambda number, _: caught.append(number), *numbers):
        yield
    if caught:
        signal.raise_signal(caught[0])
