"""
Privacy end to end: nobody is named where nobody need be, and nothing of a suppressed
user is stored, published or answered.

A registration of somebody with a remarkable name goes through the stream, right and
wrong, with events, scores, compaction and exports; and a shop's user is trained on and
scored. Then everything that was written is searched: every column of every table, every
object, every line of the log; and again after the user was forgotten.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from commands.cli import main
from offline import forget
from propensity import usecases
from propensity.cli.answers import Exit
from propensity.runs import setup
from tests.functions.instances import serving
from tests.functions.streaming import a_site, compact_at, rows_of
from tests.support.deployment import KEY, STREAMED, Deployment, entered
from tests.support.events import bet, enriched_card, registration, truth, written
from tests.support.scored_cards import drawn, stored
from tests.support.shops import LATER, TRAINED
from tests.support.traces import is_named

USER = "player-5f1c9é/\\"
OTHER = "player-else"
# Nobody may find these again; the year of the birth date is the age.
PERSONAL = {
    "name": "Zebediah Quillfeather",
    "street_address": "77 Xylophone Crescent",
    "date_of_birth": "1987-11-23",
}
SECRETS = (*(value.split()[-1] for value in PERSONAL.values()), "23.11.1987")
LOOK_UPS = ({"user_id": USER}, {"user_id": "nobody"}, {USER: "x"})
SCORES = (
    {"user_id": USER, "use_case": "first_day_churn"},
    {"user_id": USER, "features": {}, USER: 1},
)


def test_a_player_is_named_nowhere(capfd):
    """In no table, where it is accepted or refused, and in no object. The search would
    find: the user's id is in tables and exports, until the user is forgotten."""
    now = datetime.now(UTC)
    at = f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    right = registration(user_id=USER, event_time=at, **PERSONAL)
    wrong = [
        written({**right, "label": "perhaps"}),
        written({**right, "event_time": "at noon"}),
        written({**right, "event_type": "new_regstration"}),
        written({**right, "date_of_birth": "23.11.1987"}),
    ]
    bets = [bet(user_id=user, event_time=at) for user in (USER, OTHER)]
    site = a_site(PROPENSITY_SUPPRESSION_KEY=KEY)
    setup.prepare(site.warehouse, site.settings)
    site.load_model()
    for target in ("stream_features", "score_stream"):
        with serving(target, site.environment) as function:
            for event in (right, *bets, *wrong):
                assert function.post(event).status_code == 200
    with serving("get_proba", site.environment) as lookups:
        for question in LOOK_UPS:
            lookups.get(**question)
    with serving("score", site.environment) as score:
        for question in SCORES:
            score.ask(question)
    compact_at(site, now + timedelta(days=2), force=True)
    holders = site.traces(USER)
    assert site.traces(*SECRETS) == set()
    with entered(site.environment):
        report = forget.run(site.settings, [USER])
    assert (report["left"], report["unreadable"]) == (0, [])
    assert site.traces(USER) == set()
    [left] = site.rows("SELECT DISTINCT user_id FROM stream_events")
    assert left["user_id"] == OTHER
    log = capfd.readouterr().err

    assert not any(is_named(log, secret) for secret in (USER, *SECRETS))
    assert log.count('"function"') > 1
    assert holders >= {
        "stream_events",
        "stream_features_daily",
        "stream_features",
        "dead_letters",
        "inference_log",
    }
    objects = {name.split("/")[0] for name in holders if "/" in name}
    assert objects == {"exports"}


@pytest.mark.long
def test_a_shop_names_nobody_outside_its_tables(champion_deployment, capsys, tmp_path):
    """00, 01 and 03 name no user in a log, an answer or an object."""
    user = "user.004"
    audiences = tmp_path / "ga4_purchase" / "audiences"
    audiences.mkdir(parents=True)
    text = 'destination = "bucket"\ntop = 1000\ncontrol = "0%"\n'
    (audiences / "mail.toml").write_text(text)
    champion_deployment = champion_deployment.with_settings(
        PROPENSITY_SUPPRESSION_KEY=KEY, PROPENSITY_USE_CASES=str(tmp_path)
    )
    answers = [
        champion_deployment.run("predictions", TRAINED),
        champion_deployment.run("model_evaluation", LATER),
        champion_deployment.run("model_training", LATER),
    ]
    artifacts = champion_deployment.registry.artifacts
    names = artifacts.names("")

    assert any(name.endswith(".parquet") for name in names)
    # The index finds a user by a hash under a key of its own, and names nobody.
    [index] = champion_deployment.traces(user).intersection(names)
    assert index.startswith("indexes/")
    assert user.encode() not in artifacts.read(index).data
    assert not is_named(json.dumps(answers) + "".join(capsys.readouterr()), user)

    with entered(champion_deployment.environment):
        send = ("audience", "send", "mail")
        assert main([*send, "--as-of", str(LATER)]) == Exit.DONE
        # The export is the shop's own.
        before = champion_deployment.traces(user) - {"ga_events"}
        assert forget.run(champion_deployment.settings, [user])["left"] == 0

    assert {name.partition("/")[0] for name in before} >= {"audiences", "indexes"}
    assert champion_deployment.traces(user) == {"ga_events"}


FORGOTTEN = "user-forgotten"


@pytest.fixture(scope="module")
def site() -> Deployment:
    """Tables and topics with a user on the list."""
    extra = {"PROPENSITY_SUPPRESSION_KEY": KEY, "PROPENSITY_REFRESH_S": "1"}
    site = a_site(**extra)
    site.suppress(FORGOTTEN)
    return site


def test_the_stream_drops_all_that_a_suppressed_user_sends(site, user, capfd):
    """Acknowledged, and neither stored nor published, scored or a dead letter: right or
    broken, or the truth of an event; also what was on its way when the user was
    suppressed."""
    events = [
        registration(user_id=FORGOTTEN),
        f'{{"user_id": "{FORGOTTEN}", "event_type": '.encode(),
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
    with serving("score_stream", site.environment) as scoring:
        for one in (FORGOTTEN, user):
            assert scoring.post(enriched_card(one)).status_code == 200
            assert scoring.post({"user_id": one}).status_code == 200

    assert site.traces(FORGOTTEN) == set()
    assert site.traces(user) == {"inference_log", "dead_letters"}
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


def test_scores_of_a_suppressed_user_are_not_given_or_logged(site, user):
    """A listed user has no features, and an identity of such a user is answered, as
    anything is that has features, and not logged."""
    site.load_model()
    now = datetime.now(UTC)
    at = (now - timedelta(hours=2)).isoformat()
    listed = f"{user}-listed"
    events = [registration(user_id=one, event_time=at) for one in (user, listed)]
    site.store(rows_of(events, received_at=now))
    site.suppress(listed)
    features = dict.fromkeys(usecases.load(STREAMED).features)
    body = {"use_case": STREAMED}
    with serving("score", site.environment) as score:
        known = score.ask(body | {"user_id": user})
        unknown = score.ask(body | {"user_id": listed})
        identified = score.ask(body | {"features": features | {"event_id": listed}})

    # All that was answered is logged before the function ends.
    assert (known.status_code, unknown.status_code) == (200, 404)
    assert identified.status_code == 200, identified.text
    assert "inference_log" in site.traces(user)
    assert "inference_log" not in site.traces(listed)


def test_trainings_leave_a_user_and_a_card_out(shop_deployment, borrow_deployment):
    """Of 160 users in four weeks, and of 1,500 cards with a transaction each; who is
    scored is asked in ``test_predictions.py``."""
    shop = shop_deployment.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
    shop.suppress("user.004")
    cards = borrow_deployment(dataset="", PROPENSITY_SUPPRESSION_KEY=KEY)
    transactions = drawn(1_500)
    stored(cards.warehouse, transactions)
    cards.suppress(transactions.ids[7])
    users = shop.run("model_training", TRAINED)["rows"]
    rows = cards.run("model_training", date(2026, 3, 14), use_case="card_fraud")["rows"]

    assert sum(users.values()) == 4 * 159
    assert sum(rows.values()) == 1_499
