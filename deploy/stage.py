"""
Stage a function: exactly what a deploy uploads, and nothing else.

    .venv/bin/propensity stage 02-GetProba /tmp/staged

A staged folder holds ``main.py``, ``requirements.txt`` and a copy of ``propensity/``.
What is deployed is staged ``--locked``: its ``requirements.txt`` is the function's
lock, with every package that it needs and the hash of each, see ``lock.py``.
Equal sources give equal bytes, order, times and modes, so that a staged folder or
archive can be compared, signed and cached by what is in it. Local mode runs functions
from the same folders.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "propensity"
LOCKS = "deploy/locks"
# 1980-01-01, the earliest time that a zip archive can hold.
EPOCH_S = 315_532_800
EPOCH = (1980, 1, 1, 0, 0, 0)
FILE_MODE = 0o644
FOLDER_MODE = 0o755
# The command of the repository is no part of a function.
NEVER_STAGED = frozenset({"__main__.py", "__pycache__", "tests"})
STAGED_NAMES = frozenset({"main.py", "requirements.txt", PACKAGE, "__pycache__"})


class StageError(Exception):
    """A function cannot be staged; the message says what is missing or in the way."""


def sources(
    function_folder: Path,
    *,
    requirements: str = "requirements.txt",
    locked: bool = False,
    root: Path = ROOT,
) -> dict[str, Path]:
    """
    List what a deploy of a function uploads.

    Args:
        function_folder: Holds ``main.py`` and its requirements.
        requirements: File of ``function_folder`` that is staged as
            ``requirements.txt``: entry points of one folder may have their own.
        locked: Whether its lock is staged in its place.
        root: Holds ``propensity/`` and the locks.

    Returns:
        Path in the staged folder, with slashes, to source file; ordered by path.

    Raises:
        StageError: One of them is missing.
    """
    found = {
        "main.py": function_folder / "main.py",
        "requirements.txt": (
            root / LOCKS / function_folder.name if locked else function_folder
        )
        / requirements,
    }
    for file in (root / PACKAGE).rglob("*"):
        name = file.relative_to(root)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not hidden and not NEVER_STAGED & set(name.parts):
            found[name.as_posix()] = file
    missing = [str(file) for file in found.values() if not file.is_file()]
    if f"{PACKAGE}/__init__.py" not in found:
        missing.append(str(root / PACKAGE / "__init__.py"))
    if missing:
        raise StageError(f"cannot stage {function_folder}: no {', no '.join(missing)}")
    return dict(sorted(found.items()))


def stage(
    function_folder: Path,
    target: Path,
    *,
    requirements: str = "requirements.txt",
    locked: bool = False,
    root: Path = ROOT,
) -> Path:
    """
    Copy what a deploy uploads into a folder, replacing what was staged there before.

    Args:
        function_folder: Holds ``main.py`` and its requirements.
        target: Missing, empty, or an earlier staged folder.
        requirements, locked, root: See ``sources``.

    Returns:
        ``target``.

    Raises:
        StageError: A source is missing, or ``target`` holds something else.
    """
    files = sources(
        function_folder, requirements=requirements, locked=locked, root=root
    )
    if target.exists() and not target.is_dir():
        raise StageError(f"cannot stage into {target}: it is a file")
    if target.exists():
        strangers = {entry.name for entry in target.iterdir()} - STAGED_NAMES
        if strangers:
            raise StageError(
                f"cannot stage into {target}: it holds {', '.join(sorted(strangers))}, "
                "which is not staged source; name a new or empty folder"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".staging-") as folder:
        staged = Path(folder, target.name)
        for name, source in files.items():
            copy = staged / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            copy.chmod(FILE_MODE)
            os.utime(copy, (EPOCH_S, EPOCH_S))
        for directory in [staged, *(path for path in staged.rglob("*"))]:
            if directory.is_dir():
                directory.chmod(FOLDER_MODE)
                os.utime(directory, (EPOCH_S, EPOCH_S))
        if target.exists():
            shutil.rmtree(target)
        staged.rename(target)
    os.utime(target, (EPOCH_S, EPOCH_S))
    return target


def archive(
    function_folder: Path,
    file: Path,
    *,
    requirements: str = "requirements.txt",
    locked: bool = False,
    root: Path = ROOT,
) -> Path:
    """
    Write what a deploy uploads as a zip archive, the same bytes for the same sources.

    Args:
        function_folder: Holds ``main.py`` and its requirements.
        file: Written whole or not at all.
        requirements, locked, root: See ``sources``.

    Returns:
        ``file``.

    Raises:
        StageError: A source is missing.
    """
    files = sources(
        function_folder, requirements=requirements, locked=locked, root=root
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    with zipfile.ZipFile(partial, "w") as bundle:
        for name, source in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3  # Unix, whatever this machine is
            entry.external_attr = (0o100000 | FILE_MODE) << 16
            # Stored: what a compressor makes of it depends on its version.
            entry.compress_type = zipfile.ZIP_STORED
            bundle.writestr(entry, source.read_bytes())
    return partial.replace(file)


def digest(
    function_folder: Path,
    *,
    requirements: str = "requirements.txt",
    locked: bool = False,
    root: Path = ROOT,
) -> str:
    """Return the SHA-256 of what a deploy uploads: of its names and its bytes."""
    total = hashlib.sha256()
    files = sources(
        function_folder, requirements=requirements, locked=locked, root=root
    )
    for name, source in files.items():
        content = source.read_bytes()
        total.update(f"{name}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Stage one function for a deploy, on a machine where nothing is set up."""
    parser = argparse.ArgumentParser(
        "python -m deploy.stage",
        description="Stage a function for deploy.sh; `propensity stage` is for people.",
    )
    parser.add_argument("function_folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--requirements", default="requirements.txt")
    parser.add_argument("--locked", action="store_true")
    given = vars(parser.parse_args(arguments))
    try:
        print(stage(given.pop("function_folder"), given.pop("target"), **given))
    except StageError as error:
        print(f"deploy.stage: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
