"""
00-ModelTraining, specified: the champion that it compares with, and the one it makes.
"""

from __future__ import annotations

from typing import Any

import pytest

from propensity.registry.loading import find_promoted
from propensity.runs import train
from tests.functions.conftest import TRAINED, Place
from tests.proxy import Asked, Proxy
from tests.shop import WEEK

pytestmark = pytest.mark.runs

ROWS = "SELECT * FROM ma_model_training_metadata ORDER BY model_version"


class Killed(BaseException):
    """What no code of the run catches."""


def killed(place: Place, monkeypatch, owner: object, name: str) -> list[dict[str, Any]]:
    """Have a training die where it calls something; return what it has recorded."""

    def kill(*_, **__):
        raise Killed

    monkeypatch.setattr(owner, name, kill)
    with pytest.raises(Killed):
        place.post("model_training", {"as_of": TRAINED})
    monkeypatch.undo()
    return place.rows(ROWS)


class TestVerdict:
    @pytest.mark.long
    def test_of_an_earlier_day_says_that_the_champion_may_know_the_rows(
        self, champion_place
    ):
        """Defect: the verdict said that the model behind the champion's figures did not
        know the rows, though that model was fitted on rows up to a week before its own
        holdout."""
        answer = champion_place.run("model_training", TRAINED - WEEK)

        assert " against version 0 on the same " in answer["verdict"]
        assert answer["verdict"].endswith("rows, which may have learned from these")


class TestPointer:
    @pytest.mark.long
    def test_that_cannot_be_moved_is_in_the_record(self, place):
        """Defect: the record said that the version was promoted, and reruns of past
        weeks took it for the champion of their time."""

        def refuse(asked: Asked) -> int | None:
            return 503 if b"champion.json" in asked.body else None

        with Proxy(place.environment["STORAGE_EMULATOR_HOST"], refuse) as proxy:
            through = place.with_settings(
                STORAGE_EMULATOR_HOST=proxy.url, PROPENSITY_DEADLINE_S="5"
            )
            answer = through.post("model_training", {"as_of": TRAINED})
        [row] = place.rows(ROWS)

        assert (answer.status_code, answer.json["error"]) == (503, "unavailable")
        assert row["promoted"] is None
        assert row["verdict"].startswith("cut off before it was recorded")
        assert find_promoted(place.warehouse, "ga4_purchase") is None
        assert place.registry.find_champion() is None

    def test_that_a_killed_training_has_not_moved_is_in_the_record(
        self, place, monkeypatch
    ):
        """Defect: the record said "promoted", and no process was left to correct it."""
        [row] = killed(place, monkeypatch, type(place.registry), "promote")

        assert row["promoted"] is None
        assert " ROC AUC " in row["verdict"]
        assert find_promoted(place.warehouse, "ga4_purchase") is None
        assert place.registry.find_champion() is None

    def test_that_a_killed_training_has_moved_counts_as_promoted(
        self, place, monkeypatch
    ):
        """Defect: the version that served was never recorded as promoted: reruns of
        the weeks in which it served took the version before it."""
        [before] = killed(place, monkeypatch, train.announcements, "announce")
        champion = place.registry.find_champion()

        assert (champion.version, before["promoted"]) == (0, None)
        assert find_promoted(place.warehouse, "ga4_purchase", served=[0]) == 0
