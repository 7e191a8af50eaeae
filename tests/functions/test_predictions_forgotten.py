"""01-Predictions beside `propensity forget`, specified on emulators."""

from __future__ import annotations

from typing import Any

import pytest

from offline import forget
from propensity.gcp.warehouse import Warehouse
from propensity.tables import every as tables
from tests.functions.conftest import TRAINED

KEY = "a key of the tests, long enough for one"
USER = "user.004"
HOLDERS = ("ma_predictions_history", "ma_predictions_table", "ma_predictions_runs")


@pytest.mark.parametrize("step", ["write", "execute"])
def test_no_publication_has_a_user_who_was_forgotten_meanwhile(
    borrow, shop_dataset, with_champion, monkeypatch, step
):
    """Forgotten before the scores are appended, nothing is published and nobody's score
    stays: the run is called again. Before the publication, all others are published."""
    place = with_champion(borrow(shop_dataset, PROPENSITY_SUPPRESSION_KEY=KEY))
    left: list[int] = []
    original = getattr(Warehouse, step)

    def called(self: Any, what: Any, *rest: Any, **named: Any) -> Any:
        if not left and (what is tables.SCORES or "BEGIN TRANSACTION" in str(what)):
            left.append(-1)
            left[0] = forget.run(place.settings, [USER])["left"]
        return original(self, what, *rest, **named)

    monkeypatch.setattr(Warehouse, step, called)
    answer = place.post("predictions", {"as_of": TRAINED})
    held = {
        name: place.rows(f"SELECT user_id FROM {name} WHERE use_case != ''")
        for name in HOLDERS
    }

    assert left == [0]
    assert USER not in {row["user_id"] for rows in held.values() for row in rows}
    if step == "write":
        assert (answer.status_code, answer.json["retryable"]) == (503, True)
        assert {len(rows) for rows in held.values()} == {0}
        answer = place.post("predictions", {"as_of": TRAINED})
    assert answer.status_code == 200
    history = place.rows("SELECT user_id FROM ma_predictions_history")
    assert len(history) == 159
