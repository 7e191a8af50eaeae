"""
SQL statements, read from their files.

A line that reads ``-- include: name.sql`` stands for that file, so that what two
statements share is written once.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

_INCLUDE = re.compile(r"^ *-- include: (\w+)\.sql$", re.MULTILINE)


def statement(name: str, *, own: Any = None) -> str:
    """
    Return a statement, complete with what it includes.

    Args:
        name: Of the file, without its ending.
        own: Folder whose files come before those of ``propensity/sql``.

    Raises:
        FileNotFoundError: There is no such file.
    """
    shared = resources.files("propensity") / "sql" / f"{name}.sql"
    file = shared if own is None or not (own / f"{name}.sql").is_file() else None
    text = (file or own / f"{name}.sql").read_text("utf-8")
    return _INCLUDE.sub(lambda found: statement(found[1], own=own), text)
