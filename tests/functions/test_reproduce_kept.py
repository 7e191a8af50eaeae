"""
What is kept to compute it again, specified: of publications, and of scored events.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from propensity.edges.artifacts import Artifacts
from propensity.errors import ArtifactError, RequestError
from propensity.registry import feature_sets
from propensity.registry.loading import loaded_as_trained
from propensity.registry.versions import Registry
from tests import scored_cards
from tests.functions.conftest import LATER, TRAINED, Place
from tests.functions.reproducing import (
    SOME,
    USERS,
    before,
    history,
    kept_users,
    own,
    printed,
    published,
    reproduced,
)
from tests.functions.test_suppression import KEY, suppress

pytestmark = pytest.mark.runs

# Fixtures.
__all__ = ["before", "own", "published"]


class TestKeeping:
    @pytest.mark.long
    def test_is_of_the_newest_run_of_a_date(self, own):
        """A date that is published again has one set, and its users are reproduced
        from it."""
        [first] = folders(own)
        own.run("predictions", LATER)
        [second] = folders(own)

        assert first != second
        assert all(result.is_identical for result in reproduced(own, *history(own)))

    def test_ends_by_the_setting(self, own):
        """The next publication deletes old sets, and the message names the setting."""
        age(own, LATER)
        own.run("predictions", TRAINED)

        assert [f"as_of={TRAINED}" in folder for folder in folders(own)] == [True]
        with pytest.raises(RequestError, match="have been deleted.* which is 90 here"):
            reproduced(own, "user.001")

    def test_leaves_out_suppressed_users(self, champion_place):
        """Nothing of them is written, and all others are there."""
        place = champion_place.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
        suppress(place, "user.002")
        place.run("predictions", LATER)

        assert kept_users(place) == {*history(place)}
        assert "user.002" not in kept_users(place)
        assert len(kept_users(place)) == USERS - 1
        some = [*history(place)][::SOME]
        assert all(result.is_identical for result in reproduced(place, *some))

    @pytest.mark.long
    def test_can_be_off(self, own):
        """With 0 days nothing is written, old sets are deleted, and the message names
        the setting."""
        off = own.with_settings(PROPENSITY_FEATURE_RETENTION_DAYS="0")
        off.run("predictions", TRAINED)

        assert folders(own) == []
        assert {row["feature_row"] for row in history(own, TRAINED).values()} == {None}
        with pytest.raises(RequestError, match="FEATURE_RETENTION_DAYS was 0"):
            reproduced(off, "user.001", as_of=TRAINED)

    def test_is_part_of_the_publication(self, champion_place, monkeypatch):
        """What could not be computed again is not published: the run fails where
        features cannot be written, and the tables are as they were."""
        create = Artifacts.create

        def refused(self, name, data, **named):
            if name.startswith("features/"):
                raise ArtifactError("the bucket is full")
            return create(self, name, data, **named)

        monkeypatch.setattr(Artifacts, "create", refused)
        answer = champion_place.post("predictions", {"as_of": LATER})

        assert (answer.status_code, answer.json["error"]) == (500, "artifact")
        assert history(champion_place) == {}

    @pytest.mark.long
    def test_that_old_ones_stay_undeleted_fails_no_run(
        self, own, monkeypatch, log_lines
    ):
        """The publication is there; the next run deletes them, or the bucket's rule."""

        listed = Artifacts.generations

        def refused(self, prefix=""):
            if prefix == feature_sets.folder("ga4_purchase"):
                raise ArtifactError("not now")
            return listed(self, prefix)

        monkeypatch.setattr(Artifacts, "generations", refused)
        log_lines()
        own.run("predictions", LATER)
        warnings = [line for line in log_lines() if line["severity"] == "WARNING"]

        assert len(folders(own)) == 2
        assert "old features not removed: not now" in warnings[0]["message"]


def folders(place: Place) -> list[str]:
    """The sets that there are."""
    names = place.registry.artifacts.names("features/")
    return sorted({name.rpartition("/")[0] for name in names})


def age(place: Place, as_of: date) -> None:
    """Make a set a year older, as its name says it."""
    artifacts = place.registry.artifacts
    for name in artifacts.names(feature_sets.folder("ga4_purchase", as_of)):
        head, stamp, tail = name.rsplit("/", 2)
        older = f"{int(stamp[:4]) - 1}{stamp[4:]}"
        artifacts.create(f"{head}/{older}/{tail}", artifacts.read(name).data)
        artifacts.delete(name)


@pytest.fixture(scope="module")
def scored(make_place) -> tuple[Place, float]:
    """Two events of a card on a day, the second with the score of the model; a
    shadow's score, and a day before."""
    place = make_place("")
    cards = scored_cards.drawn(1_500)
    scored_cards.stored(place.warehouse, cards)
    place.run("model_training", date(2026, 3, 14), use_case="card_fraud")
    registry = Registry(place.registry.artifacts, "card_fraud")
    [record] = place.rows("SELECT * FROM ma_model_training_metadata")
    model = loaded_as_trained(registry, record)
    rows = pa.RecordBatch.from_pylist([cards.given(7)])
    [score] = model.scorer.probabilities(rows).tolist()
    kind = "anomaly_score" if model.is_anomaly else "probability"
    at = datetime(2026, 3, 20, 12, tzinfo=UTC)
    common = {"user_id": "card-1", "model_version": 0}
    events = [
        ("first", at, {kind: 0.1, **common}),
        ("second", at + timedelta(hours=1), {kind: score, **common}),
        ("second", at + timedelta(hours=1), {kind: 0.2, "is_shadow": True, **common}),
        ("before", at - timedelta(days=1), {kind: 0.3, **common}),
    ]
    scored_cards.store(
        place.warehouse,
        [
            scored_cards.inference(name, moment, cards.given(7), **more)
            for name, moment, more in events
        ],
    )
    return place, score


class TestScoredEvents:
    """Of a use case that scores events, features are in the log."""

    def test_give_the_newest_event_of_the_day(self, scored, capsys):
        """Its features, from the log, and the score that the version gives them."""
        place, score = scored
        code, out, _ = printed(
            place, capsys, "card-1", "2026-03-20", "--use-case", "card_fraud", "--json"
        )
        report = json.loads(out)

        assert code == 0
        assert report["published"] == score
        assert report["is_reproduced"]
        assert (report["event_id"], report["earlier_scores"]) == ("second", 1)
        assert (report["source"], report["model_version"]) == ("inference_log", 0)
        assert len(report["features"]) == 29

    def test_say_that_there_was_none(self, scored, capsys):
        place, _ = scored
        code, _, err = printed(
            place, capsys, "card-2", "2026-03-20", "--use-case", "card_fraud"
        )

        assert code == 1
        assert "scored no event of this user on 2026-03-20" in err
