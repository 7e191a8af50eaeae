"""
Who may do what: the rights of ``functions.toml`` as bindings, and none beside them.

A right is given on the smallest thing that it can be given on: a table, the objects
under a prefix, a topic, a service. Only what BigQuery asks for in the project itself,
running a query and reading its result as a stream, is given there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from deploy.deployment import Deployment
from deploy.functions import Function
from deploy.steps import Command, Step
from deploy.words import (
    NUMBER,
    bq,
    dataset_name,
    gcloud,
    late,
    name_of,
    own_role,
    project,
    query,
    shown,
    table_name,
)
from propensity import topics

OBJECT_ROLES = {
    "read": "roles/storage.objectViewer",
    "create": "roles/storage.objectCreator",
    "replace": "roles/storage.objectUser",
}

READER = "roles/bigquery.dataViewer"


def rights(d: Deployment) -> Iterator[Step]:
    """Yield what every function may do, and who may publish events."""
    for one in d.functions:
        account = d.account(one.target)
        if one.runs_queries:
            yield project_right(d, account, "roles/bigquery.jobUser")
        if one.large_results:
            yield project_right(d, account, "roles/bigquery.readSessionUser")
        yield from _table_rights(d, one, account)
        if d.suppression_secret and one.needs_key:
            secret = right(
                f"{name_of(account)} may read the secret {d.suppression_secret}",
                ("secrets", d.suppression_secret),
                role="roles/secretmanager.secretAccessor",
                member=f"serviceAccount:{account}",
                where=(project(d),),
            )
            yield replace(secret, given=(d.suppression_secret,))
        for verb, names in one.objects:
            yield _object_right(d, account, verb, names)
        for topic in one.publishes:
            yield _publisher(d, f"serviceAccount:{account}", d.topic(topic))
    for member in d.producers:
        yield _publisher(d, member, d.topic(topics.EVENTS))


def binding(
    policy: dict[str, Any], *, role: str, member: str, condition: str = ""
) -> dict[str, Any] | None:
    """
    Find a member's binding to a role in a policy, None where there is none.

    Args:
        policy: As gcloud and bq print it.
        role: By its whole name.
        member: Its part that is looked up later stands for any number.
        condition: Title of the binding's condition; empty for one without.
    """
    pattern = re.escape(member).replace(re.escape(late(NUMBER)), "[0-9]+")
    for one in policy.get("bindings", ()):
        is_member = any(re.fullmatch(pattern, each) for each in one.get("members", ()))
        title = one.get("condition", {}).get("title", "")
        if is_member and (one.get("role"), title) == (role, condition):
            found: dict[str, Any] = one
            return found
    return None


def right(
    what: str,
    resource: Command,
    *,
    role: str,
    member: str,
    where: Command = (),
    condition: str = "",
    title: str = "",
) -> Step:
    """
    Return the step that lets somebody do something.

    Args:
        what: It is, in words.
        resource: gcloud's words for its kind, and its name.
        role: The right.
        member: Whose.
        where: Flags that say where the resource is.
        condition: Under which the right holds, of this title.
    """
    kind, name = " ".join(resource[:-1]), resource[-1]
    words = [name, f"--member={member}", f"--role={role}", *where]
    if condition:
        words.append(f"--condition=expression={condition},title={title}")
    elif kind in ("projects", "iam service-accounts"):
        words.append("--condition=None")
    return Step(
        what=what,
        look=gcloud(f"{kind} get-iam-policy", name, *where, "--format=json"),
        pick=lambda policy: binding(policy, role=role, member=member, condition=title),
        create=(gcloud(f"{kind} add-iam-policy-binding", *words),),
        remove=(gcloud(f"{kind} remove-iam-policy-binding", *words),),
    )


def project_right(d: Deployment, account: str, role: str) -> Step:
    """Return the step that gives an account a role in the project."""
    return right(
        f"{name_of(account)} is {role.partition('/')[2]} in the project",
        ("projects", d.project),
        role=role,
        member=f"serviceAccount:{account}",
    )


def _publisher(d: Deployment, member: str, topic: str) -> Step:
    return right(
        f"{name_of(member)} may publish to {topic}",
        ("pubsub", "topics", topic),
        role="roles/pubsub.publisher",
        member=member,
        where=(project(d),),
    )


def _table_rights(d: Deployment, one: Function, account: str) -> Iterator[Step]:
    given = [
        *((name, READER, "read") for name in one.reads),
        *((name, own_role(d, "table_appender"), "append to") for name in one.appends),
        *((name, own_role(d, "table_writer"), "change") for name in one.writes),
        *((name, own_role(d, "view_keeper"), "replace") for name in one.views),
    ]
    for name, role, verb in given:
        if name != "ga_events" or d.settings.ga4_dataset:
            yield _table_right(d, account, name, role=role, verb=verb)
    if one.reads_export and d.settings.ga4_dataset:
        yield _export_right(d, account, READER)


def _table_right(
    d: Deployment, account: str, name: str, *, role: str, verb: str
) -> Step:
    member, table = f"serviceAccount:{account}", ("--table=true", table_name(d, name))
    words = (f"--member={member}", f"--role={role}", *table)
    waits = "the view is there once the export has a table; run the set-up again then"
    return Step(
        what=f"{name_of(account)} may {verb} {name}",
        look=bq(d, "get-iam-policy", "--format=json", *table),
        pick=lambda policy: binding(policy, role=role, member=member),
        create=(bq(d, "add-iam-policy-binding", *words),),
        remove=(bq(d, "remove-iam-policy-binding", *words),),
        needs=waits if name == "ga_events" else "",
    )


def _export_right(d: Deployment, account: str, role: str) -> Step:
    """
    Return the step that lets an account read the export and see its tables.

    On the dataset, since tables come every day. In a project of others only its owner
    may grant that: what was left out names the command for them.
    """
    export, is_foreign = d.settings.export, "." in d.settings.ga4_dataset
    words = f"`{role}` ON SCHEMA `{export}`"
    told = d.settings.ga4_dataset
    return Step(
        what=f"{name_of(account)} has {role.rpartition('/')[2]} on dataset {told}",
        look=shown(d, dataset_name(export)),
        pick=_dataset_entry(account, role),
        create=(query(d, f'GRANT {words} TO "serviceAccount:{account}"'),),
        remove=(query(d, f'REVOKE {words} FROM "serviceAccount:{account}"'),),
        needs="who owns the dataset must run this" if is_foreign else "",
    )


def _dataset_entry(account: str, role: str) -> Callable[[Any], Any]:
    # A dataset's list has the first roles that BigQuery had by their first names.
    names = (role, "READER") if role == READER else (role,)

    def pick(found: dict[str, Any]) -> Any:
        entries = found.get("access", ())
        ours = (one for one in entries if one.get("userByEmail") == account)
        return next((one for one in ours if one.get("role") in names), None)

    return pick


def object_condition(bucket: str, names: str) -> str:
    """
    Return the IAM condition under which a right is for some objects.

    Args:
        bucket: That holds them.
        names: A prefix, or ``prefix*suffix``.
    """
    prefix, is_split, suffix = names.partition("*")
    place = f"projects/_/buckets/{bucket}/objects/{prefix}"
    condition = f'resource.name.startsWith("{place}")'
    if is_split:
        condition += f' && resource.name.endsWith("{suffix}")'
    return condition


def _object_right(d: Deployment, account: str, verb: str, names: str) -> Step:
    bucket, member = d.settings.bucket, f"serviceAccount:{account}"
    if verb == "list":
        # Names are listed of a bucket: no condition on an object's name holds there.
        return right(
            f"{name_of(account)} may list the names in the bucket",
            ("storage", "buckets", f"gs://{bucket}"),
            role=own_role(d, "object_lister"),
            member=member,
        )
    return right(
        f"{name_of(account)} may {verb} objects {names}",
        ("storage", "buckets", f"gs://{bucket}"),
        role=OBJECT_ROLES[verb],
        member=member,
        condition=object_condition(bucket, names),
        title=f"{verb} {names}",
    )
