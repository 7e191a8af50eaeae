"""Settings with other constants, for rows that are fewer than a shop has."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from propensity.settings import Settings


def altered(settings: Settings, **changed: Any) -> Settings:
    """Return settings with other values of fields, and of constants."""
    names = {field.name for field in fields(settings)}
    constants = {name: changed.pop(name) for name in changed.keys() - names}
    kind = type("Altered", (type(settings),), constants)
    values = {name: getattr(settings, name) for name in names}
    return kind(**{**values, **changed})  # type: ignore[no-any-return]
