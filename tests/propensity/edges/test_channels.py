"""
Channels, specified: what goes without a client goes past its interceptor.
"""

from __future__ import annotations

import asyncio

import grpc.aio
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

from propensity.edges.channels import channel_of, open_client


def test_a_call_without_the_client_is_intercepted_by_nobody():
    """The client's interceptor takes as long as the call itself."""

    async def calls() -> list[str]:
        client = open_client(
            PublisherAsyncClient,
            PublisherGrpcAsyncIOTransport,
            endpoint="127.0.0.1:1",
            channel=grpc.aio.insecure_channel,
        )
        found = []
        for channel in (lambda one: one.transport.grpc_channel, channel_of):
            call = channel(client).unary_unary("/google.pubsub.v1.Publisher/Publish")(
                b""
            )
            found.append(type(call).__name__)
            call.cancel()
        await client.transport.close()
        return found

    assert asyncio.run(calls()) == ["InterceptedUnaryUnaryCall", "UnaryUnaryCall"]
