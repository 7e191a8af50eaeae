"""
Whether who deploys may create what is created, asked before anything is.

A project answers at once which of some permissions a caller has in it
(``testIamPermissions``), whatever group or folder they come from. What is asked is one
permission of each kind of thing that a plan creates: who has it has the role that is
named beside it, or a wider one.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable

from deploy.deployment import Deployment

# Where gcloud itself finds the API, unless it is told otherwise.
API = "https://cloudresourcemanager.googleapis.com/"
ELSEWHERE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER"
PATIENCE_S = 20

# By permission: the role that one asks an administrator for.
NEEDED = {
    "serviceusage.services.enable": "Service Usage Admin",
    "iam.roles.create": "Role Administrator",
    "iam.serviceAccounts.create": "Service Account Admin",
    "iam.serviceAccounts.actAs": "Service Account User",
    "resourcemanager.projects.setIamPolicy": "Project IAM Admin",
    "bigquery.datasets.create": "BigQuery Admin",
    "bigquery.jobs.create": "BigQuery Admin",
    "storage.buckets.create": "Storage Admin",
    "pubsub.topics.create": "Pub/Sub Admin",
    "cloudfunctions.functions.create": "Cloud Functions Admin",
    "run.services.setIamPolicy": "Cloud Run Admin",
    "cloudscheduler.jobs.create": "Cloud Scheduler Admin",
    "logging.logMetrics.create": "Logging Admin",
    "monitoring.alertPolicies.create": "Monitoring Admin",
}
OF_REPOSITORY = {"artifactregistry.repositories.create": "Artifact Registry Admin"}


class Lacking(Exception):
    """Who deploys lacks permissions; the message names them and what gives them."""


def needed(d: Deployment) -> dict[str, str]:
    """Return the permissions that a deployment takes, and the role that gives each."""
    return {**NEEDED, **(OF_REPOSITORY if d.repository else {})}


def check(d: Deployment, say: Callable[[str], None]) -> None:
    """
    Raise Lacking where something of a deployment could not be created.

    Where nobody can be asked, as without a network, one line says so: the first command
    that fails says the rest.

    Args:
        d: The deployment.
        say: Where the line goes.
    """
    wanted = needed(d)
    try:
        granted = _granted(d, list(wanted))
    except (OSError, ValueError, http.client.HTTPException, Unknown) as error:
        say(f"  not checked      what who deploys may do: {error}")
        return
    if missing := {name: role for name, role in wanted.items() if name not in granted}:
        lines = [f"    {name}: {role}" for name, role in missing.items()]
        raise Lacking(
            f"who deploys lacks permissions in {d.project}; nothing was changed. "
            "Permission, and a role that gives it:\n" + "\n".join(lines)
        )


class Unknown(Exception):
    """Nobody says what is granted; the message says why."""


def _granted(d: Deployment, names: list[str]) -> set[str]:
    found = subprocess.run(
        ("gcloud", "auth", "print-access-token"),
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    token = found.stdout.strip()
    if found.returncode or not token:
        raise Unknown("gcloud gives no access token")
    base = os.environ.get(ELSEWHERE, API).rstrip("/")
    request = urllib.request.Request(
        f"{base}/v1/projects/{d.project}:testIamPermissions",
        data=json.dumps({"permissions": names}).encode(),
        headers={
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise Unknown(f"the project answers {error.code}") from error
    return set(told.get("permissions", ()))
