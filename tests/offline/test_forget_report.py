"""
The users whom ``propensity forget`` is told, specified: their ids are text in UTF-8.
"""

from __future__ import annotations

import io

import pytest

from offline.forget_report import Report, pieces, users_of
from propensity.errors import RequestError


def stdin(data: bytes) -> io.TextIOWrapper:
    """Return standard input in a locale of old."""
    return io.TextIOWrapper(io.BytesIO(data), "latin-1")


class TestUsers:
    @pytest.mark.parametrize(
        "written",
        ["Jürgen\nanna", "\ufeffJürgen\r\nanna\r\n", "Jürgen\ranna\r"],
        ids=["Unix", "Windows", "old Mac"],
    )
    def test_are_lines_of_any_system(self, written):
        """In UTF-8, whatever the locale of the terminal is."""
        assert users_of(["-"], stdin(written.encode())) == ("Jürgen", "anna")

    @pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
    def test_in_another_encoding_are_refused_in_words(self, encoding):
        """As PowerShell or an old editor writes them: nobody would be found."""
        with pytest.raises(RequestError, match="save them as UTF-8"):
            users_of(["-"], stdin("Jürgen\n".encode(encoding)))

    def test_on_the_command_line_are_utf_8_too(self):
        """Python passes other bytes as halves of pairs, which no table can hold."""
        with pytest.raises(RequestError, match="not written in UTF-8"):
            users_of(["J\udcfcrgen"], None)

    def test_need_no_standard_input(self):
        """It may be closed, as in a job that nobody watches."""
        assert users_of(["anna"], None) == ("anna",)
        with pytest.raises(RequestError, match="no user was named"):
            users_of(["-"], None)

    def test_are_asked_about_in_lists_that_a_statement_takes(self):
        """BigQuery takes 10 MB of parameters; ids of an export have any length."""
        long = "y" * 5_000_000

        assert [len(piece) for piece in pieces(["x"] * 25_000)] == [10_000] * 2 + [5000]
        assert [len(piece) for piece in pieces(["x" * 1000] * 9_000)] == [1500] * 6
        assert [*pieces([long, "z", long])] == [[long], ["z"], [long]]


class TestReport:
    def test_names_sources_that_it_cannot_delete_from(self):
        """They are of a CRM, whose owner deletes there."""
        report = Report(hashes=[""], use_case="", is_dry=False, began_at="now")
        report.add_notes(refresh_s=60, sources=["crm-project.crm.loyalty"])

        assert "read, crm-project.crm.loyalty: this cannot delete from them" in str(
            report
        )
