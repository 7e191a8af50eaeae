"""
Load jobs: from the emulated bucket, and without losing a field of their rows.

``local-bigquery`` reads objects by an extension of DuckDB that would be downloaded. Of
a row of JSON it leaves out fields that the schema has not, and it loads a row without
a required one; BigQuery refuses both.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

JSON = "NEWLINE_DELIMITED_JSON"
_TIMEOUT_S = 60


def load_as_bigquery() -> None:
    """Have load jobs read the emulated bucket, and refuse what BigQuery refuses."""
    from local_bigquery.jobs import load, runner

    paths, project, run, read = load.paths, load._projection, load.run, load._reader
    under_way = threading.local()

    def paths_here(cursor: Any, uri: str) -> list[str]:
        from local_bigquery.jobs.storage import _emulator

        endpoint = _emulator(uri)
        if endpoint is None:
            local: list[str] = paths(cursor, uri)
            return local
        return _fetched(endpoint, uri, Path(under_way.folder))

    def run_here(cursor: Any, config: Any, upload: str | None) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            under_way.folder = folder
            return run(cursor, config, upload)

    def read_whole(cursor: Any, files: str, config: Any, fields: list[Any]) -> Any:
        if config.sourceFormat == JSON and fields and not config.ignoreUnknownValues:
            _refuse_unknown(cursor, files, fields)
        return read(cursor, files, config, fields)

    def project_required(config: Any, fields: list[Any], columns: Any) -> Any:
        projection, bad = project(config, fields, columns)
        if (config.sourceFormat or "CSV") not in load.TEXT_FORMATS:
            return projection, bad
        missing = [
            f"{load.quote(field.name)} IS NULL"
            for field in fields
            if field.mode == "REQUIRED"
        ]
        return projection, " OR ".join([bad, *missing])

    load.paths, load._projection, load._reader = (
        paths_here,
        project_required,
        read_whole,
    )
    load.run = run_here
    for kind, handler in list(runner.HANDLERS.items()):
        if handler is run:
            runner.HANDLERS[kind] = run_here


def _fetched(endpoint: str, uri: str, folder: Path) -> list[str]:
    """Return files with the bytes of the objects that an address or pattern names."""
    from local_bigquery.errors import BigQueryError

    bucket, _, pattern = uri.removeprefix("gs://").partition("/")
    base = endpoint.rstrip("/")
    files = []
    for name in sorted(_named(base, bucket, pattern)):
        link = f"{base}/download/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        file = folder / str(len(list(folder.iterdir())))
        with _answer_of(f"{link}?alt=media") as answer, file.open("wb") as copy:
            shutil.copyfileobj(answer, copy)
        if file.open("rb").read(2) == b"\x1f\x8b":
            file = file.rename(file.with_suffix(".gz"))
        files.append(str(file))
    if not files:
        raise BigQueryError("notFound", f"Not found: URI {uri}")
    return files


def _named(base: str, bucket: str, pattern: str) -> Iterator[str]:
    prefix = pattern.partition("*")[0]
    query = {"prefix": prefix}
    matches = re.compile(
        "".join(
            ".*" if part == "*" else re.escape(part)
            for part in re.split(r"(\*)", pattern)
        ),
        re.DOTALL,
    )
    while True:
        link = f"{base}/storage/v1/b/{bucket}/o?{urlencode(query)}"
        with _answer_of(link) as answer:
            page = json.load(answer)
        for item in page.get("items", ()):
            if matches.fullmatch(item["name"]):
                yield item["name"]
        if "nextPageToken" not in page:
            return
        query["pageToken"] = page["nextPageToken"]


@contextlib.contextmanager
def _answer_of(link: str) -> Iterator[Any]:
    from local_bigquery.errors import BigQueryError

    try:
        with urllib.request.urlopen(link, timeout=_TIMEOUT_S) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        with error:
            raise BigQueryError(
                "notFound", f"Not found: {link} (HTTP {error.code})"
            ) from None


def _refuse_unknown(cursor: Any, files: str, fields: Sequence[Any]) -> None:
    from local_bigquery.errors import BigQueryError

    [(structure,)] = cursor.sql(
        f"SELECT json_group_structure(json) FROM read_ndjson_objects({files})"
    ).fetchall()
    if structure is None:
        return
    for path in _unknown(json.loads(structure), fields):
        raise BigQueryError(
            "invalid",
            f"Error while reading data, error message: No such field: {path}.",
        )


def _unknown(structure: Any, fields: Sequence[Any], within: str = "") -> Iterator[str]:
    """Yield fields of some rows' structure, as DuckDB tells it, that no schema has."""
    if isinstance(structure, list):
        for part in structure:
            yield from _unknown(part, fields, within)
        return
    if not isinstance(structure, Mapping):
        return
    # BigQuery takes a name in any case. DuckDB does not, and would load null.
    known = {field.name: field for field in fields}
    for name, inner in structure.items():
        field = known.get(name)
        if field is None:
            yield within + name
        elif field.fields:
            yield from _unknown(inner, field.fields, f"{within}{name}.")
