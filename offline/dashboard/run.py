"""Read a deployment, fill the pages, write them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

from offline.dashboard.charts import size
from offline.dashboard.facts import find
from offline.dashboard.pages import PAGES, site
from offline.dashboard.reading import TITLES, Window, read
from offline.dashboard.writing import INDEX, check, write
from offline.doctor.runs import moment_of_play
from propensity import usecases
from propensity.clock import SYSTEM, Clock
from propensity.errors import PropensityError
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.pages.words import plural
from propensity.settings import Settings


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
        lines = [f"Could not be read: {why}" for why in {*self.missing.values()}]
        if self.is_dry:
            lines += [f"  {name:<13}{size(n)}" for name, n in self.statements.items()]
            pages = f"{', '.join(self.pages)} and a page for each use case"
            lines += [f"It would scan {billed} and write {pages}: {self.first}"]
            return "\n".join([*lines, "Nothing was read or written."])
        counted = plural(len(self.statements), "statement")
        lines += [f"{plural(len(self.pages), 'page')}; {counted} billed {billed}."]
        return "\n".join([*lines, f"Open {self.first}"])


def run(
    out: str,
    *,
    weeks: int,
    as_of: date | None = None,
    is_local: bool = False,
    is_dry: bool = False,
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
    settings = Settings.from_environment()
    now = played = clock.now()
    with (
        closing(Warehouse.open(settings)) as warehouse,
        closing(Artifacts.open(settings)) as artifacts,
    ):
        if is_local:
            # Nothing may have been played, and there may be no bucket yet.
            with suppress(PropensityError):
                played = moment_of_play(artifacts, settings.use_case, now)
        window = Window(
            as_of=as_of or played.date(),
            weeks=weeks,
            until=as_of or now.date(),
            is_past=as_of is not None and as_of < now.date(),
        )
        readings = {one.name: one for one in read(warehouse, window, is_dry=is_dry)}
        pages: Mapping[str, str] = dict.fromkeys((file for _, file in PAGES), "")
        first = f"{out.rstrip('/')}/{INDEX}"
        if not is_dry:
            facts = {
                name: find(name, readings, artifacts, settings=settings, window=window)
                for name in usecases.names()
            }
            place = f"{settings.project}.{settings.dataset}"
            pages = site(readings, facts, window, place=place)
            first = write(pages, out, settings)
    return Written(
        first=first,
        pages={name: len(text.encode()) for name, text in pages.items()},
        statements={name: readings[name].bytes_billed for name in TITLES},
        missing={one.name: one.missing for one in readings.values() if one.missing},
        is_dry=is_dry,
    )
