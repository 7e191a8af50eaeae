"""Run the emulator: ``python -m local.emulators.pubsub --port 8093``."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import logging
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.pubsub_v1 import types

from local.emulators.pubsub.broker import EMPTY, Broker, Proto, RefusedError
from local.emulators.pubsub.push import Pusher
from local.processes import HOST, options_of_child

RPCS = {
    "Publisher": ("CreateTopic", "ListTopics", "DeleteTopic", "Publish"),
    "Subscriber": (
        "CreateSubscription",
        "DeleteSubscription",
        "Acknowledge",
        "ModifyAckDeadline",
        "Pull",
        "StreamingPull",
    ),
}
OPTIONS = (
    # Two emulators on one port would each get half of the messages.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 40_000_000),
    # The clients ping every half minute; by default a server takes that for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


def handler(broker: Broker, rpc: str) -> Any:
    """Return the handler of an RPC, by the broker's method of its name."""
    names = {"CreateTopic": "Topic", "CreateSubscription": "Subscription"}
    request_type = getattr(types, names.get(rpc, f"{rpc}Request")).pb()
    method = getattr(broker, re.sub(r"\B([A-Z])", r"_\1", rpc).lower())

    async def stream(
        requests: AsyncIterator[Proto], context: Any
    ) -> AsyncIterator[Proto]:
        try:
            async for response in method(requests):
                yield response
        except RefusedError as error:
            await context.abort(grpc.StatusCode[error.status], str(error))

    async def answer(request: Proto, context: Any) -> Proto:
        try:
            if inspect.iscoroutinefunction(method):
                return await method(request, context.time_remaining())
            return method(request)
        except RefusedError as error:
            await context.abort(grpc.StatusCode[error.status], str(error))

    def encode(response: Proto) -> bytes:
        return EMPTY if response is EMPTY else bytes(response.SerializeToString())

    decode = request_type.FromString
    if rpc == "StreamingPull":
        return grpc.stream_stream_rpc_method_handler(stream, decode, encode)
    return grpc.unary_unary_rpc_method_handler(answer, decode, encode)


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT; raise RuntimeError where the port is taken."""
    server = grpc.aio.server(options=OPTIONS)
    broker = Broker(Pusher)
    for name, rpcs in RPCS.items():
        handlers = {rpc: handler(broker, rpc) for rpc in rpcs}
        service = f"google.pubsub.v1.{name}"
        generic = grpc.method_handlers_generic_handler(service, handlers)
        server.add_generic_rpc_handlers([generic])
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await server.stop(grace=None)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser("python -m local.emulators.pubsub")
    options = options_of_child(parser)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    asyncio.run(serve(options.port))


main()
