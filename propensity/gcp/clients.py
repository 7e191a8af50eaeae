"""
Google's clients: how gRPC's are opened, and the errors of all as the project's own.

An error says what failed, where, and what to do.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import grpc
import grpc.aio
import requests.exceptions
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from propensity import errors
from propensity.settings import Settings

Client = TypeVar("Client")

_NO_LIMIT = [("grpc.max_receive_message_length", -1)]

# Settings of the emulators that stand in for a service.
BIGQUERY = "BigQuery"
STORAGE = "Cloud Storage"
PUBSUB = "Pub/Sub"
SECRETS = "Secret Manager"
_ENDPOINTS = {
    BIGQUERY: "bigquery_endpoint",
    STORAGE: "storage_endpoint",
    PUBSUB: "pubsub_endpoint",
    SECRETS: "secrets_endpoint",
}

# Clients raise these for a service's answer, or on the way to it.
RAISED = (
    api.GoogleAPICallError,
    api.RetryError,
    auth.GoogleAuthError,
    requests.exceptions.RequestException,
    ConnectionError,
    TimeoutError,
)

REMEDY = (
    "Run deploy/setup.sh again: it grants what deploy/functions.toml lists. A new "
    "permission may take some minutes"
)

# BigQuery says these of a column or field that a table lacks.
_SCHEMA = re.compile(
    "Unrecognized name|not found inside|does not exist in|has no|is not present in|"
    "Schema mismatch|extra field|Cannot add fields"
)

# BigQuery says this of two statements that change the same rows.
_RACE = re.compile("concurrent update|Could not serialize access")

# BigQuery queues 20 statements that change a table, and refuses more with this.
_QUEUE = "Too many DML statements outstanding"

# BigQuery repeats a value that a statement cannot read, which may be a person's: in
# quotes, or after a colon. What it says of the statement itself has a place in it; but
# in a script the failing statement has one, too.
_HIDDEN = "(a value of a row)"
_OF_STATEMENT = re.compile(
    r"^(?!.*Query error: ).* at \[\d+:\d+\]|partition elimination|^Resources exceeded"
)
_QUOTED = re.compile(r"""["'].*["']|["'].*""")
_AFTER_COLON = re.compile(r"^((?:[A-Z]+ https?://\S+: )?(?:Query error: )?[^:]*): .*")

# BigQuery says this of a query that would bill more than it may.
_BILLED = "limit for bytes billed"


# Tests have clients of their own here, by their addresses: what opens one in the place
# of Google's class. Nothing of the product puts one here, and no variable does.
STAND_INS: dict[str, Callable[[type], Any]] = {}


def stand_in(client: type[Client], endpoint: str) -> Client | None:
    """Return a test's client in the place of Google's; None where there is none."""
    opened = STAND_INS.get(endpoint.removeprefix("http://"))
    return None if opened is None else opened(client)


def open_client(client: type[Client], endpoint: str) -> Client:
    """
    Open a client; nothing is sent yet.

    Args:
        endpoint: Of an emulator, as HOST:PORT; empty for Google's.
    """
    if not endpoint:
        return client()
    standing_in = stand_in(client, endpoint)
    if standing_in is not None:
        return standing_in
    name = "grpc"
    channel_of = grpc.insecure_channel
    if client.__name__.endswith("AsyncClient"):
        name = "grpc_asyncio"
        channel_of = grpc.aio.insecure_channel
    any_client: Any = client
    transport = any_client.get_transport_class(name)
    opened: Client = any_client(
        transport=transport(channel=channel_of(endpoint, options=_NO_LIMIT))
    )
    return opened


@contextlib.contextmanager
def translated(
    settings: Settings, service: str, *, on: str = "", needs: str = ""
) -> Iterator[None]:
    """Raise the errors of Google's clients as ``error_of`` returns them."""
    try:
        yield
    except RAISED as error:
        raise error_of(error, settings, service, on=on, needs=needs) from error


def is_without_login(error: Exception) -> bool:
    """Return whether a client could not be opened because nobody is logged in here."""
    return isinstance(error, auth.GoogleAuthError)


def without_login(error: Exception) -> errors.AccessDenied:
    """Return why a client could not be opened: nobody is logged in here."""
    return errors.AccessDenied(
        "there is no access to Google Cloud",
        hint=f"Log in with `gcloud auth application-default login`: {error}",
    )


def error_of(  # noqa: PLR0911 an error each
    error: Exception, settings: Settings, service: str, *, on: str = "", needs: str = ""
) -> errors.PropensityError:
    """
    Return why a call of a client failed.

    The resource of the call (``on``) and its permission (``needs``) are empty where the
    error names them.
    """
    # BigQuery's client appends the reason, the message again, and on further lines the
    # job.
    text = getattr(error, "message", "")
    if not text:
        text = str(error)
    text = text.partition("\n")[0].partition("; reason: ")[0]
    if service == BIGQUERY and isinstance(error, api.BadRequest):
        text = _without_values(text)
    what = on if on else "the statement"
    refused = f"{service} rejects {what}: {text}"
    match error:
        case auth.DefaultCredentialsError():
            return without_login(error)
        case api.NotFound():
            return _missing(service, on, text)
        case api.BadRequest() if "does not match any table" in text:
            return _missing(service, on, text)
        case api.BadRequest() | api.Forbidden() if _BILLED in text:
            return errors.QueryTooExpensive(
                "the query would bill more than PROPENSITY_MAXIMUM_BYTES_BILLED, "
                f"{settings.maximum_bytes_billed}, and did not run: {text}",
                hint="If your data are that large, raise it and deploy again",
            )
        case api.BadRequest() if _RACE.search(text):
            return errors.Conflict(
                f"another run wrote the same table meanwhile: {text}", hint="Call again"
            )
        case api.BadRequest() if _QUEUE in text:
            return errors.Unavailable(
                f"too many statements wait for one table: {text}", hint="Call again"
            )
        case api.BadRequest() if _SCHEMA.search(text):
            return errors.SchemaError(
                f"a query needs a column that does not exist: {text}",
                hint="If the table belongs to Propensity, run deploy/setup.sh. For the "
                "export or your own tables, run `propensity doctor`",
            )
        case api.Unauthorized() | api.PermissionDenied():
            return _denied(text, settings, service, needs=needs, on=on)
        # BigQuery's 403 may be about a quota, too: one of a moment, or of a day.
        case api.Forbidden() if "rateLimitExceeded" in _reasons(error):
            return errors.Unavailable(
                f"{service} is asked too often: {text}", hint="Call again in a minute"
            )
        case api.Forbidden() if "quotaExceeded" in _reasons(error):
            return errors.QuotaExceeded(
                f"a quota of {service} is used up: {text}",
                hint="Raise it (IAM & Admin, Quotas), or send the request again after "
                "midnight Pacific time, when Google renews daily quotas",
            )
        case api.Forbidden() if service != BIGQUERY or "Access Denied" in text:
            return _denied(text, settings, service, needs=needs, on=on)
        case api.BadRequest() | api.Forbidden():
            return errors.PropensityError(refused)
    return _unavailable(error, settings, service)


def _without_values(text: str) -> str:
    """Return BigQuery's words about a request without values of rows."""
    if any(kind.search(text) for kind in (_OF_STATEMENT, _SCHEMA, _RACE)):
        return text
    hidden = _QUOTED.sub(_HIDDEN, text)
    if "error message: " in hidden:
        # Of a file it first says which one.
        return hidden
    return _AFTER_COLON.sub(rf"\1: {_HIDDEN}", hidden)


def _reasons(error: Exception) -> set[str]:
    """Return Google's words for why a request was refused."""
    details = getattr(error, "errors", None)
    if details is None:
        return set()
    return {
        str(detail.get("reason")) for detail in details if isinstance(detail, Mapping)
    }


def _missing(service: str, on: str, text: str) -> errors.MissingTable:
    what = on if on else "a table or dataset"
    hint = "Run deploy/setup.sh"
    if service == BIGQUERY:
        hint += ", and check PROPENSITY_GA4_DATASET and the use case's sources"
    return errors.MissingTable(f"{service} does not find {what}: {text}", hint=hint)


def _denied(
    text: str, settings: Settings, service: str, *, needs: str, on: str
) -> errors.AccessDenied:
    export = settings.export
    remedy = REMEDY
    project, _, dataset = export.rpartition(".")
    dataset_name = rf"{re.escape(f'{project}:{dataset}')}\b"
    if export and (on == export or re.search(dataset_name, text)):
        remedy = f"Grant it roles/bigquery.dataViewer on the dataset {export}"
        if not export.startswith(f"{settings.project}."):
            remedy += (
                ", which is for its owner to do; docs/deploy-reference.md has the "
                "command"
            )
    lacking = needs if needs else "a permission"
    if on:
        lacking += f" on {on}"
    return errors.AccessDenied(
        f"{service} denies access: the account that this runs as lacks "
        f"{lacking}. It says: {text}",
        hint=remedy,
    )


def _unavailable(
    error: Exception, settings: Settings, service: str
) -> errors.Unavailable:
    cause = getattr(error, "cause", None)
    last = cause if isinstance(cause, Exception) else error
    if isinstance(last, auth.RefreshError):
        text = str(last).partition("\n")[0][:300]
        return errors.Unavailable(
            f"there is no access to {service}, because the account has no token: "
            f"{text}",
            hint="Log in with `gcloud auth application-default login`",
        )
    hint = ""
    message = f"{service} did not answer in time"
    if service == BIGQUERY and isinstance(error, TimeoutError):
        hint = (
            f"A query may take {settings.query_timeout_s} s. If your data are that "
            "large, raise PROPENSITY_QUERY_TIMEOUT_S and deploy again"
        )
    if "Connection refused" in str(error):
        message = f"{service} did not answer: the connection was refused"
    address = getattr(settings, _ENDPOINTS[service])
    if address:
        hint = f"This is the emulator at {address}, not Google. "
        hint += "`make status` shows running states; `make up` starts it"
    return errors.Unavailable(message, hint=hint)
