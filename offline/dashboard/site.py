"""All pages of a site, by the name of their file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from offline.dashboard import audiences, fraud, overview, runs, stream, use_case
from offline.dashboard.cases import Known, cases
from offline.dashboard.reading import Reading, Row, Window
from propensity.pages.page import filled
from propensity.pages.words import cleaned

INDEX = "index.html"
PAGES = (
    ("Overview", INDEX),
    ("Stream", "stream.html"),
    ("Fraud", "fraud.html"),
    ("Audiences", "audiences.html"),
    ("Runs", "runs.html"),
    ("SQL", "sql.html"),
)


def site(
    results: Sequence[Reading],
    known: Mapping[str, Known],
    window: Window,
    *,
    place: str,
) -> dict[str, str]:
    """
    Write the pages.

    Returns:
        HTML documents by the name of their file. They link to each other alone.
    """
    readings = {reading.name: _cleaned(reading) for reading in results}
    facts = {cleaned(name): _known(entry) for name, entry in known.items()}
    listed = cases(readings, facts, as_of=window.as_of)
    since = window.days["since"]
    common = {
        "place": cleaned(place),
        "weeks": window.weeks,
        "since": str(since),
        "as_of": str(window.as_of),
        "is_past": window.is_past,
        "written_at": f"{window.now:%Y-%m-%d %H:%M} UTC",
        "pages": PAGES,
    }

    def page(here: str, content: Mapping[str, Any], template: str = "") -> str:
        content = {**common, **content, "here": here}
        return filled(__package__, template or here, content)

    contents = {
        "stream.html": stream.content(readings, window),
        "fraud.html": fraud.content(readings, listed),
        "audiences.html": audiences.content(readings),
        "runs.html": runs.content(readings, window),
        "sql.html": runs.statements([*readings.values()]),
    }
    return {
        INDEX: page(INDEX, overview.content(readings, listed), "overview.html"),
        **{here: page(here, content) for here, content in contents.items()},
        **{
            case.page: page(
                case.page, use_case.content(readings, case), "use_case.html"
            )
            for case in listed
        },
    }


def _known(facts: Known) -> Known:
    """Return what is known with texts that can stand in a page."""
    texts = {"title": facts.title, "outcome": facts.outcome, "note": facts.note}
    return replace(facts, **cleaned(texts))


def _cleaned(reading: Reading) -> Reading:
    """Return a reading whose texts can stand in a page."""
    rows: Sequence[Row] = [cleaned(row) for row in reading.rows]
    return replace(
        reading, text=cleaned(reading.text), rows=rows, missing=cleaned(reading.missing)
    )
