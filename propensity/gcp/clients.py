"""Google's gRPC clients, at Google or at an emulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type

if TYPE_CHECKING:
    from propensity.settings import Settings

Client = TypeVar("Client")


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


def open_reader(settings: Settings) -> Any:
    """Open a client of BigQuery's Storage Read API; nothing is sent yet."""
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
        BigQueryReadGrpcTransport,
    )

    client: Any = open_client(
        BigQueryReadClient,
        BigQueryReadGrpcTransport,
        endpoint=settings.bigquery_storage_endpoint,
        options=[("grpc.max_receive_message_length", -1)],  # no limit
    )
    retry = Retry(
        predicate=if_exception_type(api.ServiceUnavailable, api.InternalServerError),
        initial=0.1,
        maximum=2.0,
        timeout=float(settings.deadline_s),
    )
    # Our deadlines: the client's are ten minutes, a day, or none.
    limits = {"retry": retry, "timeout": float(settings.query_timeout_s)}
    session = client.create_read_session
    client.create_read_session = lambda **named: session(**{**named, **limits})
    client.read_rows = partial(client.read_rows, **limits)
    return client
