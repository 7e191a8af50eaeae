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
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from deploy import stage
from local import venvs
from local.errors import LocalError
from local.processes import (
    HOST,
    Process,
    answers,
    deferred_signals,
    end_of,
    ending_on_signals,
    is_free,
    myself,
    spawn,
    stop,
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
    states,
)
from offline import whole_files
from propensity.settings import is_setting

if TYPE_CHECKING:
    from google.cloud.storage import Client as StorageClient

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS")
# A key is the user's own: functions get it, and nothing that is printed or kept has it.
SECRET = "PROPENSITY_SUPPRESSION_KEY"
DASHBOARD_S = 300
POLL_S = 0.05
# A process that does not answer by then will not.
READY_S = 300


class Stack:
    """
    The emulators and functions of one state, started and stopped together.

    As a context manager it stops what it started however its block ends, by Ctrl-C,
    SIGTERM and SIGHUP too.

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
        artifacts = Artifacts(bucket, settings)
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
        with self.state.locked():
            refuse_running(self.state)
            self._refuse_taken_ports()
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

    def _refuse_taken_ports(self) -> None:
        """Say whose a port is that is taken, and how to move."""
        names = [*EMULATOR_PORTS, *(function.target for function in self.functions)]
        for name in [*names, *(["dashboard"] if self.functions else [])]:
            port, holder = self.ports[name], "another program"
            if is_free(port):
                continue
            for state in states(self.state.home):
                record = state.record()
                if record and record.running and port in record.ports.values():
                    holder = f"state {state.name!r}"
            raise LocalError(
                f"port {port}, needed for {name}, is taken by {holder}.\n"
                f"Set PROPENSITY_PORT_{name.upper()} for another port, or "
                "PROPENSITY_PORT_BASE to move all of them "
                "(such as PROPENSITY_PORT_BASE=9080). Nothing was started."
            )

    def _start_all(self, *, stay: bool) -> None:
        from local.emulators.pubsub.server import is_serving

        began = time.monotonic()
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
        self._start_emulators([] if stay else ["--parent", str(os.getpid())])
        for function in self.functions:
            self._start_function(function, python)
        served = [function.target for function in self.functions]
        if stay:
            self.state.dashboard.mkdir(parents=True, exist_ok=True)
            port = str(self.ports["dashboard"])
            server = [sys.executable, "-m", "http.server", port, "--bind", HOST]
            self._spawn("dashboard", server, {}, self.state.dashboard)
            served.append("dashboard")
        datasets = f"/bigquery/v2/projects/{self.options.project}/datasets"
        self._wait_for(["bigquery"], lambda name: answers(self.url(name) + datasets))
        self._wait_for(["storage"], lambda name: answers(self.url(name) + "/"))
        self._wait_for(["pubsub"], lambda name: is_serving(self.address(name)))
        self.prepare()
        # The framework answers this path itself once it has loaded the function; a
        # client error is an answer too.
        self._wait_for(served, lambda name: answers(self.url(name) + "/robots.txt"))
        self._say(f"{what} answer after {time.monotonic() - began:.1f} s")

    def _start_emulators(self, parent: Sequence[str]) -> None:
        for service, words in {
            "bigquery": [
                *("--grpc-port", str(self.ports["bigquery_storage"])),
                *("--project", self.options.project),
                *("--data-dir", str(self.state.folder / "bigquery")),
                *("--storage", self.url("storage")),
            ],
            "storage": ["--data-dir", str(self.state.folder / "storage")],
            "pubsub": [],
        }.items():
            module = [sys.executable, "-m", f"local.emulators.{service}"]
            port = ["--port", str(self.ports[service])]
            self._spawn(service, [*module, *port, *words, *parent], {}, ROOT)

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
        command = [
            *(str(python), "-m", "functions_framework"),
            *("--source", "main.py", "--target", function.target),
            *("--host", HOST, "--port", str(self.ports[function.target])),
            *(["--asgi"] if function.is_asynchronous else []),
        ]
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

    def _wait_for(
        self, services: Iterable[str], is_ready: Callable[[str], bool]
    ) -> None:
        """Wait until services answer; none that has started may end meanwhile."""
        assert self._record is not None
        deadline = time.monotonic() + READY_S
        for name in services:
            while not is_ready(name):
                for process in self._record.ended:
                    raise LocalError(
                        f"{process.name} ended while it was starting. {end_of(process)}"
                    )
                if time.monotonic() > deadline:
                    [process] = [p for p in self._record.processes if p.name == name]
                    raise LocalError(
                        f"{name} does not answer on port {process.port} after "
                        f"{READY_S} s. {end_of(process)}"
                    )
                time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop what this stack started."""
        if self._record is not None:
            stop_record(self._record, self.state)
            self._record = None


def refuse_running(state: State) -> None:
    """
    Refuse to start a state that runs; stop what a killed program has left of it.

    Raises:
        LocalError: Somebody uses it.
    """
    record = state.record()
    if record is None:
        return
    if record.user:
        raise LocalError(
            f"state {state.name!r} is in use by process {record.user.pid}. "
            f"Wait for it, or stop it (kill {record.user.pid}), or play beside "
            "it, in another state and on other ports:\n"
            f"    make demo STATE={state.name[:60]}-2 "
            f"PROPENSITY_PORT_BASE={min(record.ports.values()) + 1000}"
        )
    if record.is_up:
        raise LocalError(
            f"state {state.name!r} is up; `make down` stops it, then start again"
        )
    stop(record.processes)
    state.record_file.unlink(missing_ok=True)


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
