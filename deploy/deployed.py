"""
What is deployed, as a set-up writes it down for the next one.

The deployment's folder may be on another machine then, or another version of it: what
it does not have any more would go, with its schedules, and nobody would know.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from deploy import DeploymentError
from deploy.configuration import DeploymentSettings
from propensity import folders, usecases
from propensity.audience import declared


class Deployed(Struct, frozen=True, kw_only=True):
    """
    What a deployment is made of.

    Attributes:
        settings: By name, as the settings file has them; none is a secret.
        use_cases: All that functions hold.
        scheduled: Those that the clock calls functions for.
        audiences, destinations: Each as ``use_case/name``.
        commit: Of the deployment's folder, as git describes it; empty without git.
        release: The same of Propensity's own checkout.
    """

    settings: dict[str, str] = {}
    use_cases: Sequence[str] = ()
    scheduled: Sequence[str] = ()
    audiences: Sequence[str] = ()
    destinations: Sequence[str] = ()
    commit: str = ""
    release: str = ""


def described(d: DeploymentSettings, file: Path) -> Deployed:
    """Return what a settings file and its folder describe."""
    audiences = list[str]()
    destinations = list[str]()
    for use_case in map(usecases.load, folders.names()):
        audiences += [f"{use_case.name}/{name}" for name in declared.names(use_case)]
        files = declared.folder_of(use_case).glob("destinations/*.toml")
        destinations += sorted(f"{use_case.name}/{path.stem}" for path in files)
    return Deployed(
        settings=dict(d.given),
        use_cases=folders.names(),
        scheduled=sorted(d.use_cases),
        audiences=audiences,
        destinations=destinations,
        commit=commit_of(file.parent),
        release=commit_of(folders.ROOT),
    )


def commit_of(folder: Path) -> str:
    """Return which commit a folder is of, and whether it has changed since."""
    # A copy without git's folder, or a machine without git, has none.
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags"]
        answer = subprocess.check_output(words, text=True, stderr=subprocess.DEVNULL)
        return answer.strip()
    return ""


def check_kept(before: Deployed, now: Deployed) -> None:
    """
    Make sure that all is still there that was deployed.

    Raises:
        DeploymentError: Something is not; the message names it.
    """
    gone = list[str]()
    for name in sorted(before.settings.keys() - now.settings.keys()):
        gone.append(f"{name}={before.settings[name]}")
    for kind, was, stays in (
        ("use case", before.use_cases, now.use_cases),
        ("schedule of", before.scheduled, now.scheduled),
        ("audience", before.audiences, now.audiences),
        ("destination", before.destinations, now.destinations),
    ):
        gone += [f"{kind} {name}" for name in sorted(set(was) - set(stays))]
    if gone:
        origin = f" from commit {before.commit}" if before.commit else ""
        raise DeploymentError(
            f"nothing was changed, because this was deployed{origin}, and is not in "
            f"your deployment's folder: {', '.join(gone)}. Get the folder's newest "
            "version. If you have removed it yourself: deploy/setup.sh --remove"
        )
