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


def statement(name: str, *, folder: Any = None, **parts: str) -> str:
    """
    Return the text of a statement, with its includes.

    Args:
        name: Name of the statement, without ``.sql``.
        folder: One that is searched before ``FOLDERS``.
        parts: The text of each part.

    Raises:
        UseCaseError: There is no such file, or it is not UTF-8.
    """
    text = joined(lines(name, folder=folder))
    return _PART.sub(lambda word: parts.get(word[1], word[0]), text)


def joined(lines: Iterable[Line]) -> str:
    """Return the text that has these lines."""
    return "".join(f"{line.text}\n" for line in lines)


def lines(
    name: str,
    *,
    folder: Any = None,
    wrappers: Mapping[str, tuple[str, str]] | None = None,
    file_names: Mapping[str, str] | None = None,
    include_stack: tuple[str, ...] = (),
) -> Iterator[Line]:
    """
    Yield the lines of a statement, as ``statement`` has them.

    Args:
        folder: As of ``statement``.
        wrappers: Texts that stand before and after a statement, by its name.
        file_names: Names of the files of statements that have other names.
        include_stack: The statements that include this one.

    Raises:
        UseCaseError: As ``statement``; or one includes itself.
    """
    searched = [_PACKAGE / package for package in FOLDERS]
    if folder is not None:
        searched.insert(0, folder)
    stem = (file_names or {}).get(name, name)
    for parent in searched:
        written = _found(parent, stem)
        if written:
            break
    else:
        raise UseCaseError(f"there is no file {stem}.sql")
    file, first, body = written
    use_case, _, short = stem.rpartition("/")
    if use_case:
        # A statement of another use case includes that use case's own parts.
        folder = parent / use_case
    before, after = (wrappers or {}).get(name, ("", ""))
    for text in split(before):
        yield Line(short, file, first, text)
    # A statement that includes it continues after its end.
    body = body.rstrip().removesuffix(";")
    for number, line in enumerate(split(body), start=first):
        include = _INCLUDE.fullmatch(line)
        if include:
            if include[1] in (*include_stack, name):
                raise UseCaseError(f"{file}:{number} includes itself")
            yield from lines(
                include[1],
                folder=folder,
                wrappers=wrappers,
                file_names=file_names,
                include_stack=(*include_stack, name),
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
    short = _short(folder).get(name)
    if short:
        return short
    if (folder / f"{name}.sql").is_file():
        return f"{folder.name}/{name}.sql", 1, read(folder, f"{name}.sql")
    return None


@cache
def _short(folder: Any) -> dict[str, tuple[str, int, str]]:
    """Return what ``_found`` returns of the short statements of a folder, by name."""
    if not (folder / SHARED_FILE).is_file():
        return {}
    shared = read(folder, SHARED_FILE)
    by_name = {}
    for match in _NAMED.finditer(shared):
        first = shared.count("\n", 0, match.start("text")) + 1
        by_name[match["name"]] = f"{folder.name}/{SHARED_FILE}", first, match["text"]
    return by_name


def names(folder: Any) -> list[str]:
    """Return the names of the statements that are written in a folder."""
    stems = []
    for file in sorted(path.name for path in folder.iterdir()):
        if file.endswith(".sql") and file != SHARED_FILE:
            stems.append(file.removesuffix(".sql"))
    stems.extend(_short(folder))
    return stems


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
