"""
How old what is published is: what tells of a run that was never begun.

A run that is paused, or called by nobody, logs nothing, and an alert on what is absent
looks back no further than a day. The compaction runs daily and says of every use case
how many days ago the newest run of each kind succeeded, and how old the model is that
serves. It reads leases, pointers and model cards: no table, and nothing is billed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from propensity import usecases
from propensity.errors import ArtifactError
from propensity.registry.versions import Registry

if TYPE_CHECKING:
    from propensity.edges.artifacts import Artifacts
    from propensity.runs.run import Run

# The field of each kind of run, by the kind that its lease is of.
FIELDS = {
    "train": "training_age_days",
    "predict": "publication_age_days",
    "evaluate": "evaluation_age_days",
}
CHAMPION = "champion_age_days"

# So many of the newest leases are looked at for one that is done: others failed.
LOOKED_AT = 10

_DATED = re.compile(r"\d{4}-\d\d-\d\d")


def logged(run: Run, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Log a line for each use case that has a champion or a run; return the answer."""
    for name in usecases.names():
        if ages := of(run.registry.artifacts, name, today=run.as_of):
            run.say(f"ages of {name}", use_case=name, **ages)
    return answer


def of(artifacts: Artifacts, use_case: str, *, today: date) -> Mapping[str, int]:
    """
    Return ages in days by the names of their log fields.

    ``publication_age_days`` counts from the newest as-of date that 01 has published,
    ``evaluation_age_days`` and ``training_age_days`` from those of 03 and 00, and
    ``champion_age_days`` from the as-of date of the training that made the champion.
    What there never was has no age.

    Args:
        artifacts: The bucket.
        use_case: Its name.
        today: The as-of date of the run that asks.

    Raises:
        ArtifactError: A pointer or a card is damaged.
    """
    dates = dict(_dates(artifacts, use_case))
    return {name: (today - day).days for name, day in dates.items()}


def _dates(artifacts: Artifacts, use_case: str) -> Iterator[tuple[str, date]]:
    champion = Registry(artifacts, use_case).find_champion()
    if champion is not None:
        name = f"models/{use_case}/{champion.version}/card.json"
        found = _note(artifacts, name).get("as_of")
        if not isinstance(found, str) or not _DATED.fullmatch(found):
            raise ArtifactError(f"{name} says no as-of date")
        yield CHAMPION, date.fromisoformat(found)
    for kind, field in FIELDS.items():
        folder = f"runs/{use_case}/{kind}/"
        names = [
            name
            for name in artifacts.names(folder)
            if _DATED.fullmatch(name.removeprefix(folder).removesuffix(".json"))
        ]
        for name in sorted(names)[: -LOOKED_AT - 1 : -1]:
            if _note(artifacts, name).get("state") == "done":
                day = name.removeprefix(folder).removesuffix(".json")
                yield field, date.fromisoformat(day)
                break


def _note(artifacts: Artifacts, name: str) -> dict[str, Any]:
    """Return the JSON object that an object of the bucket holds, empty for none."""
    stored = artifacts.find(name)
    if stored is None:
        return {}
    try:
        found = json.loads(stored.data)
    except ValueError as error:
        raise ArtifactError(f"{name} is not JSON") from error
    return found if isinstance(found, dict) else {}
