"""The findings of an examination, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

ERROR, WARNING, INFORMATION = "error", "warning", "info"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fault in plain words, and what to do about it."""

    check: str
    severity: str
    what: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """A check that was not made, or failed, and why."""

    check: str
    why: str


@dataclass
class Report:
    """The doctor's report."""

    place: str = ""
    as_of: str = ""
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    information: list[Finding] = field(default_factory=list)
    not_checked: list[Unknown] = field(default_factory=list)
    failed: list[Unknown] = field(default_factory=list)

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
        for severity in (ERROR, WARNING, INFORMATION):
            for finding in (*self.findings, *self.information):
                if finding.severity == severity:
                    lines += [
                        "",
                        f"{severity.upper():8}{finding.check}: {finding.what}",
                        f"        What to do: {finding.advice}",
                    ]
        for title, checks in (
            ("Could not be examined:", self.failed),
            ("Not checked here:", self.not_checked),
        ):
            if checks:
                lines += ["", title]
                lines += [f"  {check.check}: {check.why}" for check in checks]
        wrong = sum(finding.severity == ERROR for finding in self.findings)
        summary = f"errors: {wrong}, warnings: {len(self.findings) - wrong}"
        if not self.findings:
            summary = "nothing wrong was found" if self.failed else "nothing is wrong"
        if self.failed:
            summary += f", not examined: {len(self.failed)}"
        return "\n".join([*lines, "", f"{', '.join(self.checks)}: {summary}."])


def moment_text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
