"""
Stage a function: exactly what a deploy uploads, and nothing else.

A staged folder holds ``main.py`` and the modules beside it, ``requirements.txt``, a
copy of ``propensity/``, and in ``usecases/`` the use cases of your own. A folder with a
link to ``commands/`` also gets the command line, which the operators' job runs.
Equal sources give equal bytes and modes.
What is deployed is staged ``locked``: its ``requirements.txt`` is the function's lock,
with every package that it needs and the hashes of each, see ``lock.sh``. Local mode
runs functions from the same folders.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import shutil
import tempfile
from pathlib import Path

from deploy import DeploymentError
from deploy.functions import ROOT, Function
from deploy.shell import Shell
from propensity import folders
from propensity.errors import UseCaseError

PACKAGE = "propensity"
# What else is staged of the repository, for a folder with a link of this name.
LINKED = {
    "commands": (
        "commands",
        "offline",
        "propensity/cli",
        "deploy/__init__.py",
        "deploy/functions.py",
        "deploy/functions.toml",
    ),
}
# What people call is no part of a function, nor what their own machine has alone.
NEVER_STAGED = frozenset({"__main__.py", "__pycache__", "tests"})
LAPTOP = {"commands/cli.py", "commands/rehearsal.py", "commands/usecases.py"}
FOR_PEOPLE = ("cli/", "trying/")


def stage(
    function_folder: Path,
    target: Path,
    *,
    requirements: str = "requirements.txt",
    locked: bool = False,
) -> Path:
    """
    Copy what a deploy uploads into a folder, replacing what was staged there before.

    Args:
        function_folder: Holds ``main.py`` and its requirements; ``propensity/`` and
            the locks are beside it.
        target: May be missing; all that is there goes.
        requirements: File of ``function_folder`` that is staged as
            ``requirements.txt``: entry points of one folder may have their own.
        locked: Whether its lock is staged in its place.

    Returns:
        ``target``.

    Raises:
        DeploymentError: A use case is wrong.
    """
    root = function_folder.resolve().parent
    files = {file.name: file for file in function_folder.glob("*.py")}
    lock = root / "deploy" / "locks" / function_folder.name / requirements
    files["requirements.txt"] = lock if locked else function_folder / requirements
    for name in glob.glob("**", root_dir=root / PACKAGE, recursive=True):  # noqa: PTH207
        if not name.startswith(FOR_PEOPLE):
            files[f"{PACKAGE}/{name}"] = root / PACKAGE / name
    try:
        files |= _own_use_cases(root)
    except UseCaseError as error:
        raise DeploymentError(error.message) from error
    for link, names in LINKED.items():
        if (function_folder / link).is_dir():
            for top in (root / name for name in names):
                for path in [top] + list(top.rglob("*")):
                    files[path.relative_to(root).as_posix()] = path
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".staging-") as folder:
        staged = Path(folder, target.name)
        for name, source in sorted(files.items()):
            if source.is_dir() or name in LAPTOP:
                continue
            if NEVER_STAGED.isdisjoint(Path(name).parts):
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, staged / name)
        # Whatever the umask: another user may run the function.
        for path in [staged] + list(staged.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if target.exists():
            shutil.rmtree(target)
        staged.rename(target)
    return target


def locked(function: Function, folder: Path) -> str:
    """Stage what a deploy uploads; return what its content is known by."""
    requirements = function.requirements
    stage(ROOT / function.folder, folder, requirements=requirements, locked=True)
    return fingerprint(folder)


def run(shell: Shell, options: argparse.Namespace) -> None:
    """Stage a function, as a dry run prints it; print what its content is known by."""
    function = shell.function(options.function)
    if function:
        print(locked(function, Path(options.folder)))


def _own_use_cases(root: Path) -> dict[str, Path]:
    """Return the files of use cases of your own, and audiences of those that ship."""
    names = folders.own_names(root)
    names += [f"{name}/audiences" for name in folders.shipped()]
    files = {}
    for name in names:
        top = folders.own(root) / name
        # Path.rglob follows no link, and a use case may be one to a folder elsewhere.
        for path in glob.glob("**", root_dir=top, recursive=True):  # noqa: PTH207
            files[f"{folders.OWN}/{name}/{path}"] = top / path
    return files


def fingerprint(folder: Path) -> str:
    """Return what the content of a staged folder is known by; it fits into a label."""
    content = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        content.update(f"{digest} {file.relative_to(folder).as_posix()}\n".encode())
    return content.hexdigest()[:40]
