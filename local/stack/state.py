"""A local state: its folder, its ports, what it is set to, and what runs in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deploy import functions
from local import venvs
from local.errors import LocalError
from local.processes import Process
from propensity import whole_files
from propensity.suggestions import instead

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
DEFAULT_STATE = "demo"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
FUNCTIONS = functions.load()
EMULATORS = ("bigquery", "storage", "pubsub")
# A service's place here is the distance of its port from the first.
SERVICES = (
    "model_training",
    "predictions",
    "get_proba",
    "model_evaluation",
    "stream_features",
    "score_stream",
    "compact_features",
    "audiences",
    "score",
    "overview",
    # The demo, which sends audiences to it, starts this one.
    "receiver",
    "bigquery",
    "bigquery_storage",
    "storage",
    "pubsub",
    "dashboard",
)
PORT_OFFSETS = {name: SERVICES.index(name) for name in SERVICES}
PORTS = len(SERVICES)
PORT_BASE = "PROPENSITY_PORT_BASE"
DEFAULT_PORT_BASE = 8080


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


@dataclass
class Record:
    """
    What a state was last set to, and what was started in it and not stopped since.

    ``is_up`` says that the processes are to stay; before that they are those of a
    program, ``pid``, which stops them.
    """

    options: Options = Options()
    base: int = DEFAULT_PORT_BASE
    pid: int = 0
    is_up: bool = False
    processes: list[Process] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        return any(process.is_running for process in self.processes)

    @property
    def serves(self) -> bool:
        """Whether it stays up, and something of it still runs."""
        return self.is_up and self.is_running

    @property
    def ended(self) -> list[Process]:
        return [process for process in self.processes if not process.is_running]


@dataclass(frozen=True)
class State:
    """A local state: one folder with everything of it, found by its name."""

    name: str = DEFAULT_STATE
    home: Path = LOCAL / "states"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise LocalError(
                f"{self.name!r} is not a valid name of a local state",
                hint="Use letters, digits, '-', '_' and '.', 64 at most",
            )

    @classmethod
    def of_data(cls, data: Path | None, options: Options = Options()) -> State:
        """
        Return the state of a data set, or the generated one, and of what is predicted.
        """
        if not data and options == Options():
            return cls()
        path = str(data.resolve()) if data else ""
        facts = [path, options.user_column, options.label_event, options.use_case]
        text = json.dumps(facts)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        stem = data.name.partition(".")[0] if data else DEFAULT_STATE
        stem = re.sub(r"[^A-Za-z0-9]+", "-", stem)[:40].strip("-")
        return cls(f"{stem if stem else 'data'}-{digest}")

    @property
    def folder(self) -> Path:
        return self.home / self.name

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def dashboard(self) -> Path:
        """Folder of the pages that ``up`` shows."""
        return self.folder / "dashboard"

    @property
    def record_file(self) -> Path:
        return self.folder / "state.json"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """
        Hold the state until the program ends; raise LocalError if another one holds it.
        """
        with contextlib.ExitStack() as undo:
            try:
                undo.enter_context(venvs.locked(self.folder / "lock", wait=False))
            except BlockingIOError:
                record = self.record()
                other = f"STATE={self.name[:60]}-2 {PORT_BASE}={record.base + 1000}"
                raise LocalError(
                    f"state {self.name!r} is in use by process {record.pid}",
                    hint="Wait for it, or use another state and other ports: "
                    f"make demo {other}",
                ) from None
            yield

    def record(self) -> Record:
        """
        Return its record; for a new state the defaults.

        Raises:
            LocalError: A crash or another version left a file that cannot be read.
        """
        if not self.record_file.exists():
            return Record()
        try:
            return msgspec.json.decode(self.record_file.read_bytes(), type=Record)
        except msgspec.DecodeError as error:
            hint = (
                f"Stop what still runs of this state by hand, and remove {self.folder}"
            )
            raise LocalError(f"{self.record_file} cannot be read", hint=hint) from error

    def write(self, record: Record) -> None:
        text = msgspec.json.format(msgspec.json.encode(record))
        whole_files.write_whole(self.record_file, text)


def named(name: str | None) -> State:
    """Return the state of a name, the demo's by default."""
    state = State(name if name else DEFAULT_STATE)
    names = [each.name for each in states()]
    if state.name != DEFAULT_STATE and state.name not in names:
        hint = instead(state.name, names, kind="States")
        raise LocalError(f"there is no state {state.name!r}", hint=hint)
    return state


def port_base(environment: Mapping[str, str] = os.environ) -> int:
    """Return the first port, which ``PROPENSITY_PORT_BASE`` moves."""
    value = environment.get(PORT_BASE, f"{DEFAULT_PORT_BASE}")
    highest = 65_535 - PORTS
    if not (value.isdecimal() and 1 <= int(value) <= highest):
        raise LocalError(
            f"{PORT_BASE} is {value!r}", hint=f"Use a port from 1 to {highest}"
        )
    return int(value)


def states(home: Path = LOCAL / "states") -> list[State]:
    # A file, or a copy by another name, is none.
    folders = [folder.name for folder in sorted(home.glob("*")) if folder.is_dir()]
    return [State(name, home) for name in folders if NAME.fullmatch(name)]
