"""A site into a folder of this machine, or under a prefix of a bucket."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from offline import whole_files
from offline.dashboard.site import INDEX
from propensity.errors import RequestError
from propensity.gcp.artifacts import Artifacts
from propensity.settings import BUCKET, Settings

_BUCKET = re.compile(rf"gs://(?P<bucket>{BUCKET.pattern})(?:/(?P<prefix>.*?))?/?")
_TYPE = "text/html; charset=utf-8"


def check(out: str) -> None:
    """
    Refuse a place that nothing can be written to, before anything is read.

    Raises:
        RequestError: It is no folder, or no address of a bucket.
    """
    if out.startswith("gs://"):
        if not _BUCKET.fullmatch(out):
            raise RequestError(f"{out!r} is not gs://BUCKET or gs://BUCKET/PREFIX")
    elif Path(out).expanduser().is_file():
        raise RequestError(f"{out} is a file; --out takes a folder")


def in_order(names: Iterable[str]) -> list[str]:
    """Return files in the order of writing: what is led to, before what leads there."""
    return sorted(names, key=lambda name: (name == INDEX, "/" not in name, name))


def way_up(out: str, bucket: str) -> str | None:
    """
    Return what leads from a page to the root of a bucket.

    Returns:
        ``../`` for each folder of the prefix, nothing at the root; None where the pages
        are not in that bucket.
    """
    place = _BUCKET.fullmatch(out)
    if place is None or place["bucket"] != bucket:
        return None
    prefix = place["prefix"]
    return "../" * (prefix.count("/") + 1) if prefix else ""


def write(pages: Mapping[str, str], out: str, settings: Settings) -> str:
    """
    Write the pages, what is below them first and the first of them last, so that
    whoever opens one finds what it leads to.

    Pages of the same names are replaced; other files stay.

    Args:
        pages: HTML by the name of its file.
        out: A folder, made if it is missing, or ``gs://BUCKET/PREFIX``.

    Returns:
        Path or address of the first page.

    Raises:
        RequestError: The folder cannot be written to.
        PropensityError: The bucket cannot.
    """
    names = in_order(pages)
    place = _BUCKET.fullmatch(out)
    if place is None:
        return _into_folder(pages, names, Path(out).expanduser())
    prefix = f"{place['prefix']}/" if place["prefix"] else ""
    with closing(Artifacts.open(replace(settings, bucket=place["bucket"]))) as bucket:
        for name in names:
            there = bucket.find(prefix + name)
            bucket.replace(
                prefix + name,
                pages[name].encode(),
                generation=there.generation if there else 0,
                content_type=_TYPE,
            )
        return bucket.uri(prefix + INDEX)


def _into_folder(pages: Mapping[str, str], names: list[str], folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            whole_files.write(folder / name, pages[name].encode())
    except OSError as error:
        raise RequestError(f"{folder} cannot be written to: {error}") from error
    return str(folder / INDEX)
