"""05-Audiences, specified over HTTP: due audiences are sent, once, without control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from local.exports import digest
from local.receiver import Receiver
from propensity.audience import delivery, run
from propensity.audience.declared import load_audience
from propensity.gcp import secrets
from propensity.registry.deployment import open_deployment
from propensity.tables.audiences import AUDIENCE_EFFECTS
from propensity.timeframe import DAY
from tests.functions.audiences import by_hand, declare, file_of
from tests.support.deployment import Deployment, entered
from tests.support.rows import log_request, publish
from tests.support.shop import event, purchase
from tests.support.shops import LATER

TOKEN = "a token of the tests"
BEARER = f"Bearer {TOKEN}"
MONDAY = date(2025, 9, 1)
DUE = MONDAY + 14 * DAY
USERS = {f"u{n:03}": (n + 1) / 400 for n in range(200)}
CRM = """
kind = "http"
name = "crm"
url = "{url}/users"
batch = 25
rate = 0
[headers]
Authorization = "Bearer ${{AUDIENCE_TOKEN}}"
[user]
id = "{{user_id}}"
[remove]
method = "DELETE"
[answer]
rejected = "errors"
user = "id"
reason = "message"
"""
WINBACK = 'destination = "crm"\ntop = 100\ncontrol = "20%"\n'


class Crm(Receiver):
    """A receiver that knows the token."""

    def take(self, method, path, headers, body):
        assert headers["Authorization"] == BEARER
        return super().take(method, path, headers, body)


@pytest.fixture
def crm(monkeypatch) -> Iterator[Crm]:
    """A receiver that rejects one user, and for whose answers nobody pauses."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.0)
    with Crm(rejects=lambda user: "unsubscribed" * (user == "u150")) as receiver:
        yield receiver


@pytest.fixture
def running(borrow_deployment, crm, tmp_path) -> Deployment:
    """A deployment whose audience was sent on Monday, with predictions of ``DUE``."""
    site = borrow_deployment(PROPENSITY_USE_CASES=str(tmp_path))
    file = file_of(site, "destinations/crm.toml")
    file.parent.mkdir(parents=True)
    file.write_text(CRM.format(url=crm.url))
    declare(site, "winback", WINBACK)
    site.ground.secrets.values["AUDIENCE_TOKEN"] = TOKEN.encode()
    publish(site.warehouse, MONDAY, USERS)
    by_hand(site, MONDAY)
    publish(site.warehouse, DUE, USERS)
    return site


def post(site: Deployment, day: date = DUE, **more):
    return site.post("audiences", {"as_of": day, **more})


def refused(answer, status: int, code: str) -> str:
    assert (answer.status_code, answer.json["error"]) == (status, code), answer.text
    assert "\n" not in answer.json["message"]
    return answer.json["message"]


def test_the_first_date_of_an_audience_is_sent_by_a_person(running, crm):
    """The scheduler, which would call again, is answered 200."""
    file_of(running, "winback.toml").unlink()
    declare(running, "newcomers", WINBACK)
    before = crm.requests
    message = refused(post(running), 409, "audience_stopped")
    headers = {"X-CloudScheduler": "true"}
    answer = running.post("audiences", {"as_of": DUE}, headers=headers)
    members = "SELECT * FROM ma_audience_members WHERE audience = 'newcomers'"

    assert "a person sends the first date" in message
    assert "audience send newcomers --use-case ga4_purchase" in message
    assert (answer.status_code, answer.json["error"]) == (200, "audience_stopped")
    assert crm.requests == before
    assert running.rows(members) == []


def test_a_deployment_that_must_not_send_reaches_no_receiver(running, crm, log_lines):
    """
    Neither by the clock nor by hand, and without secrets; files show the audience.

    Users of an audience that a receiver has wait, and no alert is raised.
    """
    quiet = running.with_settings(PROPENSITY_SENDS="no")
    file = file_of(running, "destinations/crm.toml")
    file.write_text(file.read_text().replace("AUDIENCE_TOKEN", "NOT_THERE"))
    declare(running, "trial", WINBACK)
    declare(running, "by_hand", WINBACK)
    before = crm.requests
    by_hand(quiet, DUE, name="by_hand")
    log_lines()
    entries = post(quiet).json["audiences"]
    sent = {entry["audience"]: entry for entry in entries}

    assert crm.requests == before
    assert {line["severity"] for line in log_lines()} == {"INFO"}
    assert sent["winback"]["outcome"] == "sending_stopped"
    assert sent["winback"]["waiting"]["on_lists"] > 0
    assert sent["trial"]["destination"] == sent["by_hand"]["destination"] == "bucket"
    assert sent["trial"]["accepted"] == 100 - sent["trial"]["held_out"]


def test_a_size_beyond_twice_or_below_half_of_the_last_one_stops(running, crm):
    """A person decides, and the clock goes on from there."""
    publish(running.warehouse, DUE, {f"u{n:03}": n / 400 for n in range(250)})
    before = crm.requests
    for top in (201, 49):
        declare(running, "winback", WINBACK.replace("100", str(top)))
        message = refused(post(running), 409, "audience_stopped")
        assert f"{top} members, and had 100" in message
    assert crm.requests == before
    by_hand(running, DUE)
    publish(running.warehouse, DUE + 7 * DAY, USERS)

    assert post(running, DUE + 7 * DAY).json["sent"] > 0


def test_an_audience_is_sent_on_its_days_until_its_last(running, crm):
    """Then its users are taken off the list, once."""
    declare(running, "winback", f'{WINBACK}days = ["thursday"]\n')
    [entry] = post(running).json["audiences"]
    forced = post(running, force=True).json["audiences"][0]
    declare(running, "winback", f"{WINBACK}until = {DUE}\n")
    before = crm.users.total()
    later = [DUE + 7 * DAY, DUE + 14 * DAY]
    first, second = [post(running, day).json["audiences"][0] for day in later]

    assert (entry["outcome"], forced["outcome"]) == ("not_due", "sent")
    assert first["outcome"] == second["outcome"] == "ended"
    assert crm.users.total() - before == first["accepted"] > 0
    assert "sent" not in second


def test_a_person_is_told_of_a_list_before_its_record_expires(running, log_lines):
    """After that nobody would take its users off."""
    declare(running, "long_ago", f'{WINBACK}days = ["sunday"]\n')
    log_request(
        running.warehouse,
        "u1",
        use_case="ga4_purchase",
        audience="long_ago",
        as_of=DUE - 380 * DAY,
        status="accepted",
        recorded_at=datetime.now(UTC),
    )
    log_lines()
    post(running)
    [message] = [one["message"] for one in log_lines() if one["severity"] == "ERROR"]

    assert "1 users of long_ago are on the list of crm" in message
    assert "the record of them ends on" in message


def test_predictions_of_a_version_that_was_rolled_back_are_not_sent(running, crm):
    """Until 01-Predictions publishes those of the version that is live."""
    registry = running.registry
    at = datetime(2026, 3, 2, tzinfo=UTC)
    good = registry.promote(0, model_sha256="", at=at, instead_of=registry.champion())
    bad = registry.promote(1, model_sha256="", at=at, instead_of=good)
    publish(running.warehouse, DUE, USERS, version=1)
    registry.roll_back(bad, model_sha256="", at=at)
    before = crm.requests
    message = refused(post(running), 503, "audience_waits")
    assert crm.requests == before
    publish(running.warehouse, DUE, USERS)

    assert "of version 1, which was rolled back" in message
    assert "deploy/call.sh predictions" in message
    assert post(running).json["sent"] > 0


def test_a_receiver_s_words_are_nowhere(running, crm, log_lines):
    """Not in log lines, answers and mails: they may repeat ids and names."""
    log_lines()

    def refuse(method, path, headers, body):
        user = json.loads(body)["users"][0]["id"]
        return 422, {}, {"error": f"{user} (+49 170 1234567, Anna Muster) is wrong"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crm, "take", refuse)
        answer = post(running)

    rows = running.rows(
        "SELECT user_id, reason FROM ma_audience_ledger "
        f"WHERE as_of = '{DUE}' AND status = 'pending' AND reason IS NOT NULL"
    )
    said = f"{answer.json}{log_lines()}"
    assert not any(word in said for word in ("Anna", "1234567", rows[0]["user_id"]))
    assert {row["reason"] for row in rows} == {"status 422"}


def test_the_audience_that_has_waited_longest_is_sent_first(running):
    """So that one audience cannot take all of each call's time."""
    declare(running, "before", WINBACK)
    by_hand(running, DUE, name="before")
    entries = post(running).json["audiences"]

    assert [entry["audience"] for entry in entries] == ["winback", "before"]


def test_a_wrong_audience_stops_no_other(running):
    """Its statement, its entries, its destination, or a secret may be what is wrong."""
    crm_elsewhere = CRM.format(url="https://x.com")
    secretless = crm_elsewhere.replace("AUDIENCE_TOKEN", "NOT_THERE")
    file_of(running, "bad.sql").write_text("SELECT user_id FROM nowhere")
    file_of(running, "destinations/bad.toml").write_text(secretless)
    declare(running, "bad", WINBACK.replace("crm", "bucket"))
    declare(running, "entry", "number = 7")
    declare(running, "nowhere", 'destination = "none"\ntop = 5')
    declare(running, "secretless", WINBACK.replace("crm", "bad"))
    answer = post(running)
    message = refused(answer, 409, "audience_stopped")
    entries = {one["audience"]: one for one in answer.json["detail"]["audiences"]}

    for wrong in ("bad.sql: ", "unknown entry number", "none.toml", "secret NOT_THERE"):
        assert wrong in message
    assert entries["winback"]["outcome"] == "sent"


def test_a_secret_from_an_editor_of_windows_is_the_text_in_it(shop_deployment):
    """Without the byte order mark, which no header can have."""
    shop_deployment.ground.secrets.values["TOKEN"] = b"\xef\xbb\xbftoken\r\n"

    assert secrets.reader(shop_deployment.settings)("TOKEN") == "token"


def test_a_use_case_without_audiences_has_nothing_to_do(shop_deployment):
    answer = shop_deployment.run("audiences", MONDAY)

    assert (answer["audiences"], answer["sent"]) == ([], 0)


BY_EFFECT = 'destination = "bucket"\ntop = 1200\ncontrol = "30%"\norder = "effect"\n'
# The likeliest to buy react least.
ADDED = {user: 0.1 - probability / 2 for user, probability in USERS.items()}
AMOUNT = 20.0


def open_gate(site: Deployment, **more: Any) -> None:
    """Have the gate of the audience be open."""
    look = {"use_case": "ga4_purchase", "audience": "winback", "as_of": DUE}
    look |= {"looked_at": datetime(2025, 9, 14, tzinfo=UTC), "is_open": True}
    look |= {"users": 9_000, "control_users": 900, "reason": "by the test"}
    site.append(AUDIENCE_EFFECTS, look | more)


@pytest.fixture
def learned(borrow_deployment, tmp_path) -> Deployment:
    """A deployment with an open gate, and users who have effects."""
    site = borrow_deployment(PROPENSITY_USE_CASES=str(tmp_path))
    file_of(site, "").mkdir(parents=True)
    open_gate(site)
    values = {user: round(AMOUNT * USERS[user], 4) for user in USERS}
    publish(site.warehouse, DUE, USERS, values=values, effects={"winback": ADDED})
    return site


def preview(site: Deployment, day: date) -> dict[str, Any]:
    with entered(site.environment), open_deployment("ga4_purchase") as deployment:
        named = load_audience(deployment.use_case, "winback")
        secret = secrets.reader(site.settings)
        return dict(run.preview(deployment, named, secret, until=day))


def members_of(site: Deployment, day: date) -> dict[str, dict]:
    by_hand(site, day)
    rows = site.rows("SELECT * FROM ma_audience_members WHERE as_of = @day", day=day)
    return {row["user_id"]: row for row in rows}


def test_the_best_by_effect_are_chosen_and_the_plan_has_their_sum(learned):
    """Who buys less, or brings less than a contact costs, is no member."""
    declare(learned, "winback", BY_EFFECT)
    free = preview(learned, DUE)
    declare(learned, "winback", BY_EFFECT + "cost_per_contact = 0.5\nmargin = 0.5\n")
    plan = preview(learned, DUE)
    members = members_of(learned, DUE)

    contacted = [user for user, row in members.items() if not row["is_control"]]
    added = sum(ADDED[user] for user in contacted)
    assert set(members) == {u for u in USERS if ADDED[u] >= 0.5 / (0.5 * AMOUNT)}
    assert free["members"] == sum(effect >= 0 for effect in ADDED.values())
    assert plan["added_conversions"] == pytest.approx(added)
    assert plan["added_value"] == pytest.approx(AMOUNT * added)


def test_members_are_explored_at_random_and_the_same_the_next_week(learned):
    """Some of them react badly, and are in the control group as others are. Predictions
    without effects, as of before the gate opened, are ordered by probability."""
    later = DUE + 7 * DAY
    declare(learned, "winback", BY_EFFECT.replace("1200", "40") + 'explore = "50%"\n')
    publish(learned.warehouse, later, USERS, effects={"winback": ADDED})
    publish(learned.warehouse, later + 7 * DAY, USERS)
    weeks = []
    for day in (DUE, later):
        explored = {}
        for user, row in members_of(learned, day).items():
            if row["is_explored"]:
                explored[user] = row["is_control"]
        weeks.append(explored)
    plan = preview(learned, later + 7 * DAY)

    # A draw, of about 20.
    assert 5 < len(weeks[0]) < 36
    assert weeks[0] == weeks[1]
    assert min(ADDED[user] for user in weeks[0]) < 0
    assert set(weeks[0].values()) == {True, False}
    assert plan["order_reason"].endswith("from the next predictions on")


def test_a_model_of_other_bytes_is_not_unpickled(borrow_deployment, log_lines):
    """Its audience is ordered by probability, and the log says why."""
    site = borrow_deployment(champion=True)
    site.artifacts.create("effects/model", b"whatever")
    open_gate(site, model_object="effects/model", model_sha256="0" * 64)
    site.run("predictions", LATER)
    effects = site.rows("SELECT effects FROM ma_predictions_history")

    warned = [line["message"] for line in log_lines() if "audience" in line]
    assert {len(row["effects"]) for row in effects} == {0}
    assert "has changed since it was recorded" in warned[0]


def test_a_gate_that_has_closed_is_no_warning(borrow_deployment, log_lines):
    """Its audience is ordered by probability, as the look said."""
    site = borrow_deployment(champion=True)
    open_gate(site, model_object="effects/model", model_sha256="0" * 64)
    open_gate(site, as_of=DUE + DAY, is_open=False)
    site.run("predictions", LATER)

    assert not any("audience" in line for line in log_lines())


# How many days ago each customer bought last, and had an event last.
LAST = {
    "away": (91, 91),
    "long away": (500, 300),
    "looked lately": (91, 89),
    "yesterday": (1, 1),
}


def test_an_audience_says_how_long_its_customers_were_away(
    borrow_deployment, tmp_path, monkeypatch
):
    """What their features read is paid for, and is read once."""
    rows = []
    for user, (bought, seen) in LAST.items():
        rows.append(purchase(user, MONDAY - bought * DAY))
        rows.append(event(user, MONDAY - seen * DAY))
    site = borrow_deployment(rows, PROPENSITY_USE_CASES=str(tmp_path))
    file_of(site, "").mkdir(parents=True)
    away = WINBACK.replace("crm", "bucket") + 'who = "away"\n'
    declare(site, "winback", f"{away}away_days = 90\nbought_days = 100\n")
    kinds = dict.fromkeys(LAST, '{"presence": "away"}')
    kinds["yesterday"] = '{"presence": "active"}'
    scores = dict.fromkeys(LAST, 0.25)
    publish(site.warehouse, MONDAY, scores, categories=kinds)
    digest.fill(site.warehouse, ["purchase", "refund"])
    asked = []
    query = site.warehouse.client.query

    def watched(sql: str, **how: Any) -> Any:
        asked.append("ga_user_days" in sql)
        return query(sql, **how)

    monkeypatch.setattr(site.warehouse.client, "query", watched)

    chosen = preview(site, MONDAY)
    asked.clear()
    assert members_of(site, MONDAY).keys() == {"away"}
    assert sum(asked) == 1
    assert members_of(site, MONDAY).keys() == {"away"}
    assert sum(asked) == 1
    assert preview(site, MONDAY)["deciles"] == chosen["deciles"]
