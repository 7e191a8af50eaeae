"""
The dashboard that a deployment writes by itself, into its own bucket.

``overview`` of 05-Audiences calls it; ``offline.write_dashboard`` writes the same pages
for an operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity.dashboard.pages import Dashboard
from propensity.dashboard.reading import Window
from propensity.dashboard.writing import write_pages

if TYPE_CHECKING:
    from propensity.runs.run import Run

FOLDER = "dashboard/"


def read_dashboard(run: Run) -> Dashboard:
    """Read what pages and message are made of."""
    window = Window.up_to(run.as_of)
    read = Dashboard.read(run.settings, run.warehouse, run.artifacts, window)
    for error in read.wrong:
        run.log("ERROR", error.message)
    return read


def publish_pages(run: Run, read: Dashboard) -> dict[str, object]:
    """Write the pages; return for the answer ``pages``, how many there are."""
    pages = read.pages()
    run.check_lease()
    write_pages(pages, run.artifacts, FOLDER)
    return {"pages": len(pages)}
