"""Read a deployment, make the pages, write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from offline.dashboard.cases import Known
from offline.dashboard.reading import DAY, Reading, Row, Window, read
from offline.dashboard.reports import Reports, find
from offline.dashboard.runs import size
from offline.dashboard.site import PAGES, site
from offline.dashboard.writing import check, way_up, write
from propensity import usecases
from propensity.clock import SYSTEM, Clock
from propensity.errors import PropensityError
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.ids import NAME
from propensity.pages.words import plural
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.timeframe import midnight

WEEKS = 26


@dataclass(frozen=True, kw_only=True)
class Written:
    """
    A site that was written, or that a dry run would write.

    Attributes:
        first: Path or address of the first page.
        pages: Bytes by the name of a page; a dry run has the pages that are always
            there.
        statements: Bytes billed by statement; a dry run has the bytes of its scan.
        missing: Why a statement could not be run, by statement; under ``reports`` why
            the reports of weeks could not be read.
        reports: Reports of weeks that were copied beside the pages.
    """

    first: str
    pages: Mapping[str, int]
    statements: Mapping[str, int]
    missing: Mapping[str, str]
    is_dry: bool
    reports: int = 0

    @property
    def bytes_billed(self) -> int:
        """Bytes of all statements."""
        return sum(self.statements.values())

    def fields(self) -> dict[str, Any]:
        """Return what a program reads."""
        return {**vars(self), "bytes_billed": self.bytes_billed}

    def __str__(self) -> str:
        billed = self.bytes_billed
        gaps = [f"  {name}: {why}" for name, why in self.missing.items()]
        if self.is_dry:
            widest = max(map(len, self.statements))
            lines = [
                f"  dashboard_{name:<{widest}}  {size(n)}"
                for name, n in self.statements.items()
            ]
            return "\n".join(
                [
                    f"It would scan {size(billed)}:",
                    *lines,
                    *(["Could not be read:", *gaps] if gaps else []),
                    f"and write {', '.join(self.pages)} and a page for each use case: "
                    f"{self.first}",
                    "Nothing was read or written.",
                ]
            )
        largest = max(self.pages.values(), default=0)
        copied = (
            f", {plural(self.reports, 'report')} beside them" if self.reports else ""
        )
        return "\n".join(
            [
                f"{len(self.pages)} pages, {largest / 1000:,.0f} kB the largest"
                f"{copied}; {len(self.statements)} statements billed {size(billed)}.",
                *(["Could not be read:", *gaps] if gaps else []),
                f"Open {self.first}",
            ]
        )


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
    with ExitStack() as open_:
        warehouse = open_.enter_context(closing(Warehouse.open(chosen)))
        window = _window(chosen, clock.now(), weeks, as_of=as_of, is_local=is_local)
        readings = [*read(warehouse, window, is_dry=is_dry)]
        pages: Mapping[str, str] = dict.fromkeys((file for _, file in PAGES), "")
        first = f"{out.rstrip('/')}/index.html"
        beside = Reports()
        if not is_dry:
            artifacts = None
            if chosen.bucket:
                artifacts = open_.enter_context(closing(Artifacts.open(chosen)))
                beside = find(
                    _rows(readings, "evaluations"),
                    artifacts,
                    as_of=window.as_of,
                    above=way_up(out, chosen.bucket),
                )
            names = {
                str(row["use_case"])
                for reading in readings
                for row in reading.rows
                if "use_case" in row
            }
            facts = known(
                names,
                artifacts,
                settings=chosen,
                promoted=_promoted(readings, window.as_of) if window.is_past else None,
            )
            pages = site(
                readings,
                {
                    name: replace(known_of, reports=beside.links.get(name, {}))
                    for name, known_of in facts.items()
                },
                window,
                place=f"{chosen.project}.{chosen.dataset}",
            )
            first = write({**pages, **beside.copies}, out, chosen)
    missing = {reading.name: reading.missing for reading in readings if reading.missing}
    if beside.missing:
        missing["reports"] = beside.missing
    return Written(
        first=first,
        pages={name: len(text.encode()) for name, text in pages.items()},
        statements={reading.name: reading.bytes_billed for reading in readings},
        missing=missing,
        reports=len(beside.copies),
        is_dry=is_dry,
    )


def _rows(readings: Iterable[Reading], name: str) -> Sequence[Row]:
    """Return the rows of a statement."""
    return next(reading.rows for reading in readings if reading.name == name)


def _window(
    settings: Settings, now: datetime, weeks: int, *, as_of: date | None, is_local: bool
) -> Window:
    if as_of is not None:
        return Window(
            as_of=as_of,
            weeks=weeks,
            now=min(midnight(as_of + DAY), now),
            is_past=as_of < now.date(),
        )
    if not is_local:
        return Window(as_of=now.date(), weeks=weeks, now=now)
    return Window(as_of=_played(settings, now), weeks=weeks, now=now)


def _promoted(readings: Iterable[Reading], as_of: date) -> Mapping[str, int]:
    """
    Return the version of each use case that a training had promoted last by a day.

    As 01-Predictions takes it for a rerun: rollbacks and pins of the time are not kept.
    """
    newest: dict[str, tuple[date, int]] = {}
    for row in _rows(readings, "versions"):
        day = row["as_of"] or row["training_date"]
        if row["promoted"] and day <= as_of:
            name, entry = row["use_case"], (day, row["model_version"])
            newest[name] = max(newest.get(name, entry), entry)
    return {name: version for name, (_, version) in newest.items()}


def _played(settings: Settings, now: datetime) -> date:
    """Return the day that a local state has come to."""
    from offline.doctor.runs import moment_of_play

    with closing(Artifacts.open(settings)) as artifacts:
        try:
            return moment_of_play(artifacts, settings.use_case, now).date()
        except PropensityError:
            # Nothing was played, and there may be no bucket yet.
            return now.date()


def known(
    names: Iterable[str],
    artifacts: Artifacts | None,
    *,
    settings: Settings,
    promoted: Mapping[str, int] | None = None,
) -> dict[str, Known]:
    """
    Return the facts about use cases that no table has.

    Args:
        names: Use cases with rows; those with a folder are added.
        promoted: What served on a past day; None for what serves now, which the
            pointers say.
    """
    folders = usecases.names()
    facts = {}
    for name in sorted({*names, *folders}):
        # A name that no folder can have is not that of a removed folder.
        case = Known(has_folder=name in folders or not NAME.fullmatch(name))
        if promoted is None:
            serving = _serving(name, artifacts, is_there=name in folders)
        else:
            serving = {"champion": promoted.get(name) if name in folders else None}
        if name in folders:
            try:
                case = _from_folder(name, settings)
            except PropensityError as error:
                serving["note"] = (
                    f"The folder of the use case could not be read: {error.message}."
                )
        facts[name] = replace(case, **serving)
    return facts


def _serving(
    name: str, artifacts: Artifacts | None, *, is_there: bool
) -> dict[str, Any]:
    """Return what ``Known`` has of the pointer, or why nobody knows what it says."""
    if artifacts is None:
        return {
            "note": "Set PROPENSITY_BUCKET: without it nobody knows which version "
            "serves."
        }
    try:
        champion = Registry(artifacts, name).find_champion() if is_there else None
    except PropensityError as error:
        return {"note": f"Which version serves could not be read: {error.message}."}
    if champion is None:
        return {}
    return {
        "champion": champion.version,
        "is_pinned": bool(champion.pinned),
    }


def _from_folder(name: str, settings: Settings) -> Known:
    use_case = usecases.load(name).worded(settings)
    return Known(
        title=use_case.title,
        outcome=use_case.outcome,
        currency=use_case.currency,
        is_of_events=use_case.scores_events,
        horizon_days=use_case.horizon_days,
    )
