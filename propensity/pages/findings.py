"""
What a deployment can find wrong, in words for people: ``findings.toml``.

The doctor, monitoring alerts, the dashboard and the weekly message say of each finding
what it means for Monday's list, and who does what by when.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

from msgspec import Struct, convert

# The page for people who got a message.
PAGE = "docs/messages.md"


class Meaning(Struct, frozen=True, forbid_unknown_fields=True):
    """
    What a finding means.

    Attributes:
        weight: error if somebody is needed at once.
        monday: What it means for the list that is sent on Monday, a sentence.
        who, does, by: Who does what by when: together a sentence.
    """

    weight: Literal["error", "warning", "note"]
    monday: str
    who: str
    does: str
    by: str

    def __str__(self) -> str:
        return f"{self.monday} {self.todo}"

    @property
    def todo(self) -> str:
        """Who does what by when."""
        return f"{self.who} {self.does} {self.by}."


@cache
def meanings() -> dict[str, Meaning]:
    """Return what each finding means, by its word."""
    text = resources.files(__package__).joinpath("findings.toml").read_text("utf-8")
    return convert(tomllib.loads(text), dict[str, Meaning])
