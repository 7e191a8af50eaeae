"""
The lines of a use case's statement, each with the file that it comes from.

A statement is put together of files, and an error in it is somebody's who wrote one of
them: what is wrong is told by the file and its line, and not by those of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from propensity import usecases

_INCLUDE = re.compile(r"^ *-- include: (\w+)\.sql$")
_COMMENT = re.compile(r"--.*")
# What an error says of its place, in BigQuery and in the parser.
_PLACE = re.compile(r"\[(\d+):(\d+)\]|[Ll]ine (\d+)")
# The column that an error is about, and whatever else it quotes.
_COLUMN = re.compile(r"""column(?: named)? ["'`]?(?:\w+\.)?(\w+)""")
_QUOTED = re.compile(r"""["'`]@?([A-Za-z_][\w.]*)["'`]|name:? @?(\w+)|@(\w+)""")


@dataclass(frozen=True)
class Line:
    """A line of a statement, and where it is written."""

    file: str
    number: int
    text: str

    @property
    def code(self) -> str:
        """The line without its comment."""
        return _COMMENT.sub("", self.text)


def lines(use_case: str, name: str) -> list[Line]:
    """
    Return the lines of a statement, with those of what it includes.

    Raises:
        FileNotFoundError: A file is missing, of the use case and of those for all; the
            error's ``filename`` is that, and ``args`` has the line that includes it.
    """
    own = usecases.FOLDER / use_case / f"{name}.sql"
    shared = resources.files("propensity") / "sql" / f"{name}.sql"
    text = (own if own.is_file() else shared).read_text("utf-8")
    file = f"{name}.sql" if own.is_file() else f"../../sql/{name}.sql"
    found: list[Line] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if include := _INCLUDE.match(line):
            try:
                found += lines(use_case, include[1])
            except FileNotFoundError as error:
                if isinstance(error, Missing):
                    raise
                raise Missing(Line(file, number, line), f"{include[1]}.sql") from error
        else:
            found.append(Line(file, number, line))
    return found


class Missing(FileNotFoundError):
    """A line includes a file that there is not."""

    def __init__(self, line: Line, name: str) -> None:
        super().__init__(f"there is no {name}")
        self.line = line


def place(found: Sequence[Line], message: str) -> Line:
    """
    Return the line that an error of a statement is about.

    By the line that the message names, or else by the first word that it quotes and
    that stands in the statement, or else the first line that is no comment.
    """
    code = [one for one in found if one.code.strip()] or list(found)
    if at := _PLACE.search(message):
        number = int(at[1] or at[3])
        if 1 <= number <= len(found):
            return found[number - 1]
    for quoted in (*_COLUMN.finditer(message), *_QUOTED.finditer(message)):
        word = next(filter(None, quoted.groups())).rpartition(".")[2]
        if line := find(code, word):
            return line
    return code[0]


def find(found: Sequence[Line], word: str, *, last: bool = False) -> Line | None:
    """Return the first line, or the last, whose code has a word."""
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
    having = [one for one in found if pattern.search(one.code)]
    if not having:
        return None
    return having[-1] if last else having[0]
