"""What ``gcloud`` is told of a function: how it is built, deployed and scheduled."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.configuration import SEPARATOR, DeploymentSettings
from deploy.functions import ROOT, Function

# They are about a build, which an image that is there does not need.
OF_BUILDS = ("--function=", "--no-automatic-updates")
# Cloud Run's names for values of settings.
INGRESS = {"internal-and-gclb": "internal-and-cloud-load-balancing"}
EGRESS = {"all": "all-traffic"}


def service(d: DeploymentSettings, function: Function) -> list[str]:
    """Return how a function runs."""
    flags = {"function": function.target, **function.flags}
    if function.is_public:
        flags["ingress"] = INGRESS.get(d.own["ingress"], d.own["ingress"])
    flags["service-account"] = d.account(function.target)
    variables = {**d.variables, **function.variables}
    if not function.is_asynchronous:
        # As many threads as requests at once.
        variables["THREADS"] = "1"
    flags["set-env-vars"] = environment(variables)
    return words(flags) + [secret(d) if function.needs_key else "--clear-secrets"]


def environment(variables: Mapping[str, str]) -> str:
    """Return variables as a list of gcloud: ``^|^A=1|B=2``."""
    assigned = [f"{name}={value}" for name, value in variables.items()]
    return f"^{SEPARATOR}^{SEPARATOR.join(assigned)}"


def secret(d: DeploymentSettings) -> str:
    """Return the key of what reads the list of suppressed users."""
    name = d.own["suppression_secret"]
    if not name:
        return "--clear-secrets"
    return f"--set-secrets=PROPENSITY_SUPPRESSION_KEY={name}:latest"


def of_image(service: list[str]) -> list[str]:
    """Return how a function runs in an image that is there."""
    return [word for word in service if not word.startswith(OF_BUILDS)]


def common(d: DeploymentSettings) -> list[str]:
    """Return what all functions have in common; calling one needs a role."""
    flags = [
        f"--project={d.project}",
        f"--region={d.own['region']}",
        "--no-allow-unauthenticated",
        set_or_cleared("vpc-connector", d.own["vpc_connector"]),
        set_or_cleared("key", d.own["functions_kms_key"]),
    ]
    if d.own["vpc_connector"]:
        egress = d.own["vpc_egress"]
        flags.append(f"--vpc-egress={EGRESS.get(egress, egress)}")
    return flags


def of_job(d: DeploymentSettings) -> list[str]:
    """Return what jobs have in common with functions: none needs clearing."""
    return [word for word in common(d) if not word.startswith(("--clear-", "--no-"))]


def build(d: DeploymentSettings, repository: str) -> list[str]:
    """Return how functions are built."""
    version = (ROOT / "deploy" / "python-version").read_text("utf-8")
    account = f"projects/{d.project}/serviceAccounts/{d.account('build')}"
    flags = [
        f"--base-image=python{version.strip().replace('.', '')}",
        f"--image={repository}",
        f"--build-service-account={account}",
        set_or_cleared("build-worker-pool", d.own["worker_pool"]),
    ]
    if d.own["functions_kms_key"]:
        # Cloud Build's own disk has Google's key, which gcloud wants to be told.
        flags.append("--allow-unencrypted-build")
    index = "--clear-build-env-vars"
    if d.own["package_index"]:
        index = f"--set-build-env-vars=PIP_INDEX_URL={d.own['package_index']}"
    return flags + [index]


def set_or_cleared(flag: str, value: str) -> str:
    return f"--{flag}={value}" if value else f"--clear-{flag}"


def words(flags: Mapping[str, str]) -> list[str]:
    return [
        f"--{name}={value}" if value else f"--{name}" for name, value in flags.items()
    ]
