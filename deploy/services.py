"""
The functions themselves: how each is deployed, who calls it, and when.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy import stage
from deploy.access import right
from deploy.deployment import Deployment
from deploy.functions import THREADED, Function
from deploy.steps import Command, Step
from deploy.words import (
    BUILD,
    PUSH,
    ROOT,
    SCHEDULER,
    gcloud,
    image_of,
    joined,
    late,
    name_of,
    own_subscription,
    place,
    project,
    python,
    repository,
    short,
    url_of,
)
from propensity import topics, usecases

STAGED = ".local/deploy"
THROTTLING = "run.googleapis.com/cpu-throttling"
RUNTIME = "python311"

# Cloud Scheduler waits no longer for an answer.
ATTEMPT_DEADLINE_S = 1800

# A training job: longer than a function may run.
JOB_TIMEOUT_S = 23 * 3600
# What starts a process in an image of Google's buildpacks, with its paths set.
LAUNCHER = "/cnb/lifecycle/launcher"


# -- functions ------------------------------------------------------------------------


def environment(d: Deployment, one: Function) -> dict[str, str]:
    """Return the environment of a function."""
    made = dict(d.variables)
    if one.serving == THREADED:
        made["THREADS"] = str(one.concurrency)
    return made


def deploy_command(d: Deployment, one: Function) -> Command:
    """Return the command that deploys a function from its staged folder."""
    builder = f"projects/{d.project}/serviceAccounts/{d.account(BUILD)}"
    return gcloud(
        "functions deploy",
        d.name(one.target),
        "--gen2",
        *place(d),
        f"--runtime={RUNTIME}",
        f"--source={STAGED}/{one.target}",
        f"--entry-point={one.target}",
        "--trigger-http",
        "--no-allow-unauthenticated",
        f"--ingress-settings={ingress(d, one)}",
        *network(d),
        f"--service-account={d.account(one.target)}",
        f"--build-service-account={builder}",
        f"--concurrency={one.concurrency}",
        f"--cpu={one.cpu}",
        f"--memory={one.memory}",
        f"--timeout={one.timeout_s}s",
        f"--min-instances={one.min_instances}",
        f"--max-instances={one.max_instances}",
        f"--set-env-vars={_assigned(environment(d, one))}",
        *secrets(d, one),
        *images(d),
        "--quiet",
    )


def ingress(d: Deployment, one: Function) -> str:
    """Return from where a function takes requests."""
    return d.network.ingress if one.ingress == "all" else one.ingress


def network(d: Deployment) -> Command:
    """Return the flags that send what a function sends through a VPC."""
    if not d.network.connector:
        return ()
    return (
        f"--vpc-connector={d.network.connector}",
        f"--egress-settings={d.network.egress}",
    )


def images(d: Deployment) -> Command:
    """Return the flags that say where a function's image is, and by what encrypted."""
    flags = (f"--docker-repository={repository(d)}",) if d.repository else ()
    key = d.keys.functions
    return (*flags, f"--kms-key={key}") if key else flags


def secrets(d: Deployment, one: Function) -> Command:
    """Return the flag that gives a function its secrets, none where it needs none."""
    if not d.suppression_secret or not one.needs_key:
        return ()
    return (f"--set-secrets=PROPENSITY_SUPPRESSION_KEY={d.suppression_secret}:latest",)


def _assigned(variables: dict[str, str]) -> str:
    return joined(f"{name}={value}" for name, value in variables.items())


def _digest(d: Deployment, one: Function) -> str:
    """Return what a deploy of a function comes to: its source, and how it is run."""
    source = stage.digest(ROOT / one.folder, requirements=one.requirements, locked=True)
    return short("\n".join((source, *deploy_command(d, one))))


def deployed(d: Deployment, one: Function) -> Iterator[Step]:
    """Yield the deploy of a function, who may call it, and what pushes to it."""
    name, digest = d.name(one.target), _digest(d, one)
    folder = f"{STAGED}/{one.target}"
    staged: Command = (python(), "-m", "deploy.stage", one.folder, folder)
    staged += (f"--requirements={one.requirements}", "--locked")
    label = f"--update-labels=source={digest}"

    def same(found: dict[str, Any]) -> bool:
        is_source = found.get("labels", {}).get("source") == digest
        return is_source and found.get("state") == "ACTIVE"

    yield Step(
        what=f"function {name}",
        look=gcloud("functions describe", name, "--gen2", *place(d), "--format=json"),
        holds=same,
        create=(staged, (*deploy_command(d, one), label)),
        remove=(gcloud("functions delete", name, "--gen2", *place(d), "--quiet"),),
        waits_for=f"the rights of {d.name(BUILD)}, which builds it",
        given=(d.network.connector, d.suppression_secret, d.keys.functions),
        group=name,
    )
    yield _processor(d, one)
    callers = [f"serviceAccount:{d.account(SCHEDULER)}"] if one.schedule else []
    callers += [f"serviceAccount:{d.account(PUSH)}"] if one.subscriptions else []
    callers += d.callers if one.ingress == "all" else ()
    for member in callers:
        called = right(
            f"{name_of(member)} may call {name}",
            ("run", "services", name),
            role="roles/run.invoker",
            member=member,
            where=place(d),
        )
        yield replace(called, group=name)
    for subscription in one.subscriptions:
        yield _pushed(d, one, subscription)


def _processor(d: Deployment, one: Function) -> Step:
    """Return the step that says when a function has its processor: functions have no
    flag for it, the service behind them has."""
    name, verb = d.name(one.target), "run services"
    wanted = "false" if one.keeps_cpu else "true"
    flag = "--no-cpu-throttling" if one.keeps_cpu else "--cpu-throttling"
    when = "between requests, too" if one.keeps_cpu else "while it has requests"

    def holds(found: dict[str, Any]) -> bool:
        template = found.get("spec", {}).get("template", {}).get("metadata", {})
        told = template.get("annotations", {}).get(THROTTLING, "true")
        return bool(told == wanted)

    change = gcloud(f"{verb} update", name, flag, *place(d), "--quiet")
    return Step(
        what=f"{name} has its processor {when}",
        look=gcloud(f"{verb} describe", name, *place(d), "--format=json"),
        holds=holds,
        create=(change,),
        update=(change,),
        group=name,
    )


def _pushed(d: Deployment, one: Function, subscription: topics.Subscription) -> Step:
    """Return the step that makes a subscription push to a function, as somebody."""
    name, url = d.subscription(subscription), late(url_of(one.target))
    verb = "pubsub subscriptions"
    ways = (
        f"--push-endpoint={url}",
        f"--push-auth-service-account={d.account(PUSH)}",
        f"--push-auth-token-audience={url}",
    )

    def pick(found: dict[str, Any]) -> Any:
        push = found.get("pushConfig", {})
        account = push.get("oidcToken", {}).get("serviceAccountEmail")
        is_ours = _is_of(d, one, push.get("pushEndpoint", ""))
        return push if is_ours and account == d.account(PUSH) else None

    return Step(
        what=f"{name} pushes to {d.name(one.target)}",
        look=gcloud(f"{verb} describe", name, project(d), "--format=json"),
        pick=pick,
        create=(gcloud(f"{verb} modify-push-config", name, *ways, project(d)),),
        # Its messages wait for whoever comes next.
        remove=(
            gcloud(f"{verb} modify-push-config", name, "--push-endpoint=", project(d)),
        ),
        owner=d.prefix,
        adopt=own_subscription(d, name),
        group=d.name(one.target),
    )


def _is_of(d: Deployment, one: Function, url: str) -> bool:
    """Tell whether an address is that of a function: Cloud Run puts its name first."""
    return url.startswith(f"https://{d.name(one.target)}-")


# -- the clock ------------------------------------------------------------------------


def scheduled(d: Deployment, one: Function) -> Iterator[Step]:
    """Yield the jobs of Cloud Scheduler that call a function."""
    url = late(url_of(one.target))
    for use_case in clocked(d, one):
        yield _clock(
            d,
            one,
            name=_job_name(d, one.target, use_case),
            target=(
                f"--uri={url}/",
                f"--oidc-service-account-email={d.account(SCHEDULER)}",
                f"--oidc-token-audience={url}",
            ),
            body=json.dumps({"use_case": use_case}) if use_case else "{}",
            calls=lambda found: _is_of(d, one, found),
        )


def clocked(d: Deployment, one: Function) -> list[str]:
    """Return the use cases that a function is called for; an empty name is all."""
    if one.schedule is None:
        return []
    if not one.schedule.per_use_case:
        return [""]
    skips = one.schedule.skips
    return [
        name
        for name in d.use_cases
        if not (skips and getattr(usecases.load(name), skips))
    ]


def _job_name(d: Deployment, target: str, use_case: str) -> str:
    return d.name(f"{target}-{use_case}" if use_case else target)


def _clock(
    d: Deployment,
    one: Function,
    *,
    name: str,
    target: Command,
    body: str,
    calls: Callable[[str], bool],
) -> Step:
    clock = one.schedule
    assert clock is not None
    where = (f"--location={d.region}", project(d))
    words = (
        name,
        f"--schedule={clock.cron}",
        f"--time-zone={d.time_zone}",
        *target,
        "--http-method=POST",
        f"--message-body={body}",
        f"--attempt-deadline={ATTEMPT_DEADLINE_S}s",
        f"--max-retry-attempts={clock.retries}",
        f"--min-backoff={clock.minimum_backoff_s}s",
        f"--max-backoff={clock.maximum_backoff_s}s",
        *where,
    )

    def same(found: dict[str, Any]) -> bool:
        to, retry = found.get("httpTarget", {}), found.get("retryConfig", {})
        return (
            found.get("schedule") == clock.cron
            and found.get("timeZone") == d.time_zone
            and found.get("attemptDeadline") == f"{ATTEMPT_DEADLINE_S}s"
            and retry.get("retryCount") == clock.retries
            and retry.get("minBackoffDuration") == f"{clock.minimum_backoff_s}s"
            and retry.get("maxBackoffDuration") == f"{clock.maximum_backoff_s}s"
            and base64.b64decode(to.get("body", "")).decode() == body
            and calls(to.get("uri", ""))
        )

    kind = "Content-Type=application/json"
    verb = "scheduler jobs"
    return Step(
        what=f"schedule {name}: {clock.cron} {d.time_zone}",
        look=gcloud(f"{verb} describe", name, *where, "--format=json"),
        holds=same,
        create=(gcloud(f"{verb} create http", *words, f"--headers={kind}"),),
        update=(gcloud(f"{verb} update http", *words, f"--update-headers={kind}"),),
        remove=(gcloud(f"{verb} delete", name, *where, "--quiet"),),
    )


# -- trainings that take longer -------------------------------------------------------


def training_jobs(
    d: Deployment, one: Function, *, is_scheduled: bool
) -> Iterator[Step]:
    """Yield trainings as Cloud Run jobs, one a use case, and perhaps their clock."""
    for use_case in clocked(d, one):
        name = _job_name(d, "training-job", use_case)
        yield _training_job(d, one, name, body=json.dumps({"use_case": use_case}))
        yield right(
            f"{d.name(SCHEDULER)} may start {name}",
            ("run", "jobs", name),
            role="roles/run.invoker",
            member=f"serviceAccount:{d.account(SCHEDULER)}",
            where=place(d),
        )
        if is_scheduled:
            yield _started(d, one, name, use_case)


def _training_job(d: Deployment, one: Function, name: str, *, body: str) -> Step:
    program = Path(__file__).with_name("job.py").read_text()
    command = gcloud(
        "run jobs deploy",
        name,
        *place(d),
        f"--image={late(image_of(one.target))}",
        f"--command={LAUNCHER}",
        f"--args={joined(('python3', '-c', program, one.target, body))}",
        f"--service-account={d.account(one.target)}",
        f"--cpu={one.cpu}",
        f"--memory={one.memory}",
        f"--task-timeout={JOB_TIMEOUT_S}s",
        "--tasks=1",
        "--max-retries=1",
        f"--set-env-vars={_assigned({**d.variables})}",
        *secrets(d, one),
        *_job_network(d),
        *((f"--key={d.keys.functions}",) if d.keys.functions else ()),
    )
    digest = short("\n".join((_digest(d, one), *command)))

    def same(found: dict[str, Any]) -> bool:
        labels = found.get("metadata", {}).get("labels", {})
        return bool(labels.get("source") == digest)

    return Step(
        what=f"job {name}, of the image of {d.name(one.target)}",
        look=gcloud("run jobs describe", name, *place(d), "--format=json"),
        holds=same,
        create=((*command, f"--labels=source={digest}"),),
        remove=(gcloud("run jobs delete", name, *place(d), "--quiet"),),
    )


def _job_network(d: Deployment) -> Command:
    """Return ``network`` in the words that jobs have for it."""
    if not d.network.connector:
        return ()
    every = "all-traffic" if d.network.egress == "all" else d.network.egress
    return (f"--vpc-connector={d.network.connector}", f"--vpc-egress={every}")


def _started(d: Deployment, one: Function, name: str, use_case: str) -> Step:
    """Return the function's clock, calling the job in its place."""
    uri = (
        f"https://run.googleapis.com/v2/projects/{d.project}/locations/{d.region}"
        f"/jobs/{name}:run"
    )
    return _clock(
        d,
        one,
        name=_job_name(d, one.target, use_case),
        target=(
            f"--uri={uri}",
            f"--oauth-service-account-email={d.account(SCHEDULER)}",
        ),
        body="{}",
        calls=lambda found: found == uri,
    )
