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
from typing import Any
from urllib.parse import unquote

from tests.proxy import Asked, GrpcProxy, Proxy

BIGQUERY, STORAGE, GRPC = "bigquery", "storage", "grpc"


@dataclass(frozen=True)
class Call:
    """
    One request, over HTTP or gRPC.

    Args:
        api: BIGQUERY and STORAGE are HTTP, with method, path and body as they came and
            the status that was answered; GRPC is a method's path, and the resource that
            Google's clients name in the header by which calls are routed.
    """

    api: str
    method: str
    path: str
    body: bytes = b""
    status: int = 200


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
        # A client adds an empty one, where it does not see the requests of a call.
        names = [
            unquote(value.partition("=")[2])
            for key, value in context.invocation_metadata()
            if key == "x-goog-request-params"
        ]
        self.calls.append(Call(GRPC, method, max(names, key=len)))
        yield from super().serve(method, sent, context)


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
        http = ((BIGQUERY, self._bigquery), (STORAGE, self._storage))
        return [
            *(
                # A client that has gone was answered nothing.
                Call(api, asked.method, asked.path, asked.body, status)
                for api, proxy in http
                for asked in list(proxy.asked)
                for status in (proxy.statuses.get(asked.number, 0),)
            ),
            *self._grpc.calls,
        ]


def _refused(asked: Asked) -> tuple[int, bytes] | None:
    """Refuse the bucket's metadata: the client asks for it, and nothing needs it."""
    if re.fullmatch(r"/storage/v1/b/[^/?]+(\?.*)?", asked.path):
        return 403, b'{"error": {"code": 403, "message": "storage.buckets.get"}}'
    return None
