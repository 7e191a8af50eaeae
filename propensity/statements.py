"""
SQL statements by name: from the use case's folder, else from a package's.

A line ``-- include: name.sql`` stands for the text of that statement. Names are unique
among the packages, so that a use case can replace any shared statement, or a part of
one. A line ``-- include: ga4_purchase/features.sql`` is the statement of that use case.

The comments before a statement name its parameters and their types, after the word
``Parameters:``. ``parameters_of`` reads them there: a null or an empty list has none.

What no parameter can hold is a part, which the caller gives: the text that stands for a
word in backticks, such as the name of a table; or the lines that stand for an include.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

from propensity.errors import UseCaseError

# Editors on Windows begin a file with a byte order mark, which is no part of its text.
ENCODING = "utf-8-sig"
FOLDERS = (
    "runs",
    "audience",
    "streaming/features",
    "registry",
    "online",
    "ga4",
    "tables",
    "streaming/cards",
    "usecases",
    "trying",
)

_PART = re.compile(r"`(\w+)`")
_INCLUDE = re.compile(r" *-- include: (\w+(?:/\w+)?)\.sql")
_PARAMETER = re.compile(r"@(\w+)")
_TYPE = re.compile(r"ARRAY<\w+>|STRING|BYTES|INT64|FLOAT64|NUMERIC|BOOL|DATE|TIMESTAMP")
_PACKAGE = resources.files("propensity")


class Line(NamedTuple):
    """A line of a statement, and where it is written."""

    statement: str
    file: str
    number: int
    text: str


def statement(name: str, *, folder: Any = None, **parts: str | Sequence[Line]) -> str:
    """
    Return the text of a statement, with its includes.

    Args:
        name: Name of the statement, without ``.sql``.
        folder: One that is searched before ``FOLDERS``.
        parts: The text of a word in backticks, or the lines of an include.
    """
    return joined(lines_of(name, folder=folder, **parts))


def joined(lines: Iterable[Line]) -> str:
    """Return the text that has these lines."""
    return "".join(f"{line.text}\n" for line in lines)


@lru_cache(maxsize=256)
def parameters_of(sql: str) -> Mapping[str, str]:
    """Return the types of a statement's parameters, as its comments have them."""
    comments = ""
    code = ""
    for line in sql.splitlines():
        text, _, comment = line.partition("--")
        code += f"{text}\n"
        if not text:
            comments += f"{comment.strip()} "
    types = dict[str, str]()
    # The statement has parameters, and so have those that it includes.
    for described in comments.split("Parameters:")[1:]:
        for name in _PARAMETER.finditer(described):
            # The clause of a parameter ends with a semicolon.
            clause = described[name.end() :].partition(";")[0]
            kind = _TYPE.search(clause)
            if kind and name[0] in code:
                types.setdefault(name[1], kind[0])
    return types


def lines_of(
    name: str, *, folder: Any = None, **parts: str | Sequence[Line]
) -> list[Line]:
    """Return the lines of ``statement``, and where each is written."""
    return list(_lines(name, folder, parts, ()))


def _lines(
    name: str,
    folder: Any,
    parts: Mapping[str, str | Sequence[Line]],
    include_stack: tuple[str, ...],
) -> Iterator[Line]:
    """Yield the lines of a statement, which those of ``include_stack`` include."""
    part = parts.get(name, "")
    if not isinstance(part, str):
        yield from part
        return
    parent = folder
    if folder is None or not (folder / f"{name}.sql").is_file():
        parent = _packaged(name)
    file = f"{parent.name}/{name}.sql"
    body = read_text(parent, f"{name}.sql")
    use_case, _, short = name.rpartition("/")
    if use_case:
        # A statement of another use case includes that use case's own.
        folder = parent / use_case
        parts = {}
    texts = {word: part for word, part in parts.items() if isinstance(part, str)}
    # A statement that includes it continues after its end. SQL's lines end with a line
    # feed alone: ``splitlines`` would also cut a text in quotes, at U+2028 for example.
    body = body.rstrip().removesuffix(";").rstrip()
    stack = include_stack + (name,)
    for number, line in enumerate(body.split("\n"), start=1):
        include = _INCLUDE.fullmatch(line)
        if include:
            if include[1] in stack:
                raise UseCaseError(f"{file}:{number} includes itself")
            yield from _lines(include[1], folder, parts, stack)
        else:
            text = _PART.sub(lambda word: texts.get(word[1], word[0]), line)
            for piece in text.split("\n"):
                yield Line(short, file, number, piece)


@cache
def _packaged(name: str) -> Any:
    """Return the package's folder that has a statement."""
    for package in FOLDERS:
        parent = _PACKAGE / package
        if (parent / f"{name}.sql").is_file():
            return parent
    raise UseCaseError(f"there is no file {name}.sql")


def read_text(folder: Any, file: str) -> str:
    """Return the text of a file."""
    try:
        return str((folder / file).read_text(ENCODING))
    except UnicodeDecodeError as error:
        message = "is not UTF-8; save the file in that encoding"
        raise UseCaseError(f"{folder.name}/{file} {message}") from error
