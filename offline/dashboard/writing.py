"""Pages into a folder of this machine, or under a prefix of a bucket."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from offline import whole_files
from propensity.errors import RequestError
from propensity.gcp.artifacts import Artifacts
from propensity.settings import BUCKET, Settings

INDEX = "index.html"
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
            raise RequestError(
                f"{out!r} is not an address of a bucket",
                hint="Example: gs://my-bucket/dashboard",
            )
    elif Path(out).expanduser().is_file():
        raise RequestError(f"{out} is a file", hint="--out takes a folder")


def write(pages: Mapping[str, str], out: str, settings: Settings) -> str:
    """
    Write the pages, the first one last, so that it leads to pages that are there.

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
    names = sorted(pages, key=lambda name: (name == INDEX, name))
    address = _BUCKET.fullmatch(out)
    if address is None:
        folder = Path(out).expanduser()
        try:
            for name in names:
                whole_files.write(folder / name, pages[name].encode())
        except OSError as error:
            raise RequestError(
                f"cannot write to {folder}: {error.strerror}",
                hint="Choose another folder with --out",
            ) from error
        return str(folder / INDEX)
    prefix = f"{address['prefix']}/" if address["prefix"] else ""
    with closing(Artifacts.open(replace(settings, bucket=address["bucket"]))) as bucket:
        for name in names:
            data = pages[name].encode()
            bucket.overwrite(prefix + name, data, content_type=_TYPE)
        return bucket.uri(prefix + INDEX)
