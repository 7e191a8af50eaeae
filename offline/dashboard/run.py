"""Read a deployment, fill the pages, write them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from offline.dashboard.charts import size
from offline.dashboard.facts import find
from offline.dashboard.pages import PAGES, site
from offline.dashboard.reading import TITLES, Window, read
from offline.dashboard.writing import INDEX, check, write
from propensity import usecases
from propensity.clock import SYSTEM, Clock
from propensity.errors import PropensityError
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.pages.words import plural
from propensity.settings import Settings

WEEKS = 26


@dataclass(frozen=True, kw_only=True)
class Written:
    """
    A site that was written, or that a dry run would write.

    Attributes:
        first: Path or address of the first page.
        pages: Bytes by file; a dry run has the pages that are always there.
        statements: Bytes billed by statement, or scanned by a dry one.
        missing: Why a statement could not be run, by statement.
    """

    first: str
    pages: Mapping[str, int]
    statements: Mapping[str, int]
    missing: Mapping[str, str]
    is_dry: bool

    def fields(self) -> dict[str, Any]:
        """Return what a program reads."""
        return vars(self)

    def __str__(self) -> str:
        billed = size(sum(self.statements.values()))
        scans = [f"  {name:<13}{size(n)}" for name, n in self.statements.items()]
        gaps = [f"Could not be read: {why}" for why in {*self.missing.values()}]
        if self.is_dry:
            pages = f"{', '.join(self.pages)} and a page for each use case"
            lines = [f"It would scan {billed}:", *scans, *gaps]
            lines += [f"and write {pages}: {self.first}"]
            return "\n".join([*lines, "Nothing was read or written."])
        counted = plural(len(self.statements), "statement")
        done = f"{plural(len(self.pages), 'page')}; {counted} billed {billed}."
        return "\n".join([done, *gaps, f"Open {self.first}"])


def run(
    out: str,
    *,
    weeks: int = WEEKS,
    as_of: date | None = None,
    is_local: bool = False,
    is_dry: bool = False,
    settings: Settings | None = None,
    clock: Clock = SYSTEM,
) -> Written:
    """
    Write the dashboard of the deployment that the environment names.

    Args:
        out: A folder, or ``gs://BUCKET/PREFIX``.
        as_of: Look as if that day had just ended; None for now.
        is_local: Whether it is a local state, which may have been played in another
            year than this.

    Raises:
        RequestError: Nothing can be written there.
        PropensityError: BigQuery did not answer, or refuses.
    """
    check(out)
    chosen = settings or Settings.from_environment()
    now = clock.now()
    with ExitStack() as open_:
        warehouse = open_.enter_context(closing(Warehouse.open(chosen)))
        artifacts = None
        if chosen.bucket:
            artifacts = open_.enter_context(closing(Artifacts.open(chosen)))
        played = now.date()
        if is_local and artifacts is not None:
            played = _played(artifacts, chosen, now)
        window = Window(
            as_of=as_of or played,
            weeks=weeks,
            until=as_of or now.date(),
            is_past=as_of is not None and as_of < now.date(),
        )
        readings = {one.name: one for one in read(warehouse, window, is_dry=is_dry)}
        pages: Mapping[str, str] = dict.fromkeys((file for _, file in PAGES), "")
        first = f"{out.rstrip('/')}/{INDEX}"
        if not is_dry:
            facts = {
                name: find(name, readings, artifacts, settings=chosen, window=window)
                for name in usecases.names()
            }
            pages = site(
                readings, facts, window, place=f"{chosen.project}.{chosen.dataset}"
            )
            first = write(pages, out, chosen)
    return Written(
        first=first,
        pages={name: len(text.encode()) for name, text in pages.items()},
        statements={name: readings[name].bytes_billed for name in TITLES},
        missing={one.name: one.missing for one in readings.values() if one.missing},
        is_dry=is_dry,
    )


def _played(artifacts: Artifacts, settings: Settings, now: datetime) -> date:
    """Return the day that a local state has come to."""
    from offline.doctor.runs import moment_of_play

    try:
        return moment_of_play(artifacts, settings.use_case, now).date()
    except PropensityError:
        # Nothing was played, and there may be no bucket yet.
        return now.date()
