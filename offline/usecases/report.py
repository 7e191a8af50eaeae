"""The report of a check of a use case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from propensity.usecases import Problem


@dataclass(frozen=True)
class Report:
    """The result of a check; ``skipped`` says what was not checked, and why."""

    name: str
    problems: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    skipped: Sequence[str] = ()
    passed: Sequence[str] = ()

    def __str__(self) -> str:
        """Return the report for a person."""
        lines = [problem.located(self.name) for problem in self.problems]
        lines += [
            f"{warning.located(self.name)} (warning)" for warning in self.warnings
        ]
        lines += [f"ok: {check}" for check in self.passed]
        lines += [f"not checked: {check}" for check in self.skipped]
        count = len(self.problems)
        total = f"{count} problem{'s' * (count != 1)}" if count else "nothing is wrong"
        return "\n".join([*lines, f"{self.name}: {total}"])

    def fields(self) -> dict[str, object]:
        """Return the report for a program."""
        return {
            "use_case": self.name,
            "problems": [self._fields_of(problem) for problem in self.problems],
            "warnings": [self._fields_of(warning) for warning in self.warnings],
            "passed": [*self.passed],
            "skipped": [*self.skipped],
        }

    def _fields_of(self, problem: Problem) -> dict[str, object]:
        return {
            "file": f"propensity/usecases/{self.name}/{problem.file}",
            "line": problem.line,
            "message": problem.message,
        }
