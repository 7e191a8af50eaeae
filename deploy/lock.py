"""
Lock files: every package that a function needs, each with its version and hash.

    python -m deploy.lock              write them all anew
    python -m deploy.lock --check      say which are not those of their requirements

A deploy uploads the lock as the function's ``requirements.txt``. With a hash behind
every line pip checks them all, so that what is installed is what was tested, bytes for
bytes, and nothing that is built when it is installed.

What is locked are the wheels that pip chooses on the runtime, CPython 3.11 on Linux
with glibc, x86-64, whatever machine this runs on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy import functions
from deploy.functions import Function

ROOT = Path(__file__).resolve().parent.parent

PYTHON = "3.11"
# The runtime's glibc is 2.35; pip takes the first of these that a package has.
PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in range(35, 16, -1)),
    "manylinux2014_x86_64",
    "manylinux_2_12_x86_64",
    "manylinux2010_x86_64",
    "manylinux_2_5_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
]


class LockError(Exception):
    """pip found no set of packages; the message has its last lines."""


def fingerprint(requirements: str) -> str:
    """Return what stands for requirements in their lock: comments do not count."""
    lines = (line.partition("#")[0].strip() for line in requirements.splitlines())
    text = "\n".join(sorted(line for line in lines if line))
    return hashlib.sha256(text.encode()).hexdigest()


def header(requirements: Path) -> str:
    """Return the first lines of a lock."""
    return (
        f"# Made by `python -m deploy.lock` from {requirements.parent.name}/"
        f"{requirements.name}, for CPython {PYTHON}\n"
        f"# on Linux, x86-64. Requirements: {fingerprint(requirements.read_text())}\n"
    )


def resolve(requirements: Path) -> str:
    """
    Return a lock: what pip would install, without installing it.

    Raises:
        LockError: pip could not tell.
    """
    command = [
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
        *("--quiet", "--disable-pip-version-check", "--no-input"),
        *("--only-binary=:all:", "--target=.local/never", "--report=-"),
        *("--implementation=cp", f"--python-version={PYTHON}"),
        *(f"--platform={platform}" for platform in PLATFORMS),
        f"--requirement={requirements}",
    ]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-10:]
        raise LockError(f"cannot lock {requirements}:\n" + "\n".join(lines))
    packages = {}
    for one in json.loads(done.stdout)["install"]:
        name = one["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
        hashes = one["download_info"]["archive_info"]["hashes"]
        packages[name] = (
            f"{name}=={one['metadata']['version']} \\\n"
            f"    --hash=sha256:{hashes['sha256']}\n"
        )
    return header(requirements) + "".join(packages[name] for name in sorted(packages))


def is_current(function: Function) -> bool:
    """Tell whether a function's lock was made from its requirements as they are."""
    requirements = ROOT / function.folder / function.requirements
    return function.lock.is_file() and function.lock.read_text().startswith(
        header(requirements)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m deploy.lock", description="Write the lock of every function."
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; say what is out of date"
    )
    given = parser.parse_args(arguments)
    every = {function.lock: function for function in functions.load()}
    if given.check:
        stale = [lock for lock, function in every.items() if not is_current(function)]
        for lock in stale:
            print(f"out of date: {lock.relative_to(ROOT)}", file=sys.stderr)
        return bool(stale)
    for lock, function in every.items():
        requirements = ROOT / function.folder / function.requirements
        try:
            text = resolve(requirements)
        except LockError as error:
            print(f"deploy.lock: {error}", file=sys.stderr)
            return 1
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text(text)
        print(f"{lock.relative_to(ROOT)}: {text.count('--hash=')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
