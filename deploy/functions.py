"""
What is deployed: ``functions.toml``, read and checked.

Nothing here talks to Google Cloud; ``plan.py`` makes commands of it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from propensity import tables, topics

FILE = Path(__file__).with_name("functions.toml")

# Tables whose rows are listed as they are, without a query.
LISTED = frozenset({tables.SUPPRESSED_USERS.name})

# The only things that are read and no table of tables.py.
VIEWS = ("ga_events", "stream_features")

THREADED = "threaded"
ASYNCHRONOUS = "asynchronous"

# An object right: "read", "create", "replace" or "list", and the names that it is for.
ObjectRight = tuple[str, str]


class FunctionsError(Exception):
    """``functions.toml`` says what cannot be; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When Cloud Scheduler calls a function, and how patiently."""

    cron: str
    retries: int
    minimum_backoff_s: int
    maximum_backoff_s: int
    per_use_case: bool = True
    skips: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= 5:
            raise FunctionsError("Cloud Scheduler tries again five times at most")

    @property
    def patience_s(self) -> int:
        """From the first attempt to the last, where each fails at once."""
        pauses = (self.minimum_backoff_s * 2**n for n in range(self.retries))
        return sum(min(pause, self.maximum_backoff_s) for pause in pauses)


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function; ``functions.toml`` says what each field means."""

    target: str
    folder: str
    requirements: str = "requirements.txt"
    serving: str
    concurrency: int
    cpu: int
    memory: str
    timeout_s: int
    min_instances: int
    max_instances: int
    ingress: str
    keeps_cpu: bool = False
    schedule: Schedule | None = None
    large_results: bool = False
    reads_export: bool = False
    reads: tuple[str, ...] = ()
    appends: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    objects: tuple[ObjectRight, ...] = ()
    publishes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {table.name for table in tables.TABLES} | set(VIEWS)
        named = {*self.reads, *self.appends, *self.writes, *self.views}
        wrong = sorted(named - known) + sorted(set(self.publishes) - set(topics.TOPICS))
        if self.serving not in (THREADED, ASYNCHRONOUS):
            wrong.append(self.serving)
        if self.ingress not in ("internal-only", "all"):
            wrong.append(self.ingress)
        if wrong:
            raise FunctionsError(f"{self.target}: {', '.join(wrong)} is not known")

    @property
    def runs_queries(self) -> bool:
        """Whether it starts jobs in BigQuery: reading or changing, not appending."""
        return bool({*self.reads} - LISTED or self.writes or self.views)

    @property
    def needs_key(self) -> bool:
        """Whether it reads the list of suppressed users, which has hashes by a key."""
        return tables.SUPPRESSED_USERS.name in self.reads

    @property
    def lock(self) -> Path:
        """What is installed where it is deployed: every package, by its hash."""
        return Path(__file__).parent / "locks" / self.folder / self.requirements

    @property
    def subscriptions(self) -> tuple[topics.Subscription, ...]:
        """Those that push to it."""
        return tuple(one for one in topics.SUBSCRIPTIONS if one.function == self.target)


def load(file: Path = FILE) -> tuple[Function, ...]:
    """
    Return every function, as the file orders them.

    Raises:
        FunctionsError: It names a field, table or topic that there is not.
    """
    return tuple(
        _function(target, entry)
        for target, entry in tomllib.loads(file.read_text()).items()
    )


def _function(target: str, entry: dict[str, Any]) -> Function:
    known = {field.name for field in fields(Function)}
    if unknown := sorted(set(entry) - known):
        raise FunctionsError(f"{target}: {', '.join(unknown)} is no field")
    made: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in entry.items()
    }
    if "schedule" in entry:
        made["schedule"] = Schedule(**entry["schedule"])
    made["objects"] = tuple(
        (right, "" if right == "list" else names)
        for one in entry.get("objects", ())
        for right, names in one.items()
    )
    return Function(target=target, **made)
