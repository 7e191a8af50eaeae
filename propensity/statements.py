"""
SQL statements, read from the folder of the module that runs them.

A line ``-- include: name.sql`` stands for the text of that file. Names are unique in
the package, so that a use case can replace any shared statement, or a part of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

# Editors on Windows begin a file with a byte order mark, which is no part of its text.
ENCODING = "utf-8-sig"
FOLDERS = ("runs", "stream", "registry", "online", "privacy", "usecases")

_INCLUDE = re.compile(r"^ *-- include: (\w+)\.sql$", re.MULTILINE)
_PACKAGE = resources.files("propensity")


def statement(
    name: str, *, own: Any = None, around: Mapping[str, tuple[str, str]] | None = None
) -> str:
    """
    Return the text of a statement, with its includes.

    Args:
        name: Name of the file, without ``.sql``.
        own: A folder that is searched before ``FOLDERS``.
        around: Texts that stand before and after a statement, by its name.

    Raises:
        FileNotFoundError: There is no such file.
        UnicodeDecodeError: It is not UTF-8.
    """
    text = file_of(name, own=own).read_text(ENCODING)
    before, after = (around or {}).get(name, ("", ""))
    included = _INCLUDE.sub(
        lambda include: statement(include[1], own=own, around=around), text
    )
    return before + included + after


def file_of(name: str, *, own: Any = None) -> Any:
    """Return the file of a statement, see ``statement``."""
    folders = [_PACKAGE / folder for folder in FOLDERS]
    for folder in folders if own is None else [own, *folders]:
        file = folder / f"{name}.sql"
        if file.is_file():
            return file
    raise FileNotFoundError(f"there is no {name}.sql")
