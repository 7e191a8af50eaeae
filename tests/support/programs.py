"""Programs that tests run in the project's folder."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def execute(
    command: Sequence[Any], *, status: int | None = 0, cwd: Path = ROOT, **how: Any
) -> subprocess.CompletedProcess[str]:
    """
    Run a program, and return its exit status and output.

    Args:
        command: The program and its arguments.
        status: The expected exit status; None for any.
        cwd: The folder to run in.
        how: Further arguments of ``subprocess.run``: input, env, timeout.

    Raises:
        AssertionError: It exited with another status; the message has its output.
    """
    process = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        **how,
    )
    output = f"{process.args}\n{process.stdout}\n{process.stderr}"
    assert status is None or process.returncode == status, output
    return process


def statements_in(folder: Any) -> list[str]:
    """Return the names of the statements that are written in a folder."""
    files = sorted(path.name for path in folder.iterdir())
    return [file.removesuffix(".sql") for file in files if file.endswith(".sql")]
