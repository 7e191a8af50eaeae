"""
What the shell scripts ask: settings, checked, as the shell or Terraform reads them.

    .venv/bin/python -m deploy environment       the settings as functions have them
    .venv/bin/python -m deploy shell             the names that scripts use
    .venv/bin/python -m deploy variables main    Terraform's variables, as .tfvars
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy import configuration, functions
from deploy.configuration import SEPARATOR, Deployment, words
from deploy.functions import ROOT, DeploymentError
from deploy.render import TERRAFORM
from propensity.tables import every as tables

# In the words of Cloud Run and Terraform for what settings say.
INGRESS = {"all": "all", "internal-and-gclb": "internal-and-cloud-load-balancing"}
EGRESS = {"all": "all-traffic", "private-ranges-only": "private-ranges-only"}
HELPERS = ("scheduler", "push", "build")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser("python -m deploy", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("root", nargs="?", choices=("main", "watch"), default="main")
    parser.add_argument("--settings", type=Path, default=configuration.FILE)
    parser.add_argument("--dry-run", action="store_true", help="nothing is asked")
    parser.add_argument("--without-outputs", action="store_true")
    parser.add_argument("--services", type=Path, help="what Cloud Run has, as JSON")
    options = parser.parse_args(arguments)
    try:
        for line in VERBS[options.verb](configuration.read(options.settings), options):
            print(line)
    except DeploymentError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


def environment(d: Deployment, options: argparse.Namespace) -> Iterator[str]:
    """Yield the settings of the functions, as a shell sets them."""
    for name, value in d.variables.items():
        yield f"export {name}={shlex.quote(value)}"


def shell(d: Deployment, options: argparse.Namespace) -> Iterator[str]:
    """
    Yield assignments of all names that scripts use.

    Raises:
        DeploymentError: Nothing has been set up, so that nobody knows what is there.
    """
    assigned = "|".join(f"{name}={value}" for name, value in d.variables.items())
    work = Path(".local/deploy", f"{d.project}-{d.prefix}")
    every = functions.load()
    values = {
        **d.own,
        "project": d.project,
        "location": d.settings.location,
        "export": ":".join(d.settings.export.rsplit(".", 1)),
        "environment": f"^{SEPARATOR}^{assigned}",
        "ingress": INGRESS[d.own["ingress"]],
        "vpc_egress": EGRESS[d.own["vpc_egress"]],
        "state_bucket": d.own["state_bucket"] or f"{d.settings.bucket}-state",
        "work": f"{work}",
        "staged": f"{work}/staged",
        "every": " ".join(d.name(function.target) for function in every),
        # Scripts name those, too, that are not deployed.
        **{f"account_{function.target}": "" for function in every},
        **{f"use_cases_{function.target}": "" for function in every},
    }
    names = named(d)
    file = ROOT / work / "outputs.json"
    if not options.without_outputs and file.is_file():
        names = dict.fromkeys(names, "") | json.loads(file.read_text())
    elif not (options.without_outputs or options.dry_run):
        raise DeploymentError(
            f"nothing is known of {d.prefix} in {d.project}: there is no {file}. "
            "Run deploy/setup.sh first, or deploy/setup.sh --outputs, which "
            "changes nothing"
        )
    for name, value in (values | names).items():
        yield f"{name}={shlex.quote(value)}"


def named(d: Deployment) -> dict[str, str]:
    """Return what Terraform puts out, as long as it has not: a test holds the two."""
    repository = d.own["repository"] or d.prefix
    if "/" not in repository:
        repository = f"{d.own['region']}-docker.pkg.dev/{d.project}/{repository}"
    parts = [function.target for function in d.functions]
    return {
        "repository": repository,
        "functions": " ".join(sorted(parts)),
        **{f"account_{part}": d.account(part) for part in (*parts, *HELPERS)},
        **{
            f"use_cases_{function.target}": " ".join(sorted(d.called_for(function)))
            for function in d.functions
            if function.schedule and function.schedule.per_use_case
        },
    }


def variables(d: Deployment, options: argparse.Namespace) -> Iterator[str]:
    """Yield the values of the variables of a root that settings say, a line each."""
    folder = TERRAFORM if options.root == "main" else TERRAFORM / options.root
    text = (folder / "variables.tf").read_text()
    settings, services = d.settings, []
    if options.services:
        services = json.loads(options.services.read_text() or "[]")
    urls = {one["metadata"]["name"]: one["status"].get("url") for one in services}
    values: dict[str, Any] = {
        **d.own,
        "project": d.project,
        "location": settings.location,
        "dataset": settings.dataset,
        "bucket": settings.bucket,
        "functions": [function.target for function in d.functions],
        "use_cases": list(d.use_cases),
        # Those that Cloud Run has.
        "services": {
            one.target: url
            for one in d.functions
            if (url := urls.get(d.name(one.target)))
        },
        "ga4_dataset": settings.ga4_dataset,
        "require_consent": settings.require_consent,
        "retention_days": tables.retention(settings.retention_days),
        "callers": words(d.own["callers"]),
        "producers": words(d.own["producers"]),
    }
    for name in re.findall(r'^variable "(\w+)"', text, re.M):
        # A number is one in Terraform, too: it takes "7" for 7. Others are off.
        if name in values:
            yield f"{name} = {json.dumps(values[name])}"


VERBS = {
    "environment": environment,
    "shell": shell,
    "variables": variables,
}

if __name__ == "__main__":
    sys.exit(main())
