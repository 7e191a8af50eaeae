"""
The product's doors to Google, which ask a ground in the process where settings name it.

A ground has an address, as an emulator has. All else is asked as before, so that one
test process has deployments on grounds and on emulators side by side.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import pyarrow as pa
from google.cloud import bigquery

from local.ground import Ground
from propensity.gcp import secrets, writes
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.clients import BIGQUERY, PUBSUB, translated
from propensity.gcp.pubsub import Bus
from propensity.gcp.queries import Queries
from propensity.gcp.writes import Appends
from propensity.schema import Table
from propensity.settings import Settings
from propensity.statements import parameters_of

_GROUNDS: WeakValueDictionary[str, Ground] = WeakValueDictionary()
WIDER = {("INT64", "FLOAT64"), ("INT64", "NUMERIC")}
_NUMBERS = itertools.count(1)


def address_of(ground: Ground) -> dict[str, str]:
    """Return the variables by which the product finds a ground, from now on."""
    address = f"ground-{next(_NUMBERS)}:1"
    _GROUNDS[address] = ground
    return {
        "GOOGLE_CLOUD_PROJECT": ground.project,
        "BIGQUERY_EMULATOR_HOST": f"http://{address}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": address,
        "STORAGE_EMULATOR_HOST": f"http://{address}",
        "PUBSUB_EMULATOR_HOST": address,
        "SECRET_MANAGER_EMULATOR_HOST": f"http://{address}",
    }


def _of(settings: Settings) -> Ground | None:
    return _GROUNDS.get(settings.bigquery_storage_endpoint)


def _write(ground: Ground, settings: Settings, table: str, rows: pa.Table) -> None:
    path = settings.project, settings.dataset, table
    named = writes.path_of(settings, table)
    with translated(settings, BIGQUERY, on=named, needs=writes.UPDATES):
        ground.bigquery.append(path, rows)


def _asked(original: Callable[..., Any], answer: Callable[..., Any]) -> Any:
    """Return a function of settings that a ground answers, where they name one."""

    @functools.wraps(original)
    def ask(settings: Settings, *rest: Any) -> Any:
        ground = _of(settings)
        if ground is None:
            return original(settings, *rest)
        return answer(ground, settings, *rest)

    return ask


def open_doors() -> None:
    """Let the product find grounds by their addresses, in this process for good."""
    open_queries = Queries.open.__func__  # type: ignore[attr-defined]
    open_artifacts = Artifacts.open.__func__  # type: ignore[attr-defined]
    open_secrets = secrets.open_secrets
    configure = Queries._config
    append = Appends.append
    publish = Bus.publish

    def opened_queries(cls: Any, settings: Settings) -> Any:
        ground = _of(settings)
        if ground is None:
            return open_queries(cls, settings)
        return cls(settings, client=ground.bigquery)

    def opened_artifacts(cls: Any, settings: Settings) -> Any:
        ground = _of(settings)
        if ground is None:
            return open_artifacts(cls, settings)
        return cls(ground.storage.bucket(settings.required("bucket")), settings)

    def opened_secrets(endpoint: str) -> Any:
        ground = _GROUNDS.get(endpoint.removeprefix("http://"))
        return open_secrets(endpoint) if ground is None else ground.secrets

    async def appended(
        self: Appends, table: Table, rows: pa.RecordBatch
    ) -> dict[int, str]:
        ground = _of(self.settings)
        if ground is None:
            return await append(self, table, rows)
        if rows.num_rows:
            whole = pa.Table.from_batches([rows])
            _write(ground, self.settings, table.stored, whole)
        return {}

    async def published(self: Bus, topic: str, messages: Any) -> None:
        ground = _of(self.settings)
        if ground is None:
            await publish(self, topic, messages)
            return
        path = f"projects/{self.settings.project}/topics/{topic}"
        with translated(self.settings, PUBSUB, on=path, needs="pubsub.topics.publish"):
            ground.topics.publish(topic, messages)

    def configured(
        self: Queries, sql: str, parameters: Any, **options: Any
    ) -> bigquery.QueryJobConfig:
        """Hold the parameters of each statement to the types in its comments."""
        config = configure(self, sql, parameters, **options)
        types = parameters_of(sql)
        for parameter in config.query_parameters:
            kind = getattr(parameter, "type_", None)
            if kind is None:
                kind = f"ARRAY<{parameter.array_type}>"
            said = types.get(parameter.name, kind)
            # BigQuery takes a whole number for any number.
            if kind != said and (kind, said) not in WIDER:
                raise TypeError(f"@{parameter.name} is {kind}; {said} by:\n{sql}")
        return config

    doors: Any = {
        (Queries, "_config"): configured,
        (Queries, "open"): classmethod(opened_queries),
        (Artifacts, "open"): classmethod(opened_artifacts),
        (secrets, "open_secrets"): opened_secrets,
        (Appends, "append"): appended,
        (Bus, "publish"): published,
        (writes, "write"): _asked(writes.write, _write),
        (writes, "append"): _asked(writes.append, _write),
    }
    for (owner, name), door in doors.items():
        setattr(owner, name, door)
