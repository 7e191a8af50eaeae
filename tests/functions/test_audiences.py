"""05-Audiences, specified over HTTP: due audiences are sent, once, without control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from local.exports import digest
from local.receiver import Receiver
from propensity.audience import delivery, run
from propensity.audience.declared import load_audience
from propensity.gcp import secrets
from propensity.registry import deployment as registry_deployment
from propensity.registry.deployment import open_deployment
from propensity.timeframe import DAY
from tests.functions.audiences import by_hand, declare, file_of, join
from tests.support.deployment import KEY, Deployment, entered
from tests.support.rows import log_request, publish
from tests.support.shop import event, purchase

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
    """A receiver that knows the token, and never takes one user."""

    def take(self, method, path, headers, body):
        assert headers["Authorization"] == BEARER
        status, about, answer = super().take(method, path, headers, body)
        if self.users.pop(("add", "u150"), None):
            answer["errors"].append({"id": "u150", "message": "unsubscribed"})
        return status, about, answer


@pytest.fixture
def crm(monkeypatch) -> Iterator[Crm]:
    """A receiver for whose answers nobody pauses."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE_S", 0.0)
    with Crm() as receiver:
        yield receiver


@pytest.fixture
def running(borrow_deployment, crm, tmp_path) -> Deployment:
    """A deployment whose audience was sent on Monday, with predictions of ``DUE``."""
    site = borrow_deployment(PROPENSITY_USE_CASES=str(tmp_path))
    file = file_of(site, "destinations/crm.toml")
    file.parent.mkdir(parents=True)
    file.write_text(CRM.format(url=crm.url))
    declare(site, "winback", WINBACK)
    # As an editor of Windows stores it: no header can have a byte order mark.
    site.ground.secrets.values["AUDIENCE_TOKEN"] = f"\ufeff{TOKEN}\r\n".encode()
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
    """After that nobody would take its users off. A list that was sent to since has a
    newer record."""
    for audience, ages in (("long_ago", [380]), ("lately", [380, 8])):
        declare(running, audience, f'{WINBACK}days = ["sunday"]\n')
        for age in ages:
            log_request(
                running.warehouse,
                "u1",
                use_case="ga4_purchase",
                audience=audience,
                as_of=DUE - age * DAY,
                status="accepted",
                recorded_at=datetime.now(UTC),
            )
    log_lines()
    post(running)
    [message] = [one["message"] for one in log_lines() if one["severity"] == "ERROR"]

    assert "crm has 1 user of long_ago on its list" in message
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


def test_a_column_of_a_user_is_no_reason_that_is_stored(running, crm):
    """Though a receiver says it alone, as it would a code."""
    file_of(running, "winback.sql").write_text(
        "SELECT user_id, 'Muster' AS surname FROM publication"
    )

    def reject(method, path, headers, body):
        user = json.loads(body)["users"][0]["id"]
        return 200, {}, {"errors": [{"id": user, "message": "Muster"}]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crm, "take", reject)
        assert post(running).json["sent"] > 0

    rows = running.rows(
        "SELECT DISTINCT reason FROM ma_audience_ledger "
        f"WHERE as_of = '{DUE}' AND status = 'rejected'"
    )
    assert rows == [{"reason": "rejected"}]


def test_the_audience_that_has_waited_longest_is_sent_first(running):
    """So that one audience cannot take all of each call's time."""
    declare(running, "before", WINBACK)
    by_hand(running, DUE, name="before")
    entries = post(running).json["audiences"]

    assert [entry["audience"] for entry in entries] == ["winback", "before"]


def test_lists_are_read_once_a_run_and_again_after_a_delivery(running, monkeypatch):
    """The log of requests is 400 days of members: each reading is billed."""
    declare(running, "before", WINBACK)
    by_hand(running, DUE, name="before")
    asked = []
    rows_of = registry_deployment.Deployment.rows

    def counted(deployment, name, **parameters):
        asked.append(name)
        return rows_of(deployment, name, **parameters)

    monkeypatch.setattr(registry_deployment.Deployment, "rows", counted)
    answer = post(running)

    assert [entry["outcome"] for entry in answer.json["audiences"]] == ["sent", "sent"]
    assert asked.count("audience_lists") == 2


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


def test_a_use_case_without_audiences_has_nothing_to_do(shop_deployment):
    answer = shop_deployment.run("audiences", MONDAY)

    assert (answer["audiences"], answer["sent"]) == ([], 0)


BY_MONEY = (
    'destination = "bucket"\ntop = 40\ncontrol = "30%"\norder = "expected_value"\n'
)
# Who is least likely to buy pays most.
VALUES = {user: round(1 / probability, 2) for user, probability in USERS.items()}


@pytest.fixture
def valued(borrow_deployment, tmp_path) -> Deployment:
    """A deployment that has published what users should pay."""
    site = borrow_deployment(PROPENSITY_USE_CASES=str(tmp_path))
    file_of(site, "").mkdir(parents=True)
    publish(site.warehouse, DUE, USERS, values=VALUES)
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


def test_the_best_by_money_are_chosen_and_the_plan_has_their_tenths(valued):
    declare(valued, "winback", BY_MONEY + "cost_per_contact = 0.5\nmargin = 0.5\n")
    plan = preview(valued, DUE)
    members = members_of(valued, DUE)

    best = sorted(VALUES, key=VALUES.__getitem__, reverse=True)
    decile = plan["deciles"][0]
    value = sum(VALUES[user] for user in best[:20])
    assert set(members) == set(best[:40])
    assert (plan["used_order"], decile["users"]) == ("expected_value", 20)
    assert decile["value"] == pytest.approx(value)
    assert decile["pays_from"] == pytest.approx(20 * 0.5 / (0.5 * value))


def test_members_are_explored_at_random_and_the_same_the_next_week(valued):
    """Some of them pay little, and are in the control group as others are."""
    later = DUE + 7 * DAY
    declare(valued, "winback", BY_MONEY + 'explore = "50%"\n')
    publish(valued.warehouse, later, USERS, values=VALUES)
    weeks = []
    for day in (DUE, later):
        explored = {}
        for user, row in members_of(valued, day).items():
            if row["is_explored"]:
                explored[user] = row["is_control"]
        weeks.append(explored)

    # A draw, of about 20.
    assert 5 < len(weeks[0]) < 36
    assert weeks[0] == weeks[1]
    assert min(VALUES[user] for user in weeks[0]) < min(sorted(VALUES.values())[-40:])
    assert set(weeks[0].values()) == {True, False}


def test_the_history_of_an_audience_is_an_experiment_that_try_takes(
    borrow_deployment, tmp_path, capsys
):
    """Each user once, as of the date of joining; a suppressed one is in no file."""
    random = np.random.default_rng(0)
    users = [f"m{n:04}" for n in range(1_200)]
    held_out = users[800:]
    days = [MONDAY - n * DAY for n in range(1, 61)]
    rows = [event(user, days[n % 60]) for n, user in enumerate(users)]
    bought = random.random(len(users)) < np.where(np.arange(1_200) < 800, 0.3, 0.1)
    for user in np.array(users)[bought]:
        rows.append(purchase(str(user), MONDAY + DAY))
    rows += [event("other", MONDAY + n * DAY) for n in range(21)]
    site = borrow_deployment(rows, PROPENSITY_SUPPRESSION_KEY=KEY)
    join(site, MONDAY, users[:800], held_out)
    join(site, MONDAY + 7 * DAY, held_out, users[:800])
    join(site, MONDAY, ["m9999"], [], audience="another")
    site.suppress("m0007")
    file = tmp_path / "winback.csv"
    until = f"--as-of={MONDAY + 21 * DAY}"
    written = ("audience", "experiment", "winback", "--to", str(file), until, "--json")
    assert site.command(*written) == 0
    answer = json.loads(capsys.readouterr().out)
    text = file.read_text()
    report = f"--report={tmp_path / 'r.html'}"
    options = ("--user=user_id", "--treatment=group", "--control=control", report)
    assert site.command("try", str(file), "--label=label", *options) == 0

    assert (answer["contacted"], answer["control"]) == (799, 400)
    assert text.count('\n"m') == 1_199
    assert "m0007" not in text
    assert "adds" in capsys.readouterr().out.lower()


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
