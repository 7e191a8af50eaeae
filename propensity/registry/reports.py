"""Reports of evaluated weeks: an HTML page each, which a later run replaces."""

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
    """Write the report of a week, and return its name; raises Conflict in a race."""
    name = report_name(use_case, week)
    stored = artifacts.find(name)
    generation = stored.generation if stored else 0
    artifacts.replace(name, page.encode(), generation=generation, content_type=HTML)
    return name
