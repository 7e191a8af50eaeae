"""The pages of a deployment: made of what was read, and written in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from propensity.dashboard.cases import find
from propensity.dashboard.pages import site
from propensity.dashboard.reading import QueryResult, Window
from propensity.registry.versions import HTML

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts
    from propensity.settings import Settings

INDEX = "index.html"


def pages_of(
    names: Iterable[str],
    readings: Mapping[str, QueryResult],
    window: Window,
    *,
    artifacts: Artifacts,
    settings: Settings,
) -> dict[str, str]:
    """
    Return HTML by the name of its file.

    Args:
        names: The use cases.
        readings: By name, as ``read`` gives them.
        artifacts: The bucket, which has reports and which version is live.
    """
    facts = {}
    for name in names:
        facts[name] = find(name, readings, artifacts, settings=settings)
    dataset = f"{settings.project}.{settings.dataset}"
    return site(readings, facts, window, place=dataset, first=settings.use_case)


def first_page_last(pages: Iterable[str]) -> list[str]:
    """Return files, the first page last, so that it leads to pages that are there."""
    return sorted(pages, key=lambda name: (name == INDEX, name))


def write_pages(pages: Mapping[str, str], artifacts: Artifacts, folder: str) -> None:
    """Write pages under a folder of a bucket, which ends with a slash or is empty."""
    for name in first_page_last(pages):
        data = pages[name].encode()
        artifacts.overwrite(f"{folder}{name}", data, content_type=HTML)
