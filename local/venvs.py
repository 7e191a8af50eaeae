"""
Set-up: environments that hold what local mode needs, from the package index, by uv.

    python -m local.venvs    requirements.txt, the BigQuery emulator, the command and
                             the project, into the environment of this Python
    python -m local.venvs functions    the functions' environment

``make setup`` makes the environment for development, with uv in it, and calls both.

Functions name the same versions, so that one environment serves them all here; `make
test-install` installs each one's own. It lies in ``.local/venvs/<hash of requirements
and Python>``. Processes that need the same one at the same time wait for the first to
make it; one that was interrupted is made anew.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.errors import LocalError
from local.progress import say, showing, step

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
EMULATOR = ROOT / "local" / "requirements.txt"
FOLDER = ROOT / ".local" / "venvs"
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
COMPLETE = "complete"


def main() -> int:
    """Run a part of the set-up; return the exit status."""
    try:
        with showing(sys.stderr):
            if sys.argv[1:]:
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
    """Install requirements.txt, the BigQuery emulator, command and project, here."""
    python = ("--python", sys.executable)
    say("· the packages of requirements.txt …")
    uv("pip", "sync", *python, str(REQUIREMENTS))
    say("· the BigQuery emulator …")
    # It requires a newer Python and a newer DuckDB than it needs. uv has no option to
    # ignore the first, but it can install for another Python, and this package is pure
    # Python.
    other = ("--no-deps", "--python-version", "3.13")
    uv("pip", "install", *python, *other, "--requirement", str(EMULATOR))
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
    say("· the functions' environment …")
    functions_python()
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


def functions_python() -> Path:
    """Return the Python that runs all functions; see ``python_of``."""
    return python_of(*sorted(ROOT.glob("0*/requirements*.txt")))


def python_of(*requirements: Path, folder: Path = FOLDER) -> Path:
    """
    Return the Python of the environment with some requirements; make it if needed.

    Args:
        requirements: Files, pinned; a package in several of them has one version.
        folder: Of all environments.

    Raises:
        LocalError: They could not be installed; uv's last lines are in the message.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    texts = [file.read_text() for file in requirements]
    facts = "\n".join([version, sysconfig.get_platform()] + texts)
    environment = folder / hashlib.sha256(facts.encode()).hexdigest()[:12]
    python = environment / "bin" / "python"
    with locked(folder / f"{environment.name}.lock"):
        if not ((environment / COMPLETE).exists() and python.exists()):
            name = requirements[0].parent.name
            say(f"installing what {name} and others name, once …")
            shutil.rmtree(environment, ignore_errors=True)
            # `sync` would install only what is listed, and these files do not list
            # dependencies.
            files = [f"--requirement={file}" for file in requirements]
            uv("venv", "--python", sys.executable, str(environment))
            uv("pip", "install", "--python", str(python), *files)
            (environment / COMPLETE).touch()
    return python


def uv(*arguments: str) -> None:
    """
    Run uv, the one of this Python's environment.

    From a cache beside it, by hard links, so that a package that several environments
    hold is stored once; with the package indexes that pip is set to.

    Raises:
        LocalError: It failed; the message has its last lines, and what to do.
    """
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, check=False, capture_output=True, text=True).stdout
    environment = {
        "UV_CACHE_DIR": str(Path(sys.prefix) / "uv-cache"),
        "UV_LINK_MODE": "hardlink",
        # The user's Python, and no other.
        "UV_PYTHON_DOWNLOADS": "never",
        **indexes(listed),
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
