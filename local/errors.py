"""Errors of local mode."""

from __future__ import annotations


class LocalError(Exception):
    """
    Local mode cannot go on.

    Attributes:
        problem: The fault, with the value.
        hint: What to do about it.
    """

    def __init__(self, problem: str, *, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}. {hint}" if hint else problem)


class UnusableData(LocalError):
    """The data cannot be used for a demo; nothing that was made for them is kept."""
