"""
What recorded calls need on Google Cloud; ``grants.py`` has what is granted.

``needs`` makes of every call the permissions that Google asks for, each on one
resource. A call that no rule knows is an error: what is not understood is not proved.

Sources:
    https://cloud.google.com/bigquery/docs/access-control, permissions and roles;
    https://cloud.google.com/bigquery/docs/running-queries, required permissions;
    https://cloud.google.com/bigquery/docs/batch-loading-data, the same, whatever the
    load's dispositions are;
    https://cloud.google.com/bigquery/docs/exporting-data, the same;
    https://cloud.google.com/bigquery/docs/updating-views, the same;
    https://cloud.google.com/bigquery/docs/write-api, the same;
    https://cloud.google.com/bigquery/docs/information-schema-tables, the same;
    https://cloud.google.com/storage/docs/access-control/iam-json, of each method;
    https://cloud.google.com/storage/docs/access-control/iam-roles;
    https://cloud.google.com/pubsub/docs/access-control.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import sqlglot
from sqlglot import exp

from tests.recorder import BIGQUERY, GRPC, STORAGE, Call

PROJECT, DATASET, TABLE, BUCKET, OBJECT, TOPIC = (
    "project", "dataset", "table", "bucket", "object", "topic",
)  # fmt: skip

# What INFORMATION_SCHEMA.TABLES of a dataset asks for.
METADATA = (
    "bigquery.routines.get",
    "bigquery.routines.list",
    "bigquery.tables.get",
    "bigquery.tables.list",
)


class NoRule(Exception):
    """Nothing here knows what a call needs."""


@dataclass(frozen=True, order=True)
class Need:
    """A permission that a call needs, on one resource."""

    permission: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.permission} on {self.kind} {self.name}".rstrip()


@dataclass(frozen=True)
class Site:
    """
    Where the calls were made: what belongs to it has a name of its own.

    ``views`` are the texts of views by their names: who reads one reads its tables.
    """

    project: str
    dataset: str
    export: str
    bucket: str
    views: Mapping[str, str]

    def table(self, dataset: str, name: str) -> tuple[str, str]:
        """Return kind and name of a table; of the export, its dataset as a whole."""
        if dataset == self.export:
            return DATASET, dataset
        return TABLE, f"{dataset}.{name}"


def needs(calls: Iterable[Call], site: Site) -> dict[Need, Call]:
    """
    Return what calls of one function need, each with the first call that does.

    Raises:
        NoRule: One is of no kind that is known here.
    """
    found: dict[Need, Call] = {}
    taken: set[str] = set()
    for call in calls:
        for need in sorted(set(_of(call, site, taken))):
            found.setdefault(need, call)
    return found


def _of(call: Call, site: Site, taken: set[str]) -> Iterator[Need]:
    if call.api == GRPC:
        yield from _of_grpc(call, site)
    elif call.api == BIGQUERY:
        yield from _of_bigquery(call, site)
    elif call.api == STORAGE:
        yield from _of_storage(call, site, taken)
    else:
        raise NoRule(call.api)


def _of_grpc(call: Call, site: Site) -> Iterator[Need]:
    method, parts = call.method.rpartition("/")[2], call.path.split("/")
    if method == "Publish":
        yield Need("pubsub.topics.publish", TOPIC, parts[-1])
    elif method in (
        "AppendRows",
        "BatchCommitWriteStreams",
        "CreateWriteStream",
        "FinalizeWriteStream",
    ):
        yield Need("bigquery.tables.updateData", *site.table(parts[3], parts[5]))
    elif method == "CreateReadSession":
        yield Need("bigquery.readsessions.create", PROJECT, "")
        yield from _data(site, parts[3], parts[5])
    elif method == "ReadRows":
        yield Need("bigquery.readsessions.getData", PROJECT, "")
    else:
        raise NoRule(call.method)


def _data(site: Site, dataset: str, name: str) -> Iterator[Need]:
    # A result is in a hidden dataset, and belongs to whoever ran the query.
    if not dataset.startswith("_"):
        yield Need("bigquery.tables.getData", *site.table(dataset, name))


def _of_bigquery(call: Call, site: Site) -> Iterator[Need]:  # noqa: PLR0912
    path = urlsplit(call.path).path
    if path.startswith("/upload/"):
        # What follows an upload's first request is of the job that this one starts.
        if call.method == "POST":
            yield from _of_job(_json_of(call.body)["configuration"], site)
        return
    parts = [unquote(one) for one in path.removeprefix("/bigquery/v2").split("/")[3:]]
    match call.method, parts:
        case "POST", ["jobs"]:
            yield from _of_job(json.loads(call.body)["configuration"], site)
        case "POST", ["queries"]:
            yield from _of_job({"query": json.loads(call.body)}, site)
        case "GET", ["jobs" | "queries", _]:
            # Whoever has started a job may look at it.
            return
        case "GET", ["datasets", dataset]:
            yield Need("bigquery.datasets.get", DATASET, dataset)
        case "GET", ["datasets", dataset, "tables"]:
            yield Need("bigquery.tables.list", DATASET, dataset)
        case "GET", ["datasets", dataset, "tables", name, "data"]:
            yield from _data(site, dataset, name)
        case "GET", ["datasets", dataset, "tables", name]:
            yield Need("bigquery.tables.get", *site.table(dataset, name))
        case "PATCH", ["datasets", dataset, "tables", name]:
            yield Need("bigquery.tables.get", *site.table(dataset, name))
            yield Need("bigquery.tables.update", *site.table(dataset, name))
            # Whoever gives a view its text must be able to run it.
            text = json.loads(call.body).get("view", {}).get("query", "")
            yield from of_sql(text, dataset, site)
        case "POST", ["datasets", dataset, "tables"]:
            yield Need("bigquery.tables.create", DATASET, dataset)
        case _:
            raise NoRule(f"{call.method} {call.path}")


def queries(calls: Iterable[Call]) -> Iterator[Mapping[str, Any]]:
    """Yield what was asked of BigQuery as a query: its text, bounds and parameters."""
    for call in calls:
        if call.api == BIGQUERY and call.method == "POST" and call.body:
            body = json.loads(call.body)
            if body.get("configuration", {}).get("dryRun"):
                continue  # bills nothing
            asked = body.get("configuration", body).get("query")
            if isinstance(asked, str):
                yield body
            elif asked:
                yield asked


def _of_job(job: Mapping[str, Any], site: Site) -> Iterator[Need]:
    yield Need("bigquery.jobs.create", PROJECT, "")
    if "query" in job:
        asked = job["query"]
        dataset = asked.get("defaultDataset", {}).get("datasetId", "")
        yield from of_sql(asked["query"], dataset, site)
    elif "load" in job:
        into = job["load"]["destinationTable"]
        table = site.table(into["datasetId"], into["tableId"])
        # The page asks for all of them to append to a table that is there, too.
        yield Need("bigquery.tables.create", DATASET, into["datasetId"])
        yield Need("bigquery.tables.update", *table)
        yield Need("bigquery.tables.updateData", *table)
    else:
        raise NoRule(f"a job of {', '.join(job)}")


def of_sql(text: str, dataset: str, site: Site) -> Iterator[Need]:  # noqa: PLR0912
    """
    Yield what the tables of a script need.

    Args:
        text: Statements of GoogleSQL.
        dataset: Of tables that are named without one.
        site: Whose views are read as the tables that they read.
    """
    temporary: set[str] = set()
    for one in sqlglot.parse(text, dialect="bigquery"):
        if one is None or isinstance(one, exp.Transaction | exp.Commit):
            continue
        target = None
        if isinstance(one, exp.Create) and one.find(exp.TemporaryProperty):
            # It is in a hidden dataset, and belongs to whoever runs the script.
            target = one.this
            temporary.add(target.name)
        elif isinstance(one, exp.Insert | exp.Update | exp.Delete | exp.Merge):
            target = one.this.this if isinstance(one.this, exp.Schema) else one.this
            place = target.db or dataset, target.name
            yield Need("bigquery.tables.updateData", *site.table(*place))
            if not isinstance(one, exp.Insert):
                yield Need("bigquery.tables.getData", *site.table(*place))
        elif isinstance(one, exp.Export):
            yield from _exported(one, site)
        elif not isinstance(one, exp.Query):
            raise NoRule(f"the statement {type(one).__name__.upper()}")
        for table in one.find_all(exp.Table):
            if table is target or _is_of_with(table) or not table.name:
                continue
            if not table.db and table.name in temporary:
                continue
            if table.name.upper().startswith("INFORMATION_SCHEMA."):
                for permission in METADATA:
                    yield Need(permission, DATASET, table.db)
                continue
            place = table.db or dataset, table.name
            read = "export" if isinstance(one, exp.Export) else "getData"
            for permission in {read, "getData"}:
                yield Need(f"bigquery.tables.{permission}", *site.table(*place))
            if place[0] == site.dataset and place[1] in site.views:
                yield from of_sql(site.views[place[1]], dataset, site)


def _is_of_with(table: exp.Table) -> bool:
    """Tell whether a name is that of a WITH that the table is in."""
    if table.db:
        return False
    above = table.parent
    while above is not None:
        clause = above.args.get("with_") or above.args.get("with")
        if clause and table.name in {
            expression.alias for expression in clause.expressions
        }:
            return True
        above = above.parent
    return False


def _exported(one: exp.Export, site: Site) -> Iterator[Need]:
    options = {
        option.name: option.args["value"]
        for option in one.args["options"].expressions
        if isinstance(option, exp.Property) and isinstance(option.this, exp.Var)
    }
    bucket, _, name = options["uri"].name.removeprefix("gs://").partition("/")
    if bucket != site.bucket:
        raise NoRule(f"an export to {bucket}")
    yield Need("storage.objects.create", OBJECT, name)
    if options.get("overwrite") == exp.true():
        yield Need("storage.objects.delete", OBJECT, name)


def _of_storage(call: Call, site: Site, taken: set[str]) -> Iterator[Need]:
    """
    Yield what a call of Cloud Storage needs.

    Args:
        call: The call.
        site: With the only bucket.
        taken: Names that a create has found taken; changed here.
    """
    split = urlsplit(call.path)
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    is_upload = split.path.startswith("/upload/")
    path = re.sub("^/(upload|download)", "", split.path).removeprefix("/storage/v1/b/")
    bucket, _, rest = path.partition("/")
    if call.method == "GET" and (bucket, rest) == (site.bucket, ""):
        # The client asks for the bucket's place in a thread of its own, to name it in
        # traces, and lives with being refused, as the recorder does.
        return
    if bucket != site.bucket or rest.partition("/")[0] != "o":
        raise NoRule(f"{call.method} {call.path}")
    name = unquote(rest.removeprefix("o").removeprefix("/"))
    match call.method, is_upload, bool(name):
        case "PUT", True, _:
            # The rest of an upload that has been allowed.
            return
        case "POST", True, False:
            name = query.get("name") or _json_of(call.body)["name"]
            yield Need("storage.objects.create", OBJECT, name)
            if query.get("ifGenerationMatch") != "0":
                yield Need("storage.objects.delete", OBJECT, name)
            elif call.status in (403, 412):
                taken.add(name)
        case "GET", False, False:
            yield Need("storage.objects.list", BUCKET, "")
        case "GET", False, True:
            if name in taken:
                # Artifacts asks whether the object is its own, and copes with a refusal
                # (TestCreateOnly in tests/propensity/edges/test_artifacts.py).
                taken.discard(name)
                return
            yield Need("storage.objects.get", OBJECT, name)
            if call.status == 404:
                # Only who may list is told that there is nothing; others are refused.
                yield Need("storage.objects.list", BUCKET, "")
        case "DELETE", False, True:
            yield Need("storage.objects.delete", OBJECT, name)
        case _:
            raise NoRule(f"{call.method} {call.path}")


def _json_of(body: bytes) -> dict[str, Any]:
    """Return the JSON that an upload begins with, alone or as its first part."""
    start = body.index(b"{")
    found, _ = json.JSONDecoder().raw_decode(body[start:].decode("utf-8", "replace"))
    return dict(found)


def own_name(role: str) -> str:
    return role.rpartition("/")[2].partition("_")[2]
