"""
Set-up: what development and local mode need, from the package index, by uv.

    python -m local.install    requirements.txt, the BigQuery emulator and the command,
                               into the environment of this Python
    python -m local.install functions    the functions' environment

``make setup`` makes the environment, with uv in it, and calls both.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from local import venvs
from local.errors import LocalError
from local.progress import say, showing, step

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
EMULATOR = ROOT / "local" / "requirements.txt"
# What a test compares the project's own trees with.
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
        print(f"\nset-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def timed(label: str) -> Iterator[None]:
    """Print what is done now, and at its end how long it took."""
    began = time.monotonic()
    say(f"· {label} …")
    with step(label):
        yield
    say(f"· {label}: {time.monotonic() - began:.1f} s")


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


def write_command(folder: Path, *, python: Path) -> None:
    """Put the one command into an environment of a Python, to run from anywhere."""
    script = folder / "bin" / "propensity"
    script.write_text(COMMAND.format(python=python, root=str(ROOT)))
    script.chmod(0o755)


def install_functions() -> None:
    """
    Make the environment of the functions, before it is needed.

    Raises:
        LocalError: Requirements could not be installed.
    """
    folder = ROOT / ".local" / "venvs"
    with timed("the functions' environment"):
        venvs.functions_python(ROOT, folder=folder)
    with timed("the environment of what tests compare with"):
        venvs.python_of(COMPARED, folder=folder)


if __name__ == "__main__":
    sys.exit(main())
