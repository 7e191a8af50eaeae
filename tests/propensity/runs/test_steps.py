"""
Steps of runs, where no function shows them: what they leave out, what they refuse, what
the set-up makes, and the ages that the compaction logs.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from propensity import usecases
from propensity.clock import SYSTEM
from propensity.errors import (
    AudienceStopped,
    AudienceWaits,
    PropensityError,
    Unavailable,
)
from propensity.ga4.freshness import Freshness
from propensity.gcp.artifacts import Artifacts
from propensity.registry.leases import leased
from propensity.registry.versions import Registry
from propensity.runs import evaluate_weeks, setup
from propensity.runs.run import Overrides, Run
from propensity.runs.snapshots import training_dates
from propensity.settings import Settings
from propensity.streaming.features.compact import ages_of
from propensity.tables import every as tables
from propensity.tables.models import PUBLICATIONS
from tests.support import shop

AS_OF = date(2026, 6, 1)
WEEK = AS_OF - timedelta(days=178)
DAY = timedelta(days=1)


def run_without(*missing: date) -> Run:
    """A run of an export that lacks days."""
    clients: Any = {"warehouse": None, "artifacts": None}
    return Run(
        function="f",
        run_id="r",
        settings=Settings(project="p"),
        use_case=usecases.load("ga4_purchase"),
        as_of=AS_OF,
        overrides=Overrides(),
        began_at=datetime(2026, 6, 1, tzinfo=UTC),
        export=Freshness(data_until=AS_OF, missing=missing),
        missing_days=missing,
        clock=SYSTEM,
        **clients,
    )


def test_a_training_leaves_out_incomplete_snapshots(capfd):
    """Who bought on a day that never came has label 0 by mistake."""
    days = [{"day": AS_OF - n * DAY, "n_events": 9} for n in range(1, 700)]
    run = run_without(WEEK + DAY)
    run = replace(run, warehouse=SimpleNamespace(rows=lambda *_: days))

    assert len(training_dates(run)) == 64
    assert WEEK not in training_dates(run)
    assert "1 snapshot left out" in capfd.readouterr().err


@pytest.mark.parametrize(("missing", "lacked"), [((-1, 7), -0.81), ((6,), None)])
def test_incomplete_outcomes_say_nothing_of_the_season(missing, lacked):
    """Half as many bought as expected; if the export lacks a day of the week, 01
    has nothing to follow: it would predict too little of everybody."""
    groups = {"probability": [0.2], "users": [1000], "conversions": [100]}
    run = run_without(*(WEEK + days * DAY for days in missing))
    residual = evaluate_weeks.residual_of(run, WEEK, pa.table(groups))

    found = residual and residual.residual_log_odds
    assert found == (lacked and pytest.approx(lacked, abs=0.01))


def test_a_set_up_keeps_what_is_there(deployment):
    """As they are declared; twice equals once, and tables with rows are left alone."""
    shop.load(deployment, [shop.event("u", AS_OF)])
    client = deployment.warehouse.client
    settings = deployment.settings
    setup.prepare(deployment.warehouse, settings)
    row = {"use_case": "u", "as_of": AS_OF, "users": 1, "model_version": 0}
    deployment.append(PUBLICATIONS, row)
    setup.prepare(deployment.warehouse, settings)
    users = deployment.rows("SELECT user_pseudo_id FROM ga_events")
    listed = client.list_tables(settings.dataset)
    views = {"ga_events", *tables.views("")}

    assert deployment.count("ma_publications") == 1
    assert [row["user_pseudo_id"] for row in users] == ["u"]
    assert {table.table_id for table in listed} == views | {
        table.stored for table in tables.TABLES
    }


TODAY = date(2026, 4, 20)
AT_NIGHT = datetime(2026, 4, 20, 1, 30, tzinfo=UTC)
NAME = "ga4_purchase"


def ran(
    artifacts: Artifacts,
    kind: str,
    days: int,
    *,
    failure: type[PropensityError] | None = None,
) -> None:
    """A run of some days ago, ended as the functions end it."""
    day = TODAY - days * DAY
    with (
        contextlib.suppress(PropensityError),
        leased(artifacts, NAME, kind, day, clock=lambda: AT_NIGHT),
    ):
        if failure:
            raise failure("injected")


def enthroned(artifacts: Artifacts, days: int) -> None:
    """A champion that was trained some days ago."""
    registry = Registry(artifacts, NAME)
    card = {"as_of": str(TODAY - days * DAY)}
    version = registry.claim(run_id="r", at=AT_NIGHT)
    artifacts.create(f"models/{NAME}/{version}/card.json", json.dumps(card).encode())
    registry.promote(version, model_sha256="", at=AT_NIGHT, instead_of=None)


def test_ages_are_of_the_newest_run_of_each_kind_that_is_done(artifacts):
    """In days from its as-of date; a run for an older date changes none, nor does one
    that failed or is under way, and what never ran has no age. Another use case's runs
    are another's."""
    assert ages_of(artifacts, NAME, today=TODAY) == {}
    for kind, days in (("train", 20), ("predict", 3), ("evaluate", 7)):
        for ago in (days + 30, days, days + 60):
            ran(artifacts, kind, ago)
    ran(artifacts, "predict", 1, failure=Unavailable)
    enthroned(artifacts, 51)
    with leased(artifacts, NAME, "predict", TODAY, clock=lambda: AT_NIGHT):
        ages = ages_of(artifacts, NAME, today=TODAY)

    assert ages_of(artifacts, "first_day_churn", today=TODAY) == {}
    assert ages == {
        "champion_age_days": 51,
        "training_age_days": 20,
        "publication_age_days": 3,
        "evaluation_age_days": 7,
    }


def test_audiences_that_stopped_for_a_person_have_run(artifacts):
    """One alert is enough. A run that waits for ever is none."""
    ran(artifacts, "audiences", 2, failure=AudienceStopped)
    ran(artifacts, "audiences", 1, failure=AudienceWaits)

    assert ages_of(artifacts, NAME, today=TODAY) == {"audience_age_days": 2}
