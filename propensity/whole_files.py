"""Files that are whole or not there, whatever stops the program that writes them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from propensity.errors import RequestError


def check_output(file: Path, *endings: str, option: str, others: Sequence[str]) -> None:
    """
    Make sure that a file to write replaces none of the others that a command names.

    Args:
        endings: One of which its name ends with, which files of other people do not.
        option: That names it.
    """
    if file.suffix.lower() not in endings:
        raise RequestError(
            f"{file} does not end in {' or '.join(endings)}",
            hint=f"Name it {file.stem if file.stem else option}{endings[0]}",
            field=option,
        )
    for other in map(Path, others):
        if file.resolve() == other.resolve():
            raise RequestError(
                f"--{option} would replace {file}, which is named twice",
                hint=f"Name another file by --{option}",
                field=option,
            )


def write_whole(file: Path, content: bytes) -> None:
    """Replace a file by a new one, never by half of one; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: the file's may be as long as a name can be.
    unfinished = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError as error:
        # A full disk names no file, and nobody knows the unfinished one.
        text = str(error) if error.strerror is None else error.strerror
        raise OSError(error.errno, text, str(file)) from error
    finally:
        # On a full disk each try would leave another unfinished file.
        unfinished.unlink(missing_ok=True)
