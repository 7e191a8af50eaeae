"""gRPC clients of Google's services, or of an emulator at an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import google.auth
import grpc
import grpc.aio
from google.api_core import exceptions as api

from propensity.edges.rights import denied
from propensity.errors import MissingTable, PropensityError, Unavailable

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

# Those of Google's clients; an instance may be idle between two calls.
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
)


def open_client(
    client: Callable[..., Client],
    transport: Callable[..., Any],
    *,
    endpoint: str,
    options: Sequence[tuple[str, Any]] = (),
) -> Client:
    """
    Open a client; nothing is sent yet.

    Args:
        client: Its class.
        transport: The class of its gRPC transport.
        endpoint: Of an emulator, as HOST:PORT; empty for Google's.
        options: Of the channel to an emulator.
    """
    if not endpoint:
        return client()
    return client(
        transport=transport(channel=grpc.insecure_channel(endpoint, options=options))
    )


@dataclass(frozen=True)
class Channel:
    """An asynchronous channel for calls without a client."""

    grpc: grpc.aio.Channel
    # Of its calls, to name their account; None for an emulator's.
    credentials: Any

    def failure(
        self,
        raised: grpc.RpcError | OSError,
        *,
        service: str,
        what: str,
        needs: str,
        on: str,
    ) -> PropensityError:
        """
        Return why a call without a client failed.

        Args:
            raised: By the call.
            service: Its name, such as BigQuery.
            what: It was given, such as rows.
            needs: The permission of the call.
            on: The path of the resource.
        """
        error: Exception = raised
        if isinstance(raised, grpc.RpcError):
            error = api.from_grpc_error(raised)  # type: ignore[no-untyped-call]
        match error:
            case api.NotFound():
                return MissingTable(f"{service} does not find {on}: {error.message}")
            case api.PermissionDenied():
                return denied(
                    error.message,
                    service=service,
                    credentials=self.credentials,
                    needs=needs,
                    on=on,
                )
            case api.InvalidArgument():
                return PropensityError(f"{service} refuses {what}: {error.message}")
        return Unavailable(f"{service} did not take {what}: {type(error).__name__}")


def open_channel(transport: Any, *, endpoint: str) -> Channel:
    """
    Open an asynchronous channel for calls without a client; nothing is sent yet.

    A call through Google's client takes twice as long: an interceptor looks whether to
    log it, it is wrapped for retries, and its messages are copied. A call without one
    raises ``grpc.RpcError``, and has no header but what it is given.

    Args:
        transport: The class of the service's asynchronous gRPC transport.
        endpoint: Of an emulator, as HOST:PORT; empty for Google's.
    """
    if endpoint:
        return Channel(grpc.aio.insecure_channel(endpoint), None)
    credentials, _ = google.auth.default(scopes=transport.AUTH_SCOPES)
    channel = transport.create_channel(
        f"{transport.DEFAULT_HOST}:443", credentials=credentials, options=_OPTIONS
    )
    return Channel(channel, credentials)
