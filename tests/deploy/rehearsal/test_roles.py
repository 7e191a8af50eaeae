"""The roles of whoever deploys and does not own the project."""

from __future__ import annotations

import re

import pytest

from deploy.functions import ROOT
from tests.deploy.conftest import SETTINGS, WHOLE

ANA = "user:ana@example.com"
# What each kind of resource of Terraform needs of the roles.
NEEDS = {
    "google_project_service": "serviceusage.serviceUsageAdmin",
    "google_project_iam": "resourcemanager.projectIamAdmin",
    "google_project_iam_custom_role": "iam.roleAdmin",
    "google_service_account": "iam.serviceAccountAdmin",
    "google_bigquery": "bigquery.admin",
    "google_storage": "storage.admin",
    "google_pubsub": "pubsub.admin",
    "google_cloud_run": "run.admin",
    "google_artifact_registry": "artifactregistry.admin",
    "google_logging": "logging.admin",
    "google_monitoring": "monitoring.editor",
    "google_secret_manager": "secretmanager.admin",
}
# In other projects, or of the billing account: the script says who gives these.
ELSEWHERE = ("google_kms", "google_billing")


def test_every_resource_finds_a_role_of_the_deployer(cloud):
    cloud.settings = WHOLE
    printed = cloud.run("deploy/roles.sh", ANA, "--dry-run").stdout
    given = re.findall(r"--role=roles/(\S+)", printed)
    files = (ROOT / "deploy" / "terraform").rglob("*.tf")
    text = "".join(file.read_text() for file in files)

    for kind in set(re.findall(r'^resource "(google_\w+)"', text, re.M)):
        if not kind.startswith(ELSEWHERE):
            start = max((one for one in NEEDS if kind.startswith(one)), key=len)
            assert NEEDS[start] in given, kind


def test_roles_are_given_to_whoever_is_named_and_to_nobody_else(cloud):
    cloud.settings = SETTINGS
    done = cloud.run("deploy/roles.sh", ANA)

    assert done.returncode == 0
    assert cloud.calls()
    assert all(f"--member={ANA} --role=roles/" in call for call in cloud.calls())
    assert cloud.count("owner") + cloud.count("secretmanager") == 0


@pytest.mark.parametrize("member", ["ana@example.com", "allUsers", "--dry-run"])
def test_a_member_that_is_no_account_is_refused_in_a_line(cloud, member):
    refused = cloud.run("deploy/roles.sh", member)

    assert (refused.returncode, cloud.calls()) == (2, [])
    assert "Example: user:ana@example.com" in refused.stderr
