"""
Channels, specified: calls without a client go to Google's host, with credentials, and
their failures are ours.
"""

from __future__ import annotations

import google.auth
import grpc.aio
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcAsyncIOTransport,
)
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

from propensity.edges.channels import Channel, open_channel
from propensity.errors import AccessDenied, MissingTable, PropensityError, Unavailable

TRANSPORTS = (PublisherGrpcAsyncIOTransport, BigQueryWriteGrpcAsyncIOTransport)


async def kind_of_call(channel: Channel) -> str:
    """Name the class of a call."""
    call = channel.grpc.unary_unary("/a.Service/Method")(b"")
    call.cancel()
    await channel.grpc.close()
    return type(call).__name__


@pytest.mark.parametrize("transport", TRANSPORTS)
class TestChannel:
    async def test_is_to_google_where_there_is_no_emulator(
        self, transport, monkeypatch
    ):
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

        channel = open_channel(transport, endpoint="")
        kind = await kind_of_call(channel)
        [(target, options)] = opened

        assert channel.credentials is credentials
        assert target == f"{transport.DEFAULT_HOST}:443"
        assert options["grpc.max_send_message_length"] == -1
        assert kind == "UnaryUnaryCall"

    async def test_is_to_the_emulator_of_the_settings(self, transport):
        """No credentials; and no interceptor, which takes as long as the call."""
        channel = open_channel(transport, endpoint="127.0.0.1:1")

        assert channel.credentials is None
        assert await kind_of_call(channel) == "UnaryUnaryCall"


class TestFailure:
    def failure(self, raised: Exception) -> PropensityError:
        return Channel(None, AnonymousCredentials()).failure(
            raised,
            service="Pub/Sub",
            what="messages",
            needs="pubsub.topics.publish",
            on="projects/p/topics/t",
        )

    @pytest.mark.parametrize(
        ("code", "kind", "message"),
        [
            ("NOT_FOUND", MissingTable, "Pub/Sub does not find projects/p/topics/t"),
            ("PERMISSION_DENIED", AccessDenied, "lacks pubsub.topics.publish on"),
            ("INVALID_ARGUMENT", PropensityError, "Pub/Sub refuses messages: why"),
            ("UNAVAILABLE", Unavailable, "did not take messages: ServiceUnavailable"),
            ("RESOURCE_EXHAUSTED", Unavailable, "messages: ResourceExhausted"),
            ("UNKNOWN", Unavailable, "did not take messages: Unknown"),
        ],
    )
    def test_is_what_the_status_of_the_call_says(self, code, kind, message):
        """A retry helps unless the topic, the right or the message is at fault."""
        status, nothing = grpc.StatusCode[code], grpc.aio.Metadata()

        error = self.failure(grpc.aio.AioRpcError(status, nothing, nothing, "why"))

        assert type(error) is kind
        assert message in error.message

    def test_of_a_connection_may_pass(self):
        """What the network breaks is tried again."""
        assert type(self.failure(ConnectionResetError())) is Unavailable
