"""A local state: its folder, its options, its ports, and what runs in it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local import venvs
from local.errors import LocalError
from local.processes import Process
from offline import whole_files
from propensity.settings import unknown_setting

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
DEFAULT_STATE = "demo"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
DEFAULT_PORT_BASE = 8080
_PORT = "PROPENSITY_PORT_"


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
    Function("02-GetProba", "get_proba", True),
    Function("02-GetProba", "score", True, "requirements-score.txt"),
    Function("03-ModelEvaluation", "model_evaluation"),
    Function("04-StreamFeatures", "stream_features", True),
    Function(
        "04-StreamFeatures", "score_stream", True, "requirements-score_stream.txt"
    ),
    Function("04-StreamFeatures", "compact_features"),
)
# Distance of every service's port from the base.
PORT_OFFSETS = {
    "model_training": 0,
    "predictions": 1,
    "get_proba": 2,
    "model_evaluation": 3,
    "stream_features": 4,
    "score_stream": 5,
    "compact_features": 6,
    "score": 8,
    "bigquery": 10,
    "bigquery_storage": 11,
    "storage": 12,
    "pubsub": 13,
    "dashboard": 14,
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


@dataclass(frozen=True)
class State:
    """A local state: one folder with everything of it, found by its name."""

    name: str = DEFAULT_STATE
    home: Path = LOCAL / "states"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise LocalError(
                f"{self.name!r} cannot name a local state: use letters, digits, "
                "'-', '_' and '.', 64 at most"
            )

    @classmethod
    def of_data(
        cls,
        data: str | None,
        user_column: str = Options.user_column,
        label_event: str = Options.label_event,
        use_case: str = Options.use_case,
    ) -> State:
        """
        Return the state of a data set and what is predicted: always the same one.

        Args:
            data: File or folder of a data set; None or empty for the generated one.
            user_column: Who a user is.
            label_event: What is predicted.
            use_case: By which use case.
        """
        path = Path(data).expanduser() if data else Path(DEFAULT_STATE)
        where = str(path.resolve()) if data else ""
        question = [where, user_column, label_event, use_case]
        if question == ["", Options.user_column, Options.label_event, Options.use_case]:
            return cls()
        stem = re.sub(r"[^A-Za-z0-9]+", "-", path.name.partition(".")[0])[:40]
        digest = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:8]
        return cls(f"{stem.strip('-') or 'data'}-{digest}")

    @property
    def folder(self) -> Path:
        return self.home / self.name

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def dashboard(self) -> Path:
        """Folder of the pages that ``up`` serves."""
        return self.folder / "dashboard"

    @property
    def record_file(self) -> Path:
        return self.folder / "running.json"

    @property
    def options_file(self) -> Path:
        return self.folder / "options.json"

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the state while it is started or stopped."""
        return venvs.locked(self.folder / "lock")

    def options(self) -> Options:
        """Return what this state was last set to, the defaults if it is new."""
        if not self.options_file.exists():
            return Options()
        with _readable(self.options_file) as fields:
            return Options(**fields)

    def record(self) -> Record | None:
        """Return what was started in this state and not stopped since."""
        if not self.record_file.exists():
            return None
        with _readable(self.record_file) as fields:
            owner = fields["owner"]
            return Record(
                owner=Process(**owner) if owner else None,
                options=Options(**fields["options"]),
                ports=fields["ports"],
                processes=[Process(**process) for process in fields["processes"]],
            )


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON of a file; name one that a crash or another version left."""
    try:
        yield json.loads(file.read_text())
    except (ValueError, TypeError, KeyError) as error:
        raise LocalError(
            f"{file} cannot be read ({error!r}). Stop what still runs of this state by "
            "hand, and remove the file"
        ) from error


@dataclass
class Record:
    """
    What runs in a state, kept on disk from before it runs until it has stopped.

    ``owner`` is the program that uses it and stops it; it is also who starts what is to
    stay, until all of that answers, and None from then on.
    """

    owner: Process | None
    options: Options
    ports: dict[str, int]
    processes: list[Process] = field(default_factory=list)

    def write(self, state: State) -> None:
        """Write it into the state's folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        whole_files.write(state.record_file, text.encode())

    @property
    def running(self) -> list[Process]:
        return [process for process in self.processes if process.is_running]

    @property
    def ended(self) -> list[Process]:
        return [process for process in self.processes if not process.is_running]

    @property
    def user(self) -> Process | None:
        """The program that uses it now."""
        return self.owner if self.owner and self.owner.is_running else None

    @property
    def is_up(self) -> bool:
        """Whether ``up`` has left it running."""
        return self.owner is None and bool(self.running)


def ports_from(environment: Mapping[str, str]) -> dict[str, int]:
    """
    Return the port of every service.

    Args:
        environment: ``PROPENSITY_PORT_BASE`` moves all of them, ``PROPENSITY_PORT_``
            and a service's name in capitals moves one.

    Raises:
        LocalError: A port is not a number, out of range or given twice, or a variable
            is of no service.
    """
    variables = {service: f"{_PORT}{service.upper()}" for service in PORT_OFFSETS}
    known = [f"{_PORT}BASE", *variables.values()]
    for name in environment:
        if name.startswith(_PORT) and name not in known:
            raise LocalError(unknown_setting(name, known))

    def port(variable: str, default: int) -> int:
        value = environment.get(variable, default)
        with contextlib.suppress(ValueError):
            if 1 <= (number := int(value)) <= 65_535:
                return number
        raise LocalError(f"{variable} must be a port from 1 to 65535, not {value!r}")

    first = port(f"{_PORT}BASE", DEFAULT_PORT_BASE)
    ports = {
        service: port(variables[service], first + offset)
        for service, offset in PORT_OFFSETS.items()
    }
    for number in ports.values():
        others = [name for name in ports if ports[name] == number]
        if len(others) > 1:
            raise LocalError(f"port {number} is given to {' and '.join(others)}")
    return ports


def states(home: Path = LOCAL / "states") -> list[State]:
    """List the states that there are."""
    # A file, or a copy by another name, is none.
    return [
        State(place.name, home)
        for place in sorted(home.glob("*"))
        if place.is_dir() and NAME.fullmatch(place.name)
    ]
