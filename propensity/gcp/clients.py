"""Google's gRPC clients, at Google or at an emulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio

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
