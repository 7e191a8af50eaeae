"""
Channels, specified: calls without a client go to Google's host, with credentials.
"""

from __future__ import annotations

import asyncio

import google.auth
import grpc.aio
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcAsyncIOTransport,
)
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

from propensity.edges.channels import Channel, open_channel

TRANSPORTS = (PublisherGrpcAsyncIOTransport, BigQueryWriteGrpcAsyncIOTransport)


async def kind_of_call(channel: Channel) -> str:
    """Name the class of a call."""
    call = channel.grpc.unary_unary("/a.Service/Method")(b"")
    call.cancel()
    await channel.grpc.close()
    return type(call).__name__


@pytest.mark.parametrize("transport", TRANSPORTS)
class TestChannel:
    def test_is_to_google_where_there_is_no_emulator(self, transport, monkeypatch):
        """By TLS, with the credentials of the instance, whom an error can name."""
        credentials, opened = AnonymousCredentials(), []
        secure = grpc.aio.secure_channel

        def default(scopes):
            assert scopes == transport.AUTH_SCOPES
            return credentials, "project"

        def secure_channel(target, *rest, **named):
            opened.append((target, dict(named["options"])))
            return secure(target, *rest, **named)

        monkeypatch.setattr(google.auth, "default", default)
        monkeypatch.setattr(grpc.aio, "secure_channel", secure_channel)

        async def calls() -> tuple[Channel, str]:
            channel = open_channel(transport, endpoint="")
            return channel, await kind_of_call(channel)

        channel, kind = asyncio.run(calls())
        [(target, options)] = opened

        assert channel.credentials is credentials
        assert target == f"{transport.DEFAULT_HOST}:443"
        assert options["grpc.max_send_message_length"] == -1
        assert kind == "UnaryUnaryCall"

    def test_is_to_the_emulator_of_the_settings(self, transport):
        """No credentials; and no interceptor, which takes as long as the call."""

        async def calls() -> tuple[Channel, str]:
            channel = open_channel(transport, endpoint="127.0.0.1:1")
            return channel, await kind_of_call(channel)

        channel, kind = asyncio.run(calls())

        assert channel.credentials is None
        assert kind == "UnaryUnaryCall"
