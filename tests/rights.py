"""
Recorded calls of a function, what they need on Google Cloud, and what its account is
granted.

Proxies in front of the emulators record the requests of one function: the variables
that name the emulators name the proxies instead. A need is a permission on one
resource; a grant is a role on a resource, or on the objects under a prefix. A call that
no rule knows is an error: what is not understood is not proved.

Sources: cloud.google.com/bigquery/docs/access-control, /running-queries,
/exporting-data, /updating-views, /write-api and /information-schema-tables;
cloud.google.com/storage/docs/access-control/iam-json and /iam-roles;
cloud.google.com/pubsub/docs/access-control.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import sqlglot
from sqlglot import exp

from deploy.render import OWN_ROLES
from tests.proxy import Asked, GrpcProxy, Proxy

BIGQUERY, STORAGE, GRPC = "bigquery", "storage", "grpc"

READ_SESSION = {"bigquery.readsessions.create", "bigquery.readsessions.getData"}
METADATA = {
    "bigquery.routines.get",
    "bigquery.routines.list",
    "bigquery.tables.get",
    "bigquery.tables.list",
}
OBJECTS = {
    "roles/storage.objectViewer": {"get", "list"},
    "roles/storage.objectCreator": {"create"},
    "roles/storage.objectUser": {"create", "delete", "get", "list", "update"},
}

# Permissions of each role, of those that a call here can need.
ROLES: dict[str, set[str]] = {
    "roles/bigquery.jobUser": {"bigquery.jobs.create"},
    "roles/bigquery.readSessionUser": READ_SESSION,
    "roles/bigquery.dataViewer": METADATA
    | {
        "bigquery.datasets.get",
        "bigquery.tables.export",
        "bigquery.tables.getData",
    },
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
    **{
        role: {f"storage.objects.{verb}" for verb in verbs}
        for role, verbs in OBJECTS.items()
    },
    **{name: set(permissions) for name, (_, permissions) in OWN_ROLES.items()},
}


# -- recording ------------------------------------------------------------------------


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


# -- needs and grants -----------------------------------------------------------------


class NoRule(Exception):
    """Nothing here knows what a call needs."""


@dataclass(frozen=True, order=True)
class Need:
    """A permission on a resource: ``project``, a table's, dataset's, object's path."""

    permission: str
    resource: str


@dataclass(frozen=True)
class Place:
    """Where the calls were made, and the texts of views: who reads one reads its."""

    dataset: str
    export: str
    bucket: str
    views: Mapping[str, str]

    def table(self, dataset: str, name: str) -> str:
        """Return the path of a table; of the export, of its dataset as a whole."""
        return dataset if dataset == self.export else f"{dataset}.{name}"


def granted(rights: Iterable[Mapping[str, str]], place: Place) -> list[Grant]:
    """Return the grants of one function, of ``functions.json``."""
    return [
        Grant(
            right["role"],
            {
                "table": f"{place.dataset}.{right['name']}",
                "export": place.export,
                "objects": f"gs://{right['prefix']}",
                "bucket": "gs://",
                "topic": f"topics/{right['name'] or 'events'}",
            }.get(right["on"], "project"),
            right["suffix"],
        )
        for right in rights
    ]


@dataclass(frozen=True)
class Grant:
    """A role on a resource; of objects, on all whose names begin and end so."""

    role: str
    resource: str
    suffix: str = ""

    def covers(self, need: Need) -> bool:
        """Tell whether a need is met by it."""
        name, own = need.resource, self.resource
        is_there = (
            name.startswith(own) and name.endswith(self.suffix)
            if own.startswith("gs://")
            else name == own or name.startswith(f"{own}.")
        )
        return is_there and need.permission in ROLES[self.role]


def needs(calls: Iterable[Call], place: Place) -> dict[Need, Call]:
    """
    Return what calls of one function need, each with the first call that does.

    Raises:
        NoRule: One is of no kind that is known here.
    """
    found: dict[Need, Call] = {}
    taken: set[str] = set()
    for call in calls:
        if call.api == GRPC:
            all_of = _of_grpc(call, place)
        elif call.api == BIGQUERY:
            all_of = _of_bigquery(call, place)
        else:
            all_of = _of_storage(call, place, taken)
        for need in sorted(set(all_of)):
            found.setdefault(need, call)
    return found


def queries(calls: Iterable[Call]) -> Iterator[Mapping[str, Any]]:
    """Yield what was asked of BigQuery as a query: its text, bounds and parameters."""
    for call in calls:
        if call.api == BIGQUERY and call.method == "POST" and call.body:
            body = json.loads(call.body)
            if not body.get("configuration", {}).get("dryRun"):
                asked = body.get("configuration", body).get("query")
                yield body if isinstance(asked, str) else asked


def _of_grpc(call: Call, place: Place) -> Iterator[Need]:
    service, _, method = call.method.rpartition("/")
    parts = call.path.split("/")
    if method == "Publish":
        yield Need("pubsub.topics.publish", f"topics/{parts[-1].partition('-')[2]}")
    elif service.endswith("BigQueryWrite"):
        yield Need("bigquery.tables.updateData", place.table(parts[3], parts[5]))
    elif service.endswith("BigQueryRead"):
        yield from (Need(permission, "project") for permission in READ_SESSION)
        # A result is in a hidden dataset, and belongs to whoever ran the query.
        if method == "CreateReadSession" and not parts[3].startswith("_"):
            yield Need("bigquery.tables.getData", place.table(parts[3], parts[5]))
    else:
        raise NoRule(call.method)


def _of_bigquery(call: Call, place: Place) -> Iterator[Need]:
    path = urlsplit(call.path).path.removeprefix("/bigquery/v2")
    match call.method, [unquote(one) for one in path.split("/")[3:]]:
        case "POST", ["jobs" | "queries"]:
            body = json.loads(call.body)
            query = body if "query" in body else body["configuration"].get("query")
            if not query:
                raise NoRule(f"a job of {', '.join(body['configuration'])}")
            yield Need("bigquery.jobs.create", "project")
            dataset = query.get("defaultDataset", {}).get("datasetId", "")
            yield from _of_sql(query["query"], dataset, place)
        case "GET", ["jobs" | "queries", _]:
            return  # whoever has started a job may look at it
        case "GET", ["datasets", dataset]:
            yield Need("bigquery.datasets.get", dataset)
        case "GET", ["datasets", dataset, "tables"]:
            yield Need("bigquery.tables.list", dataset)
        case "GET", ["datasets", dataset, "tables", name, "data"]:
            if not dataset.startswith("_"):
                yield Need("bigquery.tables.getData", place.table(dataset, name))
        case "GET", ["datasets", dataset, "tables", name]:
            yield Need("bigquery.tables.get", place.table(dataset, name))
        case _:
            raise NoRule(f"{call.method} {call.path}")


def _of_sql(text: str, dataset: str, place: Place) -> Iterator[Need]:
    temporary: set[str] = set()
    for one in sqlglot.parse(text, dialect="bigquery"):
        if one is None or isinstance(one, exp.Transaction | exp.Commit):
            continue
        target = None
        if isinstance(one, exp.Create) and one.find(exp.TemporaryProperty):
            target = one.this
            temporary.add(target.name)
        elif isinstance(one, exp.Insert | exp.Update | exp.Delete | exp.Merge):
            target = one.this.this if isinstance(one.this, exp.Schema) else one.this
            table = place.table(target.db or dataset, target.name)
            yield Need("bigquery.tables.updateData", table)
            if not isinstance(one, exp.Insert):
                yield Need("bigquery.tables.getData", table)
        elif isinstance(one, exp.Export):
            uri = next(
                option.args["value"].name
                for option in one.args["options"].expressions
                if option.name == "uri"
            )
            name = f"gs://{uri.removeprefix(f'gs://{place.bucket}/')}"
            yield Need("storage.objects.create", name)
            yield Need("storage.objects.delete", name)
        elif not isinstance(one, exp.Query):
            raise NoRule(f"the statement {type(one).__name__.upper()}")
        named = {cte.alias for cte in one.find_all(exp.CTE)}
        for table in one.find_all(exp.Table):
            is_here = not table.db and table.name in temporary | named
            if table is target or is_here or not table.name:
                continue
            if table.name.upper().startswith("INFORMATION_SCHEMA."):
                yield from (Need(one_of, table.db) for one_of in METADATA)
                continue
            name = place.table(table.db or dataset, table.name)
            yield Need("bigquery.tables.getData", name)
            if isinstance(one, exp.Export):
                yield Need("bigquery.tables.export", name)
            if (view := name.removeprefix(f"{place.dataset}.")) in place.views:
                yield from _of_sql(place.views[view], dataset, place)


def _of_storage(call: Call, place: Place, taken: set[str]) -> Iterator[Need]:
    split = urlsplit(call.path)
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    rest = split.path.removeprefix("/upload").removeprefix("/download")
    rest = rest.removeprefix(f"/storage/v1/b/{place.bucket}")
    name = f"gs://{unquote(rest.removeprefix('/o').removeprefix('/'))}"
    match call.method, rest.partition("?")[0]:
        case ("GET", "") | ("PUT", _):
            # The client asks for the bucket's place to name it in traces, and lives
            # with being refused; the rest of an upload is allowed with its first part.
            return
        case "POST", "/o":
            name = f"gs://{query.get('name') or _json_of(call.body)['name']}"
            yield Need("storage.objects.create", name)
            if query.get("ifGenerationMatch") != "0":
                yield Need("storage.objects.delete", name)
            elif call.status in (403, 412):
                taken.add(name)
        case "GET", "/o":
            yield Need("storage.objects.list", "gs://")
        case "GET", _ if name in taken:
            # Whether the object that is there is its own: it copes with a refusal.
            taken.discard(name)
        case "GET", _:
            yield Need("storage.objects.get", name)
            if call.status == 404:
                # Only who may list is told that there is nothing; others are refused.
                yield Need("storage.objects.list", "gs://")
        case "DELETE", _:
            yield Need("storage.objects.delete", name)
        case _:
            raise NoRule(f"{call.method} {call.path}")


def _json_of(body: bytes) -> dict[str, Any]:
    """Return the JSON that an upload begins with, alone or as its first part."""
    start = body.index(b"{")
    found, _ = json.JSONDecoder().raw_decode(body[start:].decode("utf-8", "replace"))
    return dict(found)
