"""
What the shell scripts ask: settings, checked, as the shell or Terraform reads them.

    .venv/bin/python -m deploy shell             the names that scripts use
    .venv/bin/python -m deploy variables         write what Terraform reads
    .venv/bin/python -m deploy losses            what would be lost by a plan of it
    .venv/bin/python -m deploy stage             stage a function; what it is known by
    .venv/bin/python -m deploy images            another's images, if they fit here
    .venv/bin/python -m deploy image             the image that fits what is staged
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy import (
    DeploymentError,
    configuration,
    deployed,
    flags,
    functions,
    render,
    stage,
)
from deploy.configuration import SEPARATOR, DeploymentSettings, dashed
from deploy.functions import ROOT, Function
from propensity import usecases
from propensity.audience import declared
from propensity.errors import PropensityError
from propensity.folders import own_use_cases
from propensity.tables.export import BY_EXPORT
from propensity.timeframe import weekdays_of
from propensity.usecases import costs
from propensity.usecases.declaration import WEEKLY_ABOVE_DAYS

HELPERS = ("scheduler", "push", "build")
# Names of tables of another property's export begin with these.
_BY_PROPERTY = tuple(f"{name}_" for name in BY_EXPORT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser("python -m deploy", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--deployment", type=Path, required=True)
    # What a plan may take away or change.
    parser.add_argument("--drop-columns", action="store_true")
    parser.add_argument("--remove", action="store_true")
    parser.add_argument("--only-callers", action="store_true")
    # Services of Cloud Run, one of them, images, or a plan.
    parser.add_argument("--json", type=Path)
    # What staged content is known by, which of the images it is, and where these are.
    parser.add_argument("--sources")
    parser.add_argument("--folder", type=Path)
    targets = [function.target for function in functions.load()]
    parser.add_argument("--function", default="", choices=[""] + targets)
    parser.add_argument("--repository")
    parser.add_argument("--images-from", type=Path)
    options = parser.parse_args(arguments)
    try:
        lines = VERBS[options.verb](configuration.read(options.deployment), options)
        # A check prints nothing.
        if lines is not None:
            for line in lines:
                print(line)
    except (DeploymentError, PropensityError) as error:
        # Also where a file of a use case is wrong.
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


def shell(d: DeploymentSettings, options: argparse.Namespace) -> Iterator[str]:
    """Yield assignments of all names that scripts use; of a function, its flags too."""
    # What stages a function looks for the use cases there.
    yield f"export PROPENSITY_USE_CASES={shlex.quote(own_use_cases())}"
    assigned = "|".join(f"{name}={value}" for name, value in d.variables.items())
    work = Path(".local/deploy", f"{d.project}-{d.prefix}")
    all_functions = functions.load()
    exports = usecases.exports(d.settings, d.use_cases)
    state_bucket = d.own["state_bucket"]
    if not state_bucket:
        state_bucket = f"{d.settings.bucket}-state"
    secret = "--clear-secrets"
    if d.own["suppression_secret"]:
        secret = (
            "--set-secrets=PROPENSITY_SUPPRESSION_KEY="
            f"{d.own['suppression_secret']}:latest"
        )
    values = {
        **d.own,
        # Of what reads the list of suppressed users.
        "secret": secret,
        "project": d.project,
        "location": d.settings.location,
        "bucket": d.settings.bucket,
        "exports": " ".join(export.export for export in exports),
        "environment": f"^{SEPARATOR}^{assigned}",
        # Cloud Run's names for these.
        "ingress": d.own["ingress"].replace("gclb", "cloud-load-balancing"),
        "vpc_egress": d.own["vpc_egress"].replace("all", "all-traffic"),
        "state_bucket": state_bucket,
        "work": f"{work}",
        "staged": f"{work}/staged",
        "every": " ".join(d.name(function.target) for function in all_functions),
        **names_of(d),
    }
    for name, value in values.items():
        yield f"{name}={shlex.quote(value)}"
    for function in all_functions:
        if function.target == options.function:
            for name, words in flags.of_function(d, function, values).items():
                yield f"{name}=({shlex.join(words)})"


def names_of(d: DeploymentSettings) -> dict[str, str]:
    """Return what is called how: a test holds Terraform's names to these."""
    repository = d.own["repository"] if d.own["repository"] else d.prefix
    if "/" not in repository:
        repository = f"{d.own['region']}-docker.pkg.dev/{d.project}/{repository}"
    targets = [function.target for function in d.functions]
    jobs = list[str]()
    trained = list[str]()
    for function in d.functions:
        if function.target == "model_training":
            trained = d.called_for(function)
            jobs = [f"{d.prefix}-training-job-{dashed(name)}" for name in trained]
            jobs.append(d.name(functions.OPERATOR))
    parts = [function.target for function in functions.load()]
    parts += [functions.OPERATOR] + list(HELPERS)
    return {
        "repository": repository,
        "functions": " ".join(targets),
        "services": " ".join(d.name(target) for target in targets),
        "schedules": " ".join(d.schedules),
        "jobs": " ".join(jobs),
        "trained": " ".join(trained),
        **{f"account_{part}": d.account(part) for part in parts},
    }


def variables(d: DeploymentSettings, options: argparse.Namespace) -> Iterator[str]:
    """
    Write what Terraform reads; of Cloud Run's services it has a file.

    Yields audiences that are sent on a day without predictions, and what predictions
    that are more frequent than usual cost.
    """
    text = options.json.read_text()
    services = json.loads(text) if text else []
    now = deployed.described(d, options.deployment)
    render.write(d, services, deployed=now)
    yield from _late_audiences(d)
    yield from frequent_predictions(d)


def frequent_predictions(d: DeploymentSettings) -> Iterator[str]:
    """Yield the price of use cases that change little in a week, and say their days."""
    for use_case in d.loaded:
        days = use_case.chosen_prediction_days(d.settings)
        if use_case.horizon_days <= WEEKLY_ABOVE_DAYS or len(weekdays_of(days)) == 1:
            continue
        sizes = costs.estimated(use_case, d.settings, costs.usual_shop(1e6))
        often = sizes.a_month(days)
        weekly = sizes.a_month("MON")
        usd = (often - weekly) * costs.price_of(d.settings.location)
        yield (
            f"deploy: {use_case.name} is predicted {days}, and its outcomes last "
            f"{use_case.horizon_days} days. For each million users who visit on a day "
            f"that reads {often:.1f} TiB a month instead of {weekly:.1f} weekly, about "
            f"{usd:.0f} USD more (an estimate)"
        )


def _late_audiences(d: DeploymentSettings) -> Iterator[str]:
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


def losses(d: DeploymentSettings, options: argparse.Namespace) -> None:
    """
    Check what a plan of Terraform takes away.

    Raises:
        DeploymentError: Secrets; where they may not go, columns or tables, or what the
            folder has no more; where only callers may change, anything else.
    """
    lost = []
    for resource in json.loads(options.json.read_text())["resource_changes"]:
        before = resource["change"]["before"]
        after = resource["change"]["after"]
        is_deleted = "delete" in resource["change"]["actions"]
        if options.only_callers and _is_beyond_callers(resource):
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
                f"--project={d.project}"
            )
        kind = (resource["type"], resource["name"])
        is_record = kind == ("terraform_data", "deployed") and before and after
        if is_record and not options.remove:
            deployed.check_kept(before["input"], after["input"])
        if kind != ("google_bigquery_table", "table") or options.drop_columns:
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
    if change["actions"] in (["no-op"], ["read"]):
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


def staged(d: DeploymentSettings, options: argparse.Namespace) -> Iterator[str]:
    """Stage a function, with its lock; yield what its content is known by."""
    [function] = [one for one in d.functions if one.target == options.function]
    yield _staged(function, options.folder)


def _staged(function: Function, folder: Path) -> str:
    requirements = function.requirements
    source = ROOT / function.folder
    stage.stage(source, folder, requirements=requirements, locked=True)
    return stage.fingerprint(folder)


def images(d: DeploymentSettings, options: argparse.Namespace) -> Iterator[str]:
    """
    Yield, as JSON, another deployment's images of the functions: see ``_image``.

    Raises:
        DeploymentError: One was built of other sources than it would be here, or is
            not in that deployment's repository.
    """
    made = dict[str, dict[str, Any]]()
    for service in json.loads(options.json.read_text()):
        # The other deployment has a prefix of its own.
        _, _, part = service["metadata"]["name"].partition("-")
        made[part.replace("-", "_")] = _image(service, options.repository)
    for function in d.functions:
        with tempfile.TemporaryDirectory() as folder:
            sources = _staged(function, Path(folder, function.target))
        if made.get(function.target, {}).get("sources") != sources:
            raise _unfit(function.target, options.images_from)
    wanted = {function.target: made[function.target] for function in d.functions}
    yield json.dumps(wanted, indent=1)


def image(d: DeploymentSettings, options: argparse.Namespace) -> Iterator[str]:
    """
    Yield the flags by which gcloud deploys the image that was built of what is staged.

    Of a service that was built of something else none are yielded, so that it is built.

    Raises:
        DeploymentError: A plan's image was built of something else.
    """
    given = json.loads(options.json.read_text())
    if options.function:
        made = given.get(options.function, {})
    else:
        made = _image(given, options.repository)
    if made.get("sources") == options.sources:
        yield from made["flags"]
    elif options.function:
        raise _unfit(options.function, options.json)


def _image(service: dict[str, Any], repository: str) -> dict[str, Any]:
    """
    Return what a service's image was built of, ``sources``, and the ``flags`` by which
    gcloud deploys it; nothing if it is no digest of a repository.

    The label alone says nothing: who may change a service may keep the label.
    """
    template = service["spec"]["template"]
    name: str = template["spec"]["containers"][0]["image"]
    if (
        not name.startswith((f"{repository}/", f"{repository}@"))
        or "@sha256:" not in name
    ):
        return {}
    words = [f"--image={name}"]
    # An image without an operating system has Google's put beneath.
    annotations = template["metadata"].get("annotations", {})
    bases = json.loads(annotations.get("run.googleapis.com/base-images", "{}"))
    for base in bases.values():
        words.append(f"--base-image={base}")
    if not bases:
        words.append("--clear-base-image")
    labels = service["metadata"].get("labels", {})
    return {"sources": labels.get("sources", ""), "flags": words}


def _unfit(name: str, file: Path) -> DeploymentError:
    """Return what to raise of a function whose image is of something else."""
    return DeploymentError(
        f"{file} has no {name} of your code, use cases and audiences, in an image of "
        "its own repository. First deploy them to the test environment "
        "(deploy/deploy_all.sh --deployment FOLDER/test.env), then plan again"
    )


Verb = Callable[[DeploymentSettings, argparse.Namespace], Iterator[str] | None]
VERBS: dict[str, Verb] = {
    "shell": shell,
    "variables": variables,
    "losses": losses,
    "stage": staged,
    "images": images,
    "image": image,
}

if __name__ == "__main__":
    sys.exit(main())
