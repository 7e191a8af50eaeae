"""
Reports of evaluated weeks: an HTML page each, which a later run of the week replaces.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from propensity.registry.versions import HTML

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts


def report_name(use_case: str, week: date) -> str:
    """Return the object with the report of a week, by the first day of its outcomes."""
    return f"reports/{use_case}/{week.isoformat()}.html"


def write_report(artifacts: Artifacts, use_case: str, *, week: date, page: str) -> str:
    """
    Write the report of a week, in the place of an earlier one.

    Returns:
        The object's name.

    Raises:
        Conflict: Another run wrote it at the same moment.
    """
    name = report_name(use_case, week)
    stored = artifacts.find(name)
    artifacts.replace(
        name,
        page.encode(),
        generation=stored.generation if stored else 0,
        content_type=HTML,
    )
    return name
