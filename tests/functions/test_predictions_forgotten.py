"""
01-Predictions beside `propensity forget`, specified.

No publication has a user who was forgotten while the run had the user's rows in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from offline import forget
from propensity.gcp.warehouse import Warehouse
from propensity.tables import every as tables
from tests.functions.conftest import TRAINED, Place

KEY = "a key of the tests, long enough for one"
USER = "user.004"
HOLDERS = ("ma_predictions_history", "ma_predictions_table", "ma_predictions_runs")


@pytest.fixture
def shop_place(borrow, shop_dataset, with_champion) -> Place:
    """A shop of 160 users with a champion and a list of suppressed users."""
    return with_champion(borrow(shop_dataset, PROPENSITY_SUPPRESSION_KEY=KEY))


def forgetting_before(
    place: Place, monkeypatch, owner: type, name: str, is_it: Callable[..., bool]
) -> list[dict[str, Any]]:
    """Have the user forgotten right before the first call of an edge of some kind."""
    reports: list[dict[str, Any]] = []
    original = getattr(owner, name)

    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        if not reports and is_it(*arguments):
            reports.append(forget.run(place.settings, [USER], is_quiet=True))
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, called)
    return reports


def rows_of(place: Place, user: str) -> dict[str, int]:
    """How many rows name a user where 01 writes."""
    return {
        table: place.rows(
            f"SELECT COUNT(*) AS n FROM {table} WHERE user_id = @u", u=user
        )[0]["n"]
        for table in HOLDERS
    }


class TestUserForgottenMeanwhile:
    @pytest.mark.parametrize(
        ("owner", "name", "is_it"),
        [
            (Warehouse, "write", lambda table, _: table is tables.SCORES),
            (Warehouse, "execute", lambda sql, *_: "BEGIN TRANSACTION" in sql),
        ],
        ids=["before the scores", "before the publication"],
    )
    def test_is_in_no_publication(self, shop_place, monkeypatch, owner, name, is_it):
        """Defect: rows that were gathered in memory while the user was forgotten were
        published behind it. All others are published, and the figures are theirs."""
        reports = forgetting_before(shop_place, monkeypatch, owner, name, is_it)
        answer = shop_place.run("predictions", TRAINED)
        [history] = shop_place.rows(
            "SELECT COUNT(*) AS users, AVG(probability) AS mean "
            "FROM ma_predictions_history"
        )

        assert [report["left"] for report in reports] == [0]
        assert rows_of(shop_place, USER) == dict.fromkeys(HOLDERS, 0)
        assert history["users"] == 159
        if name != "execute":
            assert (answer["users"], answer["index_users"]) == (159, 159)
            assert answer["mean_probability"] == pytest.approx(history["mean"])
