"""A statement with its parameters as values, specified."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from offline.dashboard.filled import filled, literal


def script(sql: str, **parameters) -> str:
    return filled(sql, parameters, project="p", dataset="d")


class TestFilled:
    def test_names_the_place_of_the_tables(self):
        """So that it runs in a console, where nothing is set."""
        assert script("SELECT 1") == (
            "SET @@dataset_project_id = 'p';\nSET @@dataset_id = 'd';\nSELECT 1;\n"
        )

    def test_has_values_for_parameters(self):
        """Of every type that the statements take."""
        text = script(
            "SELECT @a, @b, @c, @d, @e",
            a="it's",
            b=3,
            c=date(2026, 1, 2),
            d=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
            e=["x", "y"],
        )

        assert (
            r"SELECT 'it\'s', 3, DATE '2026-01-02', "
            "TIMESTAMP '2026-01-02 03:04:00+00:00', ['x', 'y'];" in text
        )

    def test_leaves_comments_and_texts_as_they_are(self):
        """A comment names parameters; a text may have an @."""
        text = script("-- Parameters: @since DATE.\nSELECT 'a@since', @since", since=1)

        assert "-- Parameters: @since DATE." in text
        assert "SELECT 'a@since', 1" in text

    def test_needs_every_parameter(self):
        """One that is left would not run."""
        with pytest.raises(KeyError, match="since"):
            script("SELECT @since")

    @given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
    def test_lets_no_text_out_of_its_quotes(self, value):
        """Whatever is in a text stays one text."""
        (parsed,) = sqlglot.parse_one(
            f"SELECT {literal(value)}", read="bigquery"
        ).selects

        assert parsed.is_string
        assert parsed.this == value

    def test_takes_no_value_of_another_type(self):
        """A mistake is not written as if it were SQL."""
        with pytest.raises(TypeError, match="object"):
            literal(object())
