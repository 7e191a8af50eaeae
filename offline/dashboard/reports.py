"""
The reports of evaluated weeks, beside the dashboard: a link leads to each that exists.

A dashboard in the bucket that has the reports leads to them there. Any other gets
copies under the name that they have in the bucket, so that links work from a folder.

Whoever may write reports could put a script into one. A copy begins with a policy that
lets nothing run and loads nothing, since it is shown beside the dashboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from offline.dashboard.cases import Case
from offline.dashboard.parts import ROWS
from offline.dashboard.reading import Row, by_use_case
from propensity.errors import PropensityError
from propensity.gcp.artifacts import Artifacts
from propensity.ids import NAME
from propensity.pages.page import POLICY
from propensity.registry.reports import report_name

# The first policy in a file counts: nothing within a report can precede or revoke it.
FIRST = f'<!DOCTYPE html><meta charset="utf-8">{POLICY}\n'


@dataclass(frozen=True, kw_only=True)
class Reports:
    """
    Reports that a dashboard leads to.

    Attributes:
        links: Addresses from a page, by use case and the first day of the week.
        copies: HTML by the name of the file, to be written beside the pages.
        missing: Why reports could not be read; empty where they could.
    """

    links: Mapping[str, Mapping[date, str]] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


def find(
    evaluations: Sequence[Row],
    artifacts: Artifacts,
    *,
    as_of: date,
    above: str | None = None,
) -> Reports:
    """
    Find the reports of the weeks that the pages list.

    Args:
        above: What leads from a page to the root of that bucket, as ``../``; None where
            the pages are written elsewhere and need copies.
    """
    links: dict[str, dict[date, str]] = {}
    copies: dict[str, str] = {}
    try:
        for name, rows in sorted(by_use_case(evaluations).items()):
            if not NAME.fullmatch(name):
                continue
            there = {*artifacts.names(f"reports/{name}/")}
            case = Case(name=name, as_of=as_of, evaluations=rows)
            for week in (row["week"] for row in case.weeks[:ROWS]):
                file = report_name(name, week)
                if file not in there:
                    continue
                if above is None:
                    stored = artifacts.find(file)
                    if stored is None:
                        # Deleted since they were listed.
                        continue
                    copies[file] = FIRST + stored.data.decode(errors="replace")
                links.setdefault(name, {})[week] = f"{above or ''}{file}"
    except PropensityError as error:
        # A dashboard without these links is worth more than none.
        return Reports(missing=error.message)
    return Reports(links=links, copies=copies)
