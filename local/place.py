"""Where a deployment is, local mode or Google Cloud: the demo plays its steps there."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from local.errors import LocalError
from propensity.cli.answers import Exit

DONE = (Exit.DONE,)


@dataclass(frozen=True, kw_only=True)
class Called:
    """What became of a call by the scheduler: the status it got, and the answer."""

    status: int
    answer: dict[str, Any]

    @property
    def is_taken(self) -> bool:
        """Whether the scheduler is content: also with an error that stays one."""
        return self.status < 400


def checked(
    done: subprocess.CompletedProcess[str], words: Sequence[str], codes: Collection[int]
) -> subprocess.CompletedProcess[str]:
    """Return a command that ended with one of these codes; else raise LocalError."""
    if done.returncode not in codes:
        raise LocalError(f"propensity {' '.join(words)} failed: {done.stderr.strip()}")
    return done


class Place(Protocol):
    """What plays a step needs of a deployment; clients find it by the environment."""

    def url(self, service: str, /) -> str:
        """Return the address of a function, by its target."""

    def token(self, target: str, /) -> Mapping[str, str]:
        """Return the headers of a request that may call a function."""

    def call(self, target: str, body: Mapping[str, Any], /) -> Called:
        """Have the scheduler call a function."""

    def command(
        self, *words: str, codes: Collection[int] = DONE
    ) -> subprocess.CompletedProcess[str]:
        """Run a ``propensity`` command; raise LocalError if it ends otherwise."""

    def log_of(self, target: str, /) -> str:
        """Return where the log of a function is."""
