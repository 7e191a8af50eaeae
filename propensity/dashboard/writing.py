"""The pages of a deployment, written in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from propensity.registry.versions import HTML

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts

INDEX = "index.html"


def first_page_last(pages: Iterable[str]) -> list[str]:
    """Return files, the first page last, so that it leads to pages that are there."""
    return sorted(pages, key=lambda name: (name == INDEX, name))


def write_pages(pages: Mapping[str, str], artifacts: Artifacts, folder: str) -> None:
    """Write pages under a folder of a bucket, which ends with a slash or is empty."""
    for name in first_page_last(pages):
        data = pages[name].encode()
        artifacts.overwrite(f"{folder}{name}", data, content_type=HTML)
