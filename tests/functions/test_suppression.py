"""
Suppressed users, specified over HTTP: nothing of them is stored or published.

The functions are served from their staged source with a key to the list. The list is
filled before they start, or while they run.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from propensity.privacy.suppression import EVERYWHERE, key_id, user_hash
from propensity.tables import every as tables
from tests.events import bet, enriched_card, registration, truth
from tests.functions.conftest import TRAINED, Place
from tests.functions.instances import Instance
from tests.functions.looked_up import ANA, publish
from tests.functions.streamed import instance
from tests.functions.streaming import USE_CASE, Site, eventually, new_site
from tests.rows import append_rows

# Fixtures.
__all__ = ["instance"]

KEY = "a key of the tests, long enough for one"
TTL_S = 1
FORGOTTEN = "user-forgotten"


def suppress(site: Site | Place, user: str, *, use_case: str = EVERYWHERE) -> None:
    """Put a user on the list."""
    at = datetime.now(UTC)
    row = {
        "use_case": use_case,
        "user_hash": user_hash(KEY, user),
        "key_id": key_id(KEY),
        "suppressed_at": at,
        "suppressed_on": at.date(),
    }
    append_rows(site.warehouse, tables.SUPPRESSED_USERS, [row])


@pytest.fixture(scope="module")
def site(emulators) -> Iterator[Site]:
    """Tables and topics with a user on the list."""
    extra = {
        "PROPENSITY_SUPPRESSION_KEY": KEY,
        "PROPENSITY_REFRESH_S": str(TTL_S),
    }
    with new_site(emulators, **extra) as site:
        suppress(site, FORGOTTEN)
        yield site


def row_counts(site: Site, user: str) -> dict[str, int]:
    """How many rows of each table name a user."""
    sql = {
        "stream_events": "user_id = @user",
        "truth_events": "event_id = @user",
        "inference_log": "user_id = @user",
        "dead_letters": "STRPOS(SAFE_CONVERT_BYTES_TO_STRING(raw), @user) > 0"
        " OR STRPOS(attributes, @user) > 0",
    }
    return {
        table: site.rows(
            f"SELECT COUNT(*) AS n FROM {table} WHERE {condition}", user=user
        )[0]["n"]
        for table, condition in sql.items()
    }


NOTHING = dict.fromkeys(
    ("stream_events", "truth_events", "inference_log", "dead_letters"), 0
)


@pytest.mark.long
class TestStreamFeatures:
    @pytest.mark.parametrize(
        "event",
        [
            bet(user_id=FORGOTTEN),
            registration(user_id=FORGOTTEN),
            bet(user_id=FORGOTTEN, bet_amount="much"),
            bet(user_id=FORGOTTEN, event_type="unheard_of"),
            f'{{"user_id": "{FORGOTTEN}", "event_type": '.encode(),
            truth(transaction_id=FORGOTTEN),
            truth(transaction_id=FORGOTTEN, truth_time="soon"),
        ],
        ids=[
            *("bet", "registration", "bad amount", "unknown type", "broken", "truth"),
            "bad truth",
        ],
    )
    def test_drops_all_that_a_suppressed_user_sends(self, site, instance, event):
        """Acknowledged, and neither stored nor published nor a dead letter."""
        published = site.subscribe(site.topic("enriched"))
        answer = instance.post(event, attributes={"user": FORGOTTEN})
        # Published after what came before it would have been.
        other = instance.post(bet(user_id="somebody else"))
        [message] = site.pull(published, 1)
        site.unsubscribe(published)

        assert (answer.status_code, other.status_code) == (200, 200)
        assert row_counts(site, FORGOTTEN) == NOTHING
        assert b"somebody else" in message.data
        assert FORGOTTEN not in instance.log()

    def test_follows_the_list_within_its_time(self, site, instance):
        """Events of a listed user are dropped twice the TTL later at the latest."""
        user = f"u{uuid.uuid4().hex[:6]}"
        instance.post(bet(user_id=user))
        suppress(site, user)

        def is_dropped() -> bool:
            before = row_counts(site, user)["stream_events"]
            assert instance.post(bet(user_id=user)).status_code == 200
            return row_counts(site, user)["stream_events"] == before

        eventually(is_dropped, "the user's events are dropped")


class TestTroubledList:
    def test_stops_the_stream_rather_than_letting_anybody_back(
        self, site, tmp_path_factory
    ):
        """Under another key no user is recognised: nothing is acknowledged."""
        environment = {**site.environment, "PROPENSITY_SUPPRESSION_KEY": "z" * 40}
        home = tmp_path_factory.mktemp("other_key")
        with Instance("stream_features", environment, home) as instance:
            answer = instance.post(bet(user_id=FORGOTTEN))

        assert answer.status_code == 500
        assert row_counts(site, FORGOTTEN) == NOTHING


def publish_prediction(site: Site, user: str) -> None:
    """Publish what is published of ANA, of a user."""
    publish(site.workplace, [ANA | {"user_id": user}], use_case=USE_CASE)


@pytest.fixture(scope="module")
def get_proba(site, tmp_path_factory) -> Iterator[Instance]:
    """The function, with predictions of two users, one of them suppressed."""
    for user in ("user-seen", FORGOTTEN):
        publish_prediction(site, user)
    home = tmp_path_factory.mktemp("get_proba")
    with Instance("get_proba", site.environment, home) as started:
        yield started


class TestLookups:
    def test_answer_as_for_an_unknown_user(self, get_proba):
        """Nothing tells the user from one who was never there."""
        answers = [
            requests.get(get_proba.url, {"user_id": user}, timeout=60)
            for user in (FORGOTTEN, "nobody")
        ]
        bodies: list[dict[str, Any]] = [answer.json() for answer in answers]
        for body in bodies:
            del body["user_id"]

        assert [answer.status_code for answer in answers] == [404, 404]
        assert bodies[0] == bodies[1]

    def test_forget_an_answer_that_was_cached(self, site, get_proba):
        """The list is read before the cache."""
        user = f"u{uuid.uuid4().hex[:6]}"
        publish_prediction(site, user)

        def status() -> int:
            reply = requests.get(get_proba.url, {"user_id": user}, timeout=60)
            return reply.status_code

        assert status() == 200
        suppress(site, user)
        eventually(lambda: status() == 404, "the user is unknown")
        assert user not in json.dumps(get_proba.lines())


@pytest.mark.long
class TestScheduledRuns:
    USER = "user.004"

    @pytest.fixture
    def shop_place(self, place, shop_rows) -> Place:
        """A shop whose every fourth user is a regular; this one is suppressed."""
        place = place.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
        assert self.USER in {row["user_pseudo_id"] for row in shop_rows}
        suppress(place, self.USER)
        return place

    def test_leave_the_user_out_of_training_and_predictions(self, shop_place):
        """159 of 160 users are trained on and scored."""
        trained = shop_place.run("model_training", TRAINED)
        predicted = shop_place.run("predictions", TRAINED)
        rows = shop_place.rows("SELECT user_id FROM ma_predictions_table")

        assert sum(trained["rows"].values()) == 636
        assert predicted["users"] == len(rows) == 159
        assert self.USER not in {row["user_id"] for row in rows}

    def test_refuse_where_the_key_is_lost(self, shop_place):
        """Without a key they would take everybody on the list in again."""
        keyless = shop_place.with_settings(PROPENSITY_SUPPRESSION_KEY="")
        answer = keyless.post("model_training", {"as_of": TRAINED})

        assert answer.status_code == 500
        assert answer.json["field"] == "PROPENSITY_SUPPRESSION_KEY"


class TestScoring:
    @pytest.fixture
    def score_stream(self, site, tmp_path) -> Iterator[Instance]:
        """Scores enriched events, of which some were on their way."""
        with Instance("score_stream", site.environment, tmp_path) as started:
            yield started

    def test_drops_what_was_on_its_way(self, site, score_stream):
        """No score and no dead letter is written; other users' scores are logged."""
        other = uuid.uuid4().hex[:8]
        for user in (FORGOTTEN, other):
            assert score_stream.post(enriched_card(user)).status_code == 200
            broken = json.dumps({"user_id": user}).encode()
            assert score_stream.post(broken).status_code == 200

        assert row_counts(site, FORGOTTEN) == NOTHING
        assert row_counts(site, other)["inference_log"] == 1
        assert row_counts(site, other)["dead_letters"] == 1
