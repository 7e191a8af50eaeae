"""Settings that go together, and the rights of the functions."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from urllib.parse import quote

import requests

from deploy import functions
from deploy.render import OWN_ROLES
from offline.doctor.examination import (
    GOOGLE,
    PATIENCE_S,
    Examination,
    Services,
    reaching,
    topic_names,
)
from propensity import tables, topics
from propensity.errors import RequestError, Unavailable


def check_settings(exam: Examination) -> None:
    """Whether settings fit together, beyond the checks of every function."""
    settings = exam.settings
    reading = [use_case.name for use_case in exam.use_cases if use_case.reads_export]
    if not settings.bucket:
        exam.error(
            "PROPENSITY_BUCKET is not set, and every function needs it",
            "set it to the bucket that deploy/setup.sh has created",
        )
    if reading and not settings.ga4_dataset:
        exam.error(
            f"PROPENSITY_GA4_DATASET is not set, and {', '.join(reading)} reads it",
            "set it to the dataset of the GA4 export, such as analytics_123456789",
        )
    targets = [function.target for function in functions.load()]
    if exam.function and exam.function not in targets:
        raise RequestError(
            f"there is no function {exam.function}; there are {', '.join(targets)}"
        )


READS_TABLE = ("bigquery.tables.get", "bigquery.tables.getData")
APPENDS_TABLE = OWN_ROLES["table_appender"][1]
WRITES_TABLE = OWN_ROLES["table_writer"][1]
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

# The doctor's own rights on the bucket.
EXAMINES = {"storage.objects.get", "storage.objects.list", "storage.buckets.get"}


@dataclass(frozen=True)
class Right:
    """Permissions on one resource, and the request that tests them."""

    resource: str
    url: str
    permissions: tuple[str, ...]
    by_get: bool = False


def rights_of(
    exam: Examination, function: functions.Function | None, services: Services
) -> list[Right]:
    """
    Return the rights that a function needs, by ``deploy/functions.toml``.

    Args:
        function: The function; None for the rights that the doctor needs.
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

    rights = []
    bucket: set[str] = set()
    named: list[tuple[str, tuple[str, ...]]]
    if function is None:
        named = [(table.name, READS_TABLE) for table in tables.TABLES]
        bucket |= EXAMINES
        published = [topic(name, "pubsub.topics.get") for name in topic_names(settings)]
        in_project: tuple[str, ...] = (RUNS_QUERIES,)
    else:
        named = [
            *((name, READS_TABLE) for name in function.reads),
            *((name, APPENDS_TABLE) for name in function.appends),
            *((name, WRITES_TABLE) for name in function.writes),
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
        rights.append(Right(f"project {project}", url, in_project))
    rights += [
        table(name, permissions)
        for name, permissions in named
        if name != "ga_events" or settings.ga4_dataset
    ]
    if bucket and settings.bucket:
        permissions = tuple(sorted(bucket))
        query = "&".join(f"permissions={permission}" for permission in permissions)
        url = f"{services.storage}/{settings.bucket}/iam/testPermissions?{query}"
        rights.append(Right(f"bucket {settings.bucket}", url, permissions, by_get=True))
    return rights + published


def check_permissions(exam: Examination, services: Services = GOOGLE) -> None:
    """Whether the account has the rights that it needs."""
    if exam.is_emulated and services is GOOGLE:
        exam.skip("emulators let everybody do everything")
        return
    function = next((f for f in functions.load() if f.target == exam.function), None)
    needed = rights_of(exam, function, services)
    who = f"the account of {function.target}" if function else "this account"
    with contextlib.closing(session(exam, services)) as client:
        for right in needed:
            missing = sorted(set(right.permissions) - granted(client, right))
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


def granted(client: requests.Session, right: Right) -> set[str]:
    """
    Return which of a right's permissions the account has.

    Raises:
        Unavailable: Google Cloud did not say.
    """
    with reaching("Google Cloud"):
        if right.by_get:
            answer = client.get(right.url, timeout=PATIENCE_S)
        else:
            body = {"permissions": list(right.permissions)}
            answer = client.post(right.url, json=body, timeout=PATIENCE_S)
        if answer.status_code in (403, 404):
            # Google answers "not found" to an account that may not see a resource.
            return set()
        if answer.status_code != 200:
            raise Unavailable(
                f"the rights on {right.resource} could not be read: status "
                f"{answer.status_code}"
            )
        return set(answer.json().get("permissions", ()))
