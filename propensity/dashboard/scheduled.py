"""
The dashboard that a deployment writes by itself, into its own bucket.

``overview`` of 05-Audiences calls it; ``offline.write_dashboard`` writes the same pages
for an operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from propensity import usecases
from propensity.dashboard.reading import Window, readings_of
from propensity.dashboard.writing import pages_of, write_pages

if TYPE_CHECKING:
    from propensity.runs.run import Run

FOLDER = "dashboard/"
WEEKS = 26


def publish_pages(run: Run) -> dict[str, object]:
    """
    Write the pages.

    Returns:
        For the answer: ``pages``, how many there are.

    Raises:
        PropensityError: BigQuery or the bucket did not answer, or refuses.
    """
    window = Window(as_of=run.as_of, weeks=WEEKS, until=run.as_of)
    readings = readings_of(run.warehouse, window)
    names, wrong = usecases.load_all()
    for error in wrong:
        run.log("ERROR", error.message)
    pages = pages_of(
        names, readings, window, artifacts=run.artifacts, settings=run.settings
    )
    run.check_lease()
    write_pages(pages, run.artifacts, FOLDER)
    return {"pages": len(pages)}
