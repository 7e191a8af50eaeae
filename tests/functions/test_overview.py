"""overview of 05-Audiences: one message a week, of stored rows, to a chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from propensity.audience import stopping
from propensity.audience.result import LOST
from propensity.findings import PAGE as PAGE_OF_FINDINGS
from propensity.findings import meanings
from propensity.registry.leases import name_of
from propensity.runs import message
from propensity.tables.audiences import AUDIENCE_LIFT, AUDIENCE_PLANS, PROGRAMME_LIFT
from propensity.tables.models import DRIFT, EVALUATION
from propensity.tables.stream import DEAD_LETTERS
from propensity.timeframe import DAY
from tests.deploy.monitoring import raised
from tests.functions.audiences import join
from tests.support.deployment import Deployment
from tests.support.receivers import Playing
from tests.support.rows import append_rows, log_request, publish

MONDAY = date(2026, 6, 8)
WEEK = 7 * DAY
NOW = datetime(2026, 6, 8, 20, tzinfo=UTC)
SECRET = "monday-webhook"
USER = "1032705470.1738682875"
# What a message may say, by its words in findings.toml.
IN_A_MESSAGE = {
    "audience_not_sent",
    "drift",
    "events_refused",
    "harms",
    "lost_users",
    "pending",
    "rejected",
    "run_missed_predictions",
    "stopped",
}
LIFT = {
    "use_case": "ga4_purchase",
    "audience": "winback",
    "week": MONDAY - WEEK,
    "week_end": MONDAY,
    "status": "final",
    "run_id": "r",
    "evaluated_at": NOW,
    "treated_users": 681,
    "control_users": 150,
    "verdict": "open",
    "revenue_difference": 0.32,
    "revenue_difference_low": -18.83,
    "revenue_difference_high": 19.48,
}


@pytest.fixture
def chat() -> Iterator[Playing]:
    with Playing(always=(200, {}, {})) as receiver:
        yield receiver


def texts_of(chat: Playing) -> list[str]:
    """Return the messages that came."""
    return [json.loads(body)["text"] for _, _, _, body in chat.heard]


@pytest.fixture
def deployment(borrow_deployment, chat, tmp_path) -> Deployment:
    """A shop with an audience that brought something, and has users pending."""
    folder = tmp_path / "ga4_purchase" / "audiences"
    folder.mkdir(parents=True)
    (folder / "winback.toml").write_text('destination = "bucket"\ntop = 2\n')
    deployment = borrow_deployment(
        PROPENSITY_MESSAGE_SECRET=SECRET,
        PROPENSITY_USE_CASES=str(tmp_path),
    )
    url = f"{chat.url}/services/T000/B000/XXX"
    deployment.ground.secrets.values[SECRET] = url.encode()
    publish(deployment.warehouse, MONDAY, {USER: 0.5, "another": 0.25})
    join(deployment, MONDAY, [USER], ["another"])
    key = {"use_case": "ga4_purchase", "audience": "winback"}
    append_rows(deployment.warehouse, AUDIENCE_LIFT, [LIFT])
    plan = {
        **key,
        "as_of": MONDAY,
        "planned_at": NOW,
        "control_group": "winback",
        "control_share": 0.5,
        "control_by": "user_id",
        "control_key": "k",
        "cost_per_contact": Decimal("0.50"),
    }
    append_rows(deployment.warehouse, AUDIENCE_PLANS, [plan])
    log_request(
        deployment.warehouse,
        USER,
        **key,
        as_of=MONDAY,
        status="pending",
        reason="words of a stranger",
        recorded_at=NOW,
    )
    week = {
        "use_case": "ga4_purchase",
        "week": MONDAY - WEEK,
        "prediction_as_of": MONDAY - WEEK,
        "prediction_scored_at": NOW,
        "users": 1000,
        "conversions": 80,
        "base_rate": 0.08,
        "mean_probability": 0.079,
    }
    append_rows(deployment.warehouse, EVALUATION, [week])
    return deployment


class TestDashboard:
    def test_a_run_writes_the_dashboard_into_the_bucket(self, deployment):
        """Of all use cases, with no id of a user."""
        answer = deployment.run("overview", MONDAY)
        pages = deployment.artifacts.names("dashboard/")
        texts = [deployment.read(name).decode() for name in pages]

        assert answer["pages"] == len(list(pages))
        assert "dashboard/index.html" in pages
        assert "dashboard/use-case-ga4_purchase.html" in pages
        assert not any(USER in text for text in texts)


class TestMessage:
    def test_a_message_has_five_sentences_of_stored_rows(self, deployment, chat):
        """The sum, the verdict, what needs a person, whom next, and the link."""
        answer = deployment.run("overview", MONDAY)
        [text] = texts_of(chat)
        brought, verdict, needs, chosen, link = text.splitlines()

        assert answer["weekly_message"] == "sent"
        assert answer["sentences"] == text.splitlines()
        assert brought.startswith("What contacting brought: Contacting 681 users ")
        assert "brought 218 USD more" in brought
        assert "it cost 341 USD" in brought
        assert "7.9% expected, 8.0% actual" in verdict
        assert "(week of 1 Jun 2026)" in verdict
        assert "within chance" in verdict
        assert "1 user of winback are pending" in needs
        assert "winback: 1 user, and a control group of 1" in chosen
        bucket = deployment.settings.bucket
        assert link.endswith(f"/{bucket}/dashboard/index.html")
        assert USER not in text
        assert "stranger" not in text

    def test_a_message_begins_with_all_audiences_together(self, deployment, chat):
        """Each user once; then comes each audience by itself."""
        lift = {
            "use_case": "ga4_purchase",
            "control_group": "winback",
            "period": "all",
            "week": MONDAY - WEEK,
            "week_end": MONDAY,
            "status": "final",
            "run_id": "r",
            "evaluated_at": NOW,
            "treated_users": 900,
            "control_users": 200,
            "verdict": "helps",
            "audiences": ["mailing", "winback"],
            "brought": 1200.0,
            "brought_low": 100.0,
            "brought_high": 2300.0,
        }
        append_rows(deployment.warehouse, PROGRAMME_LIFT, [lift])
        deployment.run("overview", MONDAY)
        brought, *_ = texts_of(chat)[0].splitlines()

        together = "All audiences of control group winback (mailing, winback): "
        assert together + "Contacting 900 users brought 1,200 USD more" in brought
        assert "winback: Contacting 681 users" in brought

    def test_a_message_says_of_each_finding_what_it_means(
        self, deployment, monkeypatch
    ):
        """Of a deployment in which all is wrong that a message can tell: each sentence
        says what it means for the list, and who does what by when.

        Defect: an audience that stopped on another day of the week was not told of."""
        monkeypatch.setattr(message, "MOST", 99)
        later = MONDAY + 2 * WEEK
        key = {"use_case": "ga4_purchase", "audience": "winback", "as_of": MONDAY}
        log_request(
            deployment.warehouse, "b", **key, status="rejected", recorded_at=NOW
        )
        for verdict in ("harms", LOST):
            row = {**LIFT, "audience": verdict, "verdict": verdict}
            append_rows(deployment.warehouse, AUDIENCE_LIFT, [row])
        alarm = {"use_case": "ga4_purchase", "as_of": MONDAY, "written_at": NOW}
        alarm |= {"kind": "users", "name": "users", "is_alarm": True}
        append_rows(deployment.warehouse, DRIFT, [alarm])
        letter = {"received_at": NOW + 2 * WEEK, "received_on": later, "raw": b"{"}
        letter |= {"message_id": "1", "reason": "malformed_json"}
        append_rows(deployment.warehouse, DEAD_LETTERS, [letter])
        stopped = b'{"audiences": ["ga4_purchase/winback"]}'
        deployment.artifacts.create(stopping.FILE, stopped)
        lease = b'{"state": "failed", "error": "AudienceStopped"}'
        name = name_of("ga4_purchase", "audiences", later - 4 * DAY)
        deployment.artifacts.create(name, lease)
        [_, _, needs, *_] = deployment.run("overview", later)["sentences"]
        _, _, left = needs.partition(": ")
        found = set()
        for word in IN_A_MESSAGE:
            if str(meanings()[word]) in left:
                found.add(word)
                left = left.replace(str(meanings()[word]), "|")

        assert found == IN_A_MESSAGE
        *sentences, whose = left.split("|")
        assert len(sentences) == len(found)
        assert not any(". " in sentence.strip() for sentence in sentences)
        assert whose == f" Whose is it? {PAGE_OF_FINDINGS}."

    def test_a_message_is_sent_once_a_week(self, deployment, chat):
        """Whatever is repeated; a person can have it sent again."""
        deployment.run("overview", MONDAY)
        again = deployment.run("overview", MONDAY)
        later = deployment.run("overview", MONDAY + 3 * DAY)

        assert again["weekly_message"] == later["weekly_message"] == "sent before"
        assert len(texts_of(chat)) == 1
        assert (
            deployment.run("overview", MONDAY, force=True)["weekly_message"] == "sent"
        )
        assert deployment.run("overview", MONDAY + WEEK)["weekly_message"] == "sent"
        assert len(texts_of(chat)) == 3

    def test_a_message_of_an_earlier_day_knows_no_later_audience(
        self, deployment, chat
    ):
        """Defect: the message of 24 June named an audience of 1 July."""
        deployment.run("overview", MONDAY - DAY)
        [text] = texts_of(chat)

        assert "winback: 1 user" not in text

    def test_a_chat_that_refuses_fails_no_run(self, deployment, chat, log_lines):
        """Without its address, which is a secret, and without its words."""
        chat.always = 500, {}, {"error": USER}
        answer = deployment.run("overview", MONDAY)
        *_, alert, _ = log_lines()

        assert answer["weekly_message"] == "not sent"
        assert (alert["severity"], alert["outcome"]) == ("ERROR", "message_not_sent")
        assert raised(alert) == {"message_not_sent"}
        assert "127.0.0.1 answered with status 500" in alert["message"]
        assert "services" not in alert["message"]
        assert USER not in alert["message"]

    def test_without_the_setting_nothing_is_sent(self, borrow_deployment):
        assert borrow_deployment().run("overview", MONDAY)["weekly_message"] == "off"
