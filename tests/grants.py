"""
What is granted on Google Cloud, and whether it is just what recorded calls need.

``grants`` reads what Terraform reads, and binds accounts to roles by. ``narrower`` are
needs that no grant covers, ``wider`` the grants, or parts of them, without which
nothing would be missing, and ``unused`` what a role of our own permits to no end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from deploy import functions, render
from deploy.configuration import Deployment
from deploy.render import OWN_ROLES
from propensity import topics
from tests.recorder import Call
from tests.rights import BUCKET, DATASET, OBJECT, PROJECT, TABLE, TOPIC, Need, own_name

GRANTED = render.TERRAFORM / "generated" / "functions.json"

# Of Google's roles, the permissions that a call here can need.
ROLES = {
    "roles/bigquery.jobUser": {"bigquery.jobs.create"},
    "roles/bigquery.readSessionUser": {
        "bigquery.readsessions.create",
        "bigquery.readsessions.getData",
    },
    "roles/bigquery.dataViewer": {
        "bigquery.datasets.get",
        "bigquery.routines.get",
        "bigquery.routines.list",
        "bigquery.tables.export",
        "bigquery.tables.get",
        "bigquery.tables.getData",
        "bigquery.tables.list",
    },
    "roles/storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
    "roles/storage.objectCreator": {"storage.objects.create"},
    "roles/storage.objectUser": {
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
        "storage.objects.update",
    },
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
}

# Of each role, those that let somebody do less.
WEAKER = {
    "table_writer": ("table_appender", "roles/bigquery.dataViewer"),
    "roles/storage.objectUser": (
        "roles/storage.objectViewer",
        "roles/storage.objectCreator",
    ),
}

# What a line of functions.toml gives, by the permission that is missing.
LINES = {
    "bigquery.jobs.create": "reads",
    "bigquery.readsessions.create": "large_results",
    "bigquery.readsessions.getData": "large_results",
    "bigquery.datasets.get": "reads_export",
    "bigquery.routines.get": "reads_export",
    "bigquery.routines.list": "reads_export",
    "bigquery.tables.export": "reads",
    "bigquery.tables.get": "reads, reads_export or views",
    "bigquery.tables.getData": "reads, reads_export or writes",
    "bigquery.tables.list": "reads_export",
    "bigquery.tables.update": "views",
    "bigquery.tables.updateData": "appends or writes",
    "pubsub.topics.publish": "publishes",
    "storage.objects.create": "objects: create or replace",
    "storage.objects.delete": "objects: replace",
    "storage.objects.get": "objects: read or replace",
    "storage.objects.list": "objects: list",
}


@dataclass(frozen=True)
class Grant:
    """A binding of a function's account to a role, on what it is for."""

    what: str
    role: str
    kind: str
    prefix: str = ""
    suffix: str = ""

    @property
    def permissions(self) -> set[str]:
        """What the role permits, of what a call here can need."""
        return permissions_of(self.role)

    def covers(self, need: Need) -> bool:
        """Tell whether a need is met by it."""
        if need.permission not in self.permissions:
            return False
        if self.kind == OBJECT:
            return (
                need.kind == OBJECT
                and need.name.startswith(self.prefix)
                and need.name.endswith(self.suffix)
            )
        if self.kind == DATASET and need.kind == TABLE:
            return need.name.startswith(f"{self.prefix}.")
        return (self.kind, self.prefix) == (need.kind, need.name)


def permissions_of(role: str) -> set[str]:
    """Return what a role permits: one of Google's, or of the deployment's own."""
    if role in ROLES:
        return ROLES[role]
    return set(OWN_ROLES[own_name(role)][1])


def grants(d: Deployment, target: str) -> list[Grant]:
    """
    Return what a deployment grants to a function: what Terraform reads of it.

    A function that is not as ``functions.toml`` has it is granted what would be written
    of it then.
    """
    [one] = [each for each in d.functions if each.target == target]
    if one in functions.load():
        given = json.loads(GRANTED.read_text())[target]["rights"]
    else:
        given = list(render.rights(one))
    return [
        _granted(d, target, right)
        for right in given
        if d.settings.ga4_dataset
        or (right["name"] != "ga_events" and right["on"] != "export")
    ]


# By what a right is on: how it is told.
_TOLD = {
    PROJECT: "is {role} in the project",
    TABLE: "may {verb} {name}",
    "export": "has {role} on dataset {name}",
    "objects": "may {verb} objects {name}",
    BUCKET: "may list the names in the bucket",
    TOPIC: "may publish to {name}",
}
_VERBS = {"table_appender": "append to", "table_writer": "change"}
_VERBS |= {"view_keeper": "replace", render.READER: "read"}


def _granted(d: Deployment, target: str, right: Mapping[str, str]) -> Grant:
    on, role = right["on"], right["role"]
    prefix, suffix = right["prefix"], right["suffix"]
    if not role.startswith("roles/"):
        role = f"projects/{d.project}/roles/{d.prefix}_{role}"
    kind, *place = {
        PROJECT: (PROJECT,),
        TABLE: (TABLE, f"{d.settings.dataset}.{right['name']}"),
        "export": (DATASET, d.settings.export.rpartition(".")[2]),
        "objects": (OBJECT, prefix, suffix),
        BUCKET: (BUCKET,),
        TOPIC: (TOPIC, topics.topic_name(d.settings, right["name"] or topics.EVENTS)),
    }[on]
    what = _TOLD[on].format(
        role=right["role"].rpartition("/")[2],
        verb=right["verb"] or _VERBS.get(right["role"]),
        name=place[0]
        if on in ("export", TOPIC)
        else right["name"] or prefix + ("*" + suffix if suffix else ""),
    )
    return Grant(f"{d.name(target)} {what}", role, kind, *place)


def narrower(needed: Mapping[Need, Call], granted: Sequence[Grant]) -> list[str]:
    """Return what is needed and not granted, with the call that needs it."""
    return [
        f"{need} is not granted ({LINES.get(need.permission, 'no line gives it')}), "
        f"and {call.method} {call.path[:120]} needs it"
        for need, call in sorted(needed.items())
        if not any(grant.covers(need) for grant in granted)
    ]


def wider(needed: Mapping[Need, Call], granted: Sequence[Grant]) -> list[str]:
    """Return what is granted and not needed, or not all of it."""
    found = []
    for grant in granted:
        others = [one for one in granted if one is not grant]
        own = [
            need
            for need in needed
            if grant.covers(need) and not any(other.covers(need) for other in others)
        ]
        if not own:
            found.append(f"{grant.what}: nothing that was done needs it")
            continue
        found += [
            f"{grant.what}: {role} would do"
            for role in WEAKER.get(_short(grant.role), ())
            if {need.permission for need in own} <= permissions_of(_like(grant, role))
        ]
        if grant.kind == OBJECT:
            folder = _folder([need.name for need in needed if grant.covers(need)])
            if not grant.prefix.startswith(folder):
                found.append(f"{grant.what}: only {folder} was touched")
    return found


def _short(role: str) -> str:
    return role if role in ROLES else own_name(role)


def _like(grant: Grant, role: str) -> str:
    """Return a role's whole name, of the deployment that a grant is of."""
    return role if role in ROLES else grant.role.replace(own_name(grant.role), role)


def _folder(names: Sequence[str]) -> str:
    """Return the folder that names are in, or the only name."""
    common = commonprefix(names)
    return common if len(set(names)) == 1 else common[: common.rfind("/") + 1]


def unused(
    needed: Mapping[str, Mapping[Need, Call]], granted: Mapping[str, Sequence[Grant]]
) -> dict[str, list[str]]:
    """
    Return what the deployment's own roles permit and nobody used.

    Args:
        needed: By function.
        granted: By function.
    """
    used: dict[str, set[str]] = {name: set() for name in OWN_ROLES}
    for target, found in needed.items():
        for grant in granted[target]:
            if grant.role not in ROLES:
                used[own_name(grant.role)] |= {
                    need.permission for need in found if grant.covers(need)
                }
    left = {
        name: sorted(set(permissions) - used[name])
        for name, (_, permissions) in OWN_ROLES.items()
    }
    return {name: permissions for name, permissions in left.items() if permissions}
