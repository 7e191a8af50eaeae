"""
SQL statements by name: from the use case's folder, else from a package's.

Short statements of a package share its file ``statements.sql``, each below a line
``-- statement: name``; the others are ``name.sql``.

A line ``-- include: name.sql`` stands for the text of that statement. Names are unique
among the packages, so that a use case can replace any shared statement, or a part of
one. A line ``-- include: ga4_purchase/features.sql`` is the statement of that use case.

What no parameter can hold, such as the name of a table, is a part: a word in backticks,
which stands for the text that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from propensity.errors import UseCaseError

# Editors on Windows begin a file with a byte order mark, which is no part of its text.
ENCODING = "utf-8-sig"
FOLDERS = (
    "runs",
    "audience",
    "stream",
    "registry",
    "online",
    "ga4",
    "fraud",
    "usecases",
)

SHARED_FILE = "statements.sql"

_PART = re.compile(r"`(\w+)`")
_NAMED = re.compile(
    r"^-- statement: (?P<name>\w+)\n(?P<text>.*?)(?=^-- statement: |\Z)", re.M | re.S
)
_INCLUDE = re.compile(r" *-- include: (\w+(?:/\w+)?)\.sql")
_PACKAGE = resources.files("propensity")


class Line(NamedTuple):
    """A line of a statement, and where it is written."""

    statement: str
    file: str
    number: int
    text: str


def statement(name: str, *, own: Any = None, **parts: str) -> str:
    """
    Return the text of a statement, with its includes.

    Args:
        name: Name of the statement, without ``.sql``.
        own: A folder that is searched before ``FOLDERS``.
        parts: The text of each part.

    Raises:
        UseCaseError: There is no such file, or it is not UTF-8.
    """
    text = joined(lines(name, own=own))
    return _PART.sub(lambda word: parts.get(word[1], word[0]), text)


def joined(found: Iterable[Line]) -> str:
    """Return the text that has these lines."""
    return "".join(f"{line.text}\n" for line in found)


def lines(
    name: str,
    *,
    own: Any = None,
    around: Mapping[str, tuple[str, str]] | None = None,
    renamed: Mapping[str, str] | None = None,
    within: tuple[str, ...] = (),
) -> Iterator[Line]:
    """
    Yield the lines of a statement, as ``statement`` has them.

    Args:
        around: Texts that stand before and after a statement, by its name.
        renamed: Names of the files of statements that have other names.
        within: The statements that include this one.

    Raises:
        UseCaseError: As ``statement``; or one includes itself.
    """
    folders = [_PACKAGE / folder for folder in FOLDERS]
    stem = (renamed or {}).get(name, name)
    for folder in folders if own is None else [own, *folders]:
        if found := _found(folder, stem):
            break
    else:
        raise UseCaseError(f"there is no file {stem}.sql")
    file, first, whole = found
    use_case, _, short = stem.rpartition("/")
    if use_case:
        # A statement of another use case includes that use case's own parts.
        own = folder / use_case
    before, after = (around or {}).get(name, ("", ""))
    for text in split(before):
        yield Line(short, file, first, text)
    # A statement that includes it continues after its end.
    whole = whole.rstrip().removesuffix(";")
    for number, line in enumerate(split(whole), start=first):
        if include := _INCLUDE.fullmatch(line):
            if include[1] in (*within, name):
                raise UseCaseError(f"{file}:{number} includes itself")
            inner = (*within, name)
            yield from lines(
                include[1], own=own, around=around, renamed=renamed, within=inner
            )
        else:
            yield Line(short, file, number, line)
    for text in split(after):
        yield Line(short, file, first, text)


def split(text: str) -> list[str]:
    """
    Return the lines of a text.

    SQL's lines end with a line feed alone; ``splitlines`` would also cut a text in
    quotes at a character such as U+2028.
    """
    return text.removesuffix("\n").split("\n") if text else []


def _found(folder: Any, name: str) -> tuple[str, int, str] | None:
    """Return a statement's file, its first line there and its text, if there is one."""
    if found := _short(folder).get(name):
        return found
    if (folder / f"{name}.sql").is_file():
        return f"{folder.name}/{name}.sql", 1, read(folder, f"{name}.sql")
    return None


@cache
def _short(folder: Any) -> dict[str, tuple[str, int, str]]:
    """Return what ``_found`` returns of the short statements of a folder, by name."""
    if not (folder / SHARED_FILE).is_file():
        return {}
    whole = read(folder, SHARED_FILE)
    found = {}
    for one in _NAMED.finditer(whole):
        first = whole.count("\n", 0, one.start("text")) + 1
        found[one["name"]] = f"{folder.name}/{SHARED_FILE}", first, one["text"]
    return found


def names(folder: Any) -> list[str]:
    """Return the names of the statements that are written in a folder."""
    files = sorted(one.name for one in folder.iterdir() if one.name.endswith(".sql"))
    own = [file.removesuffix(".sql") for file in files if file != SHARED_FILE]
    return [*own, *_short(folder)]


def read(folder: Any, file: str) -> str:
    """
    Return the text of a file.

    Raises:
        UseCaseError: It is not UTF-8.
    """
    try:
        return str((folder / file).read_text(ENCODING))
    except UnicodeDecodeError as error:
        message = "is not UTF-8; save the file in that encoding"
        raise UseCaseError(f"{folder.name}/{file} {message}") from error
