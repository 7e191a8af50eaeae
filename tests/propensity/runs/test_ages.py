"""
The ages that the compaction logs, specified: of what is done, by use case and kind.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from propensity.errors import ArtifactError, Unavailable
from propensity.gcp.artifacts import Artifacts
from propensity.registry.leases import leased
from propensity.registry.versions import Registry
from propensity.runs.compact import ages_of, log_ages

TODAY = date(2026, 4, 20)
NOW = datetime(2026, 4, 20, 1, 30, tzinfo=UTC)
NAME = "ga4_purchase"


def ran(artifacts: Artifacts, kind: str, days: int, *, failed: bool = False) -> None:
    """A run of some days ago, ended as the functions end it."""
    day = TODAY - timedelta(days=days)
    with (
        contextlib.suppress(Unavailable),
        leased(artifacts, NAME, kind, day, clock=lambda: NOW),
    ):
        if failed:
            raise Unavailable("injected")


def enthroned(artifacts: Artifacts, days: int) -> None:
    """A champion that was trained some days ago."""
    registry = Registry(artifacts, NAME)
    card = {"as_of": str(TODAY - timedelta(days=days))}
    version = registry.claim(run_id="r", at=NOW)
    artifacts.create(f"models/{NAME}/{version}/card.json", json.dumps(card).encode())
    registry.promote(version, model_sha256="", at=NOW, instead_of=None)


def test_ages_are_of_the_newest_run_of_each_kind_that_is_done(artifacts):
    """In days from its as-of date; a run for an older date changes none, nor does one
    that failed or is under way, and what never ran has no age. Another use case's runs
    are another's."""
    assert ages_of(artifacts, NAME, today=TODAY) == {}
    for kind, days in (("train", 20), ("predict", 3), ("evaluate", 7)):
        for ago in (days + 30, days, days + 60):
            ran(artifacts, kind, ago)
    ran(artifacts, "predict", 1, failed=True)
    enthroned(artifacts, 51)
    with leased(artifacts, NAME, "predict", TODAY, clock=lambda: NOW):
        ages = ages_of(artifacts, NAME, today=TODAY)

    assert ages_of(artifacts, "first_day_churn", today=TODAY) == {}
    assert ages == {
        "champion_age_days": 51,
        "training_age_days": 20,
        "publication_age_days": 3,
        "evaluation_age_days": 7,
    }


def test_ages_need_a_card_of_the_champion(artifacts):
    """A champion without one is damaged, and the run says so."""
    Registry(artifacts, NAME).promote(0, model_sha256="", at=NOW, instead_of=None)

    with pytest.raises(ArtifactError, match=r"card\.json has no as-of date"):
        ages_of(artifacts, NAME, today=TODAY)


def test_a_damaged_champion_of_one_use_case_hides_no_age_of_another(artifacts):
    artifacts.create("models/card_fraud/champion.json", b"[]")
    enthroned(artifacts, 51)
    lines: list[tuple[str, dict[str, Any]]] = []
    run: Any = SimpleNamespace(
        as_of=TODAY,
        registry=Registry(artifacts, NAME),
        log=lambda severity, _, **fields: lines.append((severity, fields)),
    )
    log_ages(run)

    [(_, broken)] = [line for line in lines if line[0] == "ERROR"]
    assert (broken["use_case"], broken["outcome"]) == ("card_fraud", "artifact")
    assert [
        one["champion_age_days"] for _, one in lines if one["use_case"] == NAME
    ] == [51]
