"""The deployment under examination, and the findings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.usecases import UseCase

ERROR, WARNING, INFORMATION = "error", "warning", "info"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fault in plain words, and what to do about it."""

    check: str
    severity: str
    what: str
    advice: str


@dataclass
class Report:
    """Findings; ``failed`` has checks that could not be made, with the reason."""

    place: str = ""
    as_of: str = ""
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    information: list[Finding] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.findings:
            return 1
        return 2 if self.failed else 0

    def fields(self) -> dict[str, Any]:
        """Return the report for a program."""
        return {"status": self.status, **asdict(self)}

    def __str__(self) -> str:
        lines = [f"{self.place}, {self.as_of}"]
        order = (ERROR, WARNING, INFORMATION)
        for finding in sorted(
            (*self.findings, *self.information), key=lambda f: order.index(f.severity)
        ):
            lines += [
                "",
                f"{finding.severity.upper():8}{finding.check}: {finding.what}",
                f"        What to do: {finding.advice}",
            ]
        if self.failed:
            lines += ["", "Could not be examined:"]
            lines += [f"  {check}: {why}" for check, why in self.failed.items()]
        wrong = sum(finding.severity == ERROR for finding in self.findings)
        summary = f"errors: {wrong}, warnings: {len(self.findings) - wrong}"
        if not self.findings:
            summary = "nothing wrong was found" if self.failed else "nothing is wrong"
        return "\n".join([*lines, "", f"{', '.join(self.checks)}: {summary}."])


@dataclass(kw_only=True)
class Examination:
    """
    A deployment, the moment of the examination, and the findings so far.

    Attributes:
        function: Target of the function whose rights are needed; empty for all tables.
        addresses: Addresses of a local run's functions, by target; empty for a
            deployment.
    """

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    now: datetime
    use_cases: Sequence[UseCase]
    zone: ZoneInfo
    function: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    check: str = ""

    def error(self, what: str, advice: str) -> None:
        """Report something that does not work."""
        self._add(ERROR, what, advice)

    def warn(self, what: str, advice: str) -> None:
        """Report something that works badly, or not for long."""
        self._add(WARNING, what, advice)

    def lack(self, what: str, advice: str, *, locally: str) -> None:
        """
        Report something that does not exist yet.

        In a deployment a schedule should have made it. Locally there is no schedule,
        and it is only information.
        """
        self._add(
            INFORMATION if self.addresses else ERROR,
            what,
            locally if self.addresses else advice,
        )

    def call(self, target: str, use_case: UseCase | None = None) -> str:
        """Return the command that calls a function locally; nothing elsewhere."""
        command = f"curl -X POST {self.addresses.get(target, '')}"
        if use_case is None:
            return command
        body = {"use_case": use_case.name, "as_of": self.now.date().isoformat()}
        return f"{command} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"

    def _add(self, severity: str, what: str, advice: str) -> None:
        finding = Finding(check=self.check, severity=severity, what=what, advice=advice)
        is_information = severity == INFORMATION
        report = self.report
        (report.information if is_information else report.findings).append(finding)
