"""
Grounds by their addresses: what the product opens in the place of Google's clients.

A ground has an address, as an emulator has, so that one test process has deployments on
grounds and on emulators side by side.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Self

from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from local.emulators.bigquery.streams import Writes
from local.ground import Ground
from propensity.gcp.clients import STAND_INS
from propensity.gcp.queries import Queries
from propensity.statements import parameters_of

WIDER = {("INT64", "FLOAT64"), ("INT64", "NUMERIC")}
_NUMBERS = itertools.count(1)
_pb = types.AppendRowsRequest.pb


class Writer:
    """The Storage Write API's client, and that for an event loop, on a ground."""

    def __init__(self, ground: Ground) -> None:
        # The product keeps it for good; the tables go with the test.
        self._writes = Writes(weakref.proxy(ground.bigquery))
        self.transport = self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stay: another call may use it."""

    def create_write_stream(self, *, parent: str, write_stream: Any, **_: Any) -> Any:
        request = types.CreateWriteStreamRequest(
            parent=parent, write_stream=write_stream
        )
        return self._writes.create(types.CreateWriteStreamRequest.pb(request), None)

    def append_rows(self, requests: Iterable[Any] = (), **_: Any) -> Any:
        return Answers(self._writes, requests)

    def finalize_write_stream(self, *, name: str, **_: Any) -> Any:
        request = types.FinalizeWriteStreamRequest.pb()(name=name)
        return self._writes.finalize(request, None)

    def batch_commit_write_streams(self, request: Any, **_: Any) -> Any:
        of = types.BatchCommitWriteStreamsRequest
        return self._writes.commit(of.pb(request), None)


class Answers:
    """A call of appends, whose requests are given or written one by one."""

    def __init__(self, writes: Writes, requests: Iterable[Any]) -> None:
        self._written = deque(map(_pb, requests))
        self._answers = writes.append(self._requests(), None)

    def _requests(self) -> Iterator[Any]:
        while self._written:
            yield self._written.popleft()

    def __iter__(self) -> Iterator[Any]:
        return self._answers

    async def write(self, request: Any) -> None:
        self._written.append(_pb(request))

    async def read(self) -> Any:
        return next(self._answers)

    def cancel(self) -> None:
        """End the call."""


class Publisher:
    """The client of Pub/Sub for an event loop, on a ground."""

    def __init__(self, ground: Ground) -> None:
        self._topics = ground.topics

    async def publish(self, request: Any, **_: Any) -> None:
        topic = request.topic.rpartition("/")[2]
        messages = [(one.data, dict(one.attributes)) for one in request.messages]
        self._topics.publish(topic, messages)


def address_of(ground: Ground) -> dict[str, str]:
    """Return the variables by which the product finds a ground, while it is there."""
    address = f"ground-{next(_NUMBERS)}:1"
    # The product keeps clients; a ground goes with the test.
    there = weakref.proxy(ground)
    opened = {
        "Client": lambda: there.storage,
        "SecretManagerServiceClient": lambda: there.secrets,
        "PublisherAsyncClient": lambda: Publisher(there),
        "BigQueryWriteClient": lambda: Writer(there),
        "BigQueryWriteAsyncClient": lambda: Writer(there),
        "BigQueryReadClient": object,
    }

    def open_one(client: type) -> Any:
        if client is bigquery.Client:
            return there.bigquery
        return opened[client.__name__]()

    STAND_INS[address] = open_one
    weakref.finalize(ground, STAND_INS.pop, address)
    return {
        "GOOGLE_CLOUD_PROJECT": ground.project,
        "BIGQUERY_EMULATOR_HOST": f"http://{address}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": address,
        "STORAGE_EMULATOR_HOST": f"http://{address}",
        "PUBSUB_EMULATOR_HOST": address,
        "SECRET_MANAGER_EMULATOR_HOST": f"http://{address}",
    }


def check_parameters() -> None:
    """Hold the parameters of each statement to the types in its comments."""
    configure = Queries._config

    @functools.wraps(configure)
    def checked(
        self: Queries, sql: str, parameters: Any, **options: Any
    ) -> bigquery.QueryJobConfig:
        config = configure(self, sql, parameters, **options)
        types_said = parameters_of(sql)
        for parameter in config.query_parameters:
            kind = getattr(parameter, "type_", None)
            if kind is None:
                kind = f"ARRAY<{parameter.array_type}>"
            said = types_said.get(parameter.name, kind)
            # BigQuery takes a whole number for any number.
            if kind != said and (kind, said) not in WIDER:
                raise TypeError(f"@{parameter.name} is {kind}; {said} by:\n{sql}")
        return config

    Queries._config = checked  # type: ignore[method-assign]
