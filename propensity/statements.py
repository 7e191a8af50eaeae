"""
SQL statements, read from their files.

A line ``-- include: name.sql`` stands for the text of that file.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

# Editors on Windows begin a file with a byte order mark, which is no part of its text.
ENCODING = "utf-8-sig"

_INCLUDE = re.compile(r"^ *-- include: (\w+)\.sql$", re.MULTILINE)


def statement(name: str, *, own: Any = None) -> str:
    """
    Return the text of a statement, with its includes.

    Args:
        name: Name of the file, without ``.sql``.
        own: A folder that is searched before ``propensity/sql``.

    Raises:
        FileNotFoundError: There is no such file.
        UnicodeDecodeError: It is not UTF-8.
    """
    file = resources.files("propensity") / "sql" / f"{name}.sql"
    if own is not None and (own / f"{name}.sql").is_file():
        file = own / f"{name}.sql"
    text = file.read_text(ENCODING)
    return _INCLUDE.sub(lambda include: statement(include[1], own=own), text)
