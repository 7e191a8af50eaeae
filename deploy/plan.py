"""
What a deployment consists of, in order.

Everything is derived from ``functions.toml``, ``tables.py``, ``topics.py`` and the
policies of ``alerts/``, and listed nowhere else. ``steps.py`` prints plans, carries
them out and takes them back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from deploy import access, alerting, resources, services
from deploy.deployment import Deployment
from deploy.functions import Function
from deploy.steps import Command, Plan, Step
from deploy.words import (
    CHANNEL,
    NUMBER,
    gcloud,
    image_of,
    place,
    policy_of,
    project,
    python,
    url_of,
)

TRAINING = "model_training"


def setup(d: Deployment) -> Plan:
    """Return all that functions need; no function yet."""
    return _plan(
        d,
        [
            *resources.apis(d),
            *resources.roles(d),
            *resources.accounts(d),
            *resources.keys(d),
            *resources.images(d),
            *resources.dataset(d),
            *resources.bucket(d),
            *resources.messages(d),
            *access.rights(d),
        ],
    )


def watch(d: Deployment) -> Plan:
    """Return all that watches functions: last, and nothing else fails with it."""
    return replace(_plan(d, alerting.alerts(d)), may_fail=True)


def loads(d: Deployment, *, model: bool, postcodes: Path | None) -> Plan:
    """Return the loading of what the stream starts with; it needs ``make setup``."""
    steps = []
    if postcodes:
        load: Command = (python(), "-m", "propensity", "load-postcodes")
        index = f"postcode index from {postcodes.name}"
        steps.append(Step(what=index, create=((*load, str(postcodes.resolve())),)))
    if model:
        load = (python(), "-m", "propensity", "load-model")
        steps.append(Step(what="pre-trained model, if nothing serves", create=(load,)))
    return Plan(tuple(steps), environment=d.variables)


def deploy(d: Deployment, wanted: Iterable[Function]) -> Plan:
    """Return the deploy of functions, who may call them, and what pushes to them."""
    return _plan(d, [step for one in wanted for step in services.deployed(d, one)])


def schedule(d: Deployment, wanted: Iterable[Function]) -> Plan:
    """Return the jobs of Cloud Scheduler that call functions."""
    return _plan(d, [step for one in wanted for step in services.scheduled(d, one)])


def training_job(d: Deployment, *, is_scheduled: bool) -> Plan:
    """Return trainings as Cloud Run jobs, and perhaps the clock that starts them."""
    return _plan(
        d,
        [
            step
            for one in d.functions
            if one.target == TRAINING
            for step in services.training_jobs(d, one, is_scheduled=is_scheduled)
        ],
    )


def everything(d: Deployment) -> Plan:
    """Return all that there may be of a deployment, in order; to take it back."""
    plans = (
        setup(d),
        deploy(d, d.functions),
        schedule(d, d.functions),
        training_job(d, is_scheduled=False),
        watch(d),
    )
    return _plan(d, [step for plan in plans for step in plan.steps])


def _plan(d: Deployment, steps: Iterable[Step]) -> Plan:
    return Plan(tuple(steps), _lookups(d))


def _lookups(d: Deployment) -> dict[str, Command]:
    """Return how to find what is not known before something is created."""
    first = ("--limit=1", "--format=value(name)", project(d))
    found = {
        NUMBER: gcloud("projects describe", d.project, "--format=value(projectNumber)"),
        CHANNEL: gcloud(
            "beta monitoring channels list",
            f'--filter=displayName="{d.prefix}"',
            *first,
        ),
    }
    for one in d.functions:
        look = gcloud("run services describe", d.name(one.target), *place(d))
        image = "spec.template.spec.containers[0].image"
        found[url_of(one.target)] = (*look, "--format=value(status.url)")
        found[image_of(one.target)] = (*look, f"--format=value({image})")
    for name in alerting.policies(d):
        ours = f'userLabels.deployment="{d.prefix}" AND userLabels.alert="{name}"'
        found[policy_of(name)] = gcloud(
            "alpha monitoring policies list", f"--filter={ours}", *first
        )
    return found
