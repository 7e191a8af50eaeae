"""What is examined, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.pages.words import plural
from propensity.settings import Settings
from propensity.usecases import UseCase


@dataclass(frozen=True)
class Finding:
    """A fault in plain words, and what to do about it."""

    what: str
    advice: str
    check: str = ""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """
    A deployment, and the moment of the examination.

    Attributes:
        is_local: Whether it is a local state, where nothing runs by schedule.
    """

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    now: datetime
    use_cases: Sequence[UseCase]
    is_local: bool = False


@dataclass
class Report:
    """Findings; ``failed`` has checks that could not be made, with the reason."""

    place: str
    as_of: str
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.findings else 2 if self.failed else 0

    def fields(self) -> dict[str, Any]:
        """Return the report for a program."""
        return {"status": self.status, **asdict(self)}

    def __str__(self) -> str:
        parts = [f"{self.place}, {self.as_of}"]
        for one in self.findings:
            parts.append(f"{one.check}: {one.what}\n  What to do: {one.advice}")
        for check, why in self.failed.items():
            parts.append(f"{check} could not be examined: {why}")
        summary = "nothing wrong was found" if self.failed else "nothing is wrong"
        if self.findings:
            summary = plural(len(self.findings), "finding")
        return "\n\n".join([*parts, f"{', '.join(self.checks)}: {summary}."])
