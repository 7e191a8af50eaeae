"""overview of 05-Audiences: one message a week, of stored rows, to a chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from propensity.registry.leases import name_of
from propensity.tables.audiences import AUDIENCE_LIFT, AUDIENCE_PLANS, PROGRAMME_LIFT
from propensity.tables.models import EVALUATION
from propensity.timeframe import DAY
from tests.deploy.monitoring import raised
from tests.functions.audiences import join
from tests.support.deployment import Deployment
from tests.support.golden import same_as_golden
from tests.support.receivers import Playing
from tests.support.rows import append_rows, log_request, publish

MONDAY = date(2026, 6, 8)
WEEK = 7 * DAY
NOW = datetime(2026, 6, 8, 20, tzinfo=UTC)
SECRET = "monday-webhook"
USER = "1032705470.1738682875"
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
WEEK_ROW = {
    "use_case": "ga4_purchase",
    "week": MONDAY - WEEK,
    "prediction_as_of": MONDAY - WEEK,
    "prediction_scored_at": NOW,
    "users": 1000,
    "conversions": 80,
    "base_rate": 0.08,
    "mean_probability": 0.079,
    "conversions_low": 60,
    "conversions_high": 100,
}


@pytest.fixture
def chat() -> Iterator[Playing]:
    with Playing(always=(200, {}, "ok")) as receiver:
        yield receiver


def texts_of(chat: Playing) -> list[str]:
    """Return the messages that came."""
    return [json.loads(body)["text"] for _, _, _, body in chat.heard]


def lined(*sentences: str) -> str:
    """Return what a person reads, each use case's findings on lines of their own."""
    return "\n".join(sentences).replace(". Wh", ".\nWh")


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
    append_rows(
        deployment.warehouse, AUDIENCE_LIFT, [LIFT | {"cost": Decimal("340.50")}]
    )
    plan = {
        **key,
        "as_of": MONDAY,
        "planned_at": NOW,
        "control_group": "winback",
        "control_share": 0.5,
        "control_by": "user_id",
        "control_key": "k",
    }
    append_rows(deployment.warehouse, AUDIENCE_PLANS, [plan])
    # Of an earlier date nobody waits any more: the newest says who is pending.
    for user, day in ((USER, MONDAY), ("another", MONDAY - WEEK)):
        log_request(
            deployment.warehouse,
            user,
            **key,
            as_of=day,
            status="pending",
            reason="words of a stranger",
            recorded_at=NOW,
        )
    append_rows(deployment.warehouse, EVALUATION, [WEEK_ROW])
    return deployment


class TestMessage:
    def test_a_message_has_five_sentences_of_stored_rows(self, deployment, chat):
        """The sum, the verdict, what needs a person, whom next, and the link to the
        dashboard, which the run writes into the bucket. No user is named in either."""
        answer = deployment.run("overview", MONDAY)
        [text] = texts_of(chat)
        pages = deployment.artifacts.names("dashboard/")

        assert answer["weekly_message"] == "sent"
        assert answer["sentences"] == text.splitlines()
        assert "stranger" not in text
        assert answer["pages"] == len(pages)
        assert "dashboard/use-case-ga4_purchase.html" in pages
        for said in [text] + [deployment.read(name).decode() for name in pages]:
            assert USER not in said
        same_as_golden("message", {"on Monday": lined(text)})

    def test_a_message_names_audiences_of_different_days(self, deployment):
        """Each by its newest date: they are not all sent on Monday."""
        for days in (4, 11):
            join(deployment, MONDAY - timedelta(days), ["a"], [], audience="mailing")
        chosen = deployment.run("overview", MONDAY)["sentences"][3]

        assert "winback: 1 user, and a control group of 1" in chosen
        assert chosen.count("mailing: 1 user, by predictions of 4 Jun 2026.") == 1
        assert "28 May" not in chosen

    def test_a_message_names_what_needs_a_person(self, deployment, tmp_path):
        """At most five findings, with what they mean, and below them whose they are.
        Audiences of one name are told apart: otherwise a person would stop the wrong
        one. Sums of audiences that share users can't be reconciled with their total,
        which stands alone."""
        folder = tmp_path / "ga4_value" / "audiences"
        folder.mkdir(parents=True)
        (folder / "winback.toml").write_text('destination = "bucket"\ntop = 2\n')
        deployment.artifacts.create(
            "audiences/stopped.json", b'{"audiences": ["ga4_value/winback"]}'
        )
        mailing = {**LIFT, "audience": "mailing"}
        harms = {**LIFT, "use_case": "ga4_value", "verdict": "harms"}
        append_rows(deployment.warehouse, AUDIENCE_LIFT, [mailing, harms])
        together = {**LIFT, "control_group": "winback", "period": "all"}
        together["audiences"] = ["mailing", "winback"]
        append_rows(deployment.warehouse, PROGRAMME_LIFT, [together])
        five = deployment.run("overview", MONDAY)["sentences"]
        far_off = WEEK_ROW | {"conversions": 20, "evaluated_at": NOW}
        append_rows(deployment.warehouse, EVALUATION, [far_off])
        six = deployment.run("overview", MONDAY, force=True)["sentences"]

        parts = {"five findings": lined(*five), "six findings": lined(*six[1:3])}
        same_as_golden("message-needs", parts)

    def test_a_message_names_what_has_stopped(self, deployment):
        """A delivery that stopped on another day of the week, and then an export, as 05
        found it out: that is named instead of what follows."""
        later = MONDAY + 2 * WEEK
        name = name_of("ga4_purchase", "audiences", later - 4 * DAY)
        lease = b'{"state": "failed", "error": "AudienceStopped"}'
        deployment.artifacts.create(name, lease)
        delivery = deployment.run("overview", later)["sentences"][2]
        name = name_of("ga4_purchase", "audiences", later - DAY)
        lease = b'{"state": "done", "answer": {"export_age_days": 11}}'
        deployment.artifacts.create(name, lease)
        export = deployment.run("overview", later, force=True)["sentences"][2]

        parts = {"a delivery": lined(delivery), "an export": lined(export)}
        same_as_golden("message-stopped", parts)

    def test_a_message_is_sent_once_a_week(self, deployment, chat):
        """Whatever is repeated; a person can have it sent again. One of an earlier day
        knows no later audience."""
        said = []
        for days, force in ((-1, False), (0, False), (3, False), (3, True), (7, False)):
            answer = deployment.run("overview", MONDAY + days * DAY, force=force)
            said.append(answer["weekly_message"])

        assert said == ["sent", "sent", "sent before", "sent", "sent"]
        assert len(texts_of(chat)) == 4
        assert "winback: 1 user" not in texts_of(chat)[0]

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

    def test_a_chat_that_says_no_is_asked_again(self, deployment, chat):
        """Whatever its status is: until it says yes, the week does not count as
        told."""
        chat.answers = [
            (200, {}, {"ok": False, "error": "channel_not_found"}),
            (200, {}, "no_service"),
            (200, {}, "<!DOCTYPE html><title>Log in</title>"),
            (404, {}, "no_team"),
        ]
        told = [deployment.run("overview", MONDAY)["weekly_message"] for _ in range(6)]

        assert told == ["not sent"] * 4 + ["sent", "sent before"]

    def test_a_message_that_may_have_come_is_not_sent_twice(self, deployment, chat):
        chat.answers = [(504, {}, {})]
        told = [deployment.run("overview", MONDAY)["weekly_message"] for _ in range(2)]

        assert told == ["not sent", "sent before"]

    def test_without_the_setting_nothing_is_sent(self, borrow_deployment):
        assert borrow_deployment().run("overview", MONDAY)["weekly_message"] == "off"
