"""Who is forgotten: users of the command line, or of a file."""

from __future__ import annotations

import io

import pytest

from offline.forget import users_of
from propensity.errors import RequestError


@pytest.mark.parametrize(
    "written",
    ["Jürgen\nanna", "\ufeffJürgen\r\n\nanna\r\n", "Jürgen\ranna\rJürgen"],
    ids=["Unix", "Windows", "old Mac"],
)
def test_users_are_lines_of_standard_input(written):
    """In UTF-8, whatever the locale of the terminal is, each once."""
    stdin = io.TextIOWrapper(io.BytesIO(written.encode()), "latin-1")
    assert users_of(["-"], stdin) == ("Jürgen", "anna")


def test_users_in_another_encoding_than_utf_8_are_refused():
    """As PowerShell or an old editor does not: nobody would be found."""
    for encoding in ("utf-16", "latin-1"):
        stdin = io.TextIOWrapper(io.BytesIO("Jürgen\n".encode(encoding)))
        with pytest.raises(RequestError, match="UTF-8"):
            users_of(["-"], stdin)
    # Python passes other bytes as halves of pairs, which no table can hold.
    with pytest.raises(RequestError, match="UTF-8"):
        users_of(["J\udcfcrgen"], None)


def test_forgetting_nobody_is_refused():
    """Standard input may be closed, as in a job that nobody watches."""
    assert users_of(["anna"], None) == ("anna",)
    with pytest.raises(RequestError, match="there is no user id"):
        users_of(["-"], None)
