"""The pages of runs with what they billed, and of the statements behind the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from offline.dashboard.cases import clipped
from offline.dashboard.parts import Tile, anchored, fate, grid
from offline.dashboard.reading import Reading, Readings, Row, Window
from propensity.pages.words import DASH, compact, count, decimals, plural


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that left rows; ``at`` is a date where its moment is not kept."""

    at: str
    what: str
    use_case: str
    result: str
    rows: int | None = None
    seconds: float | None = None
    bytes_billed: int | None = None


def content(readings: Readings, window: Window) -> dict[str, Any]:
    """Return what the page of runs reads."""
    since = window.days["since"]
    runs = sorted(
        (
            *_trainings(readings, since),
            *_evaluations(readings),
            *_publications(readings),
        ),
        key=lambda run: run.at,
        reverse=True,
    )
    billed = sum(run.bytes_billed or 0 for run in runs)
    own = sum(reading.bytes_billed for reading in readings.values())
    missing = [reading for reading in readings.values() if reading.missing]
    return {
        "headline": f"{plural(len(runs), 'run')} in this time, {size(billed)} billed."
        if runs
        else "No run left a row in this time.",
        "tiles": [
            Tile(
                name="Billed by these runs",
                value=size(billed),
                note=plural(len(runs), "run"),
                source="publications.bytes_billed",
            ),
            Tile(
                name="Billed by this dashboard",
                value=size(own),
                note=plural(len(readings), "statement"),
                source="evaluations",
            ),
        ],
        "runs": grid(
            [
                (
                    run.at,
                    run.what,
                    clipped(run.use_case, 64),
                    run.result,
                    count(run.rows),
                    DASH if run.seconds is None else f"{run.seconds:,.0f} s",
                    DASH if run.bytes_billed is None else size(run.bytes_billed),
                )
                for run in runs
            ],
            most=120,
            caption="Runs that left rows, newest first.",
            columns=(
                "When",
                "Run",
                "Use case",
                "Result",
                "Rows",
                "Took",
                "Billed",
            ),
            source="evaluations",
            texts=4,
            empty="No run left a row in this time"
            + (f": {clipped(missing[0].missing)}." if missing else "."),
            is_wide=True,
        ),
    }


def size(n: int) -> str:
    """Write bytes."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if n >= unit:
            return f"{decimals(1)(n / unit)} {name}"
    return f"{compact(n / 1024)} KiB" if n else "0 bytes"


def _minute(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M}"


def _trainings(readings: Readings, since: date) -> Iterator[Run]:
    for row in readings["versions"].rows:
        # Versions are read of a year more than the other runs: one may still serve.
        if row["training_date"] < since:
            continue
        yield Run(
            at=_minute(row["trained_at"])
            if row["trained_at"] is not None
            else str(row["training_date"]),
            what="training",
            use_case=str(row["use_case"]),
            result=f"version {row['model_version']}, {fate(row)}",
            rows=row["users"],
            seconds=row["seconds"],
            bytes_billed=row["bytes_billed"],
        )


def _evaluations(readings: Readings) -> Iterator[Run]:
    # A run writes the rows of several weeks, and each has what the run billed.
    together: dict[tuple[str, datetime], list[Any]] = {}
    for row in readings["evaluations"].rows:
        if row["evaluated_at"] is not None:
            key = str(row["use_case"]), row["evaluated_at"]
            together.setdefault(key, []).append(row)
    for (use_case, at), rows in together.items():
        weeks = sorted({str(row["week"]) for row in rows})
        yield Run(
            at=_minute(at),
            what="evaluation",
            use_case=use_case,
            result=f"{weeks[0]} to {weeks[-1]}" if len(weeks) > 1 else weeks[0],
            rows=sum(row["users"] or 0 for row in rows),
            bytes_billed=max(row["bytes_billed"] or 0 for row in rows),
        )


def _publications(readings: Readings) -> Iterator[Run]:
    recorded = set()
    for row in readings["publications"].rows:
        recorded.add((row["use_case"], row["as_of"]))
        yield _publication(
            row,
            row["scored_at"],
            rows=row["users"],
            seconds=row["seconds"],
            bytes_billed=row["bytes_billed"],
        )
    # A publication that was not recorded may have rows of drift.
    for row in readings["drift"].rows:
        is_known = (row["use_case"], row["as_of"]) in recorded
        if row["kind"] == "users" and not is_known:
            yield _publication(row, row["written_at"], rows=row["users"])


def _publication(row: Row, at: datetime | None, **figures: Any) -> Run:
    return Run(
        at=_minute(at) if at is not None else str(row["as_of"]),
        what="publication",
        use_case=str(row["use_case"]),
        result=f"{row['as_of']}, version {row['model_version']}",
        **figures,
    )


def statements(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return what the page of the statements reads."""
    return {
        "statements": [
            {
                "name": reading.name,
                "title": reading.title,
                "file": f"offline/dashboard/dashboard_{reading.name}.sql",
                "text": anchored(reading.name, reading.text),
                "rows": plural(len(reading.rows), "row"),
                "billed": size(reading.bytes_billed),
                "missing": clipped(reading.missing),
            }
            for reading in readings
        ]
    }
