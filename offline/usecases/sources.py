"""
The files of a use case, and the lines of its statements with what they include.

A statement is put together from files: its author needs the file and the line of an
error, not the line of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from propensity import usecases
from propensity.usecases import Problem, declaration

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
    source = (own if own.is_file() else shared).read_text("utf-8")
    file = f"{name}.sql" if own.is_file() else f"../../sql/{name}.sql"
    whole: list[Line] = []
    for number, line in enumerate(source.splitlines(), start=1):
        if include := _INCLUDE.match(line):
            try:
                whole += lines(use_case, include[1])
            except FileNotFoundError as error:
                if isinstance(error, Missing):
                    raise
                raise Missing(Line(file, number, line), f"{include[1]}.sql") from error
        else:
            whole.append(Line(file, number, line))
    return whole


class Missing(FileNotFoundError):
    """A line includes a file that there is not."""

    def __init__(self, line: Line, name: str) -> None:
        super().__init__(f"there is no {name}")
        self.line = line


def place(lines: Sequence[Line], message: str) -> Line:
    """
    Return the line that an error of a statement is about.

    By the line that the message names, or else by the first word that it quotes and
    that stands in the statement, or else the first line that is no comment.
    """
    code = [line for line in lines if line.code.strip()] or list(lines)
    if at := _PLACE.search(message):
        number = int(at[1] or at[3])
        if 1 <= number <= len(lines):
            return lines[number - 1]
    for quoted in (*_COLUMN.finditer(message), *_QUOTED.finditer(message)):
        word = next(filter(None, quoted.groups())).rpartition(".")[2]
        if match := find(code, word):
            return match
    return code[0]


def find(lines: Sequence[Line], word: str, *, last: bool = False) -> Line | None:
    """Return the first line, or the last, whose code has a word."""
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
    matches = [line for line in lines if pattern.search(line.code)]
    if not matches:
        return None
    return matches[-1] if last else matches[0]


def column(lines: Sequence[Line], name: str) -> Line:
    """Return the last line that names a column, or else that has the word at all."""
    return (
        find(lines, f"AS {name}", last=True)
        or find(lines, name, last=True)
        or place(lines, "")
    )


def text(name: str, file: str) -> str:
    """Return the text of a file of a use case."""
    return (usecases.FOLDER / name / file).read_text("utf-8")


def statements(name: str) -> dict[str, str]:
    """Return the texts of a use case's own statements, by name."""
    files = sorted(file.name for file in (usecases.FOLDER / name).iterdir())
    return {
        file.removesuffix(".sql"): text(name, file)
        for file in files
        if file.endswith(".sql")
    }


def declared_at(name: str, path: declaration.Path, message: str) -> Problem:
    """Return a problem of an entry of usecase.toml."""
    places = declaration.lines(text(name, declaration.FILE))
    return Problem(declaration.FILE, declaration.line_of(places, path), message)


def at_line(line: Line, message: str) -> Problem:
    """Return a problem of a line of a statement."""
    return Problem(line.file, line.number, message)
