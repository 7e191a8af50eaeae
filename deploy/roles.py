"""Who may deploy, plan or operate without owning the project."""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

from deploy import DeploymentError, UsageError
from deploy.shell import Shell, tell
from propensity.usecases.exports import settings_of_exports

ROLES = tomllib.loads(Path(__file__).with_name("roles.toml").read_text("utf-8"))
FEDERATED = r"principal(Set)?://iam\.googleapis\.com/[^* ]+"
MEMBER = rf"(user|group|serviceAccount):[^@ ]+@[^@ ]+|{FEDERATED}"
# What a command reads, and pages to look at.
FOLDERS = {
    "operate": "objectUser",
    "dashboard": "objectViewer",
    "reports": "objectViewer",
}
OTHERS = """\
# In other projects, or above this one, the owners grant:
#   an export or a source in another project: roles/bigquery.dataViewer on its dataset
#   DEPLOY_KMS_KEY, DEPLOY_FUNCTIONS_KMS_KEY: what deploy/setup.sh prints
#   DEPLOY_BILLING_ACCOUNT: roles/billing.costsManager on the billing account"""


def run(shell: Shell, options: argparse.Namespace) -> None:
    """
    Let someone deploy who does not own the project: give them the roles that this
    needs, and no more. With --planner only what deploy/setup.sh --dry-run --plan=FOLDER
    needs, which reads no rows, no objects but Terraform's state, and no secret; with
    --operator, what deploy/operate.sh and deploy/call.sh need. An owner of the project
    runs this, once; for these two after the first deploy.

      deploy/roles.sh MEMBER [--planner | --operator] [--dry-run] [--deployment FILE]
      deploy/roles.sh group:crm-team@example.com --operator
      deploy/roles.sh user:ana@example.com
      deploy/roles.sh principal://iam.googleapis.com/projects/1/locations/global/\
workloadIdentityPools/ci/subject/123456789:production
    """
    member = options.member
    check(member)
    if options.operator:
        grant(shell, member, ROLES["operator"] + [_request_sender(shell)])
        shell.run("let_operate", member=member)
        shell.run("let_call", member=member)
        for folder, role in FOLDERS.items():
            shell.run(
                "grant_folder", member=member, folder=folder, role=f"storage.{role}"
            )
    elif options.planner:
        grant(shell, member, ROLES["planner"])
        # Terraform's state, and what is deployed.
        shell.run("grant_state", member=member)
        for export in settings_of_exports(shell.d.settings, shell.d.use_cases):
            if not export.export.startswith(f"{shell.d.project}."):
                role = "roles/bigquery.metadataViewer"
                tell(f"# The owner of {export.export} also grants {role} on it")
        account = shell.names["billing_account"]
        told = f"# The owner of the billing account {account} also grants"
        if account:
            tell(f"{told} roles/billing.viewer there")
    else:
        grant(shell, member, ROLES["deployer"])
        if shell.names["vpc_connector"]:
            grant(shell, member, ["vpcaccess.user"])
        if shell.names["worker_pool"]:
            grant(shell, member, ["cloudbuild.workerPoolUser"])
        tell(OTHERS)


def check(member: str) -> None:
    """Raise UsageError unless it is one person, group, account or environment."""
    if not re.fullmatch(MEMBER, member):
        raise UsageError(
            f"MEMBER is '{member}', which is not a member. Example: "
            "user:ana@example.com"
        )
    # Of a repository it is every branch, whoever pushed it, and no reviewer is asked.
    if re.match("principalSet://.*/workloadIdentityPools/", member):
        raise UsageError(
            "MEMBER is every workload with an attribute, such as every branch of a "
            "repository. Name one environment: principal://…/subject/123456789:production"
        )


def _request_sender(shell: Shell) -> str:
    """Return the role of ours that deploy/call.sh needs, and whoever pauses a schedule
    because an alert says so: of any in the project."""
    if shell.is_dry:
        return f"projects/{shell.d.project}/roles/{shell.d.prefix}_request_sender"
    role = shell.ask("request_sender")
    if not role:
        raise DeploymentError("nothing is set up. Run deploy/setup.sh first")
    return role


def grant(shell: Shell, member: str, roles: list[str]) -> None:
    """Give roles in the project."""
    for role in roles:
        name = role if role.startswith("projects/") else f"roles/{role}"
        shell.run("grant", member=member, role=name)
