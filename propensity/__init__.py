"""
Propensity: a probability per user from the behaviour that BigQuery already holds.

The one package that the Cloud Functions share. Every deploy stages a copy of it
beside the function's ``main.py``. Each package's own docstring lists its modules.
Beside the packages:

- ``settings``: the environment, read whole; topics
- ``errors``: all errors and their codes
- ``timeframe``: as-of dates and windows
- ``budget``: how many of the best rows a team can act on
- ``schema``: what a table is; ``statements``: SQL files by name
- ``concurrency``: groups, values kept fresh; ``clock``: the time
- ``ids``: which ids are none; ``suggestions``: what a wrong name may mean
- ``entries``: TOML files; ``folders``: use cases; ``spreadsheet``: rows as CSV
- ``watching``: how a program shows how far it is
- ``whole_files``: files, written

A notebook imports ``try_table`` and ``try_experiment`` from here; they are loaded at
the first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_IMPORTED = {
    "try_table": "propensity.trying.first_look.table",
    "try_experiment": "propensity.trying.first_look.experiment",
}


def __getattr__(name: str) -> Any:
    if name not in _IMPORTED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_IMPORTED[name]), name)
