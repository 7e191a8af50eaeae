"""
What a deployment creates, for ``docs/resources.md``: what Terraform's files make of an
example's settings, and what the scripts make besides.

Nothing is asked of Google. What only Google knows is something else in a copy.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deploy import configuration, functions, render

EXAMPLE = configuration.of(
    {
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "PROPENSITY_BUCKET": "my-project-propensity",
        "PROPENSITY_GA4_DATASET": "analytics_123456789",
        "DEPLOY_REGION": "us-central1",
        "DEPLOY_CALLERS": "group:website@example.com",
        "DEPLOY_ALERT_EMAIL": "data-team@example.com",
    }
)
# Expressions of Terraform that only Google knows, as patterns, and what they are in the
# example: the export has a day, and names stand for addresses and ids.
KNOWN_BY_GOOGLE = (
    (
        r"data\.google_bigquery_tables\.export\[.+?\]\.tables",
        '[{table_id="events_20260101"}]',
    ),
    (r"data\.google_bigquery_dataset\.export\[.+?\]\.location", "var.location"),
    (r"\$\{data\.google_project\.this\.number\}", "PROJECT_NUMBER"),
    (
        r"google_service_account\.\w+\[(.+?)\]\.(email|name)",
        r'format("%s-%s", var.prefix, replace(\1, "_", "-"))',
    ),
    (
        r"google_project_iam_custom_role\.own\[(.+?)\]\.id",
        r'format("%s_%s_TIME", var.prefix, \1)',
    ),
    (r"\$\{terraform_data\.roles_made\[.+?\]\.output\}", "TIME"),
)
# The argument that is a resource's name, and the one that a permission is on: the first
# that it has.
NAMES = (
    "table_id",
    "dataset_id",
    "account_id",
    "role_id",
    "repository_id",
    "bucket_id",
    "secret_id",
    "service",
    "name",
    "display_name",
)
TARGETS = (
    "table_id",
    "dataset_id",
    "service_account_id",
    "secret_id",
    "topic",
    "subscription",
    "repository",
    "bucket",
    "name",
    "project",
)
# The project and the bucket.
WHOLE = ("my-project", "my-project-propensity")
ALERT = "google_monitoring_alert_policy"
REPOSITORY = "google_artifact_registry_repository"
ROLE = "google_project_iam_custom_role"
# List prices in USD a month: of an alert policy, of a schedule beyond those that are
# free, and of a GB of images, likewise.
POLICY = 0.10
SCHEDULE = 0.10
FREE_SCHEDULES = 3
IMAGE_GB = 0.10
FREE_GB = 0.5
# An image's size in GB, estimated by the packages of a function.
IMAGE_SIZE = 0.2


@dataclass(frozen=True, kw_only=True)
class Resource:
    """
    A resource of Terraform.

    Attributes:
        kind: Its type, such as google_bigquery_table.
        block: Its block in a file, by type and name.
        values: Its arguments.
    """

    kind: str
    block: str
    values: Mapping[str, Any]

    @property
    def is_permission(self) -> bool:
        return self.kind.endswith(("_iam_member", "_iam_binding"))

    @property
    def name(self) -> str:
        """What it is called, or for a permission its condition or what it is on."""
        condition = self.values.get("condition")
        if condition:
            return re.sub(" $", " *", condition["title"])
        arguments = TARGETS if self.is_permission else NAMES
        return next(str(self.values[name]) for name in arguments if name in self.values)


@cache
def planned() -> list[Resource]:
    """Return all resources of the deployed example."""
    # It reads and evaluates Terraform's language, which nothing else here needs.
    import tfparse

    services = [
        {
            "metadata": {"name": EXAMPLE.name(function.target)},
            "status": {"url": f"https://{function.target}"},
        }
        for function in EXAMPLE.functions
    ]
    with TemporaryDirectory() as folder:
        root = Path(folder) / "terraform"
        skipped = shutil.ignore_patterns("generated", ".terraform*")
        shutil.copytree(render.TERRAFORM, root, ignore=skipped)
        render.write(EXAMPLE, services, root=root)
        _replace(root)
        parsed = tfparse.load_from_path(str(root))
    return list(_resources(parsed))


def _replace(root: Path) -> None:
    """Replace in a copy of Terraform's files what only Google knows."""
    for file in root.rglob("*.tf"):
        text = file.read_text("utf-8")
        for pattern, value in KNOWN_BY_GOOGLE:
            text = re.sub(pattern, value, text)
        file.write_text(text, "utf-8")


def _resources(parsed: Mapping[str, Any]) -> Iterator[Resource]:
    for kind in sorted(parsed):
        for values in parsed[kind]:
            about = values["__tfmeta"]
            if about.get("type") == "resource" and kind.startswith("google_"):
                block = about["path"].partition("[")[0]
                yield Resource(kind=kind, block=block, values=values)


def summary() -> str:
    """Return how much there is, and what it costs when idle."""
    every = planned()
    alerts = [resource for resource in every if resource.kind == ALERT]
    watching = [
        resource
        for resource in every
        if resource.values["__tfmeta"]["filename"] == "alerts.tf"
    ]
    permissions = [resource for resource in every if resource.is_permission]
    schedules = len(EXAMPLE.schedules)
    paid = max(schedules - FREE_SCHEDULES, 0) * SCHEDULE
    watched = len(alerts) * POLICY
    images = len(EXAMPLE.functions)
    [repository] = [resource for resource in every if resource.kind == REPOSITORY]
    newest = repository.values["cleanup_policies"][0]
    kept = newest["most_recent_versions"]["keep_count"]
    first = max(images * IMAGE_SIZE - FREE_GB, 0) * IMAGE_GB
    later = max(images * IMAGE_SIZE * kept - FREE_GB, 0) * IMAGE_GB
    return (
        f"Terraform creates {len(every) - len(watching)} resources, of which "
        f"{len(permissions)} are permissions, and {len(watching)} for the alerts. The "
        f"scripts create {images} services, {schedules} schedules and a job.\n\n"
        f"Idle, all of it costs {watched + paid + first:.2f} to "
        f"{watched + paid + later:.2f} USD a month: {watched:.2f} for {len(alerts)} "
        f"alert policies, {paid:.2f} for {schedules} schedules (three are free), and "
        f"{first:.2f} to {later:.2f} for {images} images of about {IMAGE_SIZE} GB, of "
        f"which {kept} versions each are kept.\n"
    )


def resources() -> str:
    """Return the names of all that is no permission, by block of Terraform's files."""
    by_block = defaultdict[str, list[str]](list)
    for resource in planned():
        if not resource.is_permission and resource.kind != ALERT:
            by_block[resource.block].append(resource.name)
    lines = [
        f"- `{block}` ({len(names)}): {_code(names)}\n"
        for block, names in by_block.items()
    ]
    return "".join(lines)


def by_scripts() -> str:
    """Return the names of what the scripts create."""
    services = [EXAMPLE.name(function.target) for function in EXAMPLE.functions]
    schedules = EXAMPLE.schedules
    job = EXAMPLE.name(functions.OPERATOR)
    return (
        f"- Cloud Run services ({len(services)}): {_code(services)}\n"
        f"- Cloud Run job: {_code([job])}\n"
        f"- Cloud Scheduler jobs ({len(schedules)}): {_code(schedules)}\n"
    )


def roles() -> str:
    """Return the permissions within each custom role."""
    lines = [
        f"- `{resource.name}`: {_code(resource.values['permissions'])}\n"
        for resource in planned()
        if resource.kind == ROLE
    ]
    return "".join(lines)


def permissions() -> str:
    """Return who may do what: to the whole project or bucket, then by account."""
    on_all = defaultdict[tuple[str, str], list[str]](list)
    by_account = defaultdict[str, dict[str, list[str]]](lambda: defaultdict(list))
    for resource in planned():
        if not resource.is_permission:
            continue
        role = resource.values["role"].removeprefix("roles/")
        target = resource.name
        for member in resource.values.get("members", [resource.values.get("member")]):
            account = member.removeprefix("serviceAccount:")
            if target in WHOLE:
                on_all[role, target].append(account)
            else:
                by_account[account][role].append(target)
    lines = [
        f"- `{role}` on `{target}`: {_code(accounts)}\n"
        for (role, target), accounts in on_all.items()
    ]
    for account, roles in sorted(by_account.items()):
        lines.append(f"\n### `{account}`\n\n")
        lines += [f"- `{role}`: {_code(targets)}\n" for role, targets in roles.items()]
    return "".join(lines)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
