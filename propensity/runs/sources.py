"""
The sources of a use case before a run reads them: there, readable, where queries run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from propensity.errors import SchemaError
from propensity.usecases.declaration import MOMENTS

if TYPE_CHECKING:
    from propensity.gcp.warehouse import Warehouse
    from propensity.runs.run import Run
    from propensity.usecases import UseCase
    from propensity.usecases.sources import Source


def checked(run: Run) -> UseCase:
    """
    Return the use case with its sources as their tables are; it bills nothing.

    Raises:
        SettingsError, MissingTable, AccessDenied, SchemaError: As ``described``.
    """
    found = [described(run.warehouse, source) for source in run.use_case.sources]
    return replace(run.use_case, sources=found)


def described(warehouse: Warehouse, source: Source) -> Source:
    """
    Return a source with the type of its ``valid_from``, as its table has it.

    Raises:
        SettingsError: It is in another location than queries.
        MissingTable, AccessDenied: As named.
        SchemaError: Its table lacks a column, or has it in another type.
    """
    types = warehouse.types_of(".".join(source.place(warehouse.settings.project)))
    for name in source.types:
        allowed = MOMENTS if name == source.valid_from else (source.columns.get(name),)
        kind = types.get(name)
        if kind is None or (allowed != (None,) and kind not in allowed):
            expected = " or ".join(filter(None, allowed)) or "the column of the user"
            raise SchemaError(
                f"the source {source.name}, {source.table}: {name} is "
                f"{kind or 'missing'}, expected {expected}"
            )
    return replace(source, moment=types.get(source.valid_from, source.moment))
