"""
Build a preprocessor, check it against the use case's features, and upload it.

Training clones what was uploaded last, fits the clone on its training rows only, and
saves it beside the model; without an upload it uses the use case's default.

The file defines ``preprocessor(use_case)``, which returns an unfitted scikit-learn
``ColumnTransformer`` over the columns named in ``use_case.features``. It is pickled, so
it may use what the functions have installed (scikit-learn, numpy, pandas and this
package), and nothing defined in the file itself.
"""

from __future__ import annotations

import json
import runpy
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from propensity import tables, usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.columns import record
from propensity.edges.warehouse import Warehouse
from propensity.errors import SchemaError
from propensity.learning.preprocessor import check_preprocessor, default_preprocessor
from propensity.registry.versions import Registry, pickled, unpickled
from propensity.settings import Settings
from propensity.usecases import UseCase


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A preprocessor that fits, and where it lies; None where it was not uploaded."""

    use_case: str
    shape: str
    uri: str | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        described = f"{self.use_case}: {self.shape}"
        if self.uri is None:
            return (
                f"{described}\nIt fits the use case's features. Nothing was uploaded."
            )
        return (
            f"{described}\n"
            f"Uploaded to {self.uri}, SHA-256 {self.sha256}.\n"
            "The next training uses it."
        )


def run(
    file: Path | None, *, use_case: str | None = None, is_dry: bool = False
) -> Outcome:
    """
    Build, check, upload and record a preprocessor.

    Args:
        file: Python file with ``preprocessor(use_case)``; None puts the default back.
        use_case: By its name; the setting's by default.
        is_dry: Whether it is only checked.

    Raises:
        SchemaError: The file gives no preprocessor that fits the features.
    """
    settings = Settings.from_environment()
    chosen = usecases.load(use_case or settings.use_case)
    preprocessor = built(file, chosen) if file else default_preprocessor(chosen)
    check_preprocessor(preprocessor, chosen)
    outcome = Outcome(use_case=chosen.name, shape=shape(preprocessor))
    if is_dry:
        return outcome
    registry = Registry(Artifacts.open(settings), chosen.name)
    name, checksum = registry.upload_preprocessor(preprocessor)
    now = datetime.now(UTC)
    row = {
        "use_case": chosen.name,
        "uploaded_on": now.date(),
        "uploaded_at": now,
        "object": name,
        "sha256": checksum,
        "features": json.dumps(dict(chosen.features)),
        "is_default": file is None,
    }
    Warehouse.open(settings).append(
        tables.PREPROCESSORS,
        record(row, tables.PREPROCESSORS),
        job_id=f"preprocessor-{uuid.uuid4().hex}",
    )
    return replace(outcome, uri=registry.artifacts.uri(name), sha256=checksum)


def built(file: Path, use_case: UseCase) -> Any:
    """
    Return what the file's ``preprocessor`` makes of a use case.

    Raises:
        SchemaError: There is no such file or function, or what it returns can not be
            pickled and read again without the file.
    """
    if not file.is_file():
        raise SchemaError(f"there is no file {file}")
    try:
        make = runpy.run_path(str(file)).get("preprocessor")
    except Exception as error:
        raise SchemaError(f"{file} can not be run: {error!r}") from error
    if not callable(make):
        raise SchemaError(f"{file} defines no function preprocessor(use_case)")
    try:
        made = make(use_case)
        return unpickled(pickled(made))
    except Exception as error:
        raise SchemaError(
            f"what {file} builds does not survive pickling: {error!r}. It may use "
            "installed packages, and no function or class that the file defines"
        ) from error


def shape(preprocessor: Any) -> str:
    """Return a line on what is in a preprocessor."""
    parts = [
        f"{name} ({len(columns)} columns)"
        for name, _, columns in preprocessor.transformers
        if not isinstance(columns, str) and hasattr(columns, "__len__")
    ]
    return ", ".join(parts) or type(preprocessor).__name__
