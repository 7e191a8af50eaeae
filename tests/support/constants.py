"""Settings with other constants, and use cases with other parameters."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from propensity import usecases
from propensity.settings import Settings
from propensity.usecases import UseCase


def altered(settings: Settings, **changed: Any) -> Settings:
    """Return settings with other values of fields, and of constants."""
    names = {field.name for field in fields(settings)}
    constants = {name: changed.pop(name) for name in changed.keys() - names}
    kind = type("Altered", (type(settings),), constants)
    values = {name: getattr(settings, name) for name in names}
    return kind(**{**values, **changed})  # type: ignore[no-any-return]


def set_parameter(patch: pytest.MonkeyPatch, use_case: UseCase, **changed: int) -> None:
    """Set parameters of a use case, also where it has been loaded again since."""
    for loaded in (use_case, usecases.load(use_case.name)):
        for name, value in changed.items():
            patch.setitem(loaded.parameters, name, value)  # type: ignore[arg-type]
