"""A deployment under examination, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.usecases import UseCase

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """A fault in plain words, and what to do about it."""

    check: str
    severity: str
    what: str
    advice: str


@dataclass(kw_only=True)
class Examination:
    """
    A deployment, the moment of the examination, and the findings so far.

    Attributes:
        function: Target of the function whose rights are needed; empty for all tables.
        is_local: Whether it is a local state, where nothing runs by schedule.
        check: The check that runs.
    """

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    now: datetime
    use_cases: Sequence[UseCase]
    function: str = ""
    is_local: bool = False
    check: str = ""
    findings: list[Finding] = field(default_factory=list)

    def error(self, what: str, advice: str) -> None:
        """Report something that does not work."""
        self.findings.append(Finding(self.check, ERROR, what, advice))

    def warn(self, what: str, advice: str) -> None:
        """Report something that works badly, or not for long."""
        self.findings.append(Finding(self.check, WARNING, what, advice))
