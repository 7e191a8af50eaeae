"""
03-ModelEvaluation of churn after the first day, specified: whose truth is known when.

No model is needed: tests write what 01 would have published.
"""

from __future__ import annotations

from datetime import date

import pytest

from propensity.runs import setup
from tests.constants import set_parameter
from tests.published import publish
from tests.usecases.first_day_churn.players import (
    AS_OF,
    DAY,
    MIDNIGHT,
    USE_CASE,
    WEEK,
    Row,
    Stream,
    registration,
)

PLAYERS = 40


@pytest.fixture
def place(opened, monkeypatch) -> Stream:
    """Players of a week, every fourth of whom leaves, and a probability for each.

    Labels are known a fortnight after the registration: a week after the outcomes.
    """
    set_parameter(monkeypatch, USE_CASE, label_known_days=14)
    site = opened()
    setup.prepare(site.warehouse, site.settings)
    step = WEEK / PLAYERS
    site.add(
        *(
            registration(f"p{n}", MIDNIGHT - DAY - n * step, label=int(n % 4 == 0))
            for n in range(PLAYERS)
        )
    )
    scores = {f"p{n}": (n % 4 + 1) / 8 for n in range(PLAYERS)}
    publish(site.warehouse, AS_OF, scores, use_case=USE_CASE.name)
    return site


def evaluation(place: Stream, as_of: date) -> Row:
    """Run 03; return the week's row as it stands in the table."""
    place.post("model_evaluation", as_of)
    [row] = place.rows(
        "SELECT * EXCEPT (evaluated_at, bytes_billed, run_id, as_of) "
        "FROM ma_model_evaluation WHERE week = @week",
        week=AS_OF,
    )
    return row


def test_a_week_has_the_players_whose_label_is_known(place):
    """Until all are, it is provisional. Defect: in a run for an earlier date a final
    week got the figures of the few players whose label was known on that date."""
    early = evaluation(place, AS_OF + WEEK)
    final = evaluation(place, AS_OF + 2 * WEEK)

    # On that day those of the first day before the last are known.
    known = [n for n in range(PLAYERS) if DAY + n * WEEK / PLAYERS >= WEEK]
    assert (early["status"], early["users"]) == ("provisional", len(known))
    assert (final["status"], final["users"]) == ("final", PLAYERS)
    assert final["conversions"] == PLAYERS // 4
    for again in (AS_OF + WEEK, AS_OF + 2 * WEEK + DAY):
        assert evaluation(place, again) == final
