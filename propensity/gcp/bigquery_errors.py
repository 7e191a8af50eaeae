"""
BigQuery's errors as the project's own, with what to do about each.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import requests.exceptions
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from propensity.errors import (
    ADD_COLUMNS,
    AccessDenied,
    Conflict,
    MissingTable,
    PropensityError,
    QueryTooExpensive,
    SchemaError,
    Unavailable,
)
from propensity.gcp import rights
from propensity.gcp.unanswered import unanswered

if TYPE_CHECKING:
    from propensity.settings import Settings

# Words of BigQuery for a column or field that a table lacks and, from "Referenced" on,
# of its emulator.
_SCHEMA_WORDS = (
    "Unrecognized name",
    "not found inside",
    "does not exist in",
    "has no",
    "is not present in",
    "Referenced column",
    "Referenced table",
    "Cannot add fields",
    "does not have a column",
    "Could not find key",
)

# Words of BigQuery for two transactions or statements that change the same rows.
_RACE_WORDS = ("concurrent update", "Could not serialize access")

# Of more statements that change a table than BigQuery queues: 20.
_QUEUE_WORDS = "Too many DML statements outstanding"

TRANSPORT = (
    requests.exceptions.RequestException,
    auth.TransportError,
    auth.RefreshError,
    ConnectionError,
    TimeoutError,
)

# The setting that limits the bytes of a run's queries.
BYTES_LIMIT = "PROPENSITY_MAXIMUM_BYTES_BILLED"

# The dataset in BigQuery's message about a permission on it, or on a table in it.
_NAMED = re.compile(r"(?:Dataset|Table) ([a-z0-9.:-]+):([A-Za-z0-9_]+)")


def _text_of(error: Exception) -> str:
    # The client appends the reason, the message again, and on further lines the job.
    text = str(getattr(error, "message", "") or error)
    return text.partition("\n")[0].partition("; reason: ")[0]


def is_denied(error: api.Forbidden) -> bool:
    """Tell whether a 403 is about a missing permission, and not about a quota."""
    errors = [entry for entry in error.errors or () if isinstance(entry, Mapping)]
    reasons = {str(entry.get("reason", "")) for entry in errors}
    return "accessDenied" in reasons or "Access Denied" in _text_of(error)


def translated(  # noqa: PLR0911
    error: Exception,
    credentials: Any = None,
    *,
    emulator: str = "",
    limit: str = BYTES_LIMIT,
) -> PropensityError:
    """
    Return the project's error for one of the BigQuery client's.

    Args:
        error: Of the client.
        credentials: Of the client; an error about rights names their account.
        emulator: As in ``unanswered``.
        limit: What limits the bytes of the query, such as a setting.
    """
    text = _text_of(error)
    if isinstance(error, api.NotFound) or "does not match any table" in text:
        return MissingTable(
            f"BigQuery does not find a table or dataset: {text}. "
            "Run the set-up, and check PROPENSITY_GA4_DATASET and the export"
        )
    if "bytesBilledLimitExceeded" in str(error) or "limit for bytes billed" in text:
        return QueryTooExpensive(f"the query would bill more than {limit}: {text}")
    if isinstance(error, api.BadRequest) and any(w in text for w in _RACE_WORDS):
        return Conflict(f"another run wrote the same table meanwhile: {text}")
    if isinstance(error, api.BadRequest) and _QUEUE_WORDS in text:
        return Unavailable(f"too many statements wait to change the same table: {text}")
    if isinstance(error, api.BadRequest) and any(w in text for w in _SCHEMA_WORDS):
        return SchemaError(
            f"a table lacks what the statement needs: {text}. {ADD_COLUMNS}"
        )
    if isinstance(error, api.Unauthorized) or (
        isinstance(error, api.Forbidden) and is_denied(error)
    ):
        return rights.denied(text, service="BigQuery", credentials=credentials)
    if isinstance(error, (api.BadRequest, api.Forbidden)):
        return PropensityError(f"BigQuery refuses the statement: {text}")
    return unanswered("BigQuery", error, emulator=emulator)


def denied(
    error: api.Forbidden, *, settings: Settings, credentials: Any, dataset: str = ""
) -> AccessDenied:
    """Return the error with account, permission and dataset."""
    text = _text_of(error)
    match = _NAMED.search(text)
    resource = dataset or (f"{match[1]}.{match[2]}" if match else "")
    remedy = rights.REMEDY
    if resource and resource == settings.export:
        remedy = f"Grant it roles/bigquery.dataViewer on the dataset {resource}"
        if not resource.startswith(f"{settings.project}."):
            remedy += ", which is for its owner to do; docs/deploy.md has the command"
    return rights.denied(
        text,
        service="BigQuery",
        credentials=credentials,
        on=resource,
        remedy=remedy,
    )
