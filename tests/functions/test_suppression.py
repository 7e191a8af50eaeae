"""Suppressed users over HTTP: nothing of them is stored, published or answered."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from propensity import usecases
from tests.functions.instances import serving
from tests.functions.streaming import a_site, rows_of
from tests.support.deployment import KEY, STREAMED, Deployment
from tests.support.events import bet, enriched_card, registration, truth
from tests.support.scored_cards import drawn, stored
from tests.support.shops import TRAINED

FORGOTTEN = "user-forgotten"
USER = "user.004"


@pytest.fixture(scope="module")
def site() -> Deployment:
    """Tables and topics with a user on the list."""
    extra = {"PROPENSITY_SUPPRESSION_KEY": KEY, "PROPENSITY_REFRESH_S": "1"}
    site = a_site(**extra)
    site.suppress(FORGOTTEN)
    return site


def test_the_stream_drops_all_that_a_suppressed_user_sends(site, capfd):
    """Acknowledged, and neither stored nor published nor a dead letter: right or wrong,
    broken, or the truth of an event."""
    events = [
        bet(user_id=FORGOTTEN),
        registration(user_id=FORGOTTEN),
        bet(user_id=FORGOTTEN, bet_amount="much"),
        f'{{"user_id": "{FORGOTTEN}", "event_type": '.encode(),
        truth(transaction_id=FORGOTTEN),
        truth(transaction_id=FORGOTTEN, truth_time="soon"),
    ]
    with (
        serving("stream_features", site.environment) as stream,
        site.pulled("enriched") as pull,
    ):
        for event in events:
            answer = stream.post(event, attributes={"user": FORGOTTEN})
            assert answer.status_code == 200, event
        # Published after what came before it would have been.
        stream.post(bet(user_id="somebody else"))
        [message] = pull(1)

    assert site.traces(FORGOTTEN) == set()
    assert b"somebody else" in message.data
    assert FORGOTTEN not in capfd.readouterr().err


@pytest.mark.parametrize("key", ["z" * 40, ""])
def test_the_stream_stops_rather_than_letting_anybody_back(site, key):
    """Under another key no user is recognised, nor without one: nothing is
    acknowledged."""
    environment = {**site.environment, "PROPENSITY_SUPPRESSION_KEY": key}
    with serving("stream_features", environment) as stream:
        answer = stream.post(bet(user_id=FORGOTTEN))

    assert answer.status_code == 500
    assert site.traces(FORGOTTEN) == set()


def test_the_stream_gives_no_score_to_what_was_on_its_way(site, user):
    """No score and no dead letter is written; other users' scores are logged."""
    with serving("score_stream", site.environment) as scoring:
        for one in (FORGOTTEN, user):
            assert scoring.post(enriched_card(one)).status_code == 200
            assert scoring.post({"user_id": one}).status_code == 200

    assert site.traces(FORGOTTEN) == set()
    assert site.traces(user) == {"inference_log", "dead_letters"}


def test_scores_of_a_suppressed_user_are_not_given_or_logged(site, user):
    """A listed user has no features, and an identity of such a user is answered, as
    anything is that has features, and not logged."""
    site.load_model()
    now = datetime.now(UTC)
    at = (now - timedelta(hours=2)).isoformat()
    known = [user, f"{user}-listed"]
    events = [registration(user_id=one, event_time=at) for one in known]
    site.store(rows_of(events, received_at=now))
    site.suppress(known[1])
    features = dict.fromkeys(usecases.load(STREAMED).features)
    body = {"use_case": STREAMED}
    with serving("score", site.environment) as score:
        answers = [score.ask(body | {"user_id": one}) for one in known]
        identified = score.ask(body | {"features": features | {"event_id": known[1]}})

    # All that was answered is logged before the function ends.
    assert [answer.status_code for answer in answers] == [200, 404]
    assert identified.status_code == 200, identified.text
    assert ["inference_log" in site.traces(one) for one in known] == [True, False]


def test_a_training_leaves_a_user_out(shop_deployment):
    """Of 160 users in four weeks; who is scored is asked in ``test_predictions.py``."""
    deployment = shop_deployment.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
    deployment.suppress(USER)
    trained = deployment.run("model_training", TRAINED)

    assert sum(trained["rows"].values()) == 4 * 159


def test_scheduled_runs_leave_a_card_out(borrow_deployment):
    """One of 1,500 cards with a transaction each; and they read 1,000 if so set."""
    deployment = borrow_deployment(dataset="", PROPENSITY_SUPPRESSION_KEY=KEY)
    cards = drawn(1_500)
    stored(deployment.warehouse, cards)
    deployment.suppress(cards.ids[7])
    as_of = date(2026, 3, 14)
    every = deployment.run("model_training", as_of, use_case="card_fraud")
    fewer = deployment.with_settings(PROPENSITY_MAXIMUM_TRAINING_ROWS="1000")
    sample = fewer.run("model_training", as_of, force=True, use_case="card_fraud")

    assert sum(every["rows"].values()) == 1_499
    assert 700 < sum(sample["rows"].values()) <= 1_000
