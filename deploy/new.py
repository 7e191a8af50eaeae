"""
Write the folder of a new deployment: settings of two environments, and room for use
cases and audiences.

It is made to be a repository of the user's own: no file of it is in this checkout,
which stays as it was released, and none has a secret.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

from deploy.configuration import TEMPLATE
from propensity.errors import RequestError


def write(folder: Path, *, is_dry: bool = False) -> dict[str, Any]:
    """
    Write the folder; return its files, and the next step.

    Raises:
        RequestError: Something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(
            f"{folder} exists and is not empty",
            hint="Name a new folder",
            field="folder",
        )
    files = sorted(path for path in TEMPLATE.rglob("*") if path.is_file())
    if not is_dry:
        shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True)
    file = shlex.quote(f"{folder / 'production.env'}")
    return {
        "folder": folder,
        "files": [str(one.relative_to(TEMPLATE)) for one in files],
        "is_dry": is_dry,
        "next": f"fill in {file}, then: deploy/setup.sh --dry-run --deployment {file}",
    }
