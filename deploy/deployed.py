"""
What is deployed, as Terraform's state keeps it for the next set-up.

The deployment's folder may be on another machine then, or another version of it: what
it does not have any more would go, with its schedules, and nobody would know.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy import DeploymentError
from deploy.configuration import KNOWN, DeploymentSettings
from deploy.shell import tell
from propensity import folders, usecases
from propensity.audience import declared

# What a set-up takes away if the folder has it no more, as messages name it.
KINDS = {
    "use_cases": "use case",
    "scheduled": "schedule of",
    "audiences": "audience",
    "destinations": "destination",
}


def described(d: DeploymentSettings, file: Path) -> dict[str, Any]:
    """
    Return what a settings file and its folder describe.

    Returns:
        ``settings`` by name, none of which is a secret; all ``use_cases`` that
        functions hold, and those that are ``scheduled``; ``audiences`` and
        ``destinations``, each as ``use_case/name``; the folder's ``commit``.
    """
    audiences = list[str]()
    destinations = list[str]()
    for use_case in map(usecases.load, folders.names()):
        audiences += [
            f"{use_case.name}/{name}" for name in declared.audience_names(use_case)
        ]
        files = declared.folder_of(use_case).glob("destinations/*.toml")
        destinations += sorted(f"{use_case.name}/{path.stem}" for path in files)
    return {
        "settings": dict(d.given),
        "use_cases": folders.names(),
        "scheduled": sorted(d.use_cases),
        "audiences": audiences,
        "destinations": destinations,
        "commit": commit_of(file.parent),
    }


def commit_of(folder: Path) -> str:
    """Return which commit a folder is of, and whether it has changed since."""
    # A copy without git's folder, or a machine without git, has none; nor has a folder
    # of which git keeps no file.
    commit = _git(folder, "describe", "--always", "--tags")
    if not commit or not _git(folder, "ls-files", "."):
        return ""
    is_clean = _git(folder, "status", "--porcelain", ".") == ""
    return commit if is_clean else f"{commit}-dirty"


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says of a folder; None where it refuses, or is not there."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-C", f"{folder}"] + list(words)
        said = subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)
        return said.strip()
    return None


def check_kept(
    before: Mapping[str, Any], now: Mapping[str, Any], *, folder: Path
) -> None:
    """
    Make sure that all is still there that was deployed; say what a later commit of the
    deployment's ``folder`` takes away.

    Raises:
        DeploymentError: Something is not, and no later commit has taken it away; the
            message names it.
    """
    gone = list[str]()
    settings = before.get("settings", {})
    new = now["settings"].keys() - settings.keys()
    values = [now["settings"][name] for name in new]
    for name in sorted(settings.keys() - now["settings"].keys()):
        # A setting that the code has renamed is there.
        if name in KNOWN or settings[name] not in values:
            gone.append(f"{name}={settings[name]}")
    for kind, text in KINDS.items():
        lost = set(before.get(kind, [])) - set(now[kind])
        gone += [f"{text} {name}" for name in sorted(lost)]
    if not gone:
        return
    commit = before.get("commit", "")
    # Git knows no commit of a folder that has changed since, nor "".
    follows = _git(folder, "merge-base", "--is-ancestor", commit, now["commit"])
    if follows is not None and commit != now["commit"]:
        tell(f"deploy: commit {now['commit']} takes away: {', '.join(gone)}")
    else:
        origin = f" from commit {commit}" if commit else ""
        raise DeploymentError(
            f"nothing was changed, because this was deployed{origin}, and is not in "
            f"your deployment's folder: {', '.join(gone)}. Get the folder's newest "
            "version. If you have removed it yourself: deploy/setup.sh --remove"
        )
