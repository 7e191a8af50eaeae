"""Files that are whole or not there, whatever stops the program that writes them."""

from __future__ import annotations

import secrets
from pathlib import Path


def write(file: Path, content: bytes) -> None:
    """
    Replace a file by a new one, never by half of one; its folder is made.

    Raises:
        OSError: It cannot be written; what there was before stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: the file's may be as long as a name can be.
    unfinished = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    finally:
        # On a full disk each try would leave another unfinished file.
        unfinished.unlink(missing_ok=True)
