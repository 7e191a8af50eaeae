"""
The folders of the use cases that a deploy holds.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from propensity.ids import NAME

# Holds a folder for each use case; a file of this name makes it one.
FOLDER = resources.files("propensity") / "usecases"
FILE = "usecase.toml"


def names(folder: Any = FOLDER) -> list[str]:
    """Return the names of the use cases in a folder."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if NAME.fullmatch(entry.name) and (entry / FILE).is_file()
    )
