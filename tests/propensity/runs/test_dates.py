"""Dates in several statements, specified: what they bill, and when a run stops."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest

from propensity.errors import QueryTooExpensive
from propensity.runs.dates import in_parts
from tests.support.shop import DAY

DATES = [date(2026, 3, 1) + n * DAY for n in range(8)]


def days_read(lookback: int) -> object:
    """Return the bytes of dates that each read a lookback, where a day is a byte."""

    def size_of(as_ofs: Sequence[date]) -> float:
        return float(lookback + (max(as_ofs) - min(as_ofs)).days)

    return size_of


def test_dates_are_read_in_one_statement_within_the_limit():
    [part] = in_parts(DATES, days_read(10), at_most=17)

    assert part.as_ofs == DATES


def test_dates_beyond_the_limit_are_read_in_neighbouring_parts():
    """As many as it asks for; in any order, each once."""
    parts = in_parts(DATES[::-1], days_read(3), at_most=6)

    assert [part.as_ofs for part in parts] == [DATES[:4], DATES[4:]]


def test_a_run_stops_where_parts_would_read_twice_as_much():
    """It says to what the limit has to be raised, for one statement.

    Defect: a training that read 2.6 TiB in one statement read 39 in forty.
    """
    with pytest.raises(QueryTooExpensive) as raised:
        in_parts(DATES, days_read(100), at_most=102)

    assert raised.value.hint == "Set it to 107 and deploy again"


def test_a_run_stops_where_a_single_date_is_beyond_the_limit():
    with pytest.raises(QueryTooExpensive, match="a single date would bill 100"):
        in_parts(DATES, days_read(100), at_most=99)
