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

from local import venvs
from local.errors import LocalError
from local.processes import Process
from propensity.settings import unknown_setting

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
DEFAULT_STATE = "demo"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
DEFAULT_PORT_BASE = 8080
READY_S = 180
READY_VARIABLE = "PROPENSITY_LOCAL_READY_S"
DAY_S = 86_400
_PORT = "PROPENSITY_PORT_"
_PORT_BASE = f"{_PORT}BASE"
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
)
# Distance of every service's port from the base. 7, 9 and 15 on are left for functions
# and emulators to come.
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
    pubsub: str = OURS


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
        Return the state of a question: the same one whenever it is asked.

        Args:
            data: File or folder of a data set; None or empty for the generated one.
            user_column: Who a user is.
            label_event: What is predicted.
            use_case: By which use case.
        """
        path = Path(data).expanduser() if data else Path(DEFAULT_STATE)
        where = str(path.resolve()) if data else ""
        question = [where, user_column, label_event, use_case]
        usual = [Options.user_column, Options.label_event, Options.use_case]
        if question == ["", *usual]:
            return cls()
        stem = re.sub(r"[^A-Za-z0-9]+", "-", path.name.partition(".")[0])[:40].strip(
            "-"
        )
        digest = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:8]
        return cls(f"{stem or 'data'}-{digest}")

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

    def options(self) -> Options:
        """Return what this state was last set to, the defaults if it is new."""
        if not self.options_file.exists():
            return Options()
        with _readable(self.options_file):
            return Options(**json.loads(self.options_file.read_text()))

    def record(self) -> Record | None:
        """Return what was started in this state and not stopped since."""
        if not self.record_file.exists():
            return None
        with _readable(self.record_file):
            return Record.from_json(self.record_file.read_text())

    def settled_record(self) -> Record | None:
        """Return the record once nobody is starting or stopping the state."""
        with venvs.locked(self.folder / "lock"):
            return self.record()


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Name a file that a crash of the machine, or another version, has left."""
    try:
        yield
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
    stay, until all of that answers, and None from then on. ``stopper`` is who stops it,
    from before the first process ends.
    """

    owner: Process | None
    options: Options
    ports: dict[str, int]
    source: str
    processes: list[Process] = field(default_factory=list)
    stopper: Process | None = None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Record:
        fields = json.loads(text)
        # A state may have been left by a version that recorded no stopper.
        owner, stopper = fields["owner"], fields.get("stopper")
        return cls(
            owner=Process(**owner) if owner else None,
            stopper=Process(**stopper) if stopper else None,
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

    @property
    def is_being_stopped(self) -> bool:
        """Whether somebody is about to stop all processes, so that some have ended."""
        return self.stopper is not None and self.stopper.is_running


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
        LocalError: A port is not a number, out of range or given twice, or a variable
            is of no service.
    """

    def port(value: str, source: str) -> int:
        with contextlib.suppress(ValueError):
            if 1 <= (number := int(value)) <= 65_535:
                return number
        raise LocalError(f"{source} must be a port from 1 to 65535, not {value!r}")

    if base is None:
        text = environment.get(_PORT_BASE, str(DEFAULT_PORT_BASE))
        base = port(text, _PORT_BASE)
    else:
        base = port(str(base), "--port-base")
    known = [_PORT_BASE, *(f"{_PORT}{service.upper()}" for service in PORT_OFFSETS)]
    for name in environment:
        if name.startswith(_PORT) and name not in known:
            raise LocalError(unknown_setting(name, known))
    chosen = {}
    for service, offset in PORT_OFFSETS.items():
        variable = f"{_PORT}{service.upper()}"
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
    Return for how many seconds a process may not answer as it starts.

    Raises:
        LocalError: It is no number of seconds.
    """
    text = environment.get(READY_VARIABLE) or str(READY_S)
    with contextlib.suppress(ValueError):
        if 1 <= (seconds := int(text)) <= DAY_S:
            return seconds
    raise LocalError(
        f"{READY_VARIABLE} must be a number of seconds from 1 to {DAY_S}, not {text!r}"
    )


def states(home: Path = LOCAL / "states") -> list[State]:
    """List the states that there are."""
    # A file, or a copy by another name, is none.
    return [
        State(place.name, home)
        for place in sorted(home.glob("*"))
        if place.is_dir() and NAME.fullmatch(place.name)
    ]
