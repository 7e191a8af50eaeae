"""
Proxies in front of the emulators that record the requests of one function.

The variables that name the emulators name the proxies instead. So every recorded call
is of one function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from google.cloud.bigquery_storage_v1 import types as storage_types
from google.pubsub_v1.types import PublishRequest

from tests.proxy import Asked, GrpcProxy, Proxy

BIGQUERY, STORAGE, GRPC = "bigquery", "storage", "grpc"


@dataclass(frozen=True)
class Call:
    """
    One request, over HTTP or gRPC.

    Args:
        api: BIGQUERY and STORAGE are HTTP, with method, path and body as they came and
            the status that was answered; GRPC is a method's path and what it names.
    """

    api: str
    method: str
    path: str
    body: bytes = b""
    status: int = 200


# The type of a method's first request, and its field that names a resource.
RESOURCES = {
    f"/google.cloud.bigquery.storage.v1.{method}": (
        getattr(storage_types, f"{method.split('/')[1]}Request"),
        attrgetter(field),
    )
    for method, field in (
        ("BigQueryRead/CreateReadSession", "read_session.table"),
        ("BigQueryRead/ReadRows", "read_stream"),
        ("BigQueryWrite/AppendRows", "write_stream"),
        ("BigQueryWrite/CreateWriteStream", "parent"),
        ("BigQueryWrite/FinalizeWriteStream", "name"),
        ("BigQueryWrite/BatchCommitWriteStreams", "parent"),
    )
} | {"/google.pubsub.v1.Publisher/Publish": (PublishRequest, attrgetter("topic"))}


class RecordingProxy(GrpcProxy):
    """Forward every call, and record the resource that it names."""

    def __init__(self, storage: str, pubsub: str) -> None:
        super().__init__(
            {"/google.cloud.bigquery.": storage, "/google.pubsub.": pubsub}
        )
        self.calls: list[Call] = []

    def serve(
        self, method: str, sent: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        """Answer as the emulator does."""
        yield from super().serve(method, self._recorded(method, sent), context)

    def _recorded(self, method: str, sent: Iterator[bytes]) -> Iterator[bytes]:
        names: set[str] = set()
        try:
            for data in sent:
                kind, name_of = RESOURCES.get(method, (None, None))
                name = name_of(kind.pb().FromString(data)) if kind else ""
                # Later requests of a call name nothing: they go where the first went.
                if name not in names and (name or not names):
                    names.add(name)
                    self.calls.append(Call(GRPC, method, name))
                yield data
        except Exception:  # the client has gone; its requests are recorded
            return


class Recorder:
    """What stands between a function and the emulators; a context in which it does."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """
        Args:
            environment: Of the function, with the emulators' own addresses.
        """
        self._environment = environment
        self._bigquery = Proxy(environment["BIGQUERY_EMULATOR_HOST"])
        self._storage = Proxy(environment["STORAGE_EMULATOR_HOST"], _refused)
        self._grpc = RecordingProxy(
            environment["BIGQUERY_STORAGE_EMULATOR_HOST"],
            environment["PUBSUB_EMULATOR_HOST"],
        )
        self._stack = ExitStack()

    def __enter__(self) -> Recorder:
        for proxy in (self._bigquery, self._storage, self._grpc):
            self._stack.enter_context(proxy)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """The function's variables, with the recorder's addresses."""
        return {
            **self._environment,
            "BIGQUERY_EMULATOR_HOST": self._bigquery.url,
            "STORAGE_EMULATOR_HOST": self._storage.url,
            "BIGQUERY_STORAGE_EMULATOR_HOST": self._grpc.address,
            "PUBSUB_EMULATOR_HOST": self._grpc.address,
        }

    @property
    def calls(self) -> list[Call]:
        """All requests, in order for each service."""
        return [
            *_http(BIGQUERY, self._bigquery),
            *_http(STORAGE, self._storage),
            *self._grpc.calls,
        ]


def _refused(asked: Asked) -> tuple[int, bytes] | None:
    """Refuse the bucket's metadata: the client asks for it, and nothing needs it."""
    if re.fullmatch(r"/storage/v1/b/[^/?]+(\?.*)?", asked.path):
        return 403, b'{"error": {"code": 403, "message": "storage.buckets.get"}}'
    return None


def _http(api: str, proxy: Proxy) -> Iterator[Call]:
    for asked in list(proxy.asked):
        # A client that has gone was answered nothing.
        status = proxy.statuses.get(asked.number, 0)
        yield Call(api, asked.method, asked.path, asked.body, status)
