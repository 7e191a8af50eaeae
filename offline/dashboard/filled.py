"""
A statement with its parameters as values: what ran, to run again in any console.

Python puts no value into SQL that this project runs. This text is for people: it is
shown, and nothing here runs it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

# Comments and texts stay as they are; parameters elsewhere are replaced.
_TOKEN = re.compile(
    r"""(?P<kept>--[^\n]*|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|@(?P<name>\w+)"""
)


def filled(
    sql: str, parameters: Mapping[str, Any], *, project: str, dataset: str
) -> str:
    """
    Return a script that runs a statement with its parameters as values.

    Args:
        sql: A statement that names tables without project or dataset.
        parameters: Values by name: texts, numbers, dates, aware datetimes and lists.
        project: Where its tables are; dataset alike.

    Raises:
        KeyError: The statement names a parameter that is not there.

    Source:
        https://cloud.google.com/bigquery/docs/reference/system-variables: a script
        may set the dataset of the names without one.
    """
    body = _TOKEN.sub(
        lambda token: token["kept"] or literal(parameters[token["name"]]), sql
    )
    return (
        f"SET @@dataset_project_id = {literal(project)};\n"
        f"SET @@dataset_id = {literal(dataset)};\n"
        f"{body.rstrip()};\n"
    )


def literal(value: Any) -> str:
    """
    Write a value as BigQuery reads it.

    Raises:
        TypeError: It has no type of a parameter.
    """
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return f"'{escaped}'"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    raise TypeError(f"{type(value).__name__} is no parameter of a statement")
