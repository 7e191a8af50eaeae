"""The patches of the BigQuery emulator fit the version that is installed."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.emulators.bigquery import patches

# Its package cannot be imported on Python 3.11, which one of the patches is about.
SPEC: Any = importlib.util.find_spec("local_bigquery")
FOLDER = Path(SPEC.origin).parent
NAMES = [module.name for module in pkgutil.iter_modules(patches.__path__)]


def replaced(patch: Any) -> Iterator[tuple[str, str]]:
    """Yield the lines that a patch replaces, with the module of each."""
    for module, lines in getattr(patch, "REPLACES", {}).items():
        for line in lines:
            yield module, line
    for module, rewrites in getattr(patch, "REWRITES", {}).items():
        for line, _ in rewrites:
            yield module, line


def source_of(module: str) -> str:
    """Return the source of a module of local-bigquery."""
    path = FOLDER.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_patch_replaces_is_in_the_installed_version(name):
    patch = importlib.import_module(f"{patches.__name__}.{name}")
    lines = list(replaced(patch))

    assert lines
    assert [line for line in lines if line[1] not in source_of(line[0])] == []
