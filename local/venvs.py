"""
Virtual environments of the functions: each holds a function's requirements, no more.

They lie in ``.local/venvs/<hash of requirements and Python>``, are made on demand and
shared by functions whose requirements are equal. Processes that need the same one at
the same time wait for the first to make it; one that was interrupted is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local.processes import LocalError

COMPLETE = "complete"
KEY_LENGTH = 12
PIP_LINES = 12


def packages(requirements: str) -> list[str]:
    """Return the lines that name packages, ordered: what makes two files equal."""
    lines = (line.partition(" #")[0].strip() for line in requirements.splitlines())
    return sorted(line for line in lines if line and not line.startswith("#"))


def key(requirements: str) -> str:
    """Name the environment that these requirements make with this Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    facts = [version, sysconfig.get_platform(), *packages(requirements)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:KEY_LENGTH]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock between processes; it is released however the process ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def python_of(
    requirements_file: Path,
    *,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """
    Return the Python of the environment with these requirements; make it if needed.

    Args:
        requirements_file: Of a function; pinned.
        folder: Of all environments.
        say: Told what is being made, as that takes a while.

    Raises:
        LocalError: pip could not install them; its last lines are in the message.
    """
    requirements = requirements_file.read_text()
    environment = folder / key(requirements)
    python = environment / "bin" / "python"
    if (environment / COMPLETE).exists() and python.exists():
        return python
    with locked(folder / f"{environment.name}.lock"):
        if not ((environment / COMPLETE).exists() and python.exists()):
            _make(environment, requirements_file, say)
    return python


def _make(environment: Path, requirements: Path, say: Callable[[str], None]) -> None:
    count = len(packages(requirements.read_text()))
    label = f"{requirements.parent.name}/{requirements.name}"
    say(f"installing what {label} names ({count} lines), once …")
    shutil.rmtree(environment, ignore_errors=True)
    python = environment / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(environment)],
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install"),
            *("-qq", "--disable-pip-version-check", "--no-input"),
            *("--requirement", str(requirements)),
        ],
    ):
        done = subprocess.run(
            command,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        if done.returncode:
            shutil.rmtree(environment, ignore_errors=True)
            lines = [f"    {line}" for line in done.stdout.splitlines()[-PIP_LINES:]]
            raise LocalError(
                f"cannot install what {label} names:\n"
                + "\n".join(lines)
                + "\nIs the package index reachable? Then try again."
            )
    (environment / COMPLETE).write_text(requirements.read_text())
