"""
What a rehearsal stands on, and its form on this machine.

Clients, commands and requests are the same everywhere; a ground says where they lead,
how functions are called, and how all of it is made and taken away.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.cloud import bigquery

from local.errors import LocalError
from local.processes import free_ports
from local.stack import scheduler
from local.stack.stack import SECRET, Stack
from local.stack.state import FUNCTIONS, PORTS, State
from propensity.settings import Settings

AUDIENCE = "rehearsal"
SHOP = "ga4_purchase"
CARDS = "card_fraud"
# Files of users in the bucket: nobody is contacted.
DECLARED = """\
destination = "bucket"
deciles = 3
control = "50%"
days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
"""
# Words of a function's line, or of Google, for a missing permission.
REFUSED = ("access_denied", "PERMISSION_DENIED")
# Nothing of a rehearsal asks for these.
UNPLAYED = ("score", "overview")
# Codes with which commands end whose answer is whole.
DONE = (0, 3)


@dataclass(frozen=True, kw_only=True)
class Call:
    """
    What became of a call of a function by the scheduler.

    Attributes:
        outcome: The word of the function's line: ``ok``, or the code of an error; empty
            if it wrote no line.
        status: What the scheduler got.
    """

    target: str
    outcome: str
    message: str
    status: int
    seconds: float

    @property
    def is_refused(self) -> bool:
        return self.outcome in REFUSED

    @property
    def is_kept_out(self) -> bool:
        """Whether the function did not let the scheduler in."""
        return self.status in (401, 403)


class Ground(ABC):
    """
    A place for a rehearsal.

    Attributes:
        name: For the page.
        is_google: Whether it answers for Google.
        environment: With which commands and clients find it.
        key: Of the list of suppressed users.
        patience_s: How long something may take that has no answer.
        pause_s: Between two groups of messages of the stream.
        ask: Asks a person a question; None if nobody knows.
        refused_builds: What a build was refused.
        kms_key: Of the dataset; empty for Google's.
        sample: A day of a real export, by its whole name.
    """

    name = ""
    is_google = False
    environment: Mapping[str, str]
    patience_s = 600.0
    pause_s = 0.0
    kms_key = ""
    sample = "bigquery-public-data.ga4_obfuscated_sample_ecommerce.events_20210131"

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(48)
        self.ask: Callable[[str], bool | None] = lambda _: None
        self.refused_builds: list[str] = []

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(dict(self.environment))

    def command(self, *words: str) -> dict[str, Any]:
        """
        Run a ``propensity`` command; return its answer.

        Raises:
            LocalError: It failed.
        """
        process = self.run_command(list(words) + ["--json"])
        if process.returncode not in DONE:
            said = process.stderr.strip().splitlines()
            reason = said[0] if said else "it said nothing"
            raise LocalError(f"propensity {words[0]} failed: {reason}")
        answer: dict[str, Any] = json.loads(process.stdout)
        return answer

    @abstractmethod
    def begin(self) -> None:
        """Refuse a ground that is not free, before anything is made."""

    def versions(self) -> Mapping[str, str]:
        """Return the versions of what it is made with."""
        return {}

    @abstractmethod
    def run_command(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command with this environment."""

    @abstractmethod
    def set_up(self, fill: Callable[[], None]) -> None:
        """Deploy everything; ``fill`` loads the export."""

    @abstractmethod
    def call(
        self, target: str, body: Mapping[str, object], *, hangs_up: bool = False
    ) -> Call:
        """Have the scheduler call a function; it may hang up after seconds."""

    @abstractmethod
    def url(self, target: str) -> str:
        """Return the address of a function."""

    @abstractmethod
    def token(self, target: str) -> Mapping[str, str]:
        """Return the header of a request that may call a function."""

    @abstractmethod
    def take_away(self) -> None:
        """Remove everything that it made."""

    # What only questions ask, and so only where Google answers.

    def acting_as(self, target: str) -> bigquery.Client:
        """Return BigQuery's client with the account of a function."""
        raise NotImplementedError

    def lines(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return the lines of this rehearsal's runs by function."""
        raise NotImplementedError


def declare(folder: Path) -> None:
    """Write the audience into a folder of use cases."""
    file = folder / SHOP / "audiences" / f"{AUDIENCE}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(DECLARED)


class Emulated(Ground):
    """The emulators and the functions, in a temporary folder of this machine."""

    name = "the emulators of one machine"

    def __init__(self) -> None:
        super().__init__()
        self._functions = {
            function.target: function
            for function in FUNCTIONS
            if function.target not in UNPLAYED
        }
        self._folder = tempfile.TemporaryDirectory(prefix="propensity-rehearsal-")
        state = State(AUDIENCE, Path(self._folder.name))
        base = free_ports(PORTS)[0]
        functions = list(self._functions.values())
        self._stack = Stack(state, base=base, functions=functions)
        self.environment = {**self._stack.environment, SECRET: self.key}

    def begin(self) -> None:
        """A temporary folder is free."""

    def run_command(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return self._stack.command(*words)

    def set_up(self, fill: Callable[[], None]) -> None:
        from propensity.gcp.warehouse import Warehouse
        from propensity.runs import setup

        declare(self._stack.audiences_folder)
        # Functions and commands get it from here.
        os.environ[SECRET] = self.key
        self._stack.start()
        self._stack.ready()
        fill()
        warehouse = Warehouse.open(self.settings)
        setup.prepare_export(warehouse, warehouse.settings)
        warehouse.close()

    def call(
        self, target: str, body: Mapping[str, object], *, hangs_up: bool = False
    ) -> Call:
        began = time.monotonic()
        answer = scheduler.run(self.url(target), self._functions[target], body)
        said: dict[str, Any] = answer.json()
        return Call(
            target=target,
            outcome=said.get("error", "ok"),
            message=said.get("message", ""),
            status=answer.status_code,
            seconds=time.monotonic() - began,
        )

    def url(self, target: str) -> str:
        return self._stack.url(target)

    def token(self, target: str) -> Mapping[str, str]:
        return {}

    def take_away(self) -> None:
        self._stack.stop()
        os.environ.pop(SECRET, None)
        self._folder.cleanup()
