"""
What an examination found, as text and as JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

ERROR, WARNING, INFORMATION = "error", "warning", "info"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong, in plain words, and what to do about it."""

    check: str
    severity: str
    what: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """Something that was not looked at, or could not be, and why."""

    check: str
    why: str


@dataclass
class Report:
    """What an examination came to."""

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
        """Return it as JSON has it."""
        return {"status": self.status, **asdict(self)}

    def __str__(self) -> str:
        lines = [f"{self.place}, {self.as_of}"]
        for severity in (ERROR, WARNING):
            for one in self.findings:
                if one.severity == severity:
                    lines += ["", f"{severity.upper():8}{one.check}: {one.what}"]
                    lines += [f"        What to do: {one.advice}"]
        for one in self.information:
            lines += ["", f"{INFORMATION.upper():8}{one.check}: {one.what}"]
            lines += [f"        What to do: {one.advice}"]
        if self.failed:
            lines += ["", "Could not be examined:"]
            lines += [f"  {one.check}: {one.why}" for one in self.failed]
        if self.not_checked:
            lines += ["", "Not checked here:"]
            lines += [f"  {one.check}: {one.why}" for one in self.not_checked]
        wrong = sum(one.severity == ERROR for one in self.findings)
        told = f"errors: {wrong}, warnings: {len(self.findings) - wrong}"
        if not self.findings:
            told = "nothing wrong was found" if self.failed else "nothing is wrong"
        if self.failed:
            told += f", not examined: {len(self.failed)}"
        return "\n".join([*lines, "", f"{', '.join(self.checks)}: {told}."])


def moment_text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
