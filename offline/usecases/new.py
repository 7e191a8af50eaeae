"""
Write the folder of a new use case on the GA4 export: one that runs as it is.

It predicts an event within a horizon; what is to be otherwise is changed in the files,
which say what stands where.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from propensity import usecases
from propensity.errors import RequestError
from propensity.tables import GA_EVENTS

TEMPLATES = Path(__file__).parent / "templates"
FILES = ("usecase.toml", "features.sql", "labels.sql", "first_day.sql")

# Google's rule for the names of events.
_EVENT = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True)
class Written:
    """The folder of a new use case; ``is_dry`` if it was only to be shown."""

    name: str
    folder: Path
    files: Mapping[str, str]
    is_dry: bool

    def __str__(self) -> str:
        """Return what a person reads."""
        if self.is_dry:
            texts = (f"== {name}\n{text}" for name, text in self.files.items())
            return "\n".join([*texts, f"{self.folder} was not written"])
        listed = (f"  {self.folder / name}" for name in self.files)
        return "\n".join(
            [
                *listed,
                "Change what is to be otherwise, then check it:",
                f"  propensity check-usecase {self.name}",
            ]
        )

    def fields(self) -> dict[str, object]:
        """Return what a program reads."""
        return {
            "use_case": self.name,
            "folder": str(self.folder),
            "files": dict(self.files) if self.is_dry else [*self.files],
            "is_dry": self.is_dry,
        }


def write(
    name: str,
    *,
    label_event: str,
    lookback_days: int,
    horizon_days: int,
    is_dry: bool = False,
) -> Written:
    """
    Write the folder of a use case that there is not yet.

    Args:
        name: Lower-case letters, digits and underscores; what requests will say.
        label_event: The event that makes a label 1.
        lookback_days, horizon_days: One or more.
        is_dry: Return the files, and write none.

    Raises:
        RequestError: A name cannot be, a span is none, or the folder is there.
    """
    if not usecases.NAME.fullmatch(name):
        raise RequestError(
            f"{name[:64]!r} can name no use case: these are lower-case letters, digits "
            "and underscores, 64 at most, and begin with a letter",
            field="name",
        )
    if not _EVENT.fullmatch(label_event):
        raise RequestError(
            f"{label_event[:64]!r} can be no event: GA4's are letters, digits and "
            "underscores, 40 at most, and begin with a letter",
            field="label_event",
        )
    if lookback_days < 1 or horizon_days < 1:
        raise RequestError(
            "lookback and horizon are whole numbers of days, one or more",
            field="lookback_days" if lookback_days < 1 else "horizon_days",
        )
    folder = Path(str(usecases.FOLDER)) / name
    if folder.exists():
        raise RequestError(
            f"{folder} is there already: name the use case otherwise, or remove it",
            field="name",
        )
    chosen = {
        "title": name.replace("_", " ").capitalize(),
        "label_event": label_event,
        "lookback_days": lookback_days,
        "horizon_days": horizon_days,
        "columns": _columns(),
    }
    files = {
        file: Template((TEMPLATES / file).read_text("utf-8")).substitute(chosen)
        for file in FILES
    }
    if not is_dry:
        _write_whole(folder, files)
    return Written(name, folder, files, is_dry)


def _write_whole(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files or none: half a use case would stop every function's tests."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as made:
        draft = Path(made, folder.name)
        draft.mkdir()
        for name, text in files.items():
            (draft / name).write_text(text, "utf-8")
        draft.rename(folder)


def _columns() -> str:
    """Return the columns of ga_events as comments."""
    width = max(len(one.name) for one in GA_EVENTS)
    return "\n".join(
        f"--   {one.name:<{width}}  {one.type:<9}  {one.description}"
        for one in GA_EVENTS
    )
