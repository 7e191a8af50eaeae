"""
Build a preprocessor, check it against the use case's features, and upload it.

    python -m offline.build_preprocessor --from my_preprocessor.py
    python -m offline.build_preprocessor --from my_preprocessor.py --dry-run
    python -m offline.build_preprocessor --default

Training clones what was uploaded last, fits the clone on its training rows only, and
saves it beside the model; without an upload it uses the use case's default.

The file defines ``preprocessor(use_case)``, which returns an unfitted scikit-learn
``ColumnTransformer`` over the columns named in ``use_case.features``. It is pickled, so
it may use what the functions have installed (scikit-learn, numpy, pandas and this
package), and nothing defined in the file itself.

Reads the same environment as the functions (``docs/settings.md``).
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from propensity import tables, usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.columns import record
from propensity.edges.warehouse import Warehouse
from propensity.errors import PropensityError, SchemaError
from propensity.learning import training
from propensity.registry.versions import Registry, pickled, unpickled
from propensity.settings import Settings
from propensity.usecases import UseCase


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = parse(arguments)
    try:
        print(run(options))
    except PropensityError as error:
        print(f"build_preprocessor: {error.message}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m offline.build_preprocessor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--from", dest="file", type=Path, help="Python file with preprocessor(use_case)"
    )
    source.add_argument(
        "--default", action="store_true", help="put the use case's default back"
    )
    parser.add_argument("--use-case", help="default: PROPENSITY_USE_CASE")
    parser.add_argument(
        "--dry-run", action="store_true", help="check, and upload nothing"
    )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """
    Build, check, upload and record; return what to tell.

    Raises:
        SchemaError: The file gives no preprocessor that fits the features.
    """
    settings = Settings.from_environment()
    use_case = usecases.load(options.use_case or settings.use_case)
    preprocessor = (
        training.default_preprocessor(use_case)
        if options.default
        else built(options.file, use_case)
    )
    training.check_preprocessor(preprocessor, use_case)
    described = f"{use_case.name}: {shape(preprocessor)}"
    if options.dry_run:
        return f"{described}\nIt fits the use case's features. Nothing was uploaded."
    registry = Registry(Artifacts.open(settings), use_case.name)
    name, checksum = registry.upload_preprocessor(preprocessor)
    now = datetime.now(UTC)
    row = {
        "use_case": use_case.name,
        "uploaded_on": now.date(),
        "uploaded_at": now,
        "object": name,
        "sha256": checksum,
        "features": json.dumps(dict(use_case.features)),
        "is_default": options.default,
    }
    Warehouse.open(settings).append(
        tables.PREPROCESSORS,
        record(row, tables.PREPROCESSORS),
        job_id=f"preprocessor-{uuid.uuid4().hex}",
    )
    return (
        f"{described}\n"
        f"Uploaded to {registry.artifacts.uri(name)}, SHA-256 {checksum}.\n"
        "The next training uses it."
    )


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


if __name__ == "__main__":
    sys.exit(main())
