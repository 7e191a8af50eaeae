"""
The dashboard that a deployment writes by itself, into its own bucket.

``overview`` of 05-Audiences calls it; of ``offline``, only this folder is deployed with
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from offline.dashboard.cases import find
from offline.dashboard.pages import site
from offline.dashboard.reading import Window, read
from propensity import usecases
from propensity.registry.versions import HTML

if TYPE_CHECKING:
    from propensity.runs.run import Run

FOLDER = "dashboard/"
INDEX = "index.html"
WEEKS = 26


def publish(run: Run) -> dict[str, object]:
    """
    Write the pages, the first one last, so that it leads to pages that are there.

    Returns:
        For the answer: ``pages``, how many there are.

    Raises:
        PropensityError: BigQuery or the bucket did not answer, or refuses.
    """
    window = Window(as_of=run.as_of, weeks=WEEKS, until=run.as_of)
    readings = {reading.name: reading for reading in read(run.warehouse, window)}
    names, wrong = usecases.load_all()
    for error in wrong:
        run.log("ERROR", error.message)
    settings = run.settings
    facts = {
        name: find(name, readings, run.artifacts, settings=settings) for name in names
    }
    place = f"{settings.project}.{settings.dataset}"
    pages = site(readings, facts, window, place=place, first=settings.use_case)
    run.check_lease()
    for name in sorted(pages, key=lambda name: (name == INDEX, name)):
        data = pages[name].encode()
        run.artifacts.overwrite(f"{FOLDER}{name}", data, content_type=HTML)
    return {"pages": len(pages)}
