"""
The list of rules, read and checked: each text is in its file exactly once.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("rules.toml")


@dataclass(frozen=True)
class Rule:
    """
    One rule of the code.

    Attributes:
        clause: What it promises, in a sentence.
        file: Where it stands, relative to the project.
        rule: Its text, which is in the file exactly once.
        broken: What stands there instead while its tests must fail.
        test: The tests that hold it, as pytest names them, with spaces between.
    """

    clause: str
    file: str
    rule: str
    broken: str
    test: str

    @property
    def tests(self) -> list[str]:
        """The tests that hold it: files, classes or single tests."""
        return self.test.split()

    @property
    def places(self) -> int:
        """How often its text is in its file."""
        return (ROOT / self.file).read_text("utf-8").count(self.rule)


def rules(path: Path = LIST) -> list[Rule]:
    """Return the rules of the list."""
    listed = tomllib.loads(path.read_text("utf-8"))["rules"]
    return [Rule(**entry) for entry in listed]
