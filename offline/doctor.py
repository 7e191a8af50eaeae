"""
Examine a deployment, or a local run: say what is wrong, and what to do about it.

    python -m offline.doctor
    python -m offline.doctor --json
    python -m offline.doctor --local                 what `make up` has started
    python -m offline.doctor --as-of 2026-03-01      as if that day had just ended
    python -m offline.doctor --function predictions  with that function's own rights

Looks at settings, permissions, tables, views, the GA4 export, what serves, the last
runs, topics and subscriptions, and the stream. It reads and changes nothing, and what
it says names no user. What can not be looked at where it runs is listed as not checked.

Exit status: 0 nothing is wrong, 1 something is, 2 nothing wrong was found and something
could not be examined.

Permissions are those of the account that runs it. To see those of a function, take on
its account (``gcloud auth application-default login --impersonate-service-account=…``)
and name the function.

Reads the same environment as the functions (``docs/settings.md``).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import grpc
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import bigquery
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from deploy import functions
from deploy.render import OWN_ROLES
from propensity import errors, tables, topics, usecases
from propensity.edges.artifacts import Artifacts, sha256
from propensity.edges.warehouse import Warehouse, translated
from propensity.errors import (
    AccessDenied,
    ArtifactError,
    ExportLate,
    MissingTable,
    PropensityError,
    RequestError,
    SettingsError,
    Unavailable,
)
from propensity.freshness import Shards, is_expected
from propensity.privacy import consent
from propensity.registry.serving import find_recorded
from propensity.registry.versions import Champion, Registry
from propensity.runs import compaction
from propensity.settings import Settings
from propensity.statements import statement
from propensity.tables import Column, Table
from propensity.timeframe import day_of, first_suffix
from propensity.usecases import UseCase

ERROR, WARNING, INFORMATION = "error", "warning", "info"

DAY = timedelta(days=1)

# A service that does not answer within this is not waited for any longer.
PATIENCE_S = 10
QUERY_S = 120
READERS = 8

# A day's table of the export is there about noon of the next day, in the property's
# time zone, and a day later at times.
EXPORT_LATE = timedelta(hours=36)

# A scheduled run may take this long with all its attempts, and be in another time zone.
RUN_LATE = timedelta(hours=6)

# A champion that is older knows little of today's users; as the alert champion_age.
CHAMPION_OLD = timedelta(days=45)

# The compaction runs daily; as the alert run_missed.
WATERMARK_OLD = timedelta(days=2)

# As the alert stream_lag.
LAG = timedelta(minutes=5)

# Leases of a kind that are looked at: the newest, and some before it.
LEASES = 5

# Leases of what the schedule calls, by target.
KINDS = {
    "model_training": "train",
    "predictions": "predict",
    "model_evaluation": "evaluate",
    "compact_features": "compact",
}

# Of what publishes: column of newest_runs.sql, table, and the folder of the function.
PUBLISHED = {
    "predict": ("predicted", tables.PREDICTIONS_HISTORY, "01-Predictions"),
    "evaluate": ("evaluated", tables.EVALUATION, "03-ModelEvaluation"),
}

# How long before its run an evaluated week may begin.
EVALUATED = timedelta(days=120)

# Columns of the export that ga_events.sql reads, by their types.
EXPORT_COLUMNS: Mapping[str, str] = {
    "event_timestamp": "INT64",
    "event_name": "STRING",
    "user_pseudo_id": "STRING",
    "user_id": "STRING",
    "user_first_touch_timestamp": "INT64",
    "event_value_in_usd": "FLOAT64",
    "event_params.key": "STRING",
    "event_params.value.string_value": "STRING",
    "event_params.value.int_value": "INT64",
    "event_params.value.float_value": "FLOAT64",
    "event_params.value.double_value": "FLOAT64",
    "ecommerce.purchase_revenue": "FLOAT64",
    "ecommerce.purchase_revenue_in_usd": "FLOAT64",
    "ecommerce.refund_value": "FLOAT64",
    "ecommerce.refund_value_in_usd": "FLOAT64",
    "ecommerce.transaction_id": "STRING",
    "items.quantity": "INT64",
    "items.item_id": "STRING",
    "traffic_source.source": "STRING",
    "traffic_source.medium": "STRING",
    "device.category": "STRING",
    "device.operating_system": "STRING",
    "geo.country": "STRING",
}

# BigQuery's API says some types by their first names.
_STANDARD = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
}

_LEASE = re.compile(
    r"runs/(?P<scope>[^/]+)/(?P<kind>[^/]+)/(?P<as_of>\d{4}-\d\d-\d\d)\.json"
)
_MOMENT = re.compile(r"(DATE|TIMESTAMP) '[^']*'")

SET_UP = (
    "run deploy/setup.sh again (locally: `make down && make up`, with STATE where it "
    "has another name than demo)"
)

# What gives a local state an export.
DATA = "make demo, or make demo DATA=FILE for your own rows of the export"

RESTORE = (
    "restore the object's earlier generation, where the bucket keeps them (the local "
    "one does not)"
)

# By the name of its class, as a lease has it: the word that docs/errors.md goes by.
CODES = {
    name: one.code
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, PropensityError)
}


# What reading the watermark raises where it is no watermark.
DAMAGED = (ArtifactError, ValueError, KeyError, TypeError, AttributeError)


# -- what is found ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong, in plain words, and what to do about it."""

    check: str
    severity: str
    what: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """Something that was not looked at, or could not be, and why."""

    check: str
    why: str


@dataclass
class Report:
    """What an examination came to."""

    place: str = ""
    as_of: str = ""
    checks: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    information: list[Finding] = field(default_factory=list)
    not_checked: list[Unknown] = field(default_factory=list)
    failed: list[Unknown] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status."""
        if self.findings:
            return 1
        return 2 if self.failed else 0

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps({"status": self.status, **asdict(self)}, indent=2)

    def __str__(self) -> str:
        lines = [f"{self.place}, {self.as_of}"]
        for severity in (ERROR, WARNING):
            for one in self.findings:
                if one.severity == severity:
                    lines += ["", f"{severity.upper():8}{one.check}: {one.what}"]
                    lines += [f"        What to do: {one.advice}"]
        for one in self.information:
            lines += ["", f"{INFORMATION.upper():8}{one.check}: {one.what}"]
            lines += [f"        What to do: {one.advice}"]
        if self.failed:
            lines += ["", "Could not be examined:"]
            lines += [f"  {one.check}: {one.why}" for one in self.failed]
        if self.not_checked:
            lines += ["", "Not checked here:"]
            lines += [f"  {one.check}: {one.why}" for one in self.not_checked]
        wrong = sum(one.severity == ERROR for one in self.findings)
        told = f"errors: {wrong}, warnings: {len(self.findings) - wrong}"
        if not self.findings:
            told = "nothing wrong was found" if self.failed else "nothing is wrong"
        if self.failed:
            told += f", not examined: {len(self.failed)}"
        return "\n".join([*lines, "", f"{', '.join(self.checks)}: {told}."])


@dataclass(kw_only=True)
class Examination:
    """A deployment, the moment it is looked at, and what was found so far."""

    settings: Settings
    now: datetime
    use_cases: Sequence[UseCase]
    zone: ZoneInfo
    function: str = ""
    is_named: bool = False
    # Of a local run the address of each function, by its target; of others nothing.
    addresses: Mapping[str, str] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    check: str = ""

    @cached_property
    def warehouse(self) -> Warehouse:
        """The edge to BigQuery."""
        return Warehouse.open(self.settings)

    @cached_property
    def artifacts(self) -> Artifacts:
        """The edge to the bucket."""
        return Artifacts.open(self.settings)

    @cached_property
    def champions(self) -> dict[str, Champion]:
        """What serves of each use case, as far as its pointer can be read."""
        found = {}
        for use_case in self.use_cases:
            with contextlib.suppress(ArtifactError):
                champion = Registry(self.artifacts, use_case.name).find_champion()
                if champion is not None:
                    found[use_case.name] = champion
        return found

    @property
    def patience_s(self) -> float:
        """How long a service is waited for."""
        return float(min(PATIENCE_S, self.settings.retry_deadline_s))

    @property
    def is_emulated(self) -> bool:
        """Whether BigQuery is an emulator's, which checks no rights."""
        return bool(self.settings.bigquery_endpoint)

    def is_scheduled(self, use_case: UseCase) -> bool:
        """Whether a use case must run by the clock, and does not only serve."""
        return self.is_named or use_case.name == self.settings.use_case

    def error(self, what: str, advice: str) -> None:
        """Say that something does not work."""
        self._found(ERROR, what, advice)

    def warn(self, what: str, advice: str) -> None:
        """Say that something will not work for long, or not well."""
        self._found(WARNING, what, advice)

    def lack(
        self, what: str, advice: str, *, locally: str, severity: str = ERROR
    ) -> None:
        """
        Say that nothing has made something so far.

        Where a schedule should have, that is a fault. Locally there is no schedule, and
        it is information: nobody has asked for it yet.

        Args:
            what: In words.
            advice: What to do about it where there is a schedule.
            locally: What makes it locally.
            severity: Where there is a schedule.
        """
        if not self.addresses:
            self._found(severity, what, advice)
            return
        told = Finding(
            check=self.check, severity=INFORMATION, what=what, advice=locally
        )
        self.report.information.append(told)

    def call(self, target: str, **body: str) -> str:
        """Return the command that calls a function locally; nothing elsewhere."""
        if target not in self.addresses:
            return ""
        command = f"curl -X POST {self.addresses[target]}"
        if not body:
            return command
        return f"{command} -H 'Content-Type: application/json' -d '{json.dumps(body)}'"

    def skip(self, why: str) -> None:
        """Say that something was not looked at."""
        self.report.not_checked.append(Unknown(check=self.check, why=why))

    def _found(self, severity: str, what: str, advice: str) -> None:
        self.report.findings.append(
            Finding(check=self.check, severity=severity, what=what, advice=advice)
        )

    def table(self, name: str, dataset: str = "") -> bigquery.Table | None:
        """
        Return what BigQuery says of a table, None where there is none.

        Args:
            name: Of the table.
            dataset: With its project; the settings' own where it is empty.
        """
        settings = self.settings
        path = f"{dataset or f'{settings.project}.{settings.dataset}'}.{name}"
        with reaching("BigQuery"):
            try:
                return self.warehouse.client.get_table(
                    path,
                    retry=bigquery.DEFAULT_RETRY.with_timeout(self.patience_s),
                    timeout=self.patience_s,
                )
            except api.NotFound:
                return None

    def close(self) -> None:
        """Close what was opened."""
        if "warehouse" in vars(self):
            self.warehouse.close()
        if "artifacts" in vars(self):
            self.artifacts.close()


@contextlib.contextmanager
def reaching(service: str) -> Iterator[None]:
    """Raise the project's errors for those of a client or a connection."""
    try:
        yield
    except PropensityError:
        raise
    except auth.GoogleAuthError as error:
        raise Unavailable(
            f"{service} was not asked, for want of credentials: {error}. Run "
            "`gcloud auth application-default login`"
        ) from error
    except (api.GoogleAPICallError, api.RetryError) as error:
        raise (
            translated(error)
            if service == "BigQuery"
            else Unavailable(f"{service} does not answer: {type(error).__name__}")
        ) from error
    except (requests.RequestException, grpc.RpcError, OSError) as error:
        raise Unavailable(
            f"{service} does not answer: {type(error).__name__}"
        ) from error


# -- settings and rights ---------------------------------------------------------------


def check_settings(exam: Examination) -> None:
    """Whether what is set goes together, beyond what every function checks itself."""
    settings = exam.settings
    reading = [one.name for one in exam.use_cases if one.reads_export]
    if not settings.bucket:
        exam.error(
            "PROPENSITY_BUCKET is not set, and every function but get_proba needs it",
            "set it to the bucket that deploy/setup.sh has created",
        )
    if reading and not settings.ga4_dataset:
        exam.error(
            f"PROPENSITY_GA4_DATASET is not set, and {', '.join(reading)} reads it",
            "set it to the dataset of the GA4 export, such as analytics_123456789",
        )
    if exam.function and exam.function not in targets():
        raise RequestError(
            f"there is no function {exam.function}; there are {', '.join(targets())}"
        )


def targets() -> list[str]:
    """Return the names of the functions."""
    return [one.target for one in functions.load()]


@dataclass(frozen=True)
class Services:
    """Where Google Cloud is asked what an account may do."""

    projects: str = "https://cloudresourcemanager.googleapis.com/v1/projects"
    bigquery: str = "https://bigquery.googleapis.com/bigquery/v2/projects"
    storage: str = "https://storage.googleapis.com/storage/v1/b"
    pubsub: str = "https://pubsub.googleapis.com/v1/projects"
    monitoring: str = "https://monitoring.googleapis.com/v3/projects"


GOOGLE = Services()

READS_TABLE = ("bigquery.tables.get", "bigquery.tables.getData")
APPENDS_TABLE = OWN_ROLES["table_appender"][1]
WRITES_TABLE = OWN_ROLES["table_writer"][1]
KEEPS_VIEW = OWN_ROLES["view_keeper"][1]
RUNS_QUERIES = "bigquery.jobs.create"
READS_STREAMS = "bigquery.readsessions.create"
OBJECTS = {
    "read": ("storage.objects.get",),
    "create": ("storage.objects.create",),
    "replace": (
        "storage.objects.get",
        "storage.objects.create",
        "storage.objects.delete",
    ),
    "list": ("storage.objects.list",),
}
# What an examination itself needs.
EXAMINES = {"storage.objects.get", "storage.objects.list", "storage.buckets.get"}


@dataclass(frozen=True)
class Right:
    """Permissions on one resource, and how the resource is asked about them."""

    resource: str
    url: str
    permissions: tuple[str, ...]
    by_get: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)


def rights_of(
    exam: Examination, function: functions.Function | None, services: Services
) -> list[Right]:
    """
    Return the rights that a function needs, by ``deploy/functions.toml``.

    Args:
        exam: Whose settings name project, dataset and bucket.
        function: Whose; None for those that an examination needs.
        services: Whom to ask.
    """
    settings, project = exam.settings, exam.settings.project

    def table(name: str, permissions: tuple[str, ...]) -> Right:
        place = f"{project}/datasets/{settings.dataset}/tables/{name}"
        return Right(
            f"table {name}",
            f"{services.bigquery}/{place}:testIamPermissions",
            permissions,
        )

    def topic(name: str, permission: str) -> Right:
        path = f"{services.pubsub}/{project}/topics/{quote(name, safe='')}"
        return Right(f"topic {name}", f"{path}:testIamPermissions", (permission,))

    found = []
    bucket: set[str] = set()
    named: list[tuple[str, tuple[str, ...]]]
    if function is None:
        named = [(one.name, READS_TABLE) for one in tables.TABLES]
        bucket |= EXAMINES
        published = [topic(name, "pubsub.topics.get") for name in topic_names(settings)]
        in_project: tuple[str, ...] = (RUNS_QUERIES,)
    else:
        named = [
            *((name, READS_TABLE) for name in function.reads),
            *((name, APPENDS_TABLE) for name in function.appends),
            *((name, WRITES_TABLE) for name in function.writes),
            *((name, KEEPS_VIEW) for name in function.views),
        ]
        for verb, names in function.objects:
            # A right on some names only is not to be seen on the bucket as a whole.
            if not names:
                bucket.update(OBJECTS[verb])
        published = [
            topic(topics.topic_name(settings, name), "pubsub.topics.publish")
            for name in function.publishes
        ]
        in_project = (RUNS_QUERIES,) * function.runs_queries
        in_project += (READS_STREAMS,) * function.large_results
    if in_project:
        url = f"{services.projects}/{project}:testIamPermissions"
        found.append(Right(f"project {project}", url, in_project))
    found += [
        table(name, permissions)
        for name, permissions in named
        if name != "ga_events" or settings.ga4_dataset
    ]
    if bucket and settings.bucket:
        asked = tuple(sorted(bucket))
        query = "&".join(f"permissions={one}" for one in asked)
        url = f"{services.storage}/{settings.bucket}/iam/testPermissions?{query}"
        found.append(Right(f"bucket {settings.bucket}", url, asked, by_get=True))
    return found + published


def check_permissions(exam: Examination, services: Services = GOOGLE) -> None:
    """Whether the account that is used may do what it must."""
    if exam.is_emulated and services is GOOGLE:
        exam.skip("emulators let everybody do everything")
        return
    function = next((f for f in functions.load() if f.target == exam.function), None)
    needed = rights_of(exam, function, services)
    who = f"the account of {function.target}" if function else "this account"
    with contextlib.closing(session(exam, services)) as asking:
        for right in needed:
            missing = sorted(set(right.permissions) - granted(asking, right))
            if missing:
                exam.error(
                    f"{who} lacks {', '.join(missing)} on {right.resource}",
                    "run deploy/setup.sh again, which grants what functions need"
                    if function
                    else "ask an owner of the project for the role that has it",
                )
    if function and any(names for _, names in function.objects):
        exam.skip(
            "rights on objects of single prefixes: they hold under a condition on the "
            "object's name, which no question about the bucket shows"
        )


def session(exam: Examination, services: Services) -> requests.Session:
    """Open a session that is signed with the account in use."""
    if services is not GOOGLE:
        return requests.Session()
    from google.auth import default  # the emulators need none
    from google.auth.transport.requests import AuthorizedSession

    with reaching("Google Cloud"):
        credentials, _ = default(
            scopes=["https://www.googleapis.com/auth/cloud-platform"],
            quota_project_id=exam.settings.project,
        )
    signed: requests.Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    return signed


def granted(asking: requests.Session, right: Right) -> set[str]:
    """
    Return which of a right's permissions the account has.

    Raises:
        Unavailable: Google Cloud did not say.
    """
    with reaching("Google Cloud"):
        if right.by_get:
            answer = asking.get(right.url, timeout=PATIENCE_S)
        else:
            body = {"permissions": list(right.permissions)}
            answer = asking.post(right.url, json=body, timeout=PATIENCE_S)
        if answer.status_code in (403, 404):
            # Whoever may not even see a thing is told that there is none.
            return set()
        if answer.status_code != 200:
            raise Unavailable(
                f"the rights on {right.resource} could not be asked: status "
                f"{answer.status_code}"
            )
        return set(answer.json().get("permissions", ()))


# -- tables and views ------------------------------------------------------------------


def check_tables(exam: Examination) -> None:
    """Whether every table is there, with columns and layout of ``tables.py``."""
    every = tables.retained(exam.settings.retention_days)
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(exam.table, [one.name for one in every]))
    missing = [
        one.name for one, there in zip(every, found, strict=True) if there is None
    ]
    if missing:
        exam.error(f"missing in {exam.settings.dataset}: {', '.join(missing)}", SET_UP)
    for table, there in zip(every, found, strict=True):
        if there is not None:
            _compare(exam, table, there)
            if table.name == tables.POSTCODE_INDEX.name and not there.num_rows:
                _lack_postcodes(exam)
    if exam.is_emulated:
        exam.skip("how long partitions are kept: an emulator keeps them for ever")


def _lack_postcodes(exam: Examination) -> None:
    index = "socioeconomic_idx"
    reading = [one.name for one in exam.use_cases if index in one.features]
    if reading:
        load = "python -m offline.load_postcodes FILE"
        exam.lack(
            f"{tables.POSTCODE_INDEX.name} is empty: {index}, which "
            f"{', '.join(reading)} reads, is null in every event",
            f"load the postcodes: {load}",
            locally=load,
            severity=WARNING,
        )


def _compare(exam: Examination, table: Table, there: bigquery.Table) -> None:
    required = {one.name for one in table.columns if one.required}
    rebuild = (
        f"copy the rows of {table.name} elsewhere, drop it, {SET_UP}, and load "
        "the rows again"
    )
    # Another order of columns is no fault: whatever writes or reads names them.
    for place, wanted, found in differing(table.columns, there.schema):
        if found is None:
            exam.error(
                f"{table.name} lacks the column {place} ({wanted})",
                f"{rebuild} with values in {place}: it is required, and BigQuery adds "
                "no such column to a table that is there"
                if place in required
                else f"{SET_UP}: it adds the column, empty, to the rows that are there",
            )
        else:
            exam.error(
                f"{table.name}.{place} is {found}, and {wanted} is written to it",
                f"{SET_UP}: it casts the column, and keeps the rows"
                if "." in place and (found, wanted) == ("INT64", "FLOAT64")
                else f"{rebuild}: BigQuery changes no column to another type",
            )
    unwanted = [
        one.name
        for one in there.schema
        if one.mode == "REQUIRED" and one.name not in {c.name for c in table.columns}
    ]
    if unwanted:
        exam.error(
            f"{table.name} requires {', '.join(unwanted)}, which nothing writes: every "
            "row would be refused",
            "relax the column to NULLABLE, or drop it",
        )
    laid_out = (_partitioning(there), tuple(there.clustering_fields or ()))
    if laid_out != (table.partitioning, table.clustering):
        exam.error(
            f"{table.name} is {_layout(*laid_out)}, and not "
            f"{_layout(table.partitioning, table.clustering)}: queries read all of it",
            f"copy it into a table of another name, drop it, {SET_UP}, and copy back",
        )
        return
    partition: Any = there.time_partitioning
    days = (partition.expiration_ms or 0) / (24 * 3600 * 1000) if partition else 0
    # The emulator keeps everything, and forgets what was wished.
    if days != table.expiration_days and not exam.is_emulated:
        exam.warn(
            f"partitions of {table.name} are kept {_kept(days)}, and not "
            f"{_kept(table.expiration_days)}",
            SET_UP,
        )
    if table.requires_filter and not there.require_partition_filter:
        exam.warn(
            f"{table.name} can be queried without saying which days are meant: one "
            "such query bills all of it",
            SET_UP,
        )


def _partitioning(there: bigquery.Table) -> str | None:
    """Return what a table is partitioned by, as DDL spells it; None for nothing."""
    by_time: Any = there.time_partitioning
    by_range: Any = there.range_partitioning
    if by_range:
        bounds = by_range.range_
        return (
            f"RANGE_BUCKET({by_range.field}, "
            f"GENERATE_ARRAY({bounds.start}, {bounds.end}, {bounds.interval}))"
        )
    return by_time.field if by_time else None


def _layout(partition: str | None, clustering: Sequence[str]) -> str:
    by = f"partitioned by {partition}" if partition else "not partitioned"
    return f"{by} and clustered by {', '.join(clustering)}" if clustering else by


def _kept(days: float) -> str:
    return f"{days:g} days" if days else "for ever"


def differing(
    columns: Iterable[Column], schema: Iterable[bigquery.SchemaField], within: str = ""
) -> Iterator[tuple[str, str, str | None]]:
    """
    Yield the columns that are missing or of another type: name, wanted, found.

    ``found`` is None for one that is missing.
    """
    there = {one.name: one for one in schema}
    for column in columns:
        place = within + column.name
        found = there.get(column.name)
        kind = "STRUCT" if column.fields else column.type
        wanted = f"ARRAY<{kind}>" if column.repeated else kind
        if found is None:
            yield place, wanted, None
            continue
        if (actual := _type_of(found)) != wanted:
            yield place, wanted, actual
        elif column.fields:
            yield from differing(column.fields, found.fields, f"{place}.")


def _type_of(field_: bigquery.SchemaField) -> str:
    kind = _STANDARD.get(field_.field_type, field_.field_type)
    return f"ARRAY<{kind}>" if field_.mode == "REPEATED" else kind


def check_views(exam: Examination) -> None:
    """Whether the views are there, and are those of this version."""
    settings = exam.settings
    view = exam.table(compaction.VIEW)
    if view is None or view.view_query is None:
        exam.error(f"the view {compaction.VIEW} is missing", SET_UP)
    else:
        moment = compaction.read_watermark(exam.artifacts).moment
        wanted = _text(settings, compaction.view_of(exam.warehouse, moment))
        found = _text(settings, view.view_query)
        if _MOMENT.sub("", wanted) != _MOMENT.sub("", found):
            exam.error(
                f"the view {compaction.VIEW} is not that of this version",
                "run the compaction (POST to compact_features), which replaces it",
            )
        elif wanted != found:
            exam.warn(
                f"the view {compaction.VIEW} reads from another moment than the "
                "watermark: it is exact all the same, and reads too much",
                "run the compaction (POST to compact_features), which replaces it",
            )
    if not settings.ga4_dataset:
        return
    events = exam.table(consent.VIEW)
    wanted = consent.events_view(settings.export, require=settings.require_consent)
    if events is None or events.view_query is None:
        exam.lack(
            "the view ga_events is missing",
            f"once the export began, {SET_UP}",
            locally=DATA,
        )
    elif _text(settings, wanted) != _text(settings, events.view_query):
        exam.error("the view ga_events is not that of this version", SET_UP)


def _text(settings: Settings, query: str) -> str:
    """Return a view's text as it is wherever its project is named or not."""
    return query.replace(f"`{settings.project}.", "`").strip()


# -- the export ------------------------------------------------------------------------


def check_export(exam: Examination) -> None:
    """Whether the GA4 export goes on, is whole, and has the columns that are read."""
    settings = exam.settings
    if not settings.ga4_dataset:
        exam.skip("PROPENSITY_GA4_DATASET is not set: there is no export")
        return
    with reaching("BigQuery"):
        try:
            exam.warehouse.check_location(settings.export)
            shards = Shards.of(exam.warehouse.table_names(settings.export))
        except MissingTable:
            exam.error(
                f"there is no dataset {settings.ga4_dataset}",
                "correct PROPENSITY_GA4_DATASET, or link GA4 to BigQuery (Admin, "
                "BigQuery links)",
            )
            return
        except SettingsError as error:
            exam.error(error.message, "correct PROPENSITY_LOCATION, or move one of two")
            return
        except AccessDenied as error:
            exam.error(error.message, "have its owner grant the role on the dataset")
            return
    days = sorted(shards.days)
    if not days:
        exam.lack(
            f"{settings.ga4_dataset} has no table events_YYYYMMDD",
            "switch on the daily export in GA4 (Admin, BigQuery links), or streaming "
            "for a property of over a million events a day",
            locally=DATA,
        )
        return
    _check_newest(exam, days[-1])
    # How far other use cases look back is no matter of the export.
    reading = [one for one in exam.use_cases if one.reads_export] or exam.use_cases
    lookback = max((one.lookback_days for one in reading), default=60)
    # What the next run will read: from the lookback's first shard on.
    first = max(days[0], _day_of(first_suffix(exam.now.date(), days=lookback)))
    missing = [
        first + n * DAY
        for n in range((days[-1] - first).days)
        if first + n * DAY not in shards.days and is_expected(first + n * DAY, shards)
    ]
    if missing:
        exam.error(
            f"days of the export are missing: {len(missing)} within the lookback of "
            f"{lookback} days: {_dates(missing)}",
            "GA4 fills no gap by itself: see whether the tables were deleted, and "
            "restore them (BigQuery keeps deleted tables for 7 days); features of "
            "these days are wrong until the lookback has passed them",
        )
    _check_shards(exam, shards, [day for day in days if day >= first])


def _day_of(suffix: str) -> date:
    return datetime.strptime(suffix, "%Y%m%d").replace(tzinfo=UTC).date()


def _check_newest(exam: Examination, newest: date) -> None:
    ended = datetime.combine(newest + DAY, datetime.min.time(), tzinfo=UTC)
    # The table of the day that follows has been awaited since that day ended.
    late = exam.now - (ended + DAY)
    if late > EXPORT_LATE:
        days = (exam.now.date() - newest).days - 1
        exam.error(
            f"the newest day of the export is {newest}: {days} days are late",
            "see in GA4 (Admin, BigQuery links) whether the export was stopped, as it "
            "is above its daily limit; predictions go on with what is there",
        )


def _check_shards(exam: Examination, shards: Shards, days: Sequence[date]) -> None:
    """Look at the columns and the rows of the tables that are read of days."""

    def read(day: date) -> bigquery.Table | None:
        kind = "" if day in shards.daily else "intraday_"
        return exam.table(f"events_{kind}{day:%Y%m%d}", exam.settings.export)

    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(read, days))
    lacking: dict[str, list[date]] = {}
    empty, slow = [], []
    settled = timedelta(days=1 + exam.settings.settle_days)
    for day, there in zip(days, found, strict=True):
        if there is None:
            continue
        for change in _changes(there.schema):
            lacking.setdefault(change, []).append(day)
        if not there.num_rows:
            empty.append(day)
        created = there.created
        if created and created.date() > day + settled:
            slow.append(day)
    for change, on in lacking.items():
        exam.error(
            f"the export's schema has changed: {change} in the tables of {_dates(on)}",
            "ga_events.sql reads that column: if GA4 has renamed it change the "
            "statement, if a table was written by hand write it again",
        )
    if empty:
        exam.warn(
            f"tables of the export are empty: {_dates(empty)}",
            "see whether the site sent events on these days, and consent mode and "
            "filters in GA4",
        )
    if exam.is_emulated:
        exam.skip(
            "whether tables came later than PROPENSITY_SETTLE_DAYS: here all are as "
            "old as the load"
        )
    elif slow:
        exam.warn(
            f"tables of the export came later than PROPENSITY_SETTLE_DAYS = "
            f"{exam.settings.settle_days} after their day: {_dates(slow)}",
            "figures of those weeks were final before the data were: run "
            "03-ModelEvaluation for them again, or raise the setting",
        )


def _changes(schema: Sequence[bigquery.SchemaField]) -> Iterator[str]:
    """Yield what the export's columns lack of those that are read."""
    there: dict[str, str] = {}

    def walk(fields: Iterable[bigquery.SchemaField], within: str) -> None:
        for one in fields:
            there[within + one.name] = _STANDARD.get(one.field_type, one.field_type)
            walk(one.fields, f"{within}{one.name}.")

    walk(schema, "")
    for name, kind in EXPORT_COLUMNS.items():
        if name not in there:
            yield f"{name} is missing"
        elif there[name] != kind:
            yield f"{name} is {there[name]} instead of {kind}"


def _dates(days: Sequence[date], shown: int = 5) -> str:
    told = ", ".join(f"{day}" for day in days[:shown])
    return told + (f" and {len(days) - shown} more" if len(days) > shown else "")


# -- what serves -----------------------------------------------------------------------


def check_champions(exam: Examination) -> None:
    """Whether what serves is recorded, unaltered, loadable here, and not too old."""
    for use_case in exam.use_cases:
        registry = Registry(exam.artifacts, use_case.name)
        pointer = f"models/{use_case.name}/champion.json"
        try:
            champion = registry.find_champion()
        except ArtifactError as error:
            exam.error(
                f"{use_case.name}: the pointer {pointer} is damaged: {error.message}",
                f"{RESTORE}, or delete it and promote: "
                "python -m offline.promote promote N",
            )
            continue
        if champion is None:
            as_of = exam.now.date().isoformat()
            exam.lack(
                f"{use_case.name}: no model serves",
                f"run 00-ModelTraining with use_case {use_case.name}, or load the "
                "shipped model: python -m offline.load_model. Where one was trained, "
                "python -m offline.promote status says why it was not promoted",
                locally=exam.call(
                    "model_training", use_case=use_case.name, as_of=as_of
                ),
            )
            continue
        serving = [("the champion", champion.version)]
        if champion.shadow is not None:
            serving.append(("the shadow", champion.shadow))
        for role, version in serving:
            _check_version(exam, use_case, role, version)
        _check_pointer(exam, use_case, champion)


def _check_pointer(exam: Examination, use_case: UseCase, champion: Champion) -> None:
    recorded = find_recorded(exam.warehouse, use_case, champion.version)
    if recorded and recorded["model_sha256"] != champion.model_sha256:
        exam.warn(
            f"{use_case.name}: the pointer has another SHA-256 for version "
            f"{champion.version} than was recorded; functions go by what was recorded",
            "find out who wrote champion.json; promote the version again",
        )
    with contextlib.suppress(ValueError):
        promoted = datetime.fromisoformat(champion.promoted_at)
        if exam.now - promoted > CHAMPION_OLD and not champion.pinned:
            as_of = exam.now.date().isoformat()
            exam.lack(
                f"{use_case.name}: version {champion.version} has served for "
                f"{(exam.now - promoted).days} days",
                "see in ma_model_training_metadata why newer versions were not "
                "promoted, or whether training still runs",
                locally=exam.call(
                    "model_training", use_case=use_case.name, as_of=as_of
                ),
                severity=WARNING,
            )


def _check_version(
    exam: Examination, use_case: UseCase, role: str, version: int
) -> None:
    name = f"{use_case.name}: {role}, version {version},"
    recorded = find_recorded(exam.warehouse, use_case, version)
    if recorded is None:
        exam.error(
            f"{name} is not recorded in {tables.TRAINING_METADATA.name}: no function "
            "loads it",
            "promote a recorded version (python -m offline.promote status), or train",
        )
        return
    for part in ("model", "preprocessor"):
        try:
            stored = exam.artifacts.find(recorded[f"{part}_object"])
            found = sha256(stored.data) if stored else ""
        except ArtifactError:
            # Not even those that Cloud Storage took a checksum of.
            found = "damaged"
        if not found:
            exam.error(
                f"{name} has lost its {part}: {recorded[f'{part}_object']} is gone",
                f"{RESTORE}, or promote another version, or train again",
            )
        elif found != recorded[f"{part}_sha256"]:
            exam.error(
                f"{name} has a {part} whose bytes are not those that were recorded; "
                "no function loads it",
                f"find out who wrote to the bucket; {RESTORE}, or promote another "
                "version, or train again",
            )
    if json.loads(recorded["features"]) != dict(use_case.features):
        exam.error(
            f"{name} was trained on other features than usecase.toml has today",
            "run 00-ModelTraining",
        )
    trained_with = json.loads(recorded.get("statement_parameters") or "null")
    chosen = use_case.chosen(exam.settings)
    if trained_with not in (None, chosen):
        exam.error(
            f"{name} was trained with {trained_with}, and the settings say {chosen}",
            "train again, or set them back",
        )
    if recorded["is_warm"] is False:
        exam.warn(
            f"{name} has not seen enough to score",
            "train again once more events have come",
        )
    others = _other_libraries(json.loads(recorded["libraries"] or "{}"))
    if others:
        exam.warn(
            f"{name} was written with other libraries than are installed here: "
            f"{', '.join(others)}",
            "if functions run with these, too, train again before they are deployed",
        )


def _other_libraries(recorded: Mapping[str, str]) -> list[str]:
    found = []
    for name, version in recorded.items():
        if name == "python":
            continue
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "none"
        if installed != version:
            found.append(f"{name} {version} there and {installed} here")
    return found


# -- runs ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What the lease of a run says."""

    name: str
    as_of: date
    state: str
    expires_at: str = ""
    error: str = ""


def check_runs(exam: Examination) -> None:
    """Whether the scheduled runs ran, ended well, and published."""
    leases = _leases(exam)
    for function in functions.load():
        schedule, kind = function.schedule, KINDS.get(function.target)
        if schedule is None or kind is None:
            continue
        if schedule.per_use_case:
            for use_case in exam.use_cases:
                if not (schedule.skips and getattr(use_case, schedule.skips)):
                    found = leases.get((use_case.name, kind), [])
                    who = f"{function.target} of {use_case.name}"
                    # What serves a shipped model need not be trained by the clock.
                    if found or exam.is_scheduled(use_case):
                        published = partial(_published, exam, use_case, kind)
                        call = exam.call(
                            function.target,
                            use_case=use_case.name,
                            as_of=exam.now.date().isoformat(),
                        )
                        _check_kind(
                            exam, who, schedule.cron, found, published, call=call
                        )
        elif ("stream", kind) in leases or _has_stream(exam):
            found = leases.get(("stream", kind), [])
            cron, counted = schedule.cron, partial(_compacted, exam)
            call = exam.call(function.target)
            _check_kind(exam, function.target, cron, found, counted, call=call)
    for use_case in exam.use_cases:
        _check_published(exam, use_case, leases)


def _has_stream(exam: Examination) -> bool:
    events = exam.table(tables.STREAM_EVENTS.name)
    return bool(events is not None and events.num_rows)


def _leases(exam: Examination) -> dict[tuple[str, str], list[Lease]]:
    """Return the newest leases of each use case and kind, newest first."""
    names: dict[tuple[str, str], list[str]] = {}
    for name in exam.artifacts.names("runs/"):
        if match := _LEASE.fullmatch(name):
            names.setdefault((match["scope"], match["kind"]), []).append(name)
    found = {}
    for key, listed in names.items():
        newest = sorted(listed)[-LEASES:]
        # What all compactions share has no date of its own, and may be stuck as well.
        shared = [name for name in listed[:1] if "1970-01-01" in name]
        read = (_lease(exam, name) for name in {*newest, *shared})
        found[key] = sorted(
            (one for one in read if one is not None), key=lambda one: one.as_of
        )[::-1]
    return found


def _lease(exam: Examination, name: str) -> Lease | None:
    match = _LEASE.fullmatch(name)
    assert match is not None
    try:
        stored = exam.artifacts.find(name)
        if stored is None:
            return None
        note = json.loads(stored.data)
    except (ArtifactError, ValueError):
        note = None
    if not isinstance(note, dict):
        note = {}
    return Lease(
        name=name,
        as_of=date.fromisoformat(match["as_of"]),
        state=str(note.get("state", "damaged")),
        expires_at=str(note.get("expires_at", "")),
        error=str(note.get("error", "")),
    )


def _check_kind(
    exam: Examination,
    who: str,
    cron: str,
    leases: Sequence[Lease],
    published: Callable[[date], date | None],
    *,
    call: str,
) -> None:
    """
    Look at the runs of one kind.

    Args:
        exam: Told what is found.
        who: The function, and the use case where it has one.
        cron: Its schedule.
        leases: Newest first.
        published: Returns the newest date, of those since one, that a run is known to
            have been done for by what it left: a repeat overwrites its lease.
        call: The command that runs it locally.
    """
    now = exam.now.isoformat(timespec="microseconds")
    for lease in leases:
        if lease.state == "running" and lease.expires_at < now:
            exam.error(
                f"{who} for {lease.as_of} is stuck: it never ended, and its lease did "
                f"at {lease.expires_at[:16]}",
                "the function was cut short: see its log for memory and timeout; the "
                "next run takes over",
            )
    dated = [one for one in leases if one.as_of != compaction.EPOCH.date()]
    if not dated:
        exam.lack(
            f"{who} has never run",
            "call it once, and run scheduler.sh",
            locally=call,
            severity=WARNING,
        )
        return
    newest = dated[0]
    known = [
        one.as_of
        for one in dated
        if one.state == "done" or (one.state == "running" and one.expires_at >= now)
    ]
    if newest.as_of not in known:
        # Where tables can not be read the leases are told all the same.
        with contextlib.suppress(PropensityError):
            left = published(dated[-1].as_of)
            known += [left] if left else []
    succeeded = max(known, default=None)
    if newest.state == "failed":
        is_repeat = succeeded is not None and succeeded >= newest.as_of
        _tell_failure(exam, who, newest, is_repeat=is_repeat)
    if newest.state == "damaged":
        exam.error(
            f"{who}: the lease of {newest.as_of} is damaged",
            f"delete {newest.name} in the bucket: no run for that date begins before",
        )
    due = last_due(cron, exam.now - RUN_LATE, exam.zone)
    if newest.as_of < due.astimezone(UTC).date():
        exam.lack(
            f"{who} was last run for {newest.as_of}; no schedule runs it here"
            if exam.addresses
            else f"{who} was missed: it was due on {due:%Y-%m-%d %H:%M}, and the last "
            f"that succeeded is {succeeded or 'none'}",
            "see in Cloud Scheduler whether its job is there, not paused, and what it "
            "was answered; then call the function",
            locally=call,
        )


def _tell_failure(
    exam: Examination, who: str, lease: Lease, *, is_repeat: bool
) -> None:
    code = CODES.get(lease.error)
    if code == ExportLate.code:
        exam.warn(
            f"{who} for {lease.as_of} waits for the newest day of the export",
            "Cloud Scheduler calls it again; after PROPENSITY_EXPORT_WAIT_MINUTES it "
            "goes on without that day, and with force at once",
        )
        return
    why = code or lease.error or "no reason is given"
    log = f"see the log of {who.partition(' ')[0]} of that run"
    advice = (
        f"docs/errors.md says what to do about {code}; its log line has the message"
        if code
        else f"{log}: it is no error that the project foresees"
    )
    if is_repeat:
        exam.warn(
            f"{who} for {lease.as_of} failed: {why}; what a run for that date has left "
            "before is there",
            advice,
        )
    else:
        exam.error(f"{who} for {lease.as_of} failed: {why}", advice)


def _published(
    exam: Examination, use_case: UseCase, kind: str, since: date
) -> date | None:
    """Return the newest date since one that a use case's tables have a run of."""
    if kind == "train":
        rows = exam.warehouse.rows(
            statement("recorded_versions"),
            {"use_case": use_case.name, "at_most": LEASES},
        )
        # Version 0 came with the code, and no run has trained it.
        trained = (row["as_of"] for row in rows if row["model_version"])
        return max(trained, default=None)
    [row] = exam.warehouse.rows(
        statement("newest_runs"),
        # A week that is evaluated begins before its run.
        {"use_case": use_case.name, "since": since - EVALUATED},
    )
    newest: date | None = row[PUBLISHED[kind][0]]
    return newest


def _compacted(exam: Examination, since: date) -> date | None:
    """Return the day of the last compaction since one, by the watermark."""
    try:
        moment = compaction.read_watermark(exam.artifacts).moment
    except DAMAGED:
        return None
    began = (moment + compaction.IN_FLIGHT).date()
    return began if began >= since else None


def last_due(cron: str, now: datetime, zone: ZoneInfo) -> datetime:
    """
    Return the last moment at which a schedule came due.

    Args:
        cron: Minute, hour, day of month, any month, day of week; each a number or *,
            minute and hour a number.
        now: No later than this.
        zone: The schedule's.

    Raises:
        ValueError: The schedule is of another form.
    """
    minute, hour, day, month, weekday = cron.split()
    if month != "*" or not (minute.isdigit() and hour.isdigit()):
        raise ValueError(f"{cron!r} is not a schedule that can be told")
    local = now.astimezone(zone)
    for back in range(400):
        on = local.date() - back * DAY
        moment = datetime(
            on.year, on.month, on.day, int(hour), int(minute), tzinfo=zone
        )
        is_day = day in ("*", str(on.day))
        is_weekday = weekday == "*" or int(weekday) % 7 == on.isoweekday() % 7
        if is_day and is_weekday and moment <= local:
            return moment
    raise ValueError(f"{cron!r} never comes due")


def _check_published(
    exam: Examination,
    use_case: UseCase,
    leases: Mapping[tuple[str, str], Sequence[Lease]],
) -> None:
    """Compare what runs said they had published with what the tables have."""
    done = {
        kind: [
            one.as_of
            for one in leases.get((use_case.name, kind), ())
            if one.state == "done"
        ]
        for kind in PUBLISHED
    }
    oldest = min((one for days in done.values() for one in days), default=None)
    if oldest is None:
        return
    for kind, (_, table, folder) in PUBLISHED.items():
        if not done[kind]:
            continue
        there = _published(exam, use_case, kind, oldest)
        if there is None or there < max(done[kind]):
            exam.error(
                f"{use_case.name}: the run of {max(done[kind])} is done, and "
                f"{table.name} ends with {there or 'nothing'}",
                "rows were deleted, or PROPENSITY_DATASET was changed: restore the "
                f"table, or run {folder} again with that as_of",
            )


# -- topics and subscriptions ----------------------------------------------------------


def topic_names(settings: Settings) -> list[str]:
    """Return the topics of this deployment."""
    return [topics.topic_name(settings, name) for name in topics.TOPICS]


def check_topics(exam: Examination, services: Services = GOOGLE) -> None:
    """Whether topics and subscriptions are there, and no message is given up."""
    settings, project = exam.settings, exam.settings.project
    channel = _channel(settings)
    made: dict[str, Any] = {}
    if channel is not None:
        made = {"transport": PublisherGrpcTransport(channel=channel)}
    with reaching("Pub/Sub"), PublisherClient(**made) as publisher:
        missing = []
        for name in topic_names(settings):
            try:
                publisher.get_topic(
                    topic=f"projects/{project}/topics/{name}",
                    retry=None,
                    timeout=PATIENCE_S,
                )
            except api.NotFound:
                missing.append(name)
    if missing == topic_names(settings) and not _has_stream(exam):
        exam.skip("there is no topic: the stream is not deployed")
        return
    if missing:
        exam.error(f"topics are missing: {', '.join(missing)}", SET_UP)
    channel = _channel(settings)
    if channel is not None:
        made = {"transport": SubscriberGrpcTransport(channel=channel)}
    with reaching("Pub/Sub"), SubscriberClient(**made) as subscriber:
        for one in topics.SUBSCRIPTIONS:
            called = topics.subscription_name(settings, one)
            path = f"projects/{project}/subscriptions/{called}"
            try:
                found = subscriber.get_subscription(
                    subscription=path, retry=None, timeout=PATIENCE_S
                )
            except api.NotFound:
                exam.error(
                    f"the subscription {called} is missing: what is published to "
                    f"{topics.topic_name(settings, one.topic)} is lost to it",
                    SET_UP,
                )
                continue
            _check_subscription(exam, one, found)
            if not one.function:
                waiting = _waiting(exam, subscriber, path, services)
                if waiting:
                    exam.error(
                        f"{waiting} messages wait in {called}: they could not be "
                        f"delivered {topics.SUBSCRIPTIONS[0].attempts} times",
                        "see the log of stream_features and score_stream for why, then "
                        "bring them back: python -m offline.replay dead-letters",
                    )


def _channel(settings: Settings) -> grpc.Channel | None:
    if not settings.pubsub_endpoint:
        return None
    return grpc.insecure_channel(settings.pubsub_endpoint)


def _check_subscription(
    exam: Examination, wanted: topics.Subscription, found: Any
) -> None:
    settings, project = exam.settings, exam.settings.project
    called = topics.subscription_name(settings, wanted)
    topic = f"projects/{project}/topics/{topics.topic_name(settings, wanted.topic)}"
    if found.topic != topic:
        exam.error(
            f"the subscription {called} is of {found.topic.rpartition('/')[2]}, "
            f"and not of {topic.rpartition('/')[2]}",
            f"delete it, and {SET_UP}",
        )
    if not wanted.function:
        return
    if not found.push_config.push_endpoint:
        exam.warn(
            f"the subscription {called} pushes to nobody: its messages wait, for "
            "seven days at most",
            f"deploy {wanted.function}: its deploy.sh lets the subscription push to it",
        )
    given_up = topics.topic_name(settings, topics.DEAD_LETTERS)
    letters = f"projects/{project}/topics/{given_up}"
    if found.dead_letter_policy.dead_letter_topic != letters:
        exam.error(
            f"the subscription {called} has no dead-letter topic: a message that "
            "never succeeds is delivered again for ever",
            SET_UP,
        )


def _waiting(
    exam: Examination, subscriber: SubscriberClient, path: str, services: Services
) -> int:
    """Return how many messages wait in a subscription that is pulled."""
    if exam.settings.pubsub_endpoint and services is GOOGLE:
        # An emulator has no metrics: look, and put back at once what was looked at.
        with warnings.catch_warnings():
            # Deprecated, since what waits on some server may be missed: here is one.
            warnings.simplefilter("ignore", DeprecationWarning)
            pulled = subscriber.pull(
                subscription=path,
                max_messages=1_000,
                return_immediately=True,
                retry=None,
                timeout=PATIENCE_S,
            )
        ids = [one.ack_id for one in pulled.received_messages]
        if ids:
            subscriber.modify_ack_deadline(
                subscription=path, ack_ids=ids, ack_deadline_seconds=0
            )
        return len(ids)
    name = path.rpartition("/")[2]
    until = datetime.now(UTC)
    with contextlib.closing(session(exam, services)) as asking:
        answer = asking.get(
            f"{services.monitoring}/{exam.settings.project}/timeSeries",
            params={
                "filter": 'metric.type="pubsub.googleapis.com/subscription/'
                'num_undelivered_messages" AND '
                f'resource.labels.subscription_id="{name}"',
                "interval.startTime": (until - timedelta(minutes=15)).isoformat(),
                "interval.endTime": until.isoformat(),
            },
            timeout=PATIENCE_S,
        )
    if answer.status_code != 200:
        exam.skip(
            f"how many messages wait in {name}: Cloud Monitoring answers "
            f"{answer.status_code}, as without the role monitoring.viewer"
        )
        return 0
    series = answer.json().get("timeSeries") or [{}]
    points = series[0].get("points") or [{}]
    return int(points[0].get("value", {}).get("int64Value", 0))


# -- the stream ------------------------------------------------------------------------


def check_stream(exam: Examination) -> None:
    """Whether events are counted, scored in time, and accepted."""
    since = exam.now - DAY
    window = {"since": since, "since_day": since.date()}
    if _has_stream(exam):
        _check_watermark(exam)
    scored = {
        name
        for use_case in exam.use_cases
        # A registration opens the time in which a user is scored.
        for name in (use_case.scored or ("new_registration",))
    }
    for row in exam.warehouse.rows(
        statement("stream_lag"), {**window, "scored": sorted(scored)}
    ):
        name, scorable, last = row["use_case"], row["scorable_at"], row["scored_at"]
        if scorable is None or name not in exam.champions:
            continue
        if last is None:
            exam.error(
                f"{name}: events came until {scorable:%Y-%m-%d %H:%M}, and none "
                f"has had a score since {since:%Y-%m-%d %H:%M}",
                "see the log of score_stream, and whether its subscription pushes",
            )
        elif scorable - last > LAG:
            minutes = (scorable - last) / timedelta(minutes=1)
            exam.error(
                f"{name}: scores are {minutes:,.0f} minutes behind the events",
                "see the log of score_stream: it fails, or needs more instances "
                "(max_instances in deploy/functions.toml)",
            )
    letters = exam.warehouse.rows(statement("dead_letter_reasons"), window)
    if letters:
        told = ", ".join(f"{row['reason']} {row['messages']:,}" for row in letters)
        total = sum(row["messages"] for row in letters)
        exam.warn(
            f"{total:,} events became dead letters since {_moment(since)}: {told}",
            "see detail and field in dead_letters, correct the producer, and replay "
            "what can be: python -m offline.replay --help",
        )


def _check_watermark(exam: Examination) -> None:
    try:
        watermark = compaction.read_watermark(exam.artifacts).moment
    except DAMAGED:
        exam.error(
            f"{compaction.WATERMARK} is damaged",
            f"{RESTORE}, or delete it and run the compaction with force",
        )
        return
    if watermark == compaction.EPOCH:
        # Whether it never ran is told among the runs.
        return
    age = exam.now - watermark
    if age > WATERMARK_OLD:
        exam.lack(
            f"the compaction is {age.days} days behind: the view of the features "
            "stays exact, and reads more every day",
            "see the log of compact_features, and call it",
            locally=exam.call("compact_features"),
        )


# -- the command -----------------------------------------------------------------------

Check = Callable[[Examination], None]

CHECKS: Mapping[str, Check] = {
    "settings": check_settings,
    "permissions": check_permissions,
    "tables": check_tables,
    "views": check_views,
    "export": check_export,
    "champions": check_champions,
    "runs": check_runs,
    "topics": check_topics,
    "stream": check_stream,
}


def examine(
    exam: Examination, *, tell: Callable[[str], None] = lambda _: None
) -> Report:
    """
    Run every check; one that fails keeps no other from running.

    Args:
        exam: What to look at.
        tell: Told what is being looked at.
    """
    report = exam.report
    settings = exam.settings
    report.place = f"{settings.project}.{settings.dataset}"
    report.as_of = _moment(exam.now)
    for name, check in CHECKS.items():
        tell(name)
        exam.check = name
        report.checks.append(name)
        try:
            check(exam)
        except PropensityError as error:
            report.failed.append(Unknown(check=name, why=error.message))
        except Exception as error:
            # The one place that catches everything: what nobody foresaw in one check
            # is no reason to keep to oneself what the others find.
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
            report.failed.append(Unknown(check=name, why=why))
    return report


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def use_cases_of(
    settings: Settings, named: Sequence[str], artifacts: Artifacts
) -> list[UseCase]:
    """
    Return the use cases to look at: those named, or the setting's and all that serve.

    Raises:
        RequestError: There is no such use case.
    """
    if named:
        return [usecases.load(name) for name in dict.fromkeys(named)]
    serving = set()
    # Where the bucket does not answer, the checks say so.
    with contextlib.suppress(PropensityError, auth.GoogleAuthError):
        for name in usecases.names():
            try:
                if Registry(artifacts, name).find_champion() is not None:
                    serving.add(name)
            except ArtifactError:
                # What has a damaged pointer is to serve as well.
                serving.add(name)
    return [usecases.load(name) for name in sorted({settings.use_case, *serving})]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = parse(arguments)
    try:
        report = run(options)
    except SettingsError as error:
        advice = "docs/settings.md has every setting, its default and its bounds"
        found = Finding(
            check="settings", severity=ERROR, what=error.message, advice=advice
        )
        report = Report(
            place="the settings of this environment",
            as_of=_moment(datetime.now(UTC)),
            checks=["settings"],
            findings=[found],
        )
    except PropensityError as error:
        print(f"doctor: {error.message}", file=sys.stderr)
        return 2
    print(report.to_json() if options.json else report)
    return report.status


def run(options: argparse.Namespace) -> Report:
    """
    Examine what the environment names.

    Raises:
        SettingsError: The settings are wrong.
        RequestError: An option is.
    """
    now = datetime.now(UTC)
    addresses = use_local_state(options.state) if options.local else {}
    if options.as_of:
        now = datetime.combine(options.as_of + DAY, datetime.min.time(), tzinfo=UTC)
    chosen = Settings.from_environment()
    settings = replace(
        chosen,
        retry_deadline_s=min(PATIENCE_S, chosen.retry_deadline_s),
        query_timeout_s=min(QUERY_S, chosen.query_timeout_s),
    )
    exam = Examination(
        settings=settings,
        now=now,
        use_cases=[usecases.load(settings.use_case)],
        zone=options.time_zone,
        function=options.function or "",
        is_named=bool(options.use_case),
        addresses=addresses,
    )
    with contextlib.closing(exam):
        if settings.bucket:
            with reaching("Google Cloud"):
                exam.use_cases = use_cases_of(
                    settings, options.use_case, exam.artifacts
                )
            if options.local and not options.as_of:
                # What can not be read here is told by the check that reads it.
                with contextlib.suppress(PropensityError):
                    exam.now = moment_of_play(exam)
        return examine(exam, tell=_progress)


def moment_of_play(exam: Examination) -> datetime:
    """
    Return the moment that a local run has come to.

    Locally nobody runs anything by the clock, and data may be of another year: it is
    the day of the last run, and now where that was today.
    """
    days = [
        leases[0].as_of
        for (scope, _), leases in _leases(exam).items()
        if scope == exam.settings.use_case
    ]
    newest = max(days, default=exam.now.date())
    moment = datetime.combine(newest, datetime.min.time(), tzinfo=UTC)
    return moment if newest < exam.now.date() else exam.now


def _progress(name: str) -> None:
    print(f"· looking at {name} …", file=sys.stderr, flush=True)


def use_local_state(name: str | None) -> Mapping[str, str]:
    """
    Take the environment of a local state that is up.

    Returns:
        The address of each of its functions, by target.

    Raises:
        RequestError: None is, or the one named is not.
    """
    from local.stack import Stack, State, states  # here alone

    found = [State(name)] if name else states()
    up = [one for one in found if (record := one.record()) and record.running]
    if len(up) != 1:
        names = ", ".join(one.name for one in up)
        raise RequestError(
            f"several local states are up: name one of {names} by --state"
            if up
            else "no local state is up: `make up` starts one"
        )
    record = up[0].record()
    assert record is not None
    stack = Stack(up[0], options=record.options, ports=record.ports)
    for variable in [one for one in os.environ if one.startswith("PROPENSITY_")]:
        del os.environ[variable]
    os.environ.update(stack.environment)
    return {one.target: stack.url(one.target) for one in stack.functions}


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"there is no time zone {name}") from error


def _day(text: str) -> date:
    try:
        return day_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no date as YYYY-MM-DD"
        ) from error


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m offline.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--local", action="store_true", help="look at what `make up` has started"
    )
    parser.add_argument(
        "--state", metavar="NAME", help="which local state, where several are up"
    )
    parser.add_argument(
        "--use-case",
        action="append",
        default=[],
        metavar="NAME",
        help="look at this one only (default: PROPENSITY_USE_CASE and all that serve)",
    )
    parser.add_argument(
        "--as-of",
        type=_day,
        metavar="DATE",
        help="look as if that day (UTC) had just ended (default: now)",
    )
    parser.add_argument(
        "--time-zone",
        type=_zone,
        default="Etc/UTC",
        metavar="ZONE",
        help="of the schedules, as DEPLOY_TIME_ZONE (default: Etc/UTC)",
    )
    parser.add_argument(
        "--function", metavar="TARGET", help="check the rights that this function needs"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
