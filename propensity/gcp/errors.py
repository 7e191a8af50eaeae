"""
Errors of Google's clients as the project's own: what failed, where, and what to do.

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

if TYPE_CHECKING:
    from propensity.settings import Settings

# Errors on the way to a service.
TRANSPORT = (
    requests.exceptions.RequestException,
    auth.GoogleAuthError,
    ConnectionError,
    TimeoutError,
)

# Errors of calls by gRPC that may succeed later.
TRANSIENT = (
    api.Aborted,
    api.DeadlineExceeded,
    api.InternalServerError,
    api.ResourceExhausted,
    api.ServiceUnavailable,
    api.Unknown,
)

# The setting that limits the bytes of a run's queries.
BYTES_LIMIT = "PROPENSITY_MAXIMUM_BYTES_BILLED"

REMEDY = (
    "Run deploy/setup.sh again: it grants what deploy/functions.toml lists. A right "
    "that was granted minutes ago may need some more until it holds everywhere"
)

# A permission as roles have it, such as bigquery.tables.updateData.
_PERMISSION = re.compile(r"\b(?:bigquery|storage|pubsub)\.[a-zA-Z]+\.[a-zA-Z]+\b")

# The dataset in BigQuery's message about a permission on it, or on a table in it.
_DATASET = re.compile(r"(?:Dataset|Table) ([a-z0-9.:-]+):([A-Za-z0-9_]+)")

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

# Words of BigQuery for two statements that change the same rows.
_RACE_WORDS = ("concurrent update", "Could not serialize access")

# Of more statements that change a table than BigQuery queues: 20.
_QUEUE_WORDS = "Too many DML statements outstanding"


def denied(
    text: str,
    *,
    service: str,
    credentials: Any = None,
    needs: str = "",
    on: str = "",
    remedy: str = REMEDY,
) -> AccessDenied:
    """
    Return the error for a refusal: permission, resource, account, and what to do.

    Args:
        text: Of the service.
        service: Its name, such as BigQuery.
        credentials: Of the client; the error names their account.
        needs: The permission of the call; empty where the text names it.
        on: The resource.
        remedy: What to do about it.
    """
    match = _PERMISSION.search(text)
    missing = needs or (match[0] if match else "")
    email = str(getattr(credentials, "service_account_email", "") or "")
    # The platform's account is called "default" until it has fetched a token.
    is_known = email not in ("", "default")
    account = f"the account {email}" if is_known else "the account that this runs as"
    where = f" on {on}" if on else ""
    return AccessDenied(
        f"{service} refuses {account}, which lacks {missing or 'a permission'}{where}. "
        f"It says: {text}. {remedy}",
        detail={"permission": missing, "resource": on},
    )


def unavailable(service: str, error: Exception, *, emulator: str = "") -> Unavailable:
    """
    Return the error for a call without an answer.

    Args:
        service: Its name, such as BigQuery.
        error: Of the client.
        emulator: Who was asked in Google's place, by ``Settings.emulator``; empty where
            it was Google.
    """
    cause = getattr(error, "cause", None)
    last = cause if isinstance(cause, Exception) else error
    if isinstance(last, auth.RefreshError):
        text = str(last).partition("\n")[0][:300]
        return Unavailable(
            f"{service} was not asked: the account got no token ({text}). A person "
            "gets one by `gcloud auth application-default login`"
        )
    message = f"{service} did not answer in time: {type(last).__name__}"
    place = f"The emulator at {emulator} was asked, and not Google"
    if "Connection refused" in str(error):
        message = f"{service} did not answer: the connection was refused"
        place = f"Nothing listens at {emulator}, which was asked, and not Google"
    if emulator:
        message += (
            f". {place}: `make status` says what is up on this machine, `make up` "
            "starts it"
        )
    return Unavailable(message)


def of_grpc(
    error: Exception, *, service: str, what: str, needs: str, on: str
) -> PropensityError:
    """
    Return why a call by gRPC failed.

    Args:
        error: Of the call.
        service: Its name, such as BigQuery.
        what: It was given, such as rows.
        needs: The permission of the call.
        on: The path of the resource.
    """
    match error:
        case api.NotFound():
            return MissingTable(f"{service} does not find {on}: {error.message}")
        case api.PermissionDenied():
            return denied(error.message, service=service, needs=needs, on=on)
        case api.InvalidArgument():
            return PropensityError(f"{service} refuses {what}: {error.message}")
    return Unavailable(f"{service} did not take {what}: {type(error).__name__}")


def of_bigquery(  # noqa: PLR0911 an error each
    error: Exception,
    settings: Settings,
    *,
    credentials: Any = None,
    on: str = "",
    limit: str = BYTES_LIMIT,
) -> PropensityError:
    """
    Return why a call of BigQuery's client failed.

    Args:
        error: Of the client.
        settings: Of the deployment.
        credentials: Of the client.
        on: The dataset or table of the call; empty where the error names it.
        limit: What limits the bytes of the query, such as a setting.
    """
    # The client appends the reason, the message again, and on further lines the job.
    text = str(getattr(error, "message", "") or error)
    text = text.partition("\n")[0].partition("; reason: ")[0]
    if isinstance(error, api.NotFound) or "does not match any table" in text:
        return MissingTable(
            f"BigQuery does not find a table or dataset: {text}. "
            "Run the set-up, and check PROPENSITY_GA4_DATASET and the export"
        )
    if "bytesBilledLimitExceeded" in str(error) or "limit for bytes billed" in text:
        return QueryTooExpensive(f"the query would bill more than {limit}: {text}")
    if isinstance(error, api.BadRequest):
        if any(words in text for words in _RACE_WORDS):
            return Conflict(f"another run wrote the same table meanwhile: {text}")
        if _QUEUE_WORDS in text:
            return Unavailable(f"too many statements wait for one table: {text}")
        if any(words in text for words in _SCHEMA_WORDS):
            return SchemaError(
                f"a table lacks what the statement needs: {text}. {ADD_COLUMNS}"
            )
    if isinstance(error, api.Unauthorized) or _is_about_rights(error, text):
        return _denied_by_bigquery(text, settings, credentials=credentials, on=on)
    if isinstance(error, (api.BadRequest, api.Forbidden)):
        return PropensityError(f"BigQuery refuses the statement: {text}")
    # Rows come by gRPC, from an emulator of their own.
    last = getattr(error, "cause", None) or error
    is_read = getattr(last, "grpc_status_code", None) is not None
    endpoint = "bigquery_storage_endpoint" if is_read else "bigquery_endpoint"
    return unavailable("BigQuery", error, emulator=settings.emulator(endpoint))


def _is_about_rights(error: Exception, text: str) -> bool:
    """Tell whether an error is a 403 about a permission, and not about a quota."""
    if not isinstance(error, api.Forbidden):
        return False
    entries = [entry for entry in error.errors or () if isinstance(entry, Mapping)]
    is_named = any(entry.get("reason") == "accessDenied" for entry in entries)
    return is_named or "Access Denied" in text


def _denied_by_bigquery(
    text: str, settings: Settings, *, credentials: Any, on: str
) -> AccessDenied:
    match = _DATASET.search(text)
    resource = on or (f"{match[1]}.{match[2]}" if match else "")
    remedy = REMEDY
    if resource and resource == settings.export:
        remedy = f"Grant it roles/bigquery.dataViewer on the dataset {resource}"
        if not resource.startswith(f"{settings.project}."):
            remedy += ", which is for its owner to do; docs/deploy.md has the command"
    return denied(
        text, service="BigQuery", credentials=credentials, on=resource, remedy=remedy
    )
