"""Scripts that a person runs: on a clean machine, for roles, and for one request."""

from __future__ import annotations

import re

import pytest

from deploy.functions import ROOT
from tests.deploy.conftest import POOL, SETTINGS, WHOLE, Cloud

ANA = "user:ana@example.com"
# Each kind of Terraform's resources needs one of these roles.
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
# Of the billing account: the script says who gives it.
ELSEWHERE = "google_billing"


def test_every_resource_finds_a_role_of_the_deployer(cloud):
    """Whoever deploys need not own the project."""
    cloud.settings = WHOLE
    printed = cloud.run("deploy/roles.sh", ANA, "--dry-run").stdout
    given = re.findall(r"--role=roles/(\S+)", printed)
    files = (ROOT / "deploy" / "terraform").rglob("*.tf")
    text = "".join(file.read_text() for file in files)

    for kind in set(re.findall(r'^resource "(google_\w+)"', text, re.M)):
        if not kind.startswith(ELSEWHERE):
            start = max((one for one in NEEDS if kind.startswith(one)), key=len)
            assert NEEDS[start] in given, kind


ENVIRONMENT = POOL.replace("principalSet", "principal")
ENVIRONMENT += "/subject/repo:me/shop:environment:production"


@pytest.mark.parametrize("member", [ANA, ENVIRONMENT])
def test_roles_are_given_to_the_named_account_alone(cloud, member):
    """Or to an environment of a repository, which needs no key of an account then."""
    cloud.settings = SETTINGS
    done = cloud.run("deploy/roles.sh", member)

    assert done.returncode == 0
    assert cloud.calls()
    assert all(f"--member={member} --role=roles/" in call for call in cloud.calls())
    # A rehearsal makes a secret, whatever the settings.
    assert cloud.count("secretmanager.admin") == 1
    assert cloud.count("owner") == 0


@pytest.mark.parametrize("member", ["allUsers", "--dry-run", f"{POOL}/*"])
def test_a_member_that_is_no_account_is_refused_in_a_line(cloud, member):
    refused = cloud.run("deploy/roles.sh", member)

    assert (refused.returncode, cloud.calls()) == (2, [])
    assert "Example: user:ana@example.com" in refused.stderr


REQUEST = '{"use_case": "ga4_purchase", "force": true}'
DONE = "2026-11-26T10:00:00Z\tok\tok\t\t"
SHIFT = "2026-11-26T10:00:00Z\tscore_shift\tscores moved by 0.9\t\t"


@pytest.fixture
def deployed(cloud) -> Cloud:
    """A cloud where the scheduled functions are."""
    scheduled = "model_training predictions model_evaluation compact_features"
    cloud.settings["DEPLOY_FUNCTIONS"] = scheduled
    return cloud


@pytest.mark.parametrize(("line", "status"), [(DONE, 0), (SHIFT, 1)])
def test_a_request_by_hand_is_sent_once(deployed, line, status):
    """By a schedule of its own with that very body; the function's line is shown."""
    deployed.rules.insert(0, ("gcloud logging read", line, 0))
    result = deployed.run("deploy/call.sh", "predictions", REQUEST)
    made, started, _, removed = [c for c in deployed.calls() if "describe" not in c]

    assert result.returncode == status, result.stderr
    assert line in result.stdout
    assert f"--message-body={REQUEST} " in made
    assert "--max-retry-attempts=0" in made
    assert "--oidc-service-account-email=propensity-scheduler@" in made
    job = made.split()[5]
    assert started.startswith(f"gcloud scheduler jobs run {job} ")
    assert removed.startswith(f"gcloud scheduler jobs delete {job} ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["get_proba"], "FUNCTION is 'get_proba'"),
        (["predictions", "[1]"], "REQUEST is '[1]', which is not a JSON object"),
    ],
)
def test_a_request_by_hand_that_cannot_be_sent_is_said_in_a_line(deployed, words, told):
    result = deployed.run("deploy/call.sh", *words)

    assert (result.returncode > 0, deployed.changes()) == (True, [])
    [line] = result.stderr.splitlines()
    assert told in line
