"""The pages, and what is in them: tables, blocks and the lines that a reader types."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from local.stack.state import ROOT

SKIPPED = {"node_modules", "__pycache__"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
PROGRAM = ".venv/bin/propensity"


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@cache
def pages() -> tuple[str, ...]:
    found = []
    for folder, below, files in os.walk(ROOT):
        # Not walked: an environment has a hundred thousand files.
        below[:] = [name for name in below if name[0] != "." and name not in SKIPPED]
        within = Path(folder).relative_to(ROOT)
        found += [(within / name).as_posix() for name in files if name.endswith(".md")]
    return tuple(sorted(found))


def blocks(page: str, language: str = "") -> list[str]:
    return [body for kind, body in FENCE.findall(text(page)) if kind == language]


def described(page: str, section: str = "") -> dict[str, list[str]]:
    """Return a section's rows by the names that their first cell has in code."""
    part = text(page).partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in row.split("|")]
        for row in ROW.findall(part if section else text(page))
    ]
    return {name: row for row in rows for name in CODE.findall(row[0])}


def commands(page: str) -> list[str]:
    """Return the lines that a reader can type: those of blocks without a language."""
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    words = ("make", "curl", "python", ".venv/bin/python", PROGRAM)
    return [line for line in lines if line.split(" ")[0] in words]
