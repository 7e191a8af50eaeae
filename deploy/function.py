"""A function: deployed, scheduled, and its trainings as jobs."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from deploy import flags, images, stage
from deploy.configuration import dashed
from deploy.functions import OPERATOR, Function
from deploy.shell import Shell

TRAINING = "model_training"
JOBS = "https://run.googleapis.com/v2/projects/$project/locations/$region/jobs"


def deploy(shell: Shell, options: argparse.Namespace) -> None:
    """
    Deploy a function as deploy/functions.toml describes it; with the training also the
    job in which deploy/operate.sh runs commands, and those of trainings that there are.
    deploy/setup.sh comes before it, and after it the first time: then it lets in who
    may call.

      deploy/function.sh FUNCTION [--rebuild] [--dry-run] [--deployment FILE]
    --rebuild builds it anew though nothing of it has changed, for what Google has
    mended beneath.
    """
    function = shell.function(options.target)
    if not function:
        return
    name = shell.d.name(function.target)
    folder = shell.work / "staged" / function.target
    # What the content is known by.
    sources = "SOURCES"
    if shell.is_dry:
        shell.run("stage", target=function.target, folder=folder)
    else:
        sources = stage.locked(function, folder)
    service = flags.service(shell.d, function)
    image = image_flags(shell, function, sources, options)
    if image:
        how = image + flags.of_image(service)
    else:
        code = f"{folder}"
        if shell.names["functions_kms_key"]:
            shell.run("archive", folder=folder)
            shell.run("upload", folder=folder, name=name)
            code = f"gs://{shell.names['bucket']}/services/{name}/source.zip"
        build = flags.build(shell.d, shell.names["repository"])
        how = [f"--source={code}"] + service + build
    if image and kept_images(options):
        digest = image[0].removeprefix("--image=")
        tag = f"{digest.partition('@')[0]}:released-{time.time():.0f}"
        shell.run("keep_image", image=digest, tag=tag)
    common = flags.common(shell.d)
    shell.run("deploy", name=name, how=how, common=common, sources=sources)
    shell.run("use_latest", name=name)
    print(f"# {name} runs its latest revision")
    if function.target == TRAINING:
        # What a person or deploy/operate.sh asks for takes the words' place.
        words = ["operate.py", "-", '["versions"]']
        size = ["--memory=8Gi", "--cpu=2"]
        _deploy_job(shell, shell.d.name(OPERATOR), words, account=OPERATOR, size=size)
        there = [] if shell.is_dry else shell.ask("training_jobs").split()
        for use_case in shell.d.called_for(function):
            if _training_job(shell, use_case) in there:
                _deploy_training(shell, function, use_case)


def image_flags(
    shell: Shell, function: Function, sources: str, options: argparse.Namespace
) -> list[str]:
    """
    Return the flags by which gcloud takes an image that is there; none to build one.

    It is that of a kept plan, or the one in which the function runs, if it was built of
    what was staged: another setting builds nothing.

    Raises:
        DeploymentError: A plan's image was built of something else.
    """
    if shell.is_dry or options.rebuild:
        return []
    file = kept_images(options)
    if file:
        kept = json.loads(file.read_text("utf-8"))
        images.check(kept, function.target, sources=sources, file=file)
        return list(kept[function.target]["flags"])
    try:
        text = shell.ask("service", name=shell.d.name(function.target))
    except CalledProcessError:
        return []  # It is not deployed.
    image = images.of_service(json.loads(text), shell.names["repository"])
    return list(image["flags"]) if image.get("sources") == sources else []


def kept_images(options: argparse.Namespace) -> Path | None:
    """Return the file of a kept plan that names images, if there is one."""
    file = options.plan / "images.json" if options.plan else None
    return file if file and file.is_file() else None


def schedule(shell: Shell, options: argparse.Namespace) -> None:
    """
    Let Cloud Scheduler call a function when deploy/functions.toml says: for each use
    case, or once; after its deploy. A use case that is no longer called loses its
    schedule in deploy/setup.sh. A training that starts a Cloud Run job
    (deploy/training_job.sh --schedule) is left alone.

      deploy/schedule.sh FUNCTION [--dry-run] [--deployment FILE]
      deploy/schedule.sh model_training --function    let it call the function again
    """
    function = shell.function(options.target)
    if not function:
        return
    url = shell.url_of(function.target)
    caller = ["--oidc-service-account-email=" + shell.names["account_scheduler"]]
    caller.append(f"--oidc-token-audience={url}")
    for job, use_case in shell.d.calls(function).items():
        calls = _called(shell, job)
        if calls and calls.endswith(":run") and not options.function:
            told = "starts a training job. --function schedules the function again"
            print(f"# {job} {told}")
            continue
        shell.run(
            "schedule",
            job=job,
            **_times(shell, function, use_case, is_there=calls is not None),
            uri=f"{url}/",
            body=json.dumps({"use_case": use_case} if use_case else {}),
            caller=caller,
        )


def train_in_jobs(shell: Shell, options: argparse.Namespace) -> None:
    """
    Run trainings as Cloud Run jobs, of the very image that the deployed function runs
    in: for those that take longer than Cloud Scheduler waits. --schedule lets the clock
    start the job in the place of the function; 00-ModelTraining/scheduler.sh --function
    goes back.

      deploy/training_job.sh [--schedule] [--dry-run] [--deployment FILE]
    """
    function = shell.function(TRAINING)
    if not function:
        return
    caller = ["--oauth-service-account-email=" + shell.names["account_scheduler"]]
    for start, use_case in shell.d.calls(function).items():
        _deploy_training(shell, function, use_case)
        job = _training_job(shell, use_case)
        shell.run("let_start", job=job)
        if options.schedule:
            [jobs] = shell.words(JOBS)
            is_there = _called(shell, start) is not None
            times = _times(shell, function, use_case, is_there=is_there)
            uri = f"{jobs}/{job}:run"
            shell.run("schedule", job=start, **times, uri=uri, body="{}", caller=caller)


def _training_job(shell: Shell, use_case: str) -> str:
    return shell.d.name(f"training-job-{dashed(use_case)}")


def _deploy_training(shell: Shell, function: Function, use_case: str) -> None:
    """Deploy the job of a use case's trainings."""
    # job.py repeats what may pass.
    words = ["job.py", TRAINING, json.dumps({"use_case": use_case})]
    size = [f"--{name}={function.flags[name]}" for name in ("memory", "cpu")]
    job = _training_job(shell, use_case)
    _deploy_job(shell, job, words, account=TRAINING, size=size)


def _called(shell: Shell, job: str) -> str | None:
    """Return what a schedule calls so far; None where it is not there."""
    try:
        return None if shell.is_dry else shell.ask("called", job=job)
    except CalledProcessError:
        return None


def _times(
    shell: Shell, function: Function, use_case: str, *, is_there: bool
) -> dict[str, Any]:
    """Return when a schedule calls, and the words that make or change it."""
    assert function.schedule
    clock = dict(function.schedule.flags)
    del clock["schedule"]
    return {
        "verb": "update" if is_there else "create",
        "header": "--update-headers" if is_there else "--headers",
        "cron": shell.d.cron(function, use_case),
        "clock": flags.words(clock),
    }


def _deploy_job(
    shell: Shell, job: str, words: list[str], *, account: str, size: list[str]
) -> None:
    """Make a job, or change it; its image is the very one that the training runs in."""
    image = "IMAGE_OF_THE_FUNCTION"
    if not shell.is_dry:
        image = shell.ask("image", name=shell.d.name(TRAINING))
    shell.run(
        "deploy_job",
        job=job,
        image=image,
        account=shell.d.account(account),
        words="|".join(words),
        size=size,
        environment=flags.environment(shell.d.variables),
        secret=flags.secret(shell.d),
        network=flags.of_job(shell.d),
    )
