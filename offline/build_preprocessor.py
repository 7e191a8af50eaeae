"""
Build a preprocessor, check it against the use case's features, and upload it.

Training clones the newest upload, fits the clone on its training rows only, and saves
it beside the model; without an upload it uses the use case's default. The help of
``propensity build-preprocessor`` says what the file has.
"""

from __future__ import annotations

import json
import runpy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from propensity import usecases
from propensity.errors import SchemaError
from propensity.learning.candidates import check_preprocessor, preprocessor_of
from propensity.registry.deployment import open_deployment
from propensity.registry.versions import pickled, unpickled
from propensity.settings import Settings
from propensity.tables.models import PREPROCESSORS
from propensity.usecases import UseCase


def run(
    file: Path | None, *, use_case: str | None = None, is_dry: bool = False
) -> dict[str, Any]:
    """
    Build, check, upload and record a preprocessor, which the next training uses.

    Args:
        file: Python file with ``preprocessor(use_case)``; None puts the default back.

    Raises:
        SchemaError: The file gives no preprocessor that fits the features.
    """
    settings = Settings.from_environment()
    loaded = usecases.load(settings.use_case if use_case is None else use_case)
    preprocessor = (
        built(file, loaded) if file else preprocessor_of(loaded.task(settings))
    )
    check_preprocessor(preprocessor, loaded.features)
    answer = {"use_case": loaded.name, "uri": None}
    if is_dry:
        return answer
    now = datetime.now(UTC)
    with open_deployment(loaded.name) as deployment:
        name, checksum = deployment.registry.upload_preprocessor(preprocessor)
        row = {
            "use_case": loaded.name,
            "uploaded_on": now.date(),
            "uploaded_at": now,
            "object": name,
            "sha256": checksum,
            "features": json.dumps(dict(loaded.features)),
            "is_default": file is None,
        }
        deployment.warehouse.write(PREPROCESSORS, [row])
        return {**answer, "uri": deployment.artifacts.uri(name), "sha256": checksum}


def built(file: Path, use_case: UseCase) -> Any:
    """
    Return the preprocessor that a file makes for a use case.

    Raises:
        SchemaError: There is no such file or function, or what it returns can not be
            pickled and read again without the file.
    """
    if not file.is_file():
        raise SchemaError(f"there is no file {file}", hint="Check the path")
    try:
        make = runpy.run_path(str(file)).get("preprocessor")
    except (Exception, SystemExit) as error:
        raise SchemaError(
            f"{file} cannot be run",
            hint=f"Correct it: {type(error).__name__}: {error}",
        ) from error
    if not callable(make):
        raise SchemaError(
            f"{file} does not define preprocessor(use_case)",
            hint="Add a function of this name that returns a ColumnTransformer",
        )
    try:
        preprocessor = make(use_case)
        return unpickled(pickled(preprocessor))
    except (Exception, SystemExit) as error:
        raise SchemaError(
            f"the preprocessor of {file} cannot be pickled",
            hint="Use installed packages, but no function or class of the file: "
            f"{type(error).__name__}: {error}",
        ) from error
