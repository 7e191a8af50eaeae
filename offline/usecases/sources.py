"""
The lines of a use case's statements, with what they include, and where each stands.

A statement is put together from files: its author needs the file and the line of an
error, not the line of the whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from propensity import usecases
from propensity.statements import ENCODING, file_of
from propensity.usecases import Problem, declaration
from propensity.usecases import sources as declared

_INCLUDE = re.compile(r"^ *-- include: (\w+)\.sql$")
_COMMENT = re.compile(r"--.*")
# What an error says of its line, in BigQuery and in the parser.
_PLACE = re.compile(r"\[(\d+):\d+\]|[Ll]ine (\d+)")


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


class NotIncluded(Exception):
    """A line includes what can not be included."""

    def __init__(self, line: Line, message: str) -> None:
        super().__init__(message)
        self.line = line


def lines(use_case: str, name: str, *, within: Sequence[str] = ()) -> list[Line]:
    """
    Return the lines of a statement, with those of what it includes.

    Args:
        within: Statements that include it, from the outermost on.

    Raises:
        FileNotFoundError: There is no such statement, of the use case or for all.
        NotIncluded: A line includes a file that there is not, or one that includes it.
        UseCaseError: A file is not UTF-8.
    """
    if (usecases.FOLDER / use_case / f"{name}.sql").is_file():
        file = f"{name}.sql"
        text = usecases.text(use_case, file)
    else:
        shared = file_of(name)
        file = f"../../{shared.parent.name}/{name}.sql"
        text = shared.read_text(ENCODING)
    whole: list[Line] = []
    for number, line_text in enumerate(text.splitlines(), start=1):
        line = Line(file, number, line_text)
        include = _INCLUDE.match(line_text)
        if include is None:
            whole.append(line)
        elif include[1] in (*within, name):
            raise NotIncluded(line, f"{include[1]}.sql includes itself")
        else:
            try:
                whole += lines(use_case, include[1], within=(*within, name))
            except FileNotFoundError as error:
                raise NotIncluded(line, f"there is no {include[1]}.sql") from error
    return _with_sources(use_case, whole) if name == declared.READER else whole


def _with_sources(use_case: str, lines: list[Line]) -> list[Line]:
    """Return the lines of features.sql with the join of each source."""
    text = usecases.text(use_case, declaration.FILE)
    at = declaration.line_of(text, ("sources",))
    before, after = (
        [Line(declaration.FILE, at, line) for line in part.splitlines()]
        for part in declared.around(declared.of(tomllib.loads(text).get("sources", {})))
    )
    return [*before, *lines, *after]


def place(lines: Sequence[Line], message: str) -> Line:
    """Return the line that an error names, or else the first that is no comment."""
    if at := _PLACE.search(message):
        number = int(at[1] or at[2])
        if 1 <= number <= len(lines):
            return lines[number - 1]
    return next((line for line in lines if line.code.strip()), lines[0])


def find(lines: Sequence[Line], word: str, *, last: bool = False) -> Line | None:
    """Return the first line, or the last, whose code has a word."""
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
    matches = [line for line in lines if pattern.search(line.code)]
    return matches[-1 if last else 0] if matches else None


def column(lines: Sequence[Line], name: str) -> Line:
    """
    Return the last line that names a column, or else that has the word at all: of the
    use case's own lines, before those that all share.
    """
    own = [line for line in lines if not line.file.startswith("..")]
    return (
        find(own, f"AS {name}", last=True)
        or find(own, name, last=True)
        or find(lines, name, last=True)
        or place(lines, "")
    )


def statements(name: str) -> dict[str, str]:
    """Return the texts of a use case's own statements, by name."""
    names = sorted(file.name for file in (usecases.FOLDER / name).iterdir())
    return {
        file.removesuffix(".sql"): usecases.text(name, file)
        for file in names
        if file.endswith(".sql")
    }


def declared_at(name: str, path: declaration.Path, message: str) -> Problem:
    """Return a problem of an entry of usecase.toml."""
    text = usecases.text(name, declaration.FILE)
    return Problem(declaration.FILE, declaration.line_of(text, path), message)


def joined(lines: Sequence[Line]) -> str:
    """Return a statement whose lines are these."""
    return "\n".join(line.text for line in lines)


def at_line(line: Line, message: str) -> Problem:
    """Return a problem of a line of a statement."""
    return Problem(line.file, line.number, message)


def at_column(lines: Sequence[Line], name: str, message: str) -> Problem:
    """Return a problem of the line that ``column`` finds."""
    return at_line(column(lines, name), message)
