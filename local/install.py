"""
Set-up: everything that development and local mode need, from the package index.

    python3 -m local.install development FOLDER    requirements.txt, into FOLDER
    FOLDER/bin/python -m local.install functions   the functions' environment

``make setup`` calls both. The first begins with any Python and the standard library
alone: it makes the environment, installs uv into it by pip, and goes on with that.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from local import venvs
from local.errors import LocalError
from local.progress import Progress, shown

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
EMULATOR = ROOT / "local" / "requirements.txt"
# What a test compares the project's own trees with.
COMPARED = ROOT / "benchmarks" / "requirements-river.txt"
QUIET = {**os.environ, "PYTHONWARNINGS": "ignore"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a part of the set-up; return the exit status."""
    parser = argparse.ArgumentParser("python -m local.install", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("development").add_argument("folder", type=Path)
    functions = parts.add_parser("functions")
    functions.add_argument("--folder", type=Path, default=ROOT / ".local" / "venvs")
    options = parser.parse_args(arguments)
    folder = options.folder
    is_inside = Path(sys.prefix).resolve() == folder.resolve()
    try:
        with Progress(sys.stderr) as progress:
            if options.part == "functions":
                install_functions(progress, folder)
            elif is_inside:
                install_development(progress)
            else:
                begin(progress, folder)
    except LocalError as error:
        print(f"\nset-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; the same command goes on", file=sys.stderr)
        return 130
    if options.part == "development" and not is_inside:
        # The rest is for the environment's own Python, with its uv.
        python = str(folder / "bin" / "python")
        words = ["-m", "local.install", "development", str(folder)]
        os.execv(python, [python, *words])
    return 0


@contextlib.contextmanager
def timed(progress: Progress, label: str) -> Iterator[None]:
    """Print what is done now, and at its end how long it took."""
    began = time.monotonic()
    progress.say(f"· {label} …")
    with progress.step(label):
        yield
    progress.say(f"· {label}: {time.monotonic() - began:.1f} s")


def begin(progress: Progress, folder: Path) -> None:
    """
    Make the environment, and install uv into it by pip.

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
    folder = folder.absolute()
    version = ".".join(map(str, sys.version_info[:3]))
    python = folder / "bin" / "python"
    names = venvs.packages(REQUIREMENTS.read_text())
    pin = next(name for name in names if name.startswith("uv=="))
    with timed(progress, f"{shown(folder)} with Python {version}"):
        if not is_usable(python):
            shutil.rmtree(folder, ignore_errors=True)
            venvs.run(sys.executable, "-m", "venv", str(folder), environment=QUIET)
    with timed(progress, f"{pin.replace('==', ' ')}, which installs the rest"):
        venvs.run(
            *(str(python), "-m", "pip", "install", "-qq", "--no-input", "--no-deps"),
            *("--disable-pip-version-check", pin),
            environment=QUIET,
        )


def is_usable(python: Path) -> bool:
    """Whether an environment is there, and of the Python that this one is."""
    program = "import pip, sys; print(sys.version_info[:3])"
    if not python.exists():
        return False
    process = subprocess.run(
        [str(python), "-c", program], check=False, capture_output=True, text=True
    )
    return process.stdout.strip() == str(sys.version_info[:3])


def install_development(progress: Progress) -> None:
    """
    Install requirements.txt, the BigQuery emulator and the command, in here.

    Raises:
        LocalError: uv failed; the message has its last lines.
    """
    count = len(venvs.packages(REQUIREMENTS.read_text()))
    with timed(progress, f"{count} packages of requirements.txt"):
        venvs.uv("pip", "sync", "--python", sys.executable, str(REQUIREMENTS))
    with timed(progress, "the BigQuery emulator"):
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


def install_functions(progress: Progress, folder: Path) -> None:
    """
    Make the environment of the functions, before it is needed.

    Raises:
        LocalError: Requirements could not be installed.
    """
    with timed(progress, "the functions' environment"):
        venvs.functions_python(ROOT, folder=folder)
    with timed(progress, "the environment of what tests compare with"):
        venvs.python_of(COMPARED, folder=folder)


if __name__ == "__main__":
    sys.exit(main())
