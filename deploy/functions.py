"""
What is deployed: what each function may touch, how it runs, when it is called.

Rights are in ``functions.toml``. How a function runs stands in its ``deploy.sh``, where
one looks for it, and when it is called in ``scheduler.sh``: both are read here, by
those who compute costs, examine a deployment or check settings, so that nothing is
listed twice. Nothing here talks to Google Cloud.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from propensity import tables, topics

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).with_name("functions.toml")

# Tables whose rows are listed as they are, without a query.
LISTED = frozenset({tables.SUPPRESSED_USERS.name})

# The only things that are read and no table of tables/.
VIEWS = ("ga_events", "stream_features", *tables.views(""))

THREADED = "threaded"
ASYNCHRONOUS = "asynchronous"

# An object right: "read", "create", "replace" or "list", and the names that it is for.
ObjectRight = tuple[str, str]


class FunctionsError(Exception):
    """``functions.toml`` or a script says what cannot be; the message names it."""


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
    """One function: its rights, and the flags that it is deployed with."""

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
    schedule: Schedule | None = None
    large_results: bool = False
    reads_export: bool = False
    reads_sources: bool = False
    reads: tuple[str, ...] = ()
    appends: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    objects: tuple[ObjectRight, ...] = ()
    publishes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {table.stored for table in tables.TABLES} | set(VIEWS)
        named = {*self.reads, *self.appends, *self.writes}
        wrong = sorted(named - known) + sorted(set(self.publishes) - set(topics.TOPICS))
        if self.ingress not in ("internal", "all"):
            wrong.append(self.ingress)
        if wrong:
            raise FunctionsError(f"{self.target}: {', '.join(wrong)} is not known")

    @property
    def runs_queries(self) -> bool:
        """Whether it starts jobs in BigQuery: reading or changing, not appending."""
        return bool({*self.reads} - LISTED or self.writes)

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
        return tuple(
            subscription
            for subscription in topics.SUBSCRIPTIONS
            if subscription.function == self.target
        )


@cache
def load(file: Path = FILE, *, root: Path = ROOT) -> tuple[Function, ...]:
    """
    Return every function, as the file orders them; read once in a process.

    Raises:
        FunctionsError: A field, table or topic is named that there is not, or a
            function that no script deploys.
    """
    runs, clocks = _deploys(root), _schedules(root)
    loaded = []
    for target, entry in tomllib.loads(file.read_text()).items():
        if target not in runs:
            raise FunctionsError(f"{target}: no deploy.sh deploys it")
        loaded.append(_function(target, entry, runs[target], clocks.get(target)))
    return tuple(loaded)


def _function(
    target: str,
    entry: dict[str, Any],
    run: dict[str, Any],
    clock: dict[str, Any] | None,
) -> Function:
    known = {field.name for field in fields(Function)} - set(run) | {"schedule"}
    if unknown := sorted(set(entry) - known):
        raise FunctionsError(f"{target}: {', '.join(unknown)} is no field")
    made: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in entry.items()
    }
    if (clock is None) != ("schedule" not in entry):
        raise FunctionsError(f"{target}: its scheduler.sh and its schedule differ")
    if clock is not None:
        made["schedule"] = Schedule(**clock, **entry["schedule"])
    made["objects"] = tuple(
        (right, "" if right == "list" else names)
        for verbs in entry.get("objects", ())
        for right, names in verbs.items()
    )
    return Function(target=target, **run, **made)


# -- what the scripts say --------------------------------------------------------------


def _deploys(root: Path) -> dict[str, dict[str, Any]]:
    """Return how functions run: the flags in each script that deploys one."""
    runs = {}
    for script in sorted(root.glob("0*/deploy*.sh")):
        text = script.read_text()
        staged = dict(re.findall(r"^ *stage (\w+) ?(\S*)$", text, re.M))
        for block in re.findall(r"^choices=\(\n(.*?)^\)", text, re.M | re.S):
            flags = _flags(block)
            target = flags["function"]
            runs[target] = {
                "folder": script.parent.name,
                "requirements": staged[target] or "requirements.txt",
                "serving": THREADED if "THREADS=" in block else ASYNCHRONOUS,
                "concurrency": int(flags["concurrency"]),
                "cpu": int(flags["cpu"]),
                "memory": flags["memory"],
                "timeout_s": int(flags["timeout"]),
                "min_instances": int(flags["min-instances"]),
                "max_instances": int(flags["max-instances"]),
                # A setting narrows it.
                "ingress": flags["ingress"].replace("$ingress", "all"),
            }
    return runs


def _schedules(root: Path) -> dict[str, dict[str, Any]]:
    """Return when functions are called: the flags in each ``scheduler.sh``."""
    schedules = {}
    for script in sorted(root.glob("0*/scheduler.sh")):
        text = script.read_text().replace("\\\n", " ")
        [target] = re.findall(r"\burl_of (\w+)", text)
        [command] = re.findall(r"^ *run gcloud scheduler jobs (.*)$", text, re.M)
        flags = _flags(command)
        schedules[target] = {
            "cron": flags["schedule"],
            "retries": int(flags["max-retry-attempts"]),
            "minimum_backoff_s": int(flags["min-backoff"].removesuffix("s")),
            "maximum_backoff_s": int(flags["max-backoff"].removesuffix("s")),
        }
    return schedules


def _flags(text: str) -> dict[str, str]:
    """Return the flags of a command, in words of the shell; comments are left out."""
    words = shlex.split(text, comments=True)
    flags = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in flags}
