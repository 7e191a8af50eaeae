"""
Set-up: everything that development and local mode need, from the package index.

    python3 -m local.install development FOLDER    requirements.txt, into FOLDER
    FOLDER/bin/python -m local.install functions   the functions' environment

``make setup`` calls both. The first begins with any Python and the standard library
alone: it makes the environment, installs uv into it by pip, and goes on with that.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from local import venvs
from local.errors import LocalError
from local.progress import say, showing, shown, step

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
EMULATOR = ROOT / "local" / "requirements.txt"
# What a test compares the project's own trees with.
COMPARED = ROOT / "benchmarks" / "requirements-river.txt"
QUIET = {**os.environ, "PYTHONWARNINGS": "ignore"}


def main() -> int:
    """Run a part of the set-up; return the exit status."""
    part, *words = sys.argv[1:]
    python = ""
    try:
        with showing(sys.stderr):
            if part == "functions":
                folder = ROOT / ".local" / "venvs"
                with timed("the functions' environment"):
                    venvs.functions_python(ROOT, folder=folder)
                with timed("the environment of what tests compare with"):
                    venvs.python_of(COMPARED, folder=folder)
            elif Path(sys.prefix).resolve() == Path(words[0]).resolve():
                install_development()
            else:
                python = str(begin(Path(words[0]).absolute()))
    except LocalError as error:
        print(f"\nset-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; the same command goes on", file=sys.stderr)
        return 130
    if python:
        # The rest is for the environment's own Python, with its uv.
        os.execv(python, [python, "-m", "local.install", part, *words])
    return 0


@contextlib.contextmanager
def timed(label: str) -> Iterator[None]:
    """Print what is done now, and at its end how long it took."""
    began = time.monotonic()
    say(f"· {label} …")
    with step(label):
        yield
    say(f"· {label}: {time.monotonic() - began:.1f} s")


def begin(folder: Path) -> Path:
    """
    Make the environment, and install uv into it by pip; return its Python.

    Raises:
        LocalError: One of them failed; the last lines say why.
    """
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise LocalError(
            f"'{sys.executable}' cannot make virtual environments. On Debian and "
            "Ubuntu:\n    sudo apt-get install python3-venv"
        ) from None
    version = ".".join(map(str, sys.version_info[:3]))
    python = folder / "bin" / "python"
    with timed(f"{shown(folder)} with Python {version}"):
        # One that is there, and of this Python, stays.
        program = "import pip, sys; print(sys.version_info[:3])"
        found = subprocess.getoutput(f"'{python}' -c '{program}'")
        if found != str(sys.version_info[:3]):
            make = (sys.executable, "-m", "venv", "--clear", str(folder))
            venvs.run(*make, environment=QUIET)
    pin = re.findall(r"^uv==\S+", REQUIREMENTS.read_text(), re.MULTILINE)[0]
    with timed(f"{pin.replace('==', ' ')}, which installs the rest"):
        venvs.run(
            *(str(python), "-m", "pip", "install", "-qq", "--no-input", "--no-deps"),
            *("--disable-pip-version-check", pin),
            environment=QUIET,
        )
    return python


def install_development() -> None:
    """
    Install requirements.txt, the BigQuery emulator and the command, in here.

    Raises:
        LocalError: uv failed; the message has its last lines.
    """
    with timed("the packages of requirements.txt"):
        venvs.uv("pip", "sync", "--python", sys.executable, str(REQUIREMENTS))
    with timed("the BigQuery emulator"):
        # It asks for a newer Python and a newer DuckDB than it needs. uv cannot be told
        # to look past the first; it can be told that the packages are for another
        # Python, and this one is of Python alone.
        venvs.uv(
            *("pip", "install", "--python", sys.executable, "--no-deps"),
            *("--python-version", "3.13", "--requirement", str(EMULATOR)),
        )
    write_command(Path(sys.prefix), python=Path(sys.executable))


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


def write_command(folder: Path, *, python: Path) -> None:
    """Put the one command into an environment of a Python, to run from anywhere."""
    script = folder / "bin" / "propensity"
    script.write_text(COMMAND.format(python=python, root=str(ROOT)))
    script.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
