"""What ``gcloud`` is told of a function: how it is built, deployed and scheduled."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.configuration import SEPARATOR, DeploymentSettings
from deploy.functions import ROOT, Function

# They are about a build, which an image that is there does not need.
OF_BUILDS = ("--function=", "--no-automatic-updates")


def of_function(
    d: DeploymentSettings, function: Function, names: Mapping[str, str]
) -> dict[str, list[str]]:
    """
    Return lists of words by the name that scripts call them by.

    ``service`` deploys the function, ``taken`` does so by an image that is there;
    ``common`` comes with both, and ``build`` with the first. ``clock`` schedules it:
    ``called``, what for (use cases, or once, for none), and ``crons``, when for each.

    Args:
        names: Of accounts, the repository and such: those of ``deploy shell``.
    """
    flags = {"function": function.target, **function.flags}
    if function.is_public:
        flags["ingress"] = names["ingress"]
    flags["service-account"] = names[f"account_{function.target}"]
    flags["set-env-vars"] = names["environment"]
    if not function.is_asynchronous:
        # As many threads as requests at once.
        flags["set-env-vars"] += f"{SEPARATOR}THREADS=1"
    service = words(flags)
    service.append(names["secret"] if function.needs_key else "--clear-secrets")
    lists = {
        "service": service,
        "taken": [word for word in service if not word.startswith(OF_BUILDS)],
        "common": common(names),
        "build": build(names),
    }
    if function.schedule:
        clock = dict(function.schedule.flags)
        del clock["schedule"]
        called = [""]
        if function.schedule.per_use_case:
            called = d.called_for(function)
        lists["clock"] = words(clock)
        lists["called"] = called
        lists["crons"] = [d.cron(function, use_case) for use_case in called]
    return lists


def common(names: Mapping[str, str]) -> list[str]:
    """Return what all functions have in common; calling one needs a role."""
    flags = [
        f"--project={names['project']}",
        f"--region={names['region']}",
        "--no-allow-unauthenticated",
        set_or_cleared("vpc-connector", names["vpc_connector"]),
        set_or_cleared("key", names["functions_kms_key"]),
    ]
    if names["vpc_connector"]:
        flags.append(f"--vpc-egress={names['vpc_egress']}")
    return flags


def build(names: Mapping[str, str]) -> list[str]:
    """Return how functions are built."""
    version = (ROOT / "deploy" / "python-version").read_text("utf-8")
    account = f"projects/{names['project']}/serviceAccounts/{names['account_build']}"
    flags = [
        f"--base-image=python{version.strip().replace('.', '')}",
        f"--image={names['repository']}",
        f"--build-service-account={account}",
        set_or_cleared("build-worker-pool", names["worker_pool"]),
    ]
    if names["functions_kms_key"]:
        # Cloud Build's own disk has Google's key, which gcloud wants to be told.
        flags.append("--allow-unencrypted-build")
    index = "--clear-build-env-vars"
    if names["package_index"]:
        index = f"--set-build-env-vars=PIP_INDEX_URL={names['package_index']}"
    return flags + [index]


def set_or_cleared(flag: str, value: str) -> str:
    return f"--{flag}={value}" if value else f"--clear-{flag}"


def words(flags: Mapping[str, str]) -> list[str]:
    return [
        f"--{name}={value}" if value else f"--{name}" for name, value in flags.items()
    ]
