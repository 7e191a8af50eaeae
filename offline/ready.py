"""
Whether a deployment can be set up: asked before anything is created.

    python -m offline.ready              what who deploys may do
    python -m offline.ready --dry-run    nobody is asked
    python -m offline.ready migrate      give tables that are there today's types

deploy/setup.sh calls it.

A project answers at once which of some permissions a caller has in it
(``testIamPermissions``), whatever group or folder they come from. What is asked is one
permission of each kind of thing that is created: who has it has the role that is named
beside it, or a wider one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy import configuration
from deploy.configuration import Deployment, DeploymentError
from deploy.functions import FunctionsError
from propensity import tables

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
    "artifactregistry.repositories.create": "Artifact Registry Admin",
    "bigquery.datasets.create": "BigQuery Admin",
    "bigquery.jobs.create": "BigQuery Admin",
    "storage.buckets.create": "Storage Admin",
    "pubsub.topics.create": "Pub/Sub Admin",
    "cloudbuild.builds.create": "Cloud Build Editor",
    "run.services.create": "Cloud Run Admin",
    "run.services.setIamPolicy": "Cloud Run Admin",
    "cloudscheduler.jobs.create": "Cloud Scheduler Admin",
    "logging.logMetrics.create": "Logging Admin",
    "monitoring.alertPolicies.create": "Monitoring Admin",
}
# Where Infrastructure Manager creates, it has these; who deploys asks it to.
OF_INFRA_MANAGER = {"config.deployments.create": "Infrastructure Manager Admin"}


class NotRewritten(Exception):
    """A table keeps the types that it has; the message has what BigQuery said."""


class Lacking(Exception):
    """Who deploys lacks permissions; the message names them and what gives them."""


def permitted(d: Deployment) -> Iterator[str]:
    """
    Yield a line where nobody can be asked, as without a network.

    Raises:
        Lacking: Something of a deployment could not be created.
    """
    is_managed = d.own["DEPLOY_ENGINE"] == "gcloud"
    needed = NEEDED | (OF_INFRA_MANAGER if is_managed else {})
    try:
        granted = _granted(d, list(needed))
    except (OSError, ValueError, http.client.HTTPException) as error:
        yield f"not checked: the permissions of the account that deploys ({error})"
        return
    if missing := {name: role for name, role in needed.items() if name not in granted}:
        lines = [f"    {name}: {role}" for name, role in missing.items()]
        raise Lacking(
            f"the account that deploys lacks permissions in {d.project}; nothing was "
            "changed. Each permission, and a role that gives it:\n" + "\n".join(lines)
        )


def _granted(d: Deployment, names: list[str]) -> set[str]:
    result = subprocess.run(
        ("gcloud", "auth", "print-access-token"),
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    token = result.stdout.strip()
    if result.returncode or not token:
        raise ValueError("gcloud gives no access token")
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
            return set(json.load(answer).get("permissions", ()))
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"the project answers {error.code}") from error


def migrate(d: Deployment) -> Iterator[str]:
    """
    Cast what a table that is there has as whole numbers and is written as fractions.

    No change of a schema that Terraform makes does that: it would make the table anew.

    Raises:
        NotRewritten: A table could not be rewritten.
    """
    for table in tables.TABLES:
        if not any(column.fields for column in table.columns):
            continue
        place = f"{d.project}:{d.settings.dataset}"
        shown = _bq(d, "show", "--format=json", f"{place}.{table.name}")
        declared = json.loads(shown.stdout) if not shown.returncode else {}
        if not table.is_narrower(declared.get("schema", {}).get("fields", [])):
            continue
        words = ("query", "--use_legacy_sql=false", f"--dataset_id={place}")
        result = _bq(d, f"--location={d.settings.location}", *words, table.rewritten())
        if result.returncode:
            raise NotRewritten(f"{table.name}: {result.stdout}{result.stderr}")
        yield f"{table.name}: given the types that functions write"


def _bq(d: Deployment, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ("bq", f"--project_id={d.project}", "--headless", *words),
        check=False,
        capture_output=True,
        text=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser("python -m offline.ready", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=("check", "migrate"))
    parser.add_argument("--settings", type=Path, default=configuration.FILE)
    parser.add_argument("--dry-run", action="store_true", help="nobody is asked")
    options = parser.parse_args(arguments)
    try:
        d = configuration.read(options.settings)
        if options.verb == "migrate":
            print(*migrate(d), sep="\n", end="")
        else:
            for line in () if options.dry_run else permitted(d):
                print(line, flush=True)
    except (DeploymentError, FunctionsError, Lacking, NotRewritten) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
