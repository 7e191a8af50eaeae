"""The emulator's gRPC server, and the command of Google's own emulator."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.pubsub_v1 import types

from local.emulators.pubsub.broker import MAX_DEADLINE_S, Broker
from local.emulators.pubsub.messages import EMPTY, Proto, RefusedError

HOST = "127.0.0.1"
PUBLISHER = ("CreateTopic", "GetTopic", "DeleteTopic", "ListTopics", "Publish")
SUBSCRIBER = (
    "CreateSubscription", "GetSubscription", "UpdateSubscription", "DeleteSubscription",
    "Acknowledge", "ModifyAckDeadline",
)  # fmt: skip
# A pull that finds nothing answers this long before its client gives up.
PULL_MARGIN_S = 1.0
SERVER_OPTIONS = (
    # Two emulators on one port would each get half of what is published.
    ("grpc.so_reuseport", 0),
    # Above what may be published, so that more of it is refused in words.
    ("grpc.max_receive_message_length", 40_000_000),
    # The clients ping every half minute; by default a server takes that for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


def encode(response: Proto) -> bytes:
    """Return a response as it is sent."""
    return EMPTY if response is EMPTY else bytes(response.SerializeToString())


async def refused(context: Any, error: RefusedError) -> NoReturn:
    """Answer a call with an error."""
    await context.abort(grpc.StatusCode[error.status], str(error))
    raise error


def unary(rpc: str, answer: Callable[[Proto], Proto]) -> Any:
    """Return the handler of an RPC that is answered at once."""
    name = {"CreateTopic": "Topic", "CreateSubscription": "Subscription"}.get(rpc)
    request_type = getattr(types, name or f"{rpc}Request").pb()

    async def handler(request: Proto, context: Any) -> Proto:
        try:
            return answer(request)
        except RefusedError as error:
            await refused(context, error)

    return grpc.unary_unary_rpc_method_handler(handler, request_type.FromString, encode)


def handlers(broker: Broker) -> list[Any]:
    """Return what serves both services, on the client library's own types."""

    async def answer_pull(request: Proto, context: Any) -> Proto:
        wait_s = (context.time_remaining() or MAX_DEADLINE_S) - PULL_MARGIN_S
        try:
            return await broker.pull(request, wait_s)
        except RefusedError as error:
            await refused(context, error)

    def method(rpc: str) -> Callable[[Proto], Proto]:
        answer: Callable[[Proto], Proto] = getattr(
            broker, re.sub(r"\B([A-Z])", r"_\1", rpc).lower()
        )
        return answer

    publisher = {rpc: unary(rpc, method(rpc)) for rpc in PUBLISHER}
    subscriber = {rpc: unary(rpc, method(rpc)) for rpc in SUBSCRIBER}
    subscriber["Pull"] = grpc.unary_unary_rpc_method_handler(
        answer_pull, types.PullRequest.pb().FromString, encode
    )
    return [
        grpc.method_handlers_generic_handler(f"google.pubsub.v1.{name}", methods)
        for name, methods in (("Publisher", publisher), ("Subscriber", subscriber))
    ]


async def serve(port: int) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Raises:
        RuntimeError: The port is taken.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers(handlers(Broker()))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await server.stop(grace=None)


def is_serving(address: str) -> bool:
    """Whether an emulator, this or Google's, answers at ``HOST:PORT``."""
    request = types.ListTopicsRequest(project="projects/none")
    with grpc.insecure_channel(address) as channel:
        list_topics = channel.unary_unary(
            "/google.pubsub.v1.Publisher/ListTopics",
            request_serializer=types.ListTopicsRequest.serialize,
        )
        try:
            list_topics(request, timeout=5)
        except grpc.RpcError:
            return False
    return True


def google_command(port: int, folder: Path) -> list[str] | None:
    """
    Return the command that runs Google's own emulator, None where it is not installed.

    It takes the ``pubsub-emulator`` component of the gcloud command line and Java.

    Args:
        port: Free port of 127.0.0.1.
        folder: Where Java keeps its temporary files; it exists.
    """
    gcloud, home = shutil.which("gcloud"), os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    if gcloud is None or java is None:
        return None
    library = Path(gcloud).resolve().parents[1] / "platform/pubsub-emulator/lib"
    jars = sorted(library.glob("cloud-pubsub-emulator-*.jar"))
    if not jars:
        return None
    options = [f"-Djava.io.tmpdir={folder}", "-XX:-UsePerfData"]
    return [java, *options, "-jar", str(jars[-1]), f"--host={HOST}", f"--port={port}"]
