"""Google's gRPC clients, at Google or at an emulator, and why their calls failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.api_core import exceptions as api

from propensity.errors import MissingTable, PropensityError, Unavailable
from propensity.gcp.rights import denied

Client = TypeVar("Client")

# Errors of calls that may succeed later.
TRANSIENT = (
    api.Aborted,
    api.DeadlineExceeded,
    api.InternalServerError,
    api.ResourceExhausted,
    api.ServiceUnavailable,
    api.Unknown,
)


def open_client(
    client: Callable[..., Client],
    transport: Callable[..., Any],
    *,
    endpoint: str,
    options: Sequence[tuple[str, Any]] = (),
    channel: Callable[..., Any] = grpc.insecure_channel,
) -> Client:
    """
    Open a client; nothing is sent yet.

    Args:
        client: Its class.
        transport: The class of its gRPC transport.
        endpoint: Of an emulator, as HOST:PORT; empty for Google's.
        options: Of the channel to an emulator.
        channel: Opens that channel; ``grpc.aio``'s for an asynchronous client.
    """
    if not endpoint:
        return client()
    return client(transport=transport(channel=channel(endpoint, options=options)))


def failure(
    error: Exception, *, service: str, what: str, needs: str, on: str
) -> PropensityError:
    """
    Return why a call of a client failed.

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
