"""gRPC clients: Google's own, or one of an emulator at an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc

Client = TypeVar("Client")


def open_client(
    client: Callable[..., Client],
    transport: Callable[..., Any],
    *,
    endpoint: str,
    channel: Callable[..., Any] = grpc.insecure_channel,
    options: Sequence[tuple[str, Any]] = (),
) -> Client:
    """
    Open a client; nothing is sent yet.

    Args:
        client: Its class.
        transport: The class of its gRPC transport.
        endpoint: Of an emulator, as HOST:PORT; empty for Google's own.
        channel: Opens the channel; ``grpc.aio.insecure_channel`` for an asynchronous
            client.
        options: Of the channel to an emulator.
    """
    if not endpoint:
        return client()
    return client(transport=transport(channel=channel(endpoint, options=options)))
