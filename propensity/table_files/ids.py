"""Lists of user ids that people bring: words, lines, or the column of a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from propensity.errors import RequestError
from propensity.ids import USER, is_encodable
from propensity.table_files import files

# Lines that are the header of a list.
_HEADERS = ("user_id", "user_pseudo_id", "customer_id", "id", "email")
_NEWLINE = re.compile(r"\r\n?|\n")


def read_ids(file: Path) -> list[str]:
    """Return the ids that a file has in its column user_id."""
    table = files.read_file(file, [USER])
    with files.named(file):
        ids = files.identities(table[USER], USER)
    return [str(user) for user in ids.drop_null().to_pylist()]


def users_of(arguments: Sequence[str], stdin: TextIO | None) -> dict[str, int]:
    """
    Return the users that a command names, each once, and the line or place of each.

    Ids may be of any length.

    Args:
        arguments: Of the command; a single ``-`` reads ``stdin`` instead.
        stdin: One user id a line, in UTF-8 whatever the locale is. None where it is
            closed.

    Raises:
        RequestError: There is none, one is not written in UTF-8, or a line is no id.
    """
    ids = list(arguments)
    is_list = ids == ["-"]
    if is_list:
        content = b"" if stdin is None else stdin.buffer.read()
        # As Python reads the words of a command line.
        text = content.decode("utf-8-sig", "surrogateescape")
        ids = _NEWLINE.split(text)
    users = dict[str, int]()
    for line, user in enumerate(ids, 1):
        if not is_encodable(user):
            raise _refusal("a user id is not UTF-8", hint="Convert the list to UTF-8")
        if is_list:
            _check_line(user, line)
        if user:
            users.setdefault(user, line)
    if not users:
        raise _refusal("there is no user id", hint="Name one or more")
    return users


def _check_line(user: str, line: int) -> None:
    """Refuse what a spreadsheet adds to a list of ids; an argument may be any id."""
    problem = ""
    if line == 1 and user.strip().lower() in _HEADERS:
        problem = "is the header of a column"
    elif '"' in user:
        problem = "has quotation marks"
    elif "," in user or ";" in user or "\t" in user:
        problem = "has several columns"
    if problem:
        raise _refusal(
            f"line {line} of the list {problem}",
            hint="Write one id a line and nothing else; name an id that has such a "
            "sign on the command line",
        )


def _refusal(problem: str, *, hint: str) -> RequestError:
    return RequestError(problem, hint=hint, field=USER)
