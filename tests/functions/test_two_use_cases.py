"""
Two use cases of one export and the same users: each gives what it gives alone.

They have audiences of one name, other horizons and one digest. What is done to one of
them, such as a rollback or a forgotten user, is done to it alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from offline import forget
from propensity import usecases
from propensity.audience.control import KEY as CONTROL_KEY
from tests.functions.audiences import by_hand
from tests.support import own_use_cases
from tests.support.deployment import KEY, Deployment
from tests.support.shop import WEEK
from tests.support.shops import LATER, TRAINED

FIRST = "ga4_purchase"
SECOND = "shop_2"
# The same shop, with other spans.
TOML = 'like = "ga4_purchase"\nhorizon_days = 14\nlookback_days = 30\n'
AUDIENCE = 'destination = "bucket"\ntop = 40\ncontrol = "20%"\n'
TABLES = (
    "ma_predictions_table",
    "ma_predictions_history",
    "ma_publications",
    "ma_model_evaluation",
    "ma_drift",
    "ma_audience_members",
    "ma_audience_ledger",
    "ma_audience_plans",
)
# What a run is known by, and when it was.
OF_A_RUN = ("run_id", "request", "bytes_billed", "seconds")


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for name in (FIRST, SECOND):
        (folder / name / "audiences").mkdir(parents=True)
        (folder / name / "audiences" / "winback.toml").write_text(AUDIENCE)
    (folder / SECOND / "usecase.toml").write_text(TOML)
    return folder


def lived(borrow_deployment: Any, own: Path, names: Sequence[str]) -> Deployment:
    """Return a deployment in which use cases have had two weeks, one beside another."""
    site: Deployment = borrow_deployment(
        PROPENSITY_USE_CASES=str(own), PROPENSITY_SUPPRESSION_KEY=KEY
    )
    # One key draws the same people in each deployment.
    key = json.dumps({"key": bytes(32).hex()}).encode()
    site.artifacts.create(CONTROL_KEY, key)
    for name in names:
        site.run("model_training", TRAINED, use_case=name)
    for day in (TRAINED, LATER):
        for name in names:
            site.run("predictions", day, use_case=name, force=True)
        for name in names:
            by_hand(site, day, name)
    for name in names:
        site.run("model_evaluation", TRAINED + 4 * WEEK, use_case=name)
    return site


@pytest.fixture(scope="module")
def together(borrow_deployment, own) -> Deployment:
    with own_use_cases.in_folder(own):
        return lived(borrow_deployment, own, (FIRST, SECOND))


def rows_of(site: Deployment, use_case: str) -> dict[str, list[str]]:
    """Return a use case's rows, but for what tells one run from another."""
    given = {}
    for table in TABLES:
        rows = site.rows(f"SELECT * FROM {table} WHERE use_case = @u", u=use_case)
        for row in rows:
            for name in list(row):
                if name in OF_A_RUN or name.endswith("_at"):
                    del row[name]
        given[table] = sorted(map(str, rows))
    return given


def test_a_use_case_gives_beside_another_of_its_export_what_it_gives_alone(
    borrow_deployment, own, together
):
    with own_use_cases.in_folder(own):
        alone = lived(borrow_deployment, own, [SECOND])

    said = rows_of(alone, SECOND)
    assert [table for table, rows in said.items() if not rows] == []
    assert rows_of(together, SECOND) == said
    # The digest is one for both; days that one has read the other reads no more.
    days = "SELECT COUNT(*) AS n FROM ga_digested_days"
    assert together.rows(days)[0]["n"] >= alone.rows(days)[0]["n"]


def test_what_is_done_to_a_use_case_is_done_to_it_alone(together, own, capsys):
    """Whoever is forgotten in one is another person in the other."""
    with own_use_cases.in_folder(own):
        pointer = together.read(f"models/{FIRST}/champion.json")
        before = rows_of(together, FIRST)
        names = [name for name in together.artifacts.names("") if f"/{FIRST}/" in name]
        objects = {name: together.read(name) for name in names}
        [member, *_] = together.rows(
            "SELECT user_id FROM ma_audience_members WHERE use_case = @u "
            "AND NOT is_control ORDER BY user_id",
            u=SECOND,
        )
        user = member["user_id"]
        report = forget.run(together.settings, [user], use_case=SECOND)
        pinned = together.command("pin", "0", "--use-case", SECOND)
        stopped = together.command("audience", "stop", "winback", "--use-case", SECOND)
        usecases.load.cache_clear()

    assert report["left"] == 0
    assert (pinned, stopped) == (0, 0)
    assert user not in str(rows_of(together, SECOND))
    assert rows_of(together, FIRST) == before
    assert {name: together.read(name) for name in names} == objects
    assert user in str(before["ma_predictions_table"])
    assert together.read(f"models/{FIRST}/champion.json") == pointer
    state = json.loads(together.read("audiences/stopped.json"))
    assert state["audiences"] == [f"{SECOND}/winback"]
