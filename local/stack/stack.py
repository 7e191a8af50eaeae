"""
Local mode: the emulators and the functions, as processes on 127.0.0.1.

``local/stack/commands.py`` has what the commands ``up``, ``status`` and ``down`` do.
``Stack`` is the same within a program, as the demo and the tests use it:

    with Stack(State("demo")) as stack:
        requests.post(stack.url("model_training"))

Functions run as they deploy: from their staged source, in a virtual environment that
holds only what functions require, under functions-framework, with an environment of
their own. No code of theirs knows that it is local.

Everything of one state (data, logs, staged source, what runs) is in its folder,
``.local/states/NAME``. A process is stopped only if it is the one that was started.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from deploy import stage
from local import venvs
from local.errors import LocalError
from local.processes import HOST, Process, myself, spawn
from local.stack.signals import deferred_signals, ending_on_signals
from local.stack.starting import (
    answers,
    emulator_commands,
    end_of,
    ignored,
    refuse_running,
    refuse_taken_ports,
    wait_for,
)
from local.stack.state import (
    FUNCTIONS,
    GOOGLE,
    LOCAL,
    ROOT,
    Function,
    Options,
    Record,
    State,
    ports_from,
    ready_s_from,
)
from local.stack.stopping import stop_record
from offline import whole_files

if TYPE_CHECKING:
    from google.cloud.storage import Client as StorageClient

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS")
# A key is the user's own: functions get it, and nothing that is printed or kept has it.
SECRET = ("PROPENSITY_SUPPRESSION_KEY",)


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
        self._ready_s = ready_s_from(os.environ)
        self._record: Record | None = None
        self._undo = contextlib.ExitStack()

    # -- what it offers ---------------------------------------------------------------

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
        return f"http://{HOST}:{self.ports[service]}"

    def address(self, service: str) -> str:
        """Return host and port of an emulator that speaks gRPC."""
        return f"{HOST}:{self.ports[service]}"

    @property
    def pauses(self) -> bool:
        """Whether the Pub/Sub emulator keeps the pauses between attempts at a push."""
        return self.options.pubsub != GOOGLE

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
        with contextlib.suppress(Conflict):
            objects.create_bucket(self.options.bucket)
        with contextlib.suppress(MissingTable):
            bucket = objects.bucket(self.options.bucket)
            artifacts = Artifacts(bucket, deadline_s=float(settings.deadline_s))
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
            endpoints={
                function.target: self.url(function.target)
                for function in self.functions
            },
            pauses=self.pauses,
        )

    # -- starting ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        record = self.state.settled_record()
        if record and record.owner is None and record.running:
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
            python = Path(sys.executable)
            if self.functions:
                python = venvs.functions_python(
                    self._root, folder=self._venv_folder, say=self._say
                )
            self._record = Record(
                owner=myself("owner"),
                options=self.options,
                ports=self.ports,
                source=self.source(),
            )
            options = json.dumps(dataclasses.asdict(self.options), indent=2)
            whole_files.write(self.state.options_file, options.encode())
            try:
                self._start_all(python, stay=stay)
                if stay:
                    self._leave_up()
            except BaseException:
                self.stop()
                raise

    def _leave_up(self) -> None:
        """Serve the dashboard; from now on nobody owns what is up."""
        from local.stack import pages

        assert self._record is not None
        pages.serve(self)
        # Not before: of a program that was killed meanwhile only a part would be up.
        self._record.owner = None
        self._write_record()

    def source(self) -> str:
        """Return a digest of the source that would be served if started now."""
        parts = [
            stage.digest(
                stage.sources(
                    self._root / function.folder,
                    requirements=function.requirements,
                    root=self._root,
                )
            )
            for function in self.functions
        ]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def _start_all(self, python: Path, *, stay: bool) -> None:
        from local.emulators.pubsub import server

        assert self._record is not None
        began = time.monotonic()
        functions = f" and {len(self.functions)} functions" if self.functions else ""
        self._say(f"starting 3 emulators{functions} …")
        if unused := ignored(os.environ, self.environment, passed_on=SECRET):
            self._say(
                f"  functions here do not get {', '.join(unused)}: docs/settings.md"
            )
        self._start_emulators(stay=stay)
        for function in self.functions:
            self._start_function(function, python)
        datasets = f"/bigquery/v2/projects/{self.options.project}/datasets"
        wait_for(
            self._record,
            {
                "bigquery": lambda: answers(self.url("bigquery") + datasets),
                "storage": lambda: answers(self.url("storage") + "/"),
                "pubsub": lambda: server.is_serving(self.address("pubsub")),
            },
            began=began,
            ready_s=self._ready_s,
            say=self._say,
        )
        self.prepare()
        # The framework answers this path itself once it has loaded the function; a
        # client error is an answer too.
        wait_for(
            self._record,
            {
                function.target: partial(
                    answers, self.url(function.target) + "/robots.txt"
                )
                for function in self.functions
            },
            began=began,
            ready_s=self._ready_s,
            say=self._say,
        )
        seconds = time.monotonic() - began
        self._say(f"emulators{functions} answer after {seconds:.1f} s")

    def _start_emulators(self, *, stay: bool) -> None:
        folder = self.state.folder
        commands = emulator_commands(self.options, self.ports, folder)
        for service, command in commands.items():
            (folder / service).mkdir(parents=True, exist_ok=True)
            # Google's own knows no parent to stop with.
            is_ours = command[0] == sys.executable
            parent = [] if stay or not is_ours else ["--parent", str(os.getpid())]
            self.spawn(
                service,
                [*command, *parent],
                environment=self._clean_environment(),
                folder=ROOT,
            )

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
        self.spawn(
            function.target,
            [
                *(str(python), "-m", "functions_framework"),
                *("--source", "main.py", "--target", function.target),
                *("--host", HOST, "--port", str(self.ports[function.target])),
                *(["--asgi"] if function.is_asynchronous else []),
            ],
            environment=self._clean_environment()
            | self.environment
            | {name: os.environ[name] for name in SECRET if name in os.environ}
            | {"XDG_RUNTIME_DIR": str(runtime)},
            folder=staged,
        )

    def _clean_environment(self) -> dict[str, str]:
        """What a process gets of the user's environment: places, and threads."""
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return kept | {"PYTHONUNBUFFERED": "1"}

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        """Start a process that stops with all others."""
        assert self._record is not None
        # A signal between starting and recording would leave a process behind.
        with deferred_signals():
            process = spawn(
                name,
                command,
                environment=environment,
                folder=folder,
                port=self.ports[name],
                log=self.state.logs / f"{name}.log",
            )
            self._record.processes.append(process)
            self._write_record()

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
        if record.options != self.options:
            expected = dataclasses.asdict(self.options)
            changed = [
                f"{name} {now!r} instead of {expected[name]!r}"
                for name, now in dataclasses.asdict(record.options).items()
                if now != expected[name]
            ]
            raise LocalError(
                f"state {self.state.name!r} is up with {', '.join(changed)}; "
                "`make down` stops it; then start again."
            )
        self.ports = dict(record.ports)
        if record.source != self.source():
            self._say(
                "the source has changed since: `make down` and `make up` serve it"
            )

    def _write_record(self) -> None:
        assert self._record is not None
        whole_files.write(self.state.record_file, self._record.to_json().encode())

    # -- stopping ---------------------------------------------------------------------

    def stop(self) -> list[Process]:
        """Stop what this stack started; returns what was still running."""
        if self._record is None:
            return []
        with deferred_signals():
            stopped = stop_record(self._record, self.state)
            self._record = None
        return stopped
