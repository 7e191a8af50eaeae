"""Rows of evaluated weeks, and where the page of one is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from propensity.pages.words import Plain


def report_name(use_case: str, week: date) -> str:
    """Return the object with the report of a week, by the first day of its outcomes."""
    return f"reports/{use_case}/{week.isoformat()}.html"


def largest_by_week(rows: Iterable[Plain]) -> dict[date, Plain]:
    """Return the row of each week whose version scored most users."""
    largest: dict[date, Plain] = {}
    for row in sorted(rows, key=lambda row: row["users"] or 0, reverse=True):
        largest.setdefault(row["week"], row)
    return largest
