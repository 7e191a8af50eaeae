"""
Dry runs of a use case's statements: BigQuery takes them, and their columns are right.

A dry run reads no event, so that statements are checked of any source. It gives the
types of the columns as well.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from offline.usecases import googlesql, sources
from propensity import tables, usecases
from propensity.edges.columns import type_of_parameter
from propensity.edges.warehouse import Warehouse
from propensity.errors import PropensityError
from propensity.runs.compact import VIEW as STREAM_FEATURES
from propensity.runs.value import STATEMENT as AMOUNTS
from propensity.schema import in_sql
from propensity.settings import Settings
from propensity.usecases import NUMBER, Problem, UseCase, export

MAXIMUM_ROWS = 1_000

# Statements that a use case may have beside those that it must have.
OPTIONAL = (AMOUNTS, "stream_rows")

# Statements that include those of a use case, or are in the place of such.
INCLUDING = (
    "training_rows",
    "evaluation_rows",
    "unscored_converters",
    "audience_outcomes",
    "evaluation_amounts",
)

_NUMBERS, _MONEY = frozenset({"INT64", "FLOAT64"}), frozenset({"NUMERIC", "BIGNUMERIC"})

# What the client writes before BigQuery's message.
_CLIENT_PREFIX = re.compile(r"\b(POST|GET) https?://\S+: ")


class Refused(Exception):
    """BigQuery refuses a statement."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@contextlib.contextmanager
def located(use_case: UseCase, name: str) -> Iterator[None]:
    """Raise BigQuery's error for a statement as ``Refused``, with its line."""
    try:
        yield
    except PropensityError as error:
        line = sources.place(sources.lines(use_case.name, name), error.message)
        raise Refused(
            sources.at_line(line, _CLIENT_PREFIX.sub("", error.message))
        ) from error


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """
    What is wanted of a statement.

    Attributes:
        parameters: That a run gives it, and others.
        columns: Types by column, in SQL.
        has_features: Whether the features are to be among its columns.
    """

    parameters: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)
    has_features: bool = False


def wanted(
    use_case: UseCase, settings: Settings, as_ofs: Sequence[date]
) -> dict[str, Wanted]:
    """Return what is wanted of each statement that a use case has, or that uses one."""
    window = use_case.window(settings, as_ofs)
    keys = {"as_of": "DATE", "user_id": "STRING"}
    including = {
        **window,
        "use_case": use_case.name,
        "prediction_as_of": as_ofs[0],
        "maximum_rows": MAXIMUM_ROWS,
    }
    own = {
        "features": Wanted(parameters=window, columns=keys, has_features=True),
        "labels": Wanted(parameters=window, columns=keys),
        "days": Wanted(parameters=window, columns={"day": "DATE", "n_events": "INT64"}),
        AMOUNTS: Wanted(parameters=window, columns={**keys, "amount": "NUMERIC"}),
        "stream_rows": Wanted(
            parameters=use_case.serving(
                settings, ["user.00"], first_event_day=min(as_ofs)
            ),
            columns={"user_id": "STRING", "scored_until": "TIMESTAMP"},
            has_features=True,
        ),
    }
    return {
        **{name: needs for name, needs in own.items() if use_case.has_statement(name)},
        **{name: Wanted(parameters=including) for name in INCLUDING},
    }


def own(use_case: UseCase) -> tuple[str, ...]:
    """Return the statements that others include: those it must have, and may have."""
    return (*usecases.STATEMENTS, *filter(use_case.has_statement, OPTIONAL))


def check(
    use_case: UseCase,
    warehouse: Warehouse,
    as_ofs: Sequence[date],
    names: Sequence[str],
    relations: Mapping[str, googlesql.Columns],
) -> Iterator[Problem]:
    """
    Yield what is wrong with the first of some statements that is not right.

    Those after it may include it, and would be wrong for the same reason.
    """
    known = wanted(use_case, warehouse.settings, as_ofs)
    for name in names:
        sql, needs = use_case.statement(name), known[name]
        parameters = {
            key: value for key, value in needs.parameters.items() if f"@{key}" in sql
        }
        try:
            _ask_google(use_case, name, relations, parameters)
            with located(use_case, name):
                types = warehouse.column_types(sql, parameters)
        except Refused as refused:
            yield refused.problem
            return
        problems = [*_unlike(use_case, name, needs, types)]
        yield from problems
        if problems:
            return


def relations(use_case: UseCase, warehouse: Warehouse) -> dict[str, googlesql.Columns]:
    """Return the columns of all that a statement may read, by name."""
    view = export.VIEW if use_case.reads_export else STREAM_FEATURES
    found: dict[str, googlesql.Columns] = {
        table.name: table.types for table in tables.TABLES
    }
    with contextlib.suppress(PropensityError):
        types = warehouse.column_types(f"SELECT * FROM {view}")
        found[view] = {name: in_sql(kind) for name, kind in types.items()}
    return found


def _ask_google(
    use_case: UseCase,
    name: str,
    relations: Mapping[str, googlesql.Columns],
    parameters: Mapping[str, Any],
) -> None:
    """Raise ``Refused``, with the line, where Google's analyzer refuses a statement."""
    lines = sources.lines(use_case.name, name)
    types = {key: type_of_parameter(key, value) for key, value in parameters.items()}
    try:
        googlesql.columns(sources.joined(lines), relations, types)
    except googlesql.Refused as error:
        line = lines[error.line - 1] if error.line else sources.place(lines, str(error))
        raise Refused(sources.at_line(line, str(error))) from error


def _unlike(
    use_case: UseCase, name: str, needs: Wanted, types: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield the columns that a statement lacks, or gives in another type."""
    types = {column: in_sql(kind) for column, kind in types.items()}
    lines = sources.lines(use_case.name, name)

    def at(column: str, message: str) -> Problem:
        return sources.at_column(lines, column, message)

    for column, kind in needs.columns.items():
        if column not in types:
            yield at(column, f"gives no column {column}")
        elif types[column] != kind:
            yield at(column, f"{column} is {types[column]} instead of {kind}")
    for column, kind in use_case.features.items() if needs.has_features else ():
        if column not in types:
            message = f"{name}.sql gives no column {column}"
            yield sources.declared_at(use_case.name, ("features", column), message)
        elif reason := _no_feature(kind, types[column]):
            yield at(column, f"{column} {reason}")


def _no_feature(kind: str, type_: str) -> str:
    """Return why a column of a type is no feature of a kind; empty where it is one."""
    if kind != NUMBER:
        is_text = type_ == "STRING"
        return "" if is_text else f"is {type_}, and usecase.toml says a category"
    if type_ in _NUMBERS:
        return ""
    if type_ in _MONEY:
        return f"is {type_}, which a model does not read: CAST(… AS FLOAT64)"
    return f"is {type_}, and usecase.toml says a number"
