"""The pages by their files: what each template is filled with, and its charts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from propensity import usecases
from propensity.audience.programme import programme_lines
from propensity.dashboard.cases import Case, Facts, find
from propensity.dashboard.reading import (
    NEWEST_DAYS,
    TITLES,
    QueryResult,
    Row,
    Window,
    readings_of,
)
from propensity.errors import UseCaseError
from propensity.measures.intervals import rate_interval
from propensity.pages import words
from propensity.pages.findings import PAGE, meanings
from propensity.pages.page import ChartLine, fill_template, lines_svg
from propensity.pages.words import Format, Number, present

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts
    from propensity.gcp.warehouse import Warehouse
    from propensity.settings import Settings

# Weeks or days that a chart has at most, and audiences.
POINTS = 60
FEWEST = 3
BARS = 12

PAGES = (
    ("Overview", "index.html"),
    ("Audiences", "audiences.html"),
    ("SQL", "sql.html"),
)
Readings = Mapping[str, QueryResult]


def columns_svg(
    title: str,
    rows: Sequence[Row],
    columns: Sequence[str],
    write: Format,
    *,
    starts_at_zero: bool = True,
) -> Markup | None:
    """
    Draw columns of rows over time.

    Args:
        rows: Of weeks or days, the oldest first.
        columns: The most important one first, with its interval if it has one; the
            others are dashed.

    Returns:
        An ``svg`` element; of less than ``FEWEST`` values, which are no chart, a list
        of these; None without any.
    """

    def values(name: str) -> list[Number]:
        return [row.get(name) for row in rows]

    first = columns[0]
    shown = [value for value in values(first) if present(value)]
    if not shown:
        return None
    if len(shown) < FEWEST:
        return _numbers(rows, first, write)
    low = values(f"{first}_low")
    high = values(f"{first}_high")
    drawn = [ChartLine(name=first, y=values(first), low=low, high=high)]
    for column in columns[1:]:
        drawn.append(ChartLine(name=column, y=values(column), style="guide"))
    return lines_svg(
        drawn,
        title=title,
        times=[words.short_day(row["week"]) for row in rows],
        write=write,
        starts_at_zero=starts_at_zero,
    )


def _numbers(rows: Sequence[Row], name: str, write: Format) -> Markup:
    """Write the values of a few weeks or days."""
    items = [
        Markup("<li>{} <b>{}</b></li>").format(
            words.short_day(row["week"]), write(row[name])
        )
        for row in rows
        if present(row.get(name))
    ]
    return Markup('<ul class="few">{}</ul>').format(Markup("").join(items))


# Functions that templates call.
FUNCTIONS = {
    "columns_svg": columns_svg,
    "rate_interval": rate_interval,
    "share_of": words.share_of,
    "about": words.about,
    "meanings": meanings,
    "findings_page": PAGE,
    "programme_lines": programme_lines,
}


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """
    What the pages of a deployment show, and its weekly message tells.

    Attributes:
        dataset: With its project.
        cases: The use cases with rows, and the deployment's own.
        wrong: Errors of use cases without a page, as their folder is wrong.
    """

    dataset: str
    window: Window
    readings: Readings
    cases: Sequence[Case]
    wrong: Sequence[UseCaseError] = ()

    @classmethod
    def read(
        cls,
        settings: Settings,
        warehouse: Warehouse,
        artifacts: Artifacts,
        window: Window,
    ) -> Dashboard:
        """
        Read what the tables and the bucket have.

        Raises:
            PropensityError: BigQuery or the bucket did not answer, or refuses.
        """
        readings = readings_of(warehouse, window)
        names, wrong = usecases.load_all()
        facts = {}
        for name in names:
            facts[name] = find(
                name, readings, artifacts, settings=settings, as_of=window.as_of
            )
        return cls(
            dataset=f"{settings.project}.{settings.dataset}",
            window=window,
            readings=readings,
            cases=cases(readings, facts, window, first=settings.use_case),
            wrong=wrong,
        )

    @property
    def letters(self) -> int:
        """How many messages of the newest days could not be processed."""
        return sum(row["messages"] for row in self.readings["dead_letters"].rows)

    def pages(self) -> dict[str, str]:
        """Return HTML documents by the name of their file; they link to each other."""
        has_audiences = any(self.readings[name].rows for name in OF_AUDIENCES)
        shown = [page for page in PAGES if has_audiences or page[1] != "audiences.html"]
        common = {
            **FUNCTIONS,
            "place": words.cleaned(self.dataset),
            "window": self.window,
            "since": self.window.parameters("evaluations")["since"],
            "days": NEWEST_DAYS,
            "points": POINTS,
            "bars": BARS,
            "pages": shown,
            "titles": TITLES,
            "readings": self.readings,
            "cases": self.cases,
            "messages": self.letters,
        }
        pages = {}
        for _, file in shown:
            pages[file] = fill_template(__package__, file, {**common, "here": file})
        for case in self.cases:
            content = {**common, "case": case, "here": case.page, **case.facts.words}
            pages[case.page] = fill_template(__package__, "use_case.html", content)
            for week, file in case.reports.items():
                pages[file] = _linked(case.facts.reports[week], case)
            for version, file in case.model_reports.items():
                pages[file] = _linked(case.facts.model_reports[version], case)
        return pages


def _linked(report: str, case: Case) -> str:
    """Return a report that leads back to its use case, and to the model's report."""
    back = Markup('<body>\n<p class="back"><a href="{}">← {}</a></p>').format(
        case.page, case.title
    )

    def model(link: re.Match[str]) -> str:
        return case.model_reports.get(int(link["version"]), case.page)

    address = rf"\.\./\.\./models/{case.name}/(?P<version>\d+)/report\.html"
    return re.sub(address, model, report.replace("<body>", back, 1))


# The statements without whose rows there is no page of audiences.
OF_AUDIENCES = ("audiences", "deliveries", "plans", "lift")
# The statements whose rows are of a use case.
SOURCES = (
    "evaluations",
    "versions",
    "publications",
    "drift",
    "lift",
    "programme",
    "deliveries",
    "audiences",
    "plans",
)


def cases(
    readings: Readings, facts: Mapping[str, Facts], window: Window, *, first: str = ""
) -> list[Case]:
    """
    Return the use cases with rows, and the deployment's own.

    That comes first, then those of users, then those of events.
    """
    grouped: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for source in SOURCES:
        for row in readings[source].rows:
            grouped[row["use_case"]][source].append(row)
    listed = [
        Case(
            name=name,
            as_of=window.as_of,
            facts=facts[name],
            rows={source: grouped[name][source] for source in SOURCES},
        )
        for name in sorted(facts)
        if name in grouped or name == first
    ]
    return sorted(
        listed, key=lambda case: (case.name != first, not case.facts.kind.is_published)
    )
