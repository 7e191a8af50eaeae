"""Google's gRPC clients, at Google or at an emulator."""

from __future__ import annotations

from typing import Any, TypeVar

import grpc
import grpc.aio

Client = TypeVar("Client")

_NO_LIMIT = [("grpc.max_receive_message_length", -1)]


def open_client(client: type[Client], endpoint: str) -> Client:
    """
    Open a client; nothing is sent yet.

    Args:
        client: Its class.
        endpoint: Of an emulator, as HOST:PORT; empty for Google's.
    """
    if not endpoint:
        return client()
    name, channel_of = "grpc", grpc.insecure_channel
    if client.__name__.endswith("AsyncClient"):
        name, channel_of = "grpc_asyncio", grpc.aio.insecure_channel
    any_client: Any = client
    transport = any_client.get_transport_class(name)
    opened: Client = any_client(
        transport=transport(channel=channel_of(endpoint, options=_NO_LIMIT))
    )
    return opened
