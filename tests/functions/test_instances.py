"""
Two properties in one deployment, specified over HTTP: neither sees the other's users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from local.exports import ga4_export
from propensity import usecases
from propensity.runs import setup
from propensity.tables.export import BY_EXPORT
from tests.functions.conftest import FIRST, LATER, TRAINED, WEEKS
from tests.functions.test_audiences import by_hand
from tests.support import own_use_cases, shop
from tests.support.deployment import Deployment

pytestmark = pytest.mark.long

AUDIENCE = 'destination = "bucket"\ntop = 5\n'


@dataclass(frozen=True)
class Site:
    """A deployment, and what its runs for another property answered, by function."""

    deployment: Deployment
    answers: dict[str, Any]

    def users(self, table: str, use_case: str) -> set[str]:
        rows = self.deployment.rows(
            f"SELECT DISTINCT user_id FROM {table} WHERE use_case = @name",
            name=use_case,
        )
        return {row["user_id"] for row in rows}


@pytest.fixture(scope="module")
def site(borrow_module_deployment, tmp_path_factory) -> Iterator[Site]:
    """The small shop, trained before; and a shop with other users and export."""
    with own_use_cases.in_folder(tmp_path_factory.mktemp("deployment") / "own") as own:
        deployment = borrow_module_deployment(champion=True)
        export = f"{deployment.ga4_dataset}_uk"
        rows = []
        for row in shop.weekly(FIRST, WEEKS):
            rows.append({**row, "user_pseudo_id": f"uk.{row['user_pseudo_id']}"})
        deployment.warehouse.create_dataset(export)
        client = deployment.warehouse.client
        ga4_export.load_tables(client, export, shop.shards(rows))
        own_use_cases.write_instance(own, "shop_uk", ga4_dataset=export)
        (own / "shop_uk" / "audiences").mkdir()
        (own / "shop_uk" / "audiences" / "british.toml").write_text(AUDIENCE)
        settings = usecases.load("shop_uk").settings(deployment.settings)
        setup.prepare_export(deployment.warehouse.for_run(settings), settings)
        deployment.run("predictions", TRAINED, use_case="ga4_purchase")
        answers = {}
        for function, as_of in (
            ("model_training", TRAINED),
            ("predictions", TRAINED),
            ("model_evaluation", LATER),
        ):
            answers[function] = deployment.run(function, as_of, use_case="shop_uk")
        by_hand(deployment, TRAINED, "shop_uk", "british")
        yield Site(deployment, answers)
        # Who borrows the deployment next knows no table of another property.
        for name in BY_EXPORT:
            table = f"{deployment.dataset}.{name}{settings.export_suffix}"
            client.delete_table(table)


def test_predictions_are_of_the_users_of_a_property_alone(site):
    """As many as the other one has, whose events are the same."""
    shop_users = site.users("ma_predictions_history", "ga4_purchase")
    uk_users = site.users("ma_predictions_history", "shop_uk")

    assert not any(user.startswith("uk.") for user in shop_users)
    assert uk_users == {f"uk.{user}" for user in shop_users}
    assert site.answers["model_training"]["promoted"]


def test_a_week_is_evaluated_by_the_outcomes_of_its_property(site):
    rows = site.deployment.evaluations()
    [row] = [row for row in rows if row["week"] == TRAINED]

    assert row["use_case"] == "shop_uk"
    assert row["users"] == len(site.users("ma_predictions_history", "shop_uk"))
    assert row["conversions"] > 0
    assert row["unscored_converters"] == 0


def test_an_audience_has_users_of_its_property_alone(site):
    members = site.users("ma_audience_members", "shop_uk")

    assert len(members) == 5
    assert members <= site.users("ma_predictions_history", "shop_uk")
