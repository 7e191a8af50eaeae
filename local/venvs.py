"""
Set-up: environments that hold what local mode needs, from the package index, by uv.

    python -m local.venvs    requirements.txt, the command and the project, into the
                             environment of this Python
    python -m local.venvs functions    the functions' environments

``make setup`` makes the environment for development, with uv in it, and calls the first
two.

A function has the environment of its lock in ``deploy/locks``, as in a deploy: these
packages, their hashes checked, and nothing that leads to this folder. It lies in
``.venv/environments``. On another Python than the locks' (``deploy/python-version``) it
has the same versions, in the wheels of that Python. Only a lock that has changed is
installed anew. Processes that need the same environment at the same time wait for the
first to make it; one that was interrupted is made anew.
"""

from __future__ import annotations

import ast
import fcntl
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from local.errors import LocalError
from propensity.cli.progress import say, showing, step, watched

if TYPE_CHECKING:
    from deploy.functions import Function

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
FOLDER = Path(sys.prefix) / "environments"
LOCKS = ROOT / "deploy" / "locks"
# Packages that a test compares the project's own trees with.
COMPARED = ROOT / "benchmarks" / "requirements-river.txt"
# The shell runs the second line, which takes a path with blanks as a shebang does not;
# to Python it is a text.
COMMAND = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys
sys.path[0] = {root!r}
from commands.cli import main
sys.exit(main())
"""
# In an environment: the file that it was made of, once it is whole.
INSTALLED = "installed.txt"
# Imports what functions import, and their servers.
IMPORTING = """\
import importlib, pkgutil
import functions_framework._http.gunicorn, uvicorn_worker, propensity
for module in pkgutil.walk_packages(propensity.__path__, "propensity."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def main() -> int:
    """Run a part of the set-up; return the exit status."""
    try:
        with showing(sys.stderr):
            if sys.argv[1:] == ["functions"]:
                install_functions()
            else:
                install_development()
    except LocalError as error:
        print(f"\nmake setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmake setup: stopped; run it again to continue", file=sys.stderr)
        return 130
    return 0


def install_development() -> None:
    """Install requirements.txt, command and project, here."""
    say("· the packages of requirements.txt …")
    uv("pip", "sync", "--python", sys.executable, str(REQUIREMENTS))
    write_command(Path(sys.prefix), python=Path(sys.executable))
    write_path(Path(sysconfig.get_path("purelib")))


def write_path(folder: Path, *, root: Path = ROOT) -> None:
    """
    Have Pythons with a folder of packages import the project's from anywhere.

    Not by an editable install, whose hook comes too late: in the folder around a clone
    that is called ``propensity``, the clone itself would be imported.
    """
    (folder / "propensity.pth").write_text(f"{root}\n")


def write_command(folder: Path, *, python: Path) -> None:
    """Put the one command into an environment of a Python, to run from anywhere."""
    script = folder / "bin" / "propensity"
    script.write_text(COMMAND.format(python=python, root=str(ROOT)))
    script.chmod(0o755)


def install_functions() -> None:
    """Make the environments of the functions and of what tests compare with."""
    say("· an environment for each function …")
    with step("compiling what functions import"):
        subprocess.run([sys.executable, "-c", IMPORTING], check=True, cwd=ROOT)
    files = sorted(LOCKS.glob("*/*.txt"))
    for file in watched(files, "environments of functions"):
        python_of(file)
    python_of(COMPARED)


@contextmanager
def locked(file: Path, *, wait: bool = True) -> Iterator[None]:
    """
    Hold a lock between processes; it is released however the process ends. Without
    waiting, raise BlockingIOError if another one holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def lock_of(function: Function) -> Path:
    return LOCKS / function.folder / function.requirements


def function_python(function: Function) -> Path:
    """Return the Python that has the packages of a function's lock."""
    return python_of(lock_of(function))


def python_of(requirements: Path, *, folder: Path = FOLDER) -> Path:
    """Return the Python of the environment with what a file pins; make it if needed."""
    text = requirements.read_text()
    name = requirements.parent.name + requirements.stem.removeprefix("requirements")
    environment = folder / name
    python = environment / "bin" / "python"
    installed = environment / INSTALLED
    with locked(folder / f"{name}.lock"):
        is_current = installed.exists() and installed.read_text() == text
        if not (is_current and python.exists()):
            shutil.rmtree(environment, ignore_errors=True)
            checked = ["--require-hashes"] if "--hash=" in text else []
            uv("venv", "--python", sys.executable, str(environment))
            install = ["pip", "install", "--python", str(python)] + checked
            uv(*install, "--requirement", str(requirements))
            link_compiled(environment)
            installed.write_text(text)
    return python


def link_compiled(environment: Path) -> None:
    """
    Give an environment what was compiled in this one of the same files.

    Otherwise the first demo would compile the same packages for each function. Python
    knows a compiled file by the time of its source, and a link has the same.
    """
    packages = Path(sysconfig.get_path("purelib"))
    [others] = environment.glob("lib/python*/site-packages")
    for compiled in packages.rglob(f"*.{sys.implementation.cache_tag}.pyc"):
        name = compiled.name.partition(".")[0]
        source = compiled.parents[1] / f"{name}.py"
        other = others / source.relative_to(packages)
        if other.exists() and other.samefile(source):
            folder = other.parent / compiled.parent.name
            folder.mkdir(exist_ok=True)
            os.link(compiled, folder / compiled.name)


def uv(*arguments: str) -> None:
    """
    Run uv, the one of this Python's environment.

    From a cache beside it, by hard links, so that a package that several environments
    hold is stored once; with the package indexes that pip is set to.
    """
    environment = {
        "UV_CACHE_DIR": str(Path(sys.prefix) / "uv-cache"),
        "UV_LINK_MODE": "hardlink",
        # The user's Python, and no other.
        "UV_PYTHON_DOWNLOADS": "never",
        **indexes(pip_settings()),
        **os.environ,
    }
    program = str(Path(sys.executable).with_name("uv"))
    with step(f"uv {arguments[0]}"):
        process = subprocess.run(
            [program, "--quiet"] + list(arguments),
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    if process.returncode:
        lines = [f"\n    {line}" for line in process.stdout.splitlines()[-12:]]
        raise LocalError(
            f"`uv {' '.join(arguments)}` failed:{''.join(lines)}",
            hint="Check that the package index can be reached, then try again",
        )


@cache
def pip_settings() -> str:
    """Return pip's settings, as it lists them."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(pip, check=False, capture_output=True, text=True).stdout


# uv's variable for an option of pip, and the separator between several values.
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "cert": ("SSL_CERT_FILE", " "),
}


def indexes(pip: str) -> dict[str, str]:
    """
    Return what makes uv take packages from where pip takes them.

    uv reads none of pip's files, and a company's own index is often set in these.

    Args:
        pip: What ``pip config list`` prints; variables come before files.
    """
    # pip takes the best version of all indexes.
    variables = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"(?m)^{section}\.([\w-]+)=(.+)$", pip):
            if name in VARIABLES:
                variable, between = VARIABLES[name]
                values = str(ast.literal_eval(value)).split()
                variables[variable] = between.join(values)
    return variables


if __name__ == "__main__":
    sys.exit(main())
