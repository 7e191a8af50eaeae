"""
Two runs of 03-ModelEvaluation at once, specified: their dates differ, so that each has
a lease of its own, and they share weeks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from propensity.gcp.warehouse import Warehouse
from propensity.tables import every as tables
from tests import shop
from tests.functions.conftest import Place
from tests.functions.evaluated import MONDAY, evaluations
from tests.functions.test_audience_lift import join, lifts
from tests.shop import DAY, WEEK, purchase

OLDER, NEWER = MONDAY + WEEK, MONDAY + 2 * WEEK


@pytest.fixture
def place(monday) -> Place:
    """A week to evaluate."""
    return monday


def behind_its_write(
    place: Place, monkeypatch, table: tables.Table, then: Callable[[], None]
) -> dict[str, Any]:
    """Run 03 for the older date; something happens once it has written to a table."""
    write, once = Warehouse.write, []

    def written(self: Any, to: tables.Table, rows: Any) -> None:
        write(self, to, rows)
        if to is table and not once:
            once.append(None)
            then()

    monkeypatch.setattr(Warehouse, "write", written)
    return place.run("model_evaluation", OLDER)


class TestRunOfAnOlderDate:
    def test_leaves_figures_final(self, place, monkeypatch):
        """Defect: what it had read before late rows came took the place of the final
        figures that a run of a newer date had written meanwhile."""
        final, pages = [], []
        name = f"reports/ga4_purchase/{MONDAY}.html"

        def newer() -> None:
            shop.load(place.workplace, [purchase("u3", MONDAY + 2 * DAY)])
            place.run("model_evaluation", NEWER)
            final.extend(evaluations(place))
            pages.append(place.registry.artifacts.read(name).data)

        answer = behind_its_write(place, monkeypatch, tables.EVALUATION, newer)

        [week] = answer["weeks"]
        assert (week["week"], week["status"]) == (str(MONDAY), "provisional")
        assert [row["status"] for row in final] == ["final", "provisional"]
        assert evaluations(place) == final
        assert place.registry.artifacts.read(name).data == pages[0]

    def test_leaves_lifts_final(self, place, converters, monkeypatch):
        """Defect: as for figures, sums and all."""
        users = sorted(converters)
        join(place, MONDAY, users[:10], users[10:20])
        final = []

        def newer() -> None:
            shop.load(place.workplace, [purchase(users[0], MONDAY + 2 * DAY)])
            place.run("model_evaluation", NEWER)
            final.extend(lifts(place))

        behind_its_write(place, monkeypatch, tables.AUDIENCE_LIFT, newer)

        assert [row["status"] for row in final] == ["final"]
        assert lifts(place) == final
