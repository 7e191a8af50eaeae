"""
The folders of the use cases that a deploy holds.

Those that ship are in the package. Your own are in ``usecases/`` beside it, in a
checkout and in a staged function alike, or where PROPENSITY_USE_CASES points: commands
and scripts have it point to ``usecases/`` of a deployment's folder.
02-GetProba imports this, and so does the staging of a deploy, which has the standard
library alone: nothing else may be imported here.
"""

from __future__ import annotations

import os
from pathlib import Path

from propensity.errors import UseCaseError
from propensity.ids import NAME

ROOT = Path(__file__).resolve().parent.parent
# Holds a folder for each use case; a file of this name makes it one.
FOLDER = ROOT / "propensity" / "usecases"
FILE = "usecase.toml"
OWN = "usecases"
# Of a wheel, beside which are other packages; your own are where you are.
IS_INSTALLED = ROOT.name in ("site-packages", "dist-packages")


def own_use_cases() -> str:
    """Return the folder of your own use cases, if the environment names one."""
    return os.environ.get("PROPENSITY_USE_CASES", "").strip()


def own(root: Path = ROOT) -> Path:
    """Return the folder of your own use cases; it may be missing."""
    named = own_use_cases()
    if not named and IS_INSTALLED and root == ROOT:
        return Path.cwd() / OWN
    return Path(named) if named else root / OWN


def own_names(root: Path = ROOT) -> list[str]:
    """
    Return the names of your own use cases.

    Args:
        root: Holds ``propensity/`` and ``usecases/``.
    """
    folder = own(root)
    package = root / "propensity" / "usecases"
    if not folder.is_dir():
        if own_use_cases():
            raise UseCaseError(
                f"there is no folder {str(folder)!r} for use cases of your own. Create "
                "it, or correct PROPENSITY_DEPLOYMENT or PROPENSITY_USE_CASES"
            )
        return []
    names_there = shipped(folder)
    for name in names_there:
        is_taken = (package / name / FILE).is_file() or (
            package / f"{name}.py"
        ).exists()
        if is_taken and not folder.samefile(package):
            raise UseCaseError(
                f"{name} is the name of a use case in {folder} and of one that ships "
                "with Propensity: rename yours"
            )
    return names_there


def shipped(folder: Path = FOLDER) -> list[str]:
    """Return the names of the use cases in a folder; by default of the shipped ones."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if NAME.fullmatch(entry.name) and (entry / FILE).is_file()
    )


def names() -> list[str]:
    """Return the names of all use cases."""
    return sorted(set(shipped()).union(own_names()))


def place(name: str) -> Path:
    """Return the folder of a use case, whether or not there is one of this name."""
    is_shipped = (FOLDER / name / FILE).is_file()
    return FOLDER / name if is_shipped else own() / name
