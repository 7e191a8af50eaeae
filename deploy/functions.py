"""
The functions: what each may touch, how it runs, when it is called; and what the
operators' job may touch.

All of it is in ``functions.toml``. Nothing here talks to Google Cloud.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from deploy import DeploymentError
from propensity.settings import DEAD_LETTERS, ENRICHED, EVENTS
from propensity.tables.stream import SUPPRESSED_USERS
from propensity.usecases import UseCase

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_name("functions.toml")

# Tables whose rows are listed as they are, without a query.
LISTED = frozenset({SUPPRESSED_USERS.name})
# The job that runs commands for operators.
OPERATOR = "operator"
# Functions that jobs of the training's image run as well; what these are called.
JOBS = {"model_training": "training", "predictions": "predictions"}
# https://cloud.google.com/run/docs/configuring/services/memory-limits
MOST_GIB_OF_ONE = 4
# What a service has, unless it says otherwise.
_SERVICE = {"min-instances": 0, "cpu-throttling": True, "ingress": "internal"}
_SERVICE |= {"cpu": 1, "concurrency": 1}
# A run's date is the day in UTC; and the longest that Cloud Scheduler waits.
_SCHEDULED = {"time-zone": "Etc/UTC", "attempt-deadline": "1800s"}


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """
    One subscription.

    A message that is not acknowledged is delivered again, after a pause that grows
    from ``minimum_backoff_s`` to ``maximum_backoff_s``; after ``attempts`` deliveries
    it goes to the topic ``dead-letters``. Without a ``function`` the subscription is
    pulled, and a message without acknowledgement can be pulled again at once.
    """

    name: str
    topic: str
    function: str = ""
    acknowledge_s: int = 60
    minimum_backoff_s: int = 1
    # The most that Pub/Sub takes of both: over fifteen hours.
    maximum_backoff_s: int = 600
    attempts: int = 100


SUBSCRIPTIONS = (
    Subscription(
        name="events-stream-features", topic=EVENTS, function="stream_features"
    ),
    Subscription(name="enriched-score-stream", topic=ENRICHED, function="score_stream"),
    Subscription(name="dead-letters-replay", topic=DEAD_LETTERS),
)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When Cloud Scheduler calls a function: ``flags`` are the others of gcloud."""

    cron: str
    flags: Mapping[str, str]
    per_use_case: bool
    skips: str

    @property
    def attempts_s(self) -> int:
        """Return the seconds of all pauses until Cloud Scheduler's last attempt."""
        pause_s = int(self.flags["min-backoff"].rstrip("s"))
        longest_s = int(self.flags["max-backoff"].rstrip("s"))
        total_s = 0
        for _ in range(int(self.flags["max-retry-attempts"])):
            total_s += min(pause_s, longest_s)
            pause_s *= 2
        return total_s

    def called_for(self, use_cases: Iterable[UseCase]) -> list[str]:
        """Return the names of use cases that it calls for; none if it calls once."""
        return [
            use_case.name
            for use_case in use_cases
            if self.per_use_case and not (self.skips and getattr(use_case, self.skips))
        ]


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the account of a function, or of the operators' job, may touch."""

    target: str
    large_results: bool = False
    reads_export: bool = False
    reads_sources: bool = False
    reads_secrets: bool = False
    reads_webhook: bool = False
    reads: Sequence[str] = ()
    appends: Sequence[str] = ()
    writes: Sequence[str] = ()
    # Each has the allowed actions (read, create, replace) and names of objects.
    objects: Sequence[Mapping[str, Any]] = ()
    publishes: Sequence[str] = ()
    pulls: Sequence[str] = ()
    lists_tables: bool = False

    @property
    def runs_queries(self) -> bool:
        """Whether it starts jobs in BigQuery: reading or changing, not appending."""
        return bool(self.writes) or not LISTED.issuperset(self.reads)

    @property
    def needs_key(self) -> bool:
        """Whether it reads the list of suppressed users, which has hashes by a key."""
        return SUPPRESSED_USERS.name in set(self.reads).union(self.writes)


@dataclass(frozen=True, kw_only=True)
class Function(Account):
    """One function: its rights, and the ``flags`` of gcloud that deploy it."""

    folder: str
    requirements: str = "requirements.txt"
    is_asynchronous: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str]
    schedule: Schedule | None = None

    @property
    def is_public(self) -> bool:
        """Whether other networks reach it, as far as a setting does not narrow it."""
        return self.flags["ingress"] != "internal"

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions that push to it."""
        return tuple(
            subscription
            for subscription in SUBSCRIPTIONS
            if subscription.function == self.target
        )


@cache
def load(file: Path = FILE) -> tuple[Function, ...]:
    """Return every function, as the file orders them; read once in a process."""
    functions = []
    for target, entry in tomllib.loads(file.read_text()).items():
        if target == OPERATOR:
            continue
        entry["flags"] = _flags(_SERVICE | entry.pop("service", {}))
        if "schedule" in entry:
            entry["schedule"] = _schedule(**entry["schedule"])
        _check_memory(target, entry["flags"])
        functions.append(Function(target=target, **entry))
    return tuple(functions)


@cache
def operator() -> Account:
    """Return what the operators' job may touch."""
    return Account(target=OPERATOR, **tomllib.loads(FILE.read_text())[OPERATOR])


def _check_memory(target: str, flags: Mapping[str, str]) -> None:
    """Raise DeploymentError for memory that Cloud Run refuses to one processor."""
    memory = flags.get("memory", "")
    size_gib = int(memory.removesuffix("Gi")) if memory.endswith("Gi") else 0
    if size_gib > MOST_GIB_OF_ONE and flags.get("cpu") == "1":
        raise DeploymentError(
            f"deploy/functions.toml: {target} has memory = {memory} and cpu = 1, which "
            f"Cloud Run refuses above {MOST_GIB_OF_ONE}Gi. Set cpu = 2"
        )


def _schedule(
    *, schedule: str, per_use_case: bool = True, skips: str = "", **flags: Any
) -> Schedule:
    flags = _SCHEDULED | _flags(flags)
    return Schedule(cron=schedule, flags=flags, per_use_case=per_use_case, skips=skips)


def _flags(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return flags as gcloud takes them; one that is true or false has no value."""
    flags = {}
    for name, value in entry.items():
        if isinstance(value, bool):
            flags[name if value else f"no-{name}"] = ""
        else:
            flags[name] = str(value)
    return flags
