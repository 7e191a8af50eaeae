"""What a plan of Terraform takes away."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy import DeploymentError, deployed
from propensity.tables.export_names import BY_EXPORT

# Names of tables of another property's export begin with these.
_BY_PROPERTY = tuple(f"{name}_" for name in BY_EXPORT)

# Actions of what stays as it is.
UNCHANGED = (["no-op"], ["read"])


def check(
    plan: Mapping[str, Any],
    *,
    project: str,
    may: Collection[str],
    folder: Path,
) -> None:
    """
    Check what a plan takes away, as ``terraform show -json`` has it.

    Args:
        may: What was asked for: ``drop_columns``, of ``remove`` what the folder has no
            more, ``only_callers`` to change.
        folder: Of the deployment; what a later commit of it removes may go.

    Raises:
        DeploymentError: Secrets; where they may not go, columns or tables, or what the
            folder has no more; where only callers may change, anything else.
    """
    lost = []
    for resource in plan["resource_changes"]:
        before = resource["change"]["before"]
        after = resource["change"]["after"]
        is_deleted = "delete" in resource["change"]["actions"]
        if "only_callers" in may and _is_beyond_callers(resource):
            raise DeploymentError(
                f"nothing was changed, because {resource['address']} differs by now "
                "from the plan that was approved. Plan again"
            )
        if resource["type"] == "google_secret_manager_secret" and is_deleted:
            secret = before["secret_id"]
            raise DeploymentError(
                f"nothing was changed, because the secret {secret} would be deleted, "
                "which nobody can undo: no destination needs it any more. Unless you "
                f"need its value, first run: gcloud secrets delete {secret} "
                f"--project={project}"
            )
        kind = (resource["type"], resource["name"])
        is_record = kind == ("terraform_data", "deployed") and before and after
        if is_record and "remove" not in may:
            deployed.check_kept(before["input"], after["input"], folder=folder)
        if kind != ("google_bigquery_table", "table") or "drop_columns" in may:
            continue
        if is_deleted and resource["index"].startswith(_BY_PROPERTY):
            continue  # the digest of an export that no use case reads any more
        if is_deleted:
            lost.append(f"{resource['index']} whole, which its protection refuses")
        elif before:
            kept = set(_names(json.loads(after["schema"])))
            gone = set(_names(json.loads(before["schema"]))) - kept
            lost += [f"{resource['index']}.{name}" for name in sorted(gone)]
    if lost:
        raise DeploymentError(
            f"nothing was changed, because tables would lose {', '.join(lost)} with "
            "all data in them. To go back to older code, do not run deploy/setup.sh "
            "(docs/deploy-reference.md, Go back). To drop them: deploy/setup.sh "
            "--drop-columns"
        )


def _is_beyond_callers(resource: dict[str, Any]) -> bool:
    """Whether a plan changes more of it than who calls, and what is pushed to."""
    change = resource["change"]
    if change["actions"] in UNCHANGED:
        return False
    if resource["type"] != "google_pubsub_subscription":
        return bool(resource["type"] != "google_cloud_run_v2_service_iam_binding")
    if change["actions"] != ["update"]:
        return True
    before = change["before"] | {"push_config": None}
    after = change["after"] | {"push_config": None}
    return bool(before != after)


def _names(columns: list[dict[str, Any]], prefix: str = "") -> Iterator[str]:
    """Yield the names of columns, and of the fields of records."""
    for column in columns:
        yield prefix + column["name"]
        yield from _names(column.get("fields", []), f"{prefix}{column['name']}.")
