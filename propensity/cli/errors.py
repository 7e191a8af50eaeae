"""Why a command cannot go on, where no caller of a function gets the error."""

from __future__ import annotations


class CommandError(Exception):
    """
    A command cannot go on.

    Attributes:
        problem: The fault, with the value.
        hint: What to do about it.
    """

    def __init__(self, problem: str, *, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}. {hint}" if hint else problem)
