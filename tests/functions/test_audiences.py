"""05-Audiences, specified over HTTP: due audiences are sent, once, without control."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from local.receiver import Receiver
from offline import stopping
from propensity.audience import delivery
from propensity.audience.lists import listed
from propensity.audience.run import end
from propensity.gcp import secrets
from propensity.registry.deployment import open_deployment
from propensity.timeframe import DAY
from tests.deploy.monitoring import raised
from tests.functions.audiences import by_hand, declare, file_of
from tests.support.deployment import Deployment, entered
from tests.support.rows import log_request, publish

TOKEN = "a token of the tests"
BEARER = f"Bearer {TOKEN}"
MONDAY = date(2025, 9, 1)
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


@pytest.fixture(scope="module")
def crm() -> Iterator[Crm]:
    """A receiver that rejects one user, and for whose answers nobody pauses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "FIRST_PAUSE_S", 0.0)
        with Crm(rejects=lambda user: "unsubscribed" * (user == "u150")) as receiver:
            yield receiver


@pytest.fixture(scope="module")
def running(borrow_deployment, crm, tmp_path_factory) -> Deployment:
    """A deployment with an audience and a secret for it, after Monday was sent."""
    folder = tmp_path_factory.mktemp("own")
    site = borrow_deployment(PROPENSITY_USE_CASES=str(folder))
    write(site, crm)
    site.ground.secrets.values["AUDIENCE_TOKEN"] = TOKEN.encode()
    publish(site.warehouse, MONDAY, USERS)
    by_hand(site, MONDAY)
    return site


WEEKS = itertools.count(1)


@pytest.fixture
def day(running, crm) -> date:
    """A later week, of which there are predictions; files are as they were."""
    shutil.rmtree(file_of(running, ""))
    write(running, crm)
    forget_leases(running)
    day = MONDAY + timedelta(days=14 * next(WEEKS))
    publish(running.warehouse, day, USERS)
    return day


def write(site: Deployment, crm: Crm) -> None:
    """Write the files of the audience and of its destination."""
    file = file_of(site, "destinations/crm.toml")
    file.parent.mkdir(parents=True)
    file.write_text(CRM.format(url=crm.url))
    declare(site, "winback", WINBACK)


def post(site: Deployment, day: date, **more):
    return site.post("audiences", {"as_of": day, **more})


def forget_leases(site: Deployment) -> None:
    """Let the leases of a killed run end, as they do by themselves."""
    artifacts = site.registry.artifacts
    for name in artifacts.names("runs/"):
        artifacts.delete(name)


def refused(answer, status: int, code: str) -> str:
    assert (answer.status_code, answer.json["error"]) == (status, code), answer.text
    assert "\n" not in answer.json["message"]
    return answer.json["message"]


def test_the_first_date_of_an_audience_is_sent_by_a_person(running, day, crm):
    """The scheduler, which would call again, is answered 200."""
    file_of(running, "winback.toml").unlink()
    declare(running, "newcomers", WINBACK)
    before = crm.requests
    message = refused(post(running, day), 409, "audience_stopped")
    headers = {"X-CloudScheduler": "true"}
    answer = running.post("audiences", {"as_of": day}, headers=headers)
    members = "SELECT * FROM ma_audience_members WHERE audience = 'newcomers'"

    assert "a person sends the first date" in message
    assert "audience send newcomers --use-case ga4_purchase" in message
    assert (answer.status_code, answer.json["error"]) == (200, "audience_stopped")
    assert crm.requests == before
    assert running.rows(members) == []


def test_a_deployment_that_must_not_send_reaches_no_receiver(
    running, day, crm, log_lines
):
    """Neither by the clock nor by hand, and without secrets; files show the audience.
    Defect: a test environment had production's audiences, and sent real users.

    Users of an audience that a receiver has wait, and no alert is raised. Defect: it
    was refused each Monday as one that had moved to another destination."""
    quiet = running.with_settings(PROPENSITY_SENDS="no")
    file = file_of(running, "destinations/crm.toml")
    file.write_text(file.read_text().replace("AUDIENCE_TOKEN", "NOT_THERE"))
    declare(running, "trial", WINBACK)
    declare(running, "by_hand", WINBACK)
    before = crm.requests
    by_hand(quiet, day, name="by_hand")
    log_lines()
    entries = post(quiet, day).json["audiences"]
    sent = {entry["audience"]: entry for entry in entries}

    assert crm.requests == before
    assert {line["severity"] for line in log_lines()} == {"INFO"}
    assert sent["winback"]["outcome"] == "sending_stopped"
    assert sent["winback"]["waiting"]["on_lists"] > 0
    assert sent["trial"]["destination"] == sent["by_hand"]["destination"] == "bucket"
    assert sent["trial"]["accepted"] == 100 - sent["trial"]["held_out"]


def test_a_stopped_audience_stops_no_other_and_raises_no_alert(running, day, log_lines):
    declare(running, "other", WINBACK.replace("crm", "bucket"))
    by_hand(running, day, name="other")
    with entered(running.environment), open_deployment("ga4_purchase") as deployment:
        stopping.change(deployment, "winback", is_stopped=True)
        log_lines()
        answer = post(running, day)
        stopping.change(deployment, "winback", is_stopped=False)

    outcomes = {entry["audience"]: entry for entry in answer.json["audiences"]}
    assert answer.status_code == 200
    assert outcomes["winback"]["outcome"] == "sending_stopped"
    assert outcomes["other"]["outcome"] == "sent"
    assert not any(raised(line) for line in log_lines())
    assert post(running, day).json["sent"] > 0


def test_a_first_date_may_be_of_another_destination(running, day):
    later = day + timedelta(days=7)
    declare(running, "moved", WINBACK.replace("crm", "bucket"))
    by_hand(running, day, name="moved")
    publish(running.warehouse, later, USERS)
    declare(running, "moved", WINBACK)
    message = refused(post(running, later), 409, "audience_stopped")

    assert "moved was never sent to crm" in message


def test_a_size_beyond_twice_or_below_half_of_the_last_one_stops(running, day, crm):
    """A person decides, and the clock goes on from there."""
    users = {f"u{n:03}": (n + 1) / 400 for n in range(250)}
    second = day + timedelta(days=7)
    third = MONDAY + timedelta(days=14 * next(WEEKS))

    def posted(day: date, top: int):
        declare(running, "winback", WINBACK.replace("top = 100", f"top = {top}"))
        return post(running, day)

    publish(running.warehouse, day, users)
    before = crm.requests
    for top in (49, 201):
        message = refused(posted(day, top), 409, "audience_stopped")
        assert f"{top} members, and had 100" in message
    assert crm.requests == before
    assert posted(day, 200).status_code == 200
    publish(running.warehouse, second, users)
    refused(posted(second, 99), 409, "audience_stopped")
    by_hand(running, second)
    publish(running.warehouse, third, users)
    assert posted(third, 50).status_code == 200


def test_an_audience_is_sent_on_its_days_until_its_last(running, day, crm):
    """Then its users are taken off the list, once."""
    declare(running, "winback", f'{WINBACK}days = ["thursday"]\n')
    [entry] = post(running, day).json["audiences"]
    assert entry["outcome"] == "not_due"
    forced = post(running, day, force=True).json["audiences"][0]
    assert forced["outcome"] == "sent"
    declare(running, "winback", f"{WINBACK}until = {day}\n")
    before = crm.users.total()
    later = [day + DAY, day + 7 * DAY, day + 14 * DAY]
    entries = [post(running, day).json["audiences"][0] for day in later]

    assert [entry["outcome"] for entry in entries] == ["ended"] * 3
    assert ["sent" in entry for entry in entries] == [False, True, False]
    assert crm.users.total() - before == entries[1]["accepted"] > 0


def test_a_person_is_told_of_a_list_before_its_record_expires(running, day, log_lines):
    """Defect: after that nobody took its users off, and nobody was told."""
    told = []
    for audience, days in (("lately", 360), ("long_ago", 380)):
        declare(running, audience, f'{WINBACK}days = ["sunday"]\n')
        log_request(
            running.warehouse,
            "u1",
            use_case="ga4_purchase",
            audience=audience,
            as_of=day - timedelta(days=days),
            status="accepted",
            recorded_at=datetime.now(UTC),
        )
        log_lines()
        post(running, day)
        lines = [line for line in log_lines() if line["severity"] == "ERROR"]
        told.append([line["message"] for line in lines])
        forget_leases(running)
    running.warehouse.execute(
        "DELETE FROM ma_audience_requests WHERE audience IN ('lately', 'long_ago')"
    )

    [message] = told[1]
    assert told[0] == []
    assert "1 users of long_ago are on the list of crm" in message
    assert "the record of them ends on" in message


def test_predictions_of_a_version_that_was_rolled_back_are_not_sent(running, day, crm):
    """Until 01-Predictions publishes those of the version that is live. Defect: the
    audience of a bad version was sent, though somebody had gone back in time."""
    registry = running.registry
    at = datetime(2026, 3, 2, tzinfo=UTC)
    good = registry.promote(0, model_sha256="", at=at, instead_of=registry.champion())
    bad = registry.promote(1, model_sha256="", at=at, instead_of=good)
    publish(running.warehouse, day, USERS, version=1)
    registry.roll_back(bad, model_sha256="", at=at)
    before = crm.requests
    message = refused(post(running, day), 503, "audience_waits")
    assert crm.requests == before
    publish(running.warehouse, day, USERS)

    assert "of version 1, which was rolled back" in message
    assert "deploy/call.sh predictions" in message
    assert post(running, day).json["sent"] > 0


@pytest.mark.parametrize("status", [401, 422])
def test_a_receiver_s_words_are_nowhere(running, day, crm, log_lines, status):
    """Defect: ids and names that it repeats were in log lines, answers and mails."""
    log_lines()

    def refuse(method, path, headers, body):
        user = json.loads(body)["users"][0]["id"]
        return status, {}, {"error": f"{user} (+49 170 1234567, Anna Muster) is wrong"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crm, "take", refuse)
        answer = post(running, day)

    rows = running.rows(
        "SELECT user_id, reason FROM ma_audience_ledger "
        f"WHERE as_of = '{day}' AND status = 'pending' AND reason IS NOT NULL"
    )
    said = f"{answer.json}{log_lines()}"
    assert not any(word in said for word in ("Anna", "1234567", rows[0]["user_id"]))
    assert {row["reason"] for row in rows} == {f"status {status}"}
    assert post(running, day).json["sent"] > 0


def test_the_audience_that_has_waited_longest_is_sent_first(running, day):
    """Defect: where one took all of a call's time, the last one was never sent."""
    with Crm() as mail:
        file = file_of(running, "destinations/mail.toml")
        file.write_text(CRM.format(url=mail.url).replace('"crm"', '"mail"'))
        declare(running, "before", WINBACK.replace("crm", "mail"))
        by_hand(running, day, name="before")
        entries = post(running, day).json["audiences"]
        with (
            entered(running.environment),
            open_deployment("ga4_purchase") as deployment,
        ):
            [some] = [some for some in listed(deployment) if some.audience == "before"]
            end(deployment, some, secrets.reader(running.settings))

    assert [entry["audience"] for entry in entries] == ["winback", "before"]


def test_a_wrong_audience_stops_no_other(running, day, crm):
    bucket = WINBACK.replace("crm", "bucket")
    crm_elsewhere = CRM.format(url="https://x.com")
    file_of(running, "bad.sql").write_text("SELECT user_id FROM nowhere")
    secretless = crm_elsewhere.replace("AUDIENCE_TOKEN", "NOT_THERE")
    file_of(running, "destinations/bad.toml").write_text(secretless)
    declare(running, "bad", bucket)
    declare(running, "entry", "number = 7")
    declare(running, "nowhere", 'destination = "none"\ntop = 5')
    declare(running, "secretless", WINBACK.replace("crm", "bad"))
    answer = post(running, day)
    message = refused(answer, 409, "audience_stopped")

    assert "audiences/bad.sql: " in message
    assert "entry.toml: unknown entry number" in message
    assert "destinations/none.toml" in message
    assert "there is no secret NOT_THERE" in message
    outcomes = {
        entry["audience"]: entry["outcome"]
        for entry in answer.json["detail"]["audiences"]
    }
    assert outcomes["winback"] == "sent"


def test_a_secret_from_an_editor_of_windows_is_the_text_in_it(running):
    """Defect: its byte order mark could not be sent in a header."""
    running.ground.secrets.values["OF_WINDOWS"] = b"\xef\xbb\xbftoken\r\n"

    assert secrets.reader(running.settings)("OF_WINDOWS") == "token"


def test_a_use_case_without_audiences_has_nothing_to_do(shop_deployment):
    answer = shop_deployment.run("audiences", MONDAY)

    assert (answer["audiences"], answer["sent"]) == ([], 0)
