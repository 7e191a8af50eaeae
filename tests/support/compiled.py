"""Modules that are compiled already, for copies of their files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_compiled(source: Path, copy: Path) -> None:
    """
    Give a copy of a folder what Python has compiled of the folder itself.

    It would compile the same files anew, as their times are others': a second for each
    function that a test starts, and seven for the packages of the wheel.
    """
    for file in copy.rglob("*.py"):
        original = source / file.relative_to(copy)
        if original.exists():
            shutil.copystat(original, file)
    for cache in source.rglob("__pycache__"):
        place = copy / cache.relative_to(source)
        if place.parent.is_dir():
            shutil.copytree(cache, place, copy_function=os.link, dirs_exist_ok=True)
