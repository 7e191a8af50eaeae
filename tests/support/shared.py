"""
Folders that one process of a test run fills, and all of them read.

The process that needs a folder first fills it, while the others wait.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from local.venvs import locked

_folder: list[Path] = []


def share(factory: pytest.TempPathFactory) -> None:
    """Say where this process has its folders; workers' are beside each other."""
    base = factory.getbasetemp()
    is_worker = base.name.startswith("popen-")
    _folder[:] = [(base.parent if is_worker else base) / "shared"]


def once(name: str, make: Callable[[Path], None]) -> Path:
    """
    Return a folder of the whole run; ``make`` fills it, once.

    Nobody may change what is in it.
    """
    [folder] = _folder
    finished = folder / name
    with locked(folder / f"{name}.lock"):
        if not finished.exists():
            unfinished = folder / f"{name}.making"
            unfinished.mkdir(parents=True, exist_ok=True)
            make(unfinished)
            unfinished.rename(finished)
    return finished
