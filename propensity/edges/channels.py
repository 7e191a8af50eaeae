"""gRPC clients of Google's services, or of an emulator at an endpoint."""

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
        endpoint: Of an emulator, as HOST:PORT; empty for Google's.
        channel: Opens the channel; ``grpc.aio.insecure_channel`` for an asynchronous
            client.
        options: Of the channel to an emulator.
    """
    if not endpoint:
        return client()
    return client(transport=transport(channel=channel(endpoint, options=options)))


def channel_of(client: Any) -> Any:
    """
    Return the channel of an asynchronous client, for calls without the client.

    A call through a client takes twice as long: its interceptor may log it, it is
    wrapped for retries, and its messages are copied. Such a call raises
    ``grpc.RpcError``, and has no header but what it is given.
    """
    channel = client.transport.grpc_channel
    # grpc has no other way to do without; with them, a call is only slower.
    getattr(channel, "_unary_unary_interceptors", []).clear()
    return channel
