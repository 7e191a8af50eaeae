"""A function: deployed; and scheduled, as itself or as a job."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from subprocess import CalledProcessError

from deploy import UsageError, flags, images, stage
from deploy.functions import JOBS, OPERATOR, Function
from deploy.shell import Shell

TRAINING = "model_training"
URL_OF_JOBS = "https://run.googleapis.com/v2/projects/$project/locations/$region/jobs"


def deploy(shell: Shell, options: argparse.Namespace) -> None:
    """
    Deploy a function as deploy/functions.toml describes it; with the training also the
    job in which deploy/operate.sh runs commands, and those of schedules that there are.
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
        there = [] if shell.is_dry else shell.ask("jobs").split()
        for each in shell.d.functions:
            for use_case in shell.d.called_for(each):
                if each.target in JOBS and shell.d.job(each, use_case) in there:
                    _deploy_scheduled(shell, each, use_case)


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
    schedule in deploy/setup.sh. A schedule that starts a job stays one.

      deploy/schedule.sh FUNCTION [--dry-run] [--deployment FILE]
      deploy/schedule.sh FUNCTION --job         start a Cloud Run job instead, for a
                                                training, or predictions, of over half
                                                an hour
      deploy/schedule.sh FUNCTION --function    call the function again
    """
    function = shell.function(options.target)
    if not function:
        return
    if options.job and function.target not in JOBS:
        known = " or ".join(JOBS)
        raise UsageError(f"--job takes {known}, not '{function.target}'")
    account = shell.names["account_scheduler"]
    for start, use_case in shell.d.calls(function).items():
        calls = _called(shell, start)
        if options.job:
            job = _deploy_scheduled(shell, function, use_case)
            shell.run("let_start", job=job)
            [uri] = shell.words(f"{URL_OF_JOBS}/{job}:run")
            body = "{}"
            caller = [f"--oauth-service-account-email={account}"]
        elif calls and calls.endswith(":run") and not options.function:
            print(f"# {start} starts a job. --function schedules the function again")
            continue
        else:
            url = shell.url_of(function.target)
            uri = f"{url}/"
            body = json.dumps({"use_case": use_case} if use_case else {})
            caller = [f"--oidc-service-account-email={account}"]
            caller.append(f"--oidc-token-audience={url}")
        assert function.schedule
        shell.run(
            "schedule",
            job=start,
            verb="create" if calls is None else "update",
            header="--headers" if calls is None else "--update-headers",
            cron=shell.d.cron(function, use_case),
            clock=flags.words(function.schedule.flags),
            uri=uri,
            body=body,
            caller=caller,
        )


def _deploy_scheduled(shell: Shell, function: Function, use_case: str) -> str:
    """Deploy the job that runs a function for a use case; return its name."""
    # job.py repeats what may pass.
    words = ["job.py", function.target, json.dumps({"use_case": use_case})]
    size = [f"--{name}={function.flags[name]}" for name in ("memory", "cpu")]
    job = shell.d.job(function, use_case)
    _deploy_job(shell, job, words, account=function.target, size=size)
    return job


def _called(shell: Shell, job: str) -> str | None:
    """Return what a schedule calls so far; None where it is not there."""
    try:
        return None if shell.is_dry else shell.ask("called", job=job)
    except CalledProcessError:
        return None


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
        common=flags.of_job(shell.d),
    )
