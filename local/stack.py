"""
Local mode: the emulators and the functions, as processes on 127.0.0.1.

``up``, ``status`` and ``down`` are what the commands of these names do. ``Stack`` is
the same within a program, as the demo and the tests use it:

    with Stack(State("demo")) as stack:
        requests.post(stack.url("model_training"))

Functions run as they deploy: from their staged source, in a virtual environment that
holds only their own requirements, under functions-framework, with an environment of
their own. No code of theirs knows that it is local.

Everything of one state (data, logs, staged source, what runs) is in its folder,
``.local/states/NAME``. A process is stopped only if it is the one that was started.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from deploy import stage
from local import venvs
from local.processes import (
    HOST,
    LocalError,
    Process,
    Work,
    is_free,
    last_lines,
    spawn,
    start_time,
    stop,
)

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
DEFAULT_STATE = "demo"
DEFAULT_PORT_BASE = 8080
READY_S = 90
READY_VARIABLE = "PROPENSITY_LOCAL_READY_S"
DAY_S = 86_400
POLL_S = 0.05
# How often a process that is waited for is looked at, which reads the list of all.
WORK_POLL_S = 1.0
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
# A key is the user's own: functions get it, and nothing that is printed or kept has it.
SECRET = ("PROPENSITY_SUPPRESSION_KEY", "PROPENSITY_SUPPRESSION_TTL_S")
NO_SUCH_USER = "SOME_USER"
# Which Pub/Sub emulator serves: the project's own, or Google's where it is installed.
OURS = "ours"
GOOGLE = "gcloud"


@dataclass(frozen=True)
class Function:
    """One function: where it is, what it is called, how it is served."""

    folder: str
    target: str
    is_asynchronous: bool = False
    requirements: str = "requirements.txt"


FUNCTIONS = (
    Function("00-ModelTraining", "model_training"),
    Function("01-Predictions", "predictions"),
    Function("02-GetProba", "get_proba", is_asynchronous=True),
    Function(
        "02-GetProba",
        "score",
        is_asynchronous=True,
        requirements="requirements-score.txt",
    ),
    Function("03-ModelEvaluation", "model_evaluation"),
    Function("04-StreamFeatures", "stream_features", is_asynchronous=True),
    Function(
        "04-StreamFeatures",
        "score_stream",
        is_asynchronous=True,
        requirements="requirements-score_stream.txt",
    ),
    Function("04-StreamFeatures", "compact_features"),
    Function("04-StreamFeatures", "archive_events", is_asynchronous=True),
)
# Distance of every service's port from the base. 9 and 14 on are left for functions and
# emulators to come.
PORT_OFFSETS = {
    "model_training": 0,
    "predictions": 1,
    "get_proba": 2,
    "model_evaluation": 3,
    "stream_features": 4,
    "score_stream": 5,
    "compact_features": 6,
    "archive_events": 7,
    "score": 8,
    "bigquery": 10,
    "bigquery_storage": 11,
    "storage": 12,
    "pubsub": 13,
}
EMULATOR_PORTS = ("bigquery", "bigquery_storage", "storage", "pubsub")


@dataclass(frozen=True)
class Options:
    """What the functions of a local state are set to."""

    project: str = "propensity-local"
    dataset: str = "propensity"
    ga4_dataset: str = "analytics_local"
    bucket: str = "propensity-local"
    user_column: str = "user_pseudo_id"
    label_event: str = "purchase"
    use_case: str = "ga4_purchase"
    pubsub: str = OURS


@dataclass(frozen=True)
class State:
    """A local state: one folder with everything of it, found by its name."""

    name: str = DEFAULT_STATE
    home: Path = LOCAL / "states"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", self.name):
            raise LocalError(
                f"{self.name!r} cannot name a local state: use letters, digits, "
                "'-', '_' and '.', 64 at most"
            )

    @classmethod
    def of_data(cls, data: str | None, home: Path = LOCAL / "states") -> State:
        """
        Return the state that holds a data set: the same one whenever it is named.

        Args:
            data: File, folder or name of a data set; None or empty for the default.
            home: Folder of all states.
        """
        if not data:
            return cls(home=home)
        path = Path(data).expanduser()
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.name.partition(".")[0]).strip("-")
        if path.exists():
            place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:6]
            name = f"{name or 'data'}-{place}"
        return cls(name[:64] or DEFAULT_STATE, home)

    @property
    def folder(self) -> Path:
        return self.home / self.name

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def record_file(self) -> Path:
        return self.folder / "running.json"

    @property
    def options_file(self) -> Path:
        return self.folder / "options.json"

    def options(self) -> Options:
        """Return what this state was last set to, the defaults if it is new."""
        if not self.options_file.exists():
            return Options()
        return Options(**json.loads(self.options_file.read_text()))

    def record(self) -> Record | None:
        """Return what was started in this state and not stopped since."""
        if not self.record_file.exists():
            return None
        return Record.from_json(self.record_file.read_text())


@dataclass
class Record:
    """What runs in a state, kept on disk from before it runs until it has stopped."""

    owner: Process | None
    options: Options
    ports: dict[str, int]
    source: str
    processes: list[Process] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Record:
        fields = json.loads(text)
        owner = fields["owner"]
        return cls(
            owner=Process(**owner) if owner else None,
            options=Options(**fields["options"]),
            ports=fields["ports"],
            source=fields["source"],
            processes=[Process(**process) for process in fields["processes"]],
        )

    @property
    def running(self) -> list[Process]:
        return [process for process in self.processes if process.is_running]

    @property
    def ended(self) -> list[Process]:
        return [process for process in self.processes if not process.is_running]


def ports_from(
    environment: Mapping[str, str],
    *,
    base: int | None = None,
    single: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """
    Choose the port of every service.

    Args:
        environment: ``PROPENSITY_PORT_BASE`` moves all of them, ``PROPENSITY_PORT_``
            and a service's name in capitals moves one.
        base: Comes before ``PROPENSITY_PORT_BASE``.
        single: Service to port; comes before everything else.

    Raises:
        LocalError: A port is not a number, out of range or given twice.
    """

    def port(value: str, source: str) -> int:
        if not value.isdigit() or not 0 < int(value) < 65_536:
            raise LocalError(f"{source} must be a port from 1 to 65535, not {value!r}")
        return int(value)

    if base is None:
        given = environment.get("PROPENSITY_PORT_BASE", str(DEFAULT_PORT_BASE))
        base = port(given, "PROPENSITY_PORT_BASE")
    chosen = {}
    for service, offset in PORT_OFFSETS.items():
        variable = f"PROPENSITY_PORT_{service.upper()}"
        chosen[service] = base + offset
        if variable in environment:
            chosen[service] = port(environment[variable], variable)
    for service, number in (single or {}).items():
        if service not in PORT_OFFSETS:
            names = ", ".join(PORT_OFFSETS)
            raise LocalError(f"there is no service {service!r}; there are {names}")
        chosen[service] = port(str(number), f"the port of {service}")
    if beyond := [name for name, number in chosen.items() if number > 65_535]:
        raise LocalError(f"the port of {beyond[0]} would be above 65535")
    for number in chosen.values():
        others = [name for name in chosen if chosen[name] == number]
        if len(others) > 1:
            raise LocalError(f"port {number} is given to {' and '.join(others)}")
    return chosen


def ready_s_from(environment: Mapping[str, str]) -> int:
    """
    Return for how many seconds a process may neither answer nor work as it starts.

    Raises:
        LocalError: It is no number of seconds.
    """
    given = environment.get(READY_VARIABLE) or str(READY_S)
    if not (given.isascii() and given.isdigit() and 0 < int(given) <= DAY_S):
        raise LocalError(
            f"{READY_VARIABLE} must be a number of seconds from 1 to {DAY_S}, not "
            f"{given!r}"
        )
    return int(given)


class Stack:
    """
    The emulators and functions of one state, started and stopped together.

    As a context manager it stops what it started however its block ends, by Ctrl-C,
    SIGTERM and SIGHUP too. Where ``up`` has left the state running it uses that, and
    leaves it running.

    Args:
        state: Whose data to serve.
        options: What the functions are set to; by default what the state was last
            set to.
        ports: Service to port, for every service started.
        functions: Which functions to start; none of them for the emulators alone.
        root: Holds the functions' folders and ``propensity/``.
        venv_folder: Of the functions' virtual environments.
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
        self.is_attached = False
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
        given = self.options
        return {
            "GOOGLE_CLOUD_PROJECT": given.project,
            "BIGQUERY_EMULATOR_HOST": self.url("bigquery"),
            "BIGQUERY_STORAGE_EMULATOR_HOST": self.address("bigquery_storage"),
            "STORAGE_EMULATOR_HOST": self.url("storage"),
            "PUBSUB_EMULATOR_HOST": self.address("pubsub"),
            "PROPENSITY_DATASET": given.dataset,
            "PROPENSITY_GA4_DATASET": given.ga4_dataset,
            "PROPENSITY_BUCKET": given.bucket,
            "PROPENSITY_USER_COLUMN": given.user_column,
            "PROPENSITY_LABEL_EVENT": given.label_event,
            "PROPENSITY_USE_CASE": given.use_case,
            # Whoever plays with it does not want to wait a minute for a new version.
            "PROPENSITY_CHAMPION_TTL_S": "1",
            # What is played here happened long ago.
            "PROPENSITY_MAXIMUM_LATENESS_DAYS": "36500",
            # The emulator has 256 messages under way, which all wait for that long.
            "PROPENSITY_ARCHIVE_LINGER_S": "0.2",
        }

    def url(self, service: str) -> str:
        """Return the address of a function, by its target, or of an emulator."""
        return f"http://{HOST}:{self.ports[service]}"

    def address(self, service: str) -> str:
        """Return host and port of an emulator that speaks gRPC."""
        return f"{HOST}:{self.ports[service]}"

    @property
    def pauses(self) -> bool:
        """Whether the Pub/Sub emulator can be told when to push again what failed."""
        return self.options.pubsub != GOOGLE

    @property
    def bucket_folder(self) -> Path:
        """Folder of the bucket's objects, which can be opened as they are."""
        return self.state.folder / "storage" / self.options.bucket

    def prepare(self) -> None:
        """
        Create what the functions expect: bucket, tables, views, topics, a first model.

        The view of the export can be made once the export has a table; until then a
        function that reads it says that it is missing.
        """
        from google.api_core.exceptions import Conflict
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client as StorageClient

        from local import topics
        from offline import load_model
        from propensity.edges.artifacts import Artifacts
        from propensity.edges.warehouse import Warehouse
        from propensity.errors import MissingTable, PropensityError
        from propensity.runs import steps
        from propensity.settings import Settings

        settings = Settings.from_environment(self.environment)
        warehouse = Warehouse.open(settings)
        warehouse.create_dataset(self.options.ga4_dataset)
        objects = StorageClient(
            project=self.options.project,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": self.url("storage")},
        )
        with contextlib.suppress(Conflict):
            objects.create_bucket(self.options.bucket)
        with contextlib.suppress(MissingTable):
            bucket = objects.bucket(self.options.bucket)
            artifacts = Artifacts(bucket, deadline_s=float(settings.retry_deadline_s))
            steps.prepare(warehouse, artifacts, settings)
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
            pauses=self.pauses,
        )

    # -- starting ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        record = self.state.record()
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            self._refuse_running()
            self._check_ports()
            pythons = {
                function.target: venvs.python_of(
                    self._root / function.folder / function.requirements,
                    folder=self._venv_folder,
                    say=self._say,
                )
                for function in self.functions
            }
            myself = os.getpid()
            owner = Process("owner", myself, start_time(myself) or "", 0, "")
            self._record = Record(
                owner=None if stay else owner,
                options=self.options,
                ports=self.ports,
                source=self.source(),
            )
            self._write_options()
            try:
                self._start_all(pythons, stay=stay)
            except BaseException:
                self.stop()
                raise

    def source(self) -> str:
        """Return a digest of the source that would be served if started now."""
        parts = [
            stage.digest(
                self._root / function.folder,
                requirements=function.requirements,
                root=self._root,
            )
            for function in self.functions
        ]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def _start_all(self, pythons: Mapping[str, Path], *, stay: bool) -> None:
        from local import pubsub_emulator

        began = time.monotonic()
        count = len(self.functions)
        functions = f" and {count} functions" if count else ""
        self._say(f"starting 3 emulators{functions} …")
        pubsub = self.address("pubsub")
        self._start_emulators(stay=stay)
        for function in self.functions:
            self._start_function(function, pythons[function.target])
        datasets = f"/bigquery/v2/projects/{self.options.project}/datasets"
        self._wait_for(
            {
                "bigquery": lambda: answers(self.url("bigquery") + datasets),
                "storage": lambda: answers(self.url("storage") + "/"),
                "pubsub": lambda: pubsub_emulator.is_serving(pubsub),
            },
            began=began,
        )
        self.prepare()
        # The framework answers this path itself once it has loaded the function; a
        # client error is an answer too.
        self._wait_for(
            {
                function.target: partial(
                    answers, self.url(function.target) + "/robots.txt"
                )
                for function in self.functions
            },
            began=began,
        )
        seconds = time.monotonic() - began
        self._say(f"emulators{functions} answer after {seconds:.1f} s")

    def _start_emulators(self, *, stay: bool) -> None:
        folder = self.state.folder
        for service in ("bigquery", "storage", "pubsub"):
            (folder / service).mkdir(parents=True, exist_ok=True)
        parent = [] if stay else ["--parent", str(os.getpid())]
        self._spawn(
            "bigquery",
            [
                *(sys.executable, "-m", "local.bigquery_emulator"),
                *("--port", str(self.ports["bigquery"])),
                *("--grpc-port", str(self.ports["bigquery_storage"])),
                *("--project", self.options.project),
                *("--data-dir", str(folder / "bigquery")),
                *("--storage", self.url("storage")),
                *parent,
            ],
            environment=self._clean_environment(),
            folder=ROOT,
        )
        self._spawn(
            "storage",
            [
                *(sys.executable, "-m", "local.storage_emulator"),
                *("--port", str(self.ports["storage"])),
                *("--data-dir", str(folder / "storage")),
                *parent,
            ],
            environment=self._clean_environment(),
            folder=ROOT,
        )

        self._spawn(
            "pubsub",
            self._pubsub_command(folder / "pubsub", parent),
            environment=self._clean_environment(),
            folder=ROOT,
        )

    def _pubsub_command(self, folder: Path, parent: Sequence[str]) -> list[str]:
        port = self.ports["pubsub"]
        if self.options.pubsub == GOOGLE:
            from local.pubsub_emulator import google_command

            command = google_command(port, folder)
            if command is None:
                raise LocalError(
                    "Google's Pub/Sub emulator is not on this machine: it needs Java, "
                    "and `gcloud components install pubsub-emulator`"
                )
            return command
        return [
            *(sys.executable, "-m", "local.pubsub_emulator"),
            *("--port", str(port)),
            *parent,
        ]

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
        self._spawn(
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
        """What a process gets of the user's environment: where things are, no more."""
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return kept | {"PYTHONUNBUFFERED": "1"}

    def _spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
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

    def _wait_for(
        self, ready: Mapping[str, Callable[[], bool]], *, began: float
    ) -> None:
        """
        Wait until services answer, as long as those that do not live and work.

        Args:
            ready: Whether a service answers, by its name.
            began: When their start began, on the monotonic clock.

        Raises:
            LocalError: A process ended, or has neither answered nor worked for so long.
        """
        assert self._record is not None
        waiting = dict(ready)
        works = {one.name: Work(one) for one in self._record.processes}
        looked = time.monotonic()
        while True:
            up = [name for name, is_ready in waiting.items() if is_ready()]
            for name in up:
                del waiting[name]
            if up:
                seconds = time.monotonic() - began
                self._say(f"  {', '.join(up)} up after {seconds:.1f} s")
            if not waiting:
                return
            for process in self._record.ended:
                raise LocalError(
                    f"{process.name} ended while it was starting. {end_of(process)}"
                )
            if time.monotonic() - looked >= WORK_POLL_S:
                looked = time.monotonic()
                self._refuse_idle({name: works[name] for name in waiting})
            time.sleep(POLL_S)

    def _refuse_idle(self, works: Mapping[str, Work]) -> None:
        """Refuse to wait for a process that has done nothing for too long."""
        assert self._record is not None
        for process in self._record.processes:
            work = works.get(process.name)
            if work is not None and work.idle_s > self._ready_s:
                raise LocalError(
                    f"{process.name} does not answer on port {process.port}, and has "
                    f"done nothing for {self._ready_s} s: it used no processor and "
                    f"wrote nothing. {end_of(process)}\n"
                    "Mend what its log names, if anything, and start again; where this "
                    f"machine is only slow, set {READY_VARIABLE} to more seconds "
                    f"(such as {READY_VARIABLE}={self._ready_s * 4})."
                )

    def _refuse_running(self) -> None:
        record = self.state.record()
        if record is None:
            return
        if record.owner and record.owner.is_running:
            raise LocalError(
                f"state {self.state.name!r} is in use by process {record.owner.pid}. "
                f"Wait for it, or stop it (kill {record.owner.pid}), or play beside "
                "it, in another state and on other ports:\n"
                f"    make demo STATE={self._other_name()} "
                f"PROPENSITY_PORT_BASE={min(record.ports.values()) + 1000}"
            )
        if record.owner is None and record.running:
            raise LocalError(f"state {self.state.name!r} is up; `make down` stops it")
        # Its program was killed, so that it could not stop them itself.
        stop(record.running)
        self.state.record_file.unlink(missing_ok=True)

    def _other_name(self) -> str:
        """Return the name of a state that there is not yet."""
        known = {state.name for state in states(self.state.home)}
        name = self.state.name[:60]
        return next(
            other for n in itertools.count(2) if (other := f"{name}-{n}") not in known
        )

    def _check_ports(self) -> None:
        names = [*EMULATOR_PORTS, *(function.target for function in self.functions)]
        for name in names:
            port = self.ports[name]
            if is_free(port):
                continue
            holder = next(
                (
                    f"state {state.name!r}, which `make down` stops"
                    for state in states(self.state.home)
                    if (record := state.record())
                    and record.running
                    and port in record.ports.values()
                ),
                "another program",
            )
            raise LocalError(
                f"port {port}, needed for {name}, is taken by {holder}.\n"
                f"Set PROPENSITY_PORT_{name.upper()} for another port, or "
                "PROPENSITY_PORT_BASE to move all of them "
                f"(such as PROPENSITY_PORT_BASE={DEFAULT_PORT_BASE + 1000}). "
                "Nothing was started."
            )

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
            changed = [
                f"{name} {now!r} instead of {wanted!r}"
                for (name, now), wanted in zip(
                    dataclasses.asdict(record.options).items(),
                    dataclasses.asdict(self.options).values(),
                    strict=True,
                )
                if now != wanted
            ]
            raise LocalError(
                f"state {self.state.name!r} is up with {', '.join(changed)}; "
                "`make down` stops it; then start again."
            )
        self.ports = dict(record.ports)
        self.is_attached = True
        if record.source != self.source():
            self._say(
                "the source has changed since: `make down` and `make up` serve it"
            )

    def _write_options(self) -> None:
        text = json.dumps(dataclasses.asdict(self.options), indent=2)
        write_whole(self.state.options_file, text)

    def _write_record(self) -> None:
        assert self._record is not None
        write_whole(self.state.record_file, self._record.to_json())

    # -- stopping ---------------------------------------------------------------------

    def stop(self) -> list[Process]:
        """Stop what this stack started; returns what was still running."""
        if self._record is None:
            return []
        with deferred_signals():
            stopped = stop_record(self._record)
            self.state.record_file.unlink(missing_ok=True)
            self._record = None
        return stopped


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: by an exception."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def leave(number: int, _: FrameType | None) -> None:
    """End the program with the status that a shell gives to this signal."""
    sys.exit(128 + number)


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {
        number: signal.signal(number, lambda got, _: caught.append(got))
        for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])


def stop_record(record: Record) -> list[Process]:
    """Stop functions first, so that none of them loses its tables while it works."""
    emulators = [p for p in record.processes if p.name in EMULATOR_PORTS]
    functions = [p for p in record.processes if p.name not in EMULATOR_PORTS]
    return stop(functions) + stop(emulators)


def answers(url: str) -> bool:
    """Whether a server gives any answer but a server error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except (OSError, ValueError):
        return False


def end_of(process: Process) -> str:
    """Say how the log of a process ends."""
    return f"Its log {shown(process.log)} ends with\n{last_lines(Path(process.log))}"


def write_whole(file: Path, text: str) -> None:
    """Replace a file by a new one, never by half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    partial.write_text(text)
    partial.replace(file)


def states(home: Path = LOCAL / "states") -> list[State]:
    """List the states that there are."""
    return [State(folder.name, home) for folder in sorted(home.glob("[!.]*"))]


# -- command line ---------------------------------------------------------------------


def table(record: Record) -> str:
    """List the services of a state: address, and whether each still runs."""
    rows = [("service", "address", "", "log")]
    for process in record.processes:
        state = f"running, pid {process.pid}" if process.is_running else "ENDED"
        rows.append((process.name, f"http://{HOST}:{process.port}", state, process.log))
        if process.name == "bigquery":
            address = f"{HOST}:{record.ports['bigquery_storage']} (gRPC)"
            rows.append(("bigquery_storage", address, state, process.log))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False))])
        + f"  {shown(row[3])}"
        for row in rows
    )


def shown(path: str) -> str:
    """Return a path as the user would type it from the project's folder."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(ROOT))
    return path


def directions(stack: Stack) -> str:
    """Say how to use what is up from a shell."""
    exports = "\n".join(f"export {k}={v}" for k, v in stack.environment.items())
    user, as_of = example_prediction(stack)
    lookup = f"{stack.url('get_proba')}/?user_id={user}"
    asked = f' -d \'{{"as_of": "{as_of}"}}\'' if as_of else ""
    return (
        "To use it from any client of this machine:\n\n"
        f"{exports}\n\n"
        "To look up a user, to train, to evaluate and to predict:\n\n"
        f"curl '{lookup}'\n"
        f"curl -X POST {stack.url('model_training')}{asked}\n"
        f"curl -X POST {stack.url('model_evaluation')}{asked}\n"
        f"curl -X POST {stack.url('predictions')}{asked}\n\n"
        f"{stream_directions(stack)}\n\n"
        f"The bucket's objects are files in {shown(str(stack.bucket_folder))}/\n"
        "`make down` stops it."
    )


def stream_directions(stack: Stack) -> str:
    """Say how to send the stream an event, and how to see what became of it."""
    event = (
        '{"user_id": "ana", "event_type": "new_bet", "event_id": "1", '
        '"event_time": "\'$(date -u +%FT%TZ)\'", "bet_amount": 12.50}'
    )
    json_body = "-H 'Content-Type: application/json'"
    view = f"{stack.options.project}.{stack.options.dataset}.stream_features"
    queries = (
        f"{stack.url('bigquery')}/bigquery/v2/projects/{stack.options.project}/queries"
    )
    return (
        "To push an event to the stream, to see its user's features, to compact:\n\n"
        f"EVENT=$(printf '%s' '{event}' | base64 | tr -d '\\n')\n"
        f"curl {stack.url('stream_features')} {json_body} "
        '-d \'{"message": {"messageId": "1", "data": "\'$EVENT\'"}}\'\n'
        f"curl -s {queries} {json_body} -d "
        f'\'{{"useLegacySql": false, "query": "SELECT TO_JSON_STRING(f) FROM '
        f'`{view}` AS f WHERE user_id = \\"ana\\""}}\'\n'
        f"curl -X POST {stack.url('compact_features')}"
    )


def example_prediction(stack: Stack) -> tuple[str, str]:
    """Return a user that has a prediction and its date; a placeholder without any."""
    from urllib.parse import quote

    address = (
        f"{stack.url('bigquery')}/bigquery/v2/projects/{stack.options.project}/datasets/"
        f"{stack.options.dataset}/tables/ma_predictions_table/data"
        "?maxResults=1000&selectedFields=user_id,as_of"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            rows = json.load(answer).get("rows") or []
    except (OSError, ValueError):
        rows = []
    found = [(str(row["f"][0]["v"]), str(row["f"][1]["v"])) for row in rows]
    user, as_of = max(found, key=lambda one: one[1], default=(NO_SUCH_USER, ""))
    return quote(user, safe=""), as_of


def up(stack: Stack) -> int:
    """Start a state and leave it running; where it is up already, say so."""
    record = stack.state.record()
    if record and record.owner is None and record.running:
        if record.ended:
            return report_ended(stack.state, record)
        stack.attach(record)
        print(f"State {stack.state.name!r} is up already.")
    else:
        with ending_on_signals():
            stack.start(stay=True)
        record = stack.state.record()
        print(f"State {stack.state.name!r} is up.")
    assert record is not None
    print(f"\n{table(record)}\n\n{directions(stack)}")
    return 0


def down(chosen: Sequence[State]) -> int:
    """Stop what ``up`` started, and what a killed program has left behind."""
    found = False
    for state in chosen:
        with venvs.locked(state.folder / "lock"):
            record = state.record()
            if record is None:
                continue
            if record.owner and record.owner.is_running:
                print(
                    f"State {state.name!r} is in use by process {record.owner.pid}, "
                    "which stops what it started itself."
                )
                found = True
                continue
            with deferred_signals():
                ended = record.ended
                stopped = stop_record(record)
                state.record_file.unlink(missing_ok=True)
        for process in ended:
            print(f"{process.name} had ended before")
        for process in stopped:
            print(f"stopped {process.name} (pid {process.pid}, port {process.port})")
        if stopped:
            print(f"State {state.name!r} is down.")
        found = found or bool(stopped)
    if not found:
        print("Nothing is up.")
    return 0


def report_ended(state: State, record: Record) -> int:
    """Say which processes of a state have ended, and what to do."""
    print(f"\n{table(record)}\n")
    for process in record.ended:
        print(f"{process.name} of state {state.name!r} has ended. {end_of(process)}")
    print("`make down` stops the rest; then start again.")
    return 1


def status(chosen: Sequence[State]) -> int:
    """Say what runs; 1 if something that was started has ended by itself."""
    code, found = 0, False
    for state in chosen:
        record = state.record()
        if record is None:
            continue
        found = True
        if record.owner is None:
            print(f"State {state.name!r} is up.")
        elif record.owner.is_running:
            print(f"State {state.name!r} is in use by process {record.owner.pid}.")
        else:
            print(
                f"State {state.name!r} was left behind by process {record.owner.pid}, "
                "which was killed; `make down` stops it."
            )
        if record.ended:
            code = report_ended(state, record)
        else:
            print(f"\n{table(record)}\n")
    if not found:
        print("Nothing is up.")
    return code


def progress(line: str) -> None:
    """Tell the user what is going on; apart from the answer, which may be piped."""
    print(f"· {line}", file=sys.stderr, flush=True)
