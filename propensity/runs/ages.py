"""
Ages of publications, evaluations, trainings and champions, for the alerts.

A run that is paused, or never called, logs nothing, and an alert on the absence of a
log line looks back one day at most. So the compaction, which runs daily, logs for every
use case how many days ago the newest run of each kind succeeded, and how old the
champion is. It reads leases, pointers and model cards: no table, and nothing is billed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from propensity import usecases
from propensity.errors import ArtifactError
from propensity.registry.objects import object_of
from propensity.registry.versions import Registry

if TYPE_CHECKING:
    from propensity.gcp.artifacts import Artifacts
    from propensity.runs.run import Run

# The log field of each kind of run, by the kind of its lease.
FIELDS = {
    "train": "training_age_days",
    "predict": "publication_age_days",
    "evaluate": "evaluation_age_days",
}


def log(run: Run, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Log a line for each use case that has a champion or a run; return the answer."""
    for name in usecases.names():
        if ages := of(run.registry.artifacts, name, today=run.as_of):
            run.say(f"ages of {name}", use_case=name, **ages)
    return answer


def of(artifacts: Artifacts, use_case: str, *, today: date) -> Mapping[str, int]:
    """
    Return ages in days by the names of their log fields.

    They count from the as-of dates of the newest runs that succeeded, and of the
    training that made the champion. A run that never happened has no age.

    Raises:
        ArtifactError: A pointer or a card is damaged.
    """
    ages = {}
    champion = Registry(artifacts, use_case).champion()
    if champion is not None:
        name = f"models/{use_case}/{champion.version}/card.json"
        try:
            as_of = date.fromisoformat(_content(artifacts, name)["as_of"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{name} has no as-of date") from error
        ages["champion_age_days"] = (today - as_of).days
    for kind, field in FIELDS.items():
        for name in sorted(artifacts.names(f"runs/{use_case}/{kind}/"), reverse=True):
            if _content(artifacts, name).get("state") == "done":
                day = name.rpartition("/")[2].removesuffix(".json")
                ages[field] = (today - date.fromisoformat(day)).days
                break
    return ages


def _content(artifacts: Artifacts, name: str) -> dict[str, Any]:
    """Return the JSON object in a file of the bucket; empty where there is none."""
    stored = artifacts.find(name)
    return {} if stored is None else object_of(stored, name)
