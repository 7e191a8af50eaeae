"""
Set-up: what development and local mode need, from the package index, by uv.

    python -m local.install    requirements.txt, the BigQuery emulator and the command,
                               into the environment of this Python
    python -m local.install functions    the functions' environment

``make setup`` makes the environment, with uv in it, and calls both.
"""

from __future__ import annotations

import sys
from pathlib import Path

from local import venvs
from local.errors import LocalError
from local.progress import say, showing

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
EMULATOR = ROOT / "local" / "requirements.txt"
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


def main() -> int:
    """Run a part of the set-up; return the exit status."""
    try:
        with showing(sys.stderr):
            (install_functions if sys.argv[1:] else install_development)()
    except LocalError as error:
        print(f"\nmake setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmake setup: stopped; run it again to continue", file=sys.stderr)
        return 130
    return 0


def install_development() -> None:
    """Install requirements.txt, the BigQuery emulator and the command, in here."""
    python = ("--python", sys.executable)
    say("· the packages of requirements.txt …")
    venvs.uv("pip", "sync", *python, str(REQUIREMENTS))
    say("· the BigQuery emulator …")
    # It requires a newer Python and a newer DuckDB than it needs. uv has no option to
    # ignore the first, but it can install for another Python, and this package is pure
    # Python.
    other = ("--no-deps", "--python-version", "3.13")
    venvs.uv("pip", "install", *python, *other, "--requirement", str(EMULATOR))
    write_command(Path(sys.prefix), python=Path(sys.executable))


def write_command(folder: Path, *, python: Path) -> None:
    """Put the one command into an environment of a Python, to run from anywhere."""
    script = folder / "bin" / "propensity"
    script.write_text(COMMAND.format(python=python, root=str(ROOT)))
    script.chmod(0o755)


def install_functions() -> None:
    """Make the environments of the functions and of what tests compare with."""
    folder = ROOT / ".local" / "venvs"
    say("· the functions' environment …")
    venvs.functions_python(ROOT, folder=folder)
    venvs.python_of(COMPARED, folder=folder)


if __name__ == "__main__":
    sys.exit(main())
