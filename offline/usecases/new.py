"""
Write the folder of a new use case on the GA4 export: one that runs as it is.

It predicts an event within a horizon. To predict something else, edit the files: their
comments say what belongs where.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import Any

from propensity import folders, usecases
from propensity.errors import RequestError, UseCaseError
from propensity.ids import NAME, is_event_name
from propensity.tables.every import GA_EVENTS

TEMPLATES = Path(__file__).parent / "templates"
# The last makes a folder a use case: there is no half of one.
FILES = ("features.sql", "labels.sql", "days.sql", "usecase.toml")


def write(
    name: str,
    *,
    label_event: str,
    lookback_days: int,
    horizon_days: int,
    source: str | None = None,
    is_dry: bool = False,
) -> dict[str, Any]:
    """
    Write the folder of a new use case; return where it is, and what is next.

    Args:
        name: As requests name it: lower-case letters, digits and underscores.
        lookback_days, horizon_days: From 1 on.
        source: A table of one's own to read as well, as ``project.dataset.table`` or
            ``dataset.table``.

    Raises:
        RequestError: A name or a span is invalid, or the folder exists.
    """
    if not NAME.fullmatch(name):
        problem = (
            f"{name[:64]!r} can name no use case: these are lower-case letters, digits "
            "and underscores, 64 at most, and begin with a letter"
        )
        raise RequestError(problem, field="name")
    if not is_event_name(label_event):
        problem = (
            f"{label_event[:64]!r} can be no event: GA4's begin with a letter, "
            "and have letters, digits, underscores, hyphens and blanks, 40 at most"
        )
        raise RequestError(problem, field="label_event")
    folder = folders.own() / name
    module = folders.FOLDER / f"{name}.py"
    if name in folders.names() or folder.exists() or module.exists():
        problem = f"{name} is there already: name the use case otherwise, or remove it"
        raise RequestError(problem, field="name")
    substitutions = {
        "title": name.replace("_", " ").capitalize(),
        "label_event": label_event,
        "lookback_days": lookback_days,
        "horizon_days": horizon_days,
        "columns": _columns(),
        **_of_source(source),
    }
    files = {
        file: Template((TEMPLATES / file).read_text("utf-8")).substitute(substitutions)
        for file in FILES
    }
    try:
        usecases.parse(name, files["usecase.toml"])
    except UseCaseError as error:
        raise RequestError(error.message) from error
    if not is_dry:
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text, "utf-8")
    return {
        "use_case": name,
        "folder": folder,
        "files": [*files],
        "is_dry": is_dry,
        "next": f"change the files, then: `propensity usecase check {name}`",
    }


def _of_source(table: str | None) -> dict[str, str]:
    """Return what a source adds to each file."""
    if not table:
        names = ("source", "source_features", "source_columns", "source_join")
        return dict.fromkeys(names, "")
    name = re.sub(r"\W", "_", table.rpartition(".")[2]).lower()
    text, join = (
        Template((TEMPLATES / f"source.{kind}").read_text("utf-8")).substitute(
            name=name, table=table
        )
        for kind in ("toml", "sql")
    )
    return {
        "source": text,
        "source_features": f'{name}_points = "number"\n{name}_tier = "category"\n',
        "source_columns": f",\n  MAX({name}.points) AS {name}_points"
        f",\n  MAX({name}.tier) AS {name}_tier",
        "source_join": join,
    }


def _columns() -> str:
    """Return the columns of ga_events as comments."""
    width = max(len(column.name) for column in GA_EVENTS)
    return "\n".join(
        f"--   {column.name:<{width}}  {column.type:<9}  {column.description}"
        for column in GA_EVENTS
    )
