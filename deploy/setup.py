"""A deployment: set up, and torn down."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from subprocess import CalledProcessError
from typing import Any

from deploy import DeploymentError, UsageError, configuration, deployed, images, render
from deploy.configuration import DeploymentSettings
from deploy.functions import ROOT
from deploy.prune import prune
from deploy.shell import Shell, names_of, tell
from deploy.terraform import Terraform, answer
from propensity.audience import declared
from propensity.timeframe import weekdays_of
from propensity.usecases.exports import settings_of_exports


def set_up(shell: Shell, options: argparse.Namespace) -> None:
    """
    Create or update everything that the functions need. Also removes what an earlier
    run created and the settings no longer name.

      deploy/setup.sh [--dry-run] [--yes] [--deployment FILE]
      deploy/setup.sh --dry-run --plan=FOLDER   keep the plan there
      deploy/setup.sh --plan=FOLDER             do as that plan says
      deploy/setup.sh --dry-run --plan=FOLDER --images-from=FILE
                                                also keep which images that one runs
      deploy/setup.sh --only-callers            refuse all but who may call, and
                                                what is pushed to
      deploy/setup.sh --remove                  also remove what the folder lacks by now
                                                and no later commit has removed
      deploy/setup.sh --drop-columns            also delete columns
    """
    if options.images_from and not (shell.is_dry and options.plan):
        raise UsageError("--images-from needs --dry-run --plan=FOLDER")
    begins = "A first run of deploy/setup.sh"
    terraform = Terraform(shell, begins=begins, kept=options.plan)
    enable_first(shell)
    grant_keys(shell)
    write_values(shell, terraform)
    for note in late_audiences(shell.d):
        tell(note)
    if terraform.unseen or (not shell.is_dry and terraform.missing_bucket()):
        terraform.make_bucket()
    terraform.begin()
    given = {"only_callers": options.only_callers, "remove": options.remove}
    given["drop_columns"] = options.drop_columns
    may = [name for name, is_given in given.items() if is_given]
    if shell.is_dry:
        if options.images_from:
            keep_images(shell, options)
        terraform.plan(may=may)
        if terraform.unseen:
            terraform.run("apply", f"{terraform.file}")
        listed = "lists every resource, permission and alert of a deployment"
        tell(f"# docs/resources.md {listed}")
        return
    terraform.apply_patiently(may=may, asks=not options.yes)
    if not options.only_callers:
        shell.has_granted()
        prune(shell)
        digest(shell)


def tear_down(shell: Shell, options: argparse.Namespace) -> None:
    """
    Remove everything that the other scripts created. Asks first; keeps data (dataset,
    bucket, secrets, topics with waiting messages, log bucket) unless you pass
    --delete-data.

      deploy/teardown.sh --dry-run
      deploy/teardown.sh [--delete-data] [--yes] [--deployment FILE]
    """
    terraform = Terraform(shell, begins="deploy/teardown.sh")
    data = "kept"
    may: list[str] | None = ["drop_columns"]
    variables = ["-var=keep_only_data=true"]
    if options.delete_data:
        data = "DELETED, with all that is in it"
        variables.append("-var=delete_data=true")
        may = None
    terraform.require_state()
    write_values(shell, terraform)
    if shell.is_dry:
        removed = "schedules, functions, alerts, accounts and their rights"
        print(f"# removes {removed}; data: {data}")
        terraform.plan(*variables, may=may)
        if terraform.unseen:
            terraform.run("apply", f"{terraform.file}")
            if options.delete_data:
                terraform.run("destroy", "-auto-approve", *variables)
        return
    project = shell.d.project
    whole = f"Everything of '{shell.d.prefix}' in project {project}"
    print(f"{whole} is going to be removed; data: {data}.")
    asking = f"Type the project's name, {project}, to go on: "
    if not options.yes and answer(asking) != project:
        raise DeploymentError("nothing was removed")
    # Rights, accounts and roles go; the protection of the data, too, if they are to go.
    terraform.apply(*variables, may=may, asks=False)
    prune(shell, whole=True)
    if options.delete_data:
        terraform.run("destroy", "-auto-approve", *variables)
        shutil.rmtree(shell.work)
        bucket = shell.names["state_bucket"]
        print(f"removed, data and all; the state's bucket, gs://{bucket}, stays")


def enable_first(shell: Shell) -> None:
    """Enable what a plan itself calls, and a project does not begin with."""
    apis = ["cloudresourcemanager", "iam", "run", "pubsub"]
    accounts = ["pubsub"]
    if shell.names["kms_key"] or shell.names["functions_kms_key"]:
        apis += ["bigquery", "cloudkms", "logging", "storage"]
    if shell.names["functions_kms_key"]:
        apis += ["artifactregistry", "secretmanager"]
        accounts += ["artifactregistry", "run", "secretmanager"]
    shell.run("enable", services=[f"{api}.googleapis.com" for api in apis])
    for api in accounts:
        shell.run("make_account", service=f"{api}.googleapis.com")


def grant_keys(shell: Shell) -> None:
    """
    Let Google's services use the keys, or say what the keys' owner runs.

    They may from then on, also after a teardown: without that nobody could read what is
    kept.
    """
    data = shell.names["kms_key"]
    code = shell.names["functions_kms_key"]
    if not data and not code:
        return
    number = "PROJECT_NUMBER"
    logs = "cmek-pPROJECT_NUMBER"
    if not shell.is_dry:
        number = shell.ask("number")
        logs = shell.ask("log_account").partition("@")[0]
        shell.ask("storage_account")
        shell.ask("bigquery_account")
    agents = [
        (data, f"bq-{number}@bigquery-encryption"),
        (data, f"service-{number}@gs-project-accounts"),
        (data, f"service-{number}@gcp-sa-pubsub"),
        (code, f"service-{number}@serverless-robot-prod"),
        (code, f"service-{number}@gcp-sa-artifactregistry"),
        (code, f"service-{number}@gcp-sa-secretmanager"),
        (code, f"{logs}@gcp-sa-logging"),
    ]
    for key, agent in agents:
        if key:
            _let_use(shell, key=key, account=f"{agent}.iam.gserviceaccount.com")


def _let_use(shell: Shell, **names: Any) -> None:
    if shell.is_dry:
        shell.run("let_use", **names)
        return
    try:
        shell.ask("let_use", **names)
    except CalledProcessError as error:
        tell(
            "deploy: you may not grant the use of a key. Unless that is done, its "
            f"owner runs:\n{shlex.join(error.cmd)}"
        )
    else:
        # What uses the key waits until the grant is known everywhere.
        shell.has_granted()


def write_values(shell: Shell, terraform: Terraform) -> None:
    """Write what Terraform reads: variables, and what code and use cases say."""
    # Without this list all callers would look foreign.
    services = "" if terraform.unseen else shell.ask("services")
    now = deployed.described(shell.d, shell.file)
    render.write(shell.d, json.loads(services or "[]"), deployed=now)


def keep_images(shell: Shell, options: argparse.Namespace) -> None:
    """Keep, for the plan, and show which images another deployment runs; stop where one
    was built of something else than what would be staged here."""
    other = configuration.read(options.images_from)
    # The use cases that are staged are these again.
    configuration.read(shell.file)
    services = Shell(other, options.images_from, is_dry=False).ask("services")
    repository = names_of(other)["repository"]
    made = images.of_another(
        shell.d, json.loads(services), repository=repository, file=options.images_from
    )
    for target, image in made.items():
        name = image["flags"][0].removeprefix("--image=")
        said = ""
        with contextlib.suppress(CalledProcessError):
            said = shell.ask("provenance", image=name)
        if not images.check_builder(image, said):
            tell(f"deploy: the registry doesn't say who built the image of {target}")
    text = json.dumps(made, indent=1)
    print(text)
    (options.plan / "images.json").write_text(text + "\n")


def digest(shell: Shell) -> None:
    """
    Say what reading the export will cost.

    Events without a consent that is asked for by now go at once. `make setup-deploy`
    installs no packages for it; the operators' job has them.
    """
    if not settings_of_exports(shell.d.settings, shell.d.use_cases):
        return
    if not (ROOT / ".venv/.set-up").exists():
        tell(
            "deploy: 'deploy/operate.sh deployment digest' says what reading the "
            "export will cost; runs wait for your --yes if it is much"
        )
        return
    os.environ["PROPENSITY_DEPLOYMENT"] = f"{shell.file}"
    words = shell.words("digest")
    if subprocess.run(words, stdout=sys.stderr, check=False).returncode:
        tell(
            "deploy: the digest of the export was left as it is. Run "
            "'.venv/bin/propensity deployment digest', or leave it to the next run"
        )


def late_audiences(d: DeploymentSettings) -> Iterator[str]:
    """Yield the audiences whose probabilities are some days old when they are sent."""
    for use_case in d.loaded:
        predicted = use_case.chosen_prediction_days(d.settings)
        for name in declared.audience_names(use_case):
            days = declared.load_audience(use_case, name).declared.days
            on = weekdays_of(predicted)
            late = [day for day in days if day[:3].upper() not in on]
            if late:
                yield (
                    f"deploy: audience {name} of {use_case.name} is sent on "
                    f"{', '.join(late)}, but predicted on {predicted}, so its "
                    "probabilities are days old. Name other days in its file, or "
                    f"prediction_days in the usecase.toml of {use_case.name}"
                )
