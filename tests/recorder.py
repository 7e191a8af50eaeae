"""
Endpoints of one function's own in front of the emulators, which record what it asks.

A function's process is pointed at them by the variables that name the emulators, and
its code knows nothing of it. So every call is known to be of one function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
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


# Which field of a method's first request names what it is about.
NAMED = {
    "/google.cloud.bigquery.storage.v1.BigQueryRead/CreateReadSession": (
        storage_types.CreateReadSessionRequest,
        lambda asked: asked.read_session.table,
    ),
    "/google.cloud.bigquery.storage.v1.BigQueryRead/ReadRows": (
        storage_types.ReadRowsRequest,
        lambda asked: asked.read_stream,
    ),
    "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows": (
        storage_types.AppendRowsRequest,
        lambda asked: asked.write_stream,
    ),
    **{
        f"/google.cloud.bigquery.storage.v1.BigQueryWrite/{name}": (
            getattr(storage_types, f"{name}Request"),
            named,
        )
        for name, named in (
            ("CreateWriteStream", lambda asked: asked.parent),
            ("FinalizeWriteStream", lambda asked: asked.name),
            ("BatchCommitWriteStreams", lambda asked: asked.parent),
        )
    },
    "/google.pubsub.v1.Publisher/Publish": (PublishRequest, lambda asked: asked.topic),
}


class Noting(GrpcProxy):
    """Forward every method, and note what it names."""

    def __init__(self, storage: str, pubsub: str) -> None:
        super().__init__(
            {"/google.cloud.bigquery.": storage, "/google.pubsub.": pubsub}
        )
        self.calls: list[Call] = []

    def serve(
        self, method: str, sent: Iterator[bytes], context: Any
    ) -> Iterator[bytes]:
        """Answer as the emulator does."""
        yield from super().serve(method, self._noted(method, sent), context)

    def _noted(self, method: str, sent: Iterator[bytes]) -> Iterator[bytes]:
        names: set[str] = set()
        try:
            for data in sent:
                kind, name_of = NAMED.get(method, (None, None))
                name = name_of(kind.pb().FromString(data)) if kind else ""
                # Later requests of a call name nothing: they go where the first went.
                if name not in names and (name or not names):
                    names.add(name)
                    self.calls.append(Call(GRPC, method, name))
                yield data
        except Exception:  # the client has gone, and what it had asked is noted
            return


class Recorder:
    """What stands between a function and the emulators; a context in which it does."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """
        Args:
            environment: Of the function, with the emulators' own addresses.
        """
        self._given = environment
        self._bigquery = Proxy(environment["BIGQUERY_EMULATOR_HOST"])
        self._storage = Proxy(environment["STORAGE_EMULATOR_HOST"], _refused)
        self._grpc = Noting(
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
            **self._given,
            "BIGQUERY_EMULATOR_HOST": self._bigquery.url,
            "STORAGE_EMULATOR_HOST": self._storage.url,
            "BIGQUERY_STORAGE_EMULATOR_HOST": self._grpc.address,
            "PUBSUB_EMULATOR_HOST": self._grpc.address,
        }

    @property
    def calls(self) -> list[Call]:
        """All that was asked; of each service in its order."""
        return [
            *_http(BIGQUERY, self._bigquery),
            *_http(STORAGE, self._storage),
            *self._grpc.calls,
        ]


def _refused(asked: Asked) -> tuple[int, bytes] | None:
    """Refuse to tell of the bucket itself: the client asks, and nobody needs it."""
    if re.fullmatch(r"/storage/v1/b/[^/?]+(\?.*)?", asked.path):
        return 403, b'{"error": {"code": 403, "message": "storage.buckets.get"}}'
    return None


def _http(api: str, proxy: Proxy) -> Iterator[Call]:
    for asked in list(proxy.asked):
        # A client that has gone was answered nothing.
        status = proxy.statuses.get(asked.number, 0)
        yield Call(api, asked.method, asked.path, asked.body, status)
