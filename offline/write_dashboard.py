"""Read a deployment, fill the pages, write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

from offline.doctor.checks import newest_runs
from propensity import whole_files
from propensity.clock import SYSTEM, Clock
from propensity.dashboard import writing
from propensity.dashboard.pages import Dashboard
from propensity.dashboard.reading import Window
from propensity.dashboard.writing import INDEX
from propensity.errors import PropensityError, RequestError
from propensity.gcp.artifacts import Artifacts
from propensity.registry.deployment import connected
from propensity.settings import BUCKET, Settings

_BUCKET = re.compile(rf"gs://(?P<bucket>{BUCKET.pattern})(?:/(?P<prefix>.*?))?/?")


def run(
    out: str,
    *,
    weeks: int,
    as_of: date | None = None,
    is_local: bool = False,
    clock: Clock = SYSTEM,
) -> dict[str, object]:
    """
    Write the dashboard of the deployment that the environment names.

    Args:
        out: A folder, or ``gs://BUCKET/PREFIX``.
        as_of: Look as if that day had just ended; None for now.
        is_local: Whether it is a local state, which may have been played in another
            year than this.

    Returns:
        ``first``, the path or address of the first page; ``pages``, their bytes by
        file; ``missing``, why a statement could not be run; ``wrong``, use cases
        without a page because their folder is wrong.

    Raises:
        RequestError: Nothing can be written there.
        PropensityError: BigQuery did not answer, or refuses.
    """
    # Before anything is read.
    if out.startswith("gs://") and not _BUCKET.fullmatch(out):
        raise RequestError(
            f"{out!r} is not an address of a bucket",
            hint="Example: gs://my-bucket/dashboard",
        )
    today = played = clock.now().date()
    settings = Settings.from_environment()
    with connected(settings) as (artifacts, warehouse):
        if is_local:
            # Nothing may have been played, and there may be no bucket yet.
            with suppress(PropensityError):
                runs = newest_runs(artifacts).items()
                days = [day for (name, _), day in runs if name == settings.use_case]
                played = min(today, max(days, default=today))
        window = Window(as_of=played, weeks=weeks, until=today)
        if as_of is not None:
            window = Window(as_of=as_of, weeks=weeks, until=as_of)
        read = Dashboard.read(settings, warehouse, artifacts, window)
        pages = read.pages()
        first = _write(pages, out, settings)
    missing = {}
    for reading in read.readings.values():
        if reading.missing:
            missing[reading.name] = reading.missing
    return {
        "first": first,
        "pages": {name: len(text.encode()) for name, text in pages.items()},
        "missing": missing,
        "wrong": [error.message for error in read.wrong],
    }


def _write(pages: Mapping[str, str], out: str, settings: Settings) -> str:
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
    address = _BUCKET.fullmatch(out)
    if address is None:
        folder = Path(out).expanduser()
        try:
            for name in writing.first_page_last(pages):
                whole_files.write_whole(folder / name, pages[name].encode())
        except OSError as error:
            raise RequestError(
                f"cannot write to {folder}: {error.strerror}",
                hint="Choose another folder with --out",
            ) from error
        return str(folder / INDEX)
    prefix = f"{address['prefix']}/" if address["prefix"] else ""
    with closing(Artifacts.open(replace(settings, bucket=address["bucket"]))) as bucket:
        writing.write_pages(pages, bucket, prefix)
        return bucket.uri(prefix + INDEX)
