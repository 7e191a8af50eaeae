"""
Stage a function: exactly what a deploy uploads, and nothing else.

    python3 -m deploy.stage 02-GetProba /tmp/staged

It prints what the folder's content is known by: a label of the service that runs it.
A staged folder holds ``main.py`` and the modules beside it, ``requirements.txt``, a
copy of ``propensity/``, and in ``usecases/`` the use cases of your own. A folder with a
link to ``offline/`` also gets the dashboard, which one of its functions writes, and one
with a link to ``commands/`` the command line, which the operators' job runs.
Equal sources give equal bytes and modes.
What is deployed is staged ``--locked``: its ``requirements.txt`` is the function's
lock, with every package that it needs and the hashes of each, see ``lock.sh``.
Local mode runs functions from the same folders.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy import DeploymentError
from propensity import folders
from propensity.errors import UseCaseError

PACKAGE = "propensity"
# What else is staged of the repository, for a folder with a link of this name.
LINKED = {
    "offline": ("offline/__init__.py", "offline/dashboard"),
    "commands": (
        "commands",
        "offline",
        "propensity/cli",
        "propensity/trying",
        "deploy/__init__.py",
        "deploy/functions.py",
        "deploy/functions.toml",
    ),
}
# What people call is no part of a function.
NEVER_STAGED = frozenset({"__main__.py", "__pycache__", "tests"})
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
        target: May be missing, empty, or an earlier staged folder.
        requirements: File of ``function_folder`` that is staged as
            ``requirements.txt``: entry points of one folder may have their own.
        locked: Whether its lock is staged in its place.

    Returns:
        ``target``.

    Raises:
        DeploymentError: A source is missing, or ``target`` holds something else.
    """
    root = function_folder.resolve().parent
    locks = root / "deploy" / "locks" / function_folder.name
    try:
        files = {
            "main.py": function_folder / "main.py",
            **{file.name: file for file in function_folder.glob("*.py")},
            "requirements.txt": (locks if locked else function_folder) / requirements,
            **_modules(root),
        }
        for link, names in LINKED.items():
            if (function_folder / link).is_dir():
                files |= _linked(root, names)
    except UseCaseError as error:
        raise DeploymentError(
            f"cannot stage {function_folder}: {error.message}"
        ) from error
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise DeploymentError(
            f"cannot stage {function_folder}: no {', no '.join(missing)}"
        )
    existing = {file.name for file in target.iterdir()} if target.is_dir() else set()
    # An earlier deploy may have had another module beside main.py.
    ours = {"requirements.txt", folders.OWN, "__pycache__"}
    ours |= {Path(name).parts[0] for name in files}
    others = {name for name in existing - ours if not name.endswith(".py")}
    if target.is_file() or others or (existing and PACKAGE not in existing):
        listed = ", ".join(sorted(others)[:3]) if others else "files"
        raise DeploymentError(
            f"cannot stage into {target}, which has other files: {listed}. Name a new "
            "folder"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".staging-") as folder:
        staged = Path(folder, target.name)
        for name, source in sorted(files.items()):
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, staged / name)
        # Whatever the umask: another user may run the function.
        for path in [staged] + list(staged.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if target.exists():
            shutil.rmtree(target)
        staged.rename(target)
    return target


def fingerprint(folder: Path) -> str:
    """Return what the content of a staged folder is known by; it fits into a label."""
    content = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        content.update(f"{digest} {file.relative_to(folder).as_posix()}\n".encode())
    return content.hexdigest()[:40]


def _modules(root: Path) -> dict[str, Path]:
    """Return the package and use cases of your own: path in the folder to source."""
    own_folder = folders.own(root)
    trees = {PACKAGE: root / PACKAGE}
    trees |= {
        f"{folders.OWN}/{name}": own_folder / name for name in folders.own_names(root)
    }
    # Audiences of your own for use cases that ship.
    added = [f"{name}/audiences" for name in folders.shipped()]
    trees |= {f"{folders.OWN}/{name}": own_folder / name for name in added}
    files = {}
    # Path.rglob follows no link, and a use case may be a link to a folder elsewhere.
    for tree, top in trees.items():
        for name in glob.glob("**", root_dir=top, recursive=True):  # noqa: PTH207
            if tree == PACKAGE and name.startswith(FOR_PEOPLE):
                continue
            if (top / name).is_file() and NEVER_STAGED.isdisjoint(Path(name).parts):
                files[Path(tree, name).as_posix()] = top / name
    return files


def _linked(root: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the files of a link, by patterns: path in the folder to source."""
    files = {}
    for name in names:
        for top in root.glob(name):
            for path in [top] + list(top.rglob("*")):
                if path.is_file() and NEVER_STAGED.isdisjoint(path.parts):
                    files[path.relative_to(root).as_posix()] = path
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Stage one function, where Python is all that there is."""
    parser = argparse.ArgumentParser("python -m deploy.stage", description=__doc__)
    parser.add_argument("function_folder", type=Path, help="such as 02-GetProba")
    parser.add_argument("target", type=Path, help="a new or a staged folder")
    parser.add_argument("--requirements", default="requirements.txt", metavar="NAME")
    parser.add_argument("--locked", action="store_true", help="as a deploy does")
    try:
        print(fingerprint(stage(**vars(parser.parse_args(arguments)))))
    except DeploymentError as error:
        print(f"deploy.stage: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
