"""overview of 05-Audiences: one message a week, of stored rows, to a chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from propensity.pages.findings import PAGE as PAGE_OF_FINDINGS
from propensity.pages.findings import meanings
from propensity.registry.leases import name_of
from propensity.tables.audiences import AUDIENCE_LIFT, AUDIENCE_PLANS, PROGRAMME_LIFT
from propensity.tables.models import EVALUATION
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
    with Playing(always=(200, {}, "ok")) as receiver:
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
    week = {
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
    append_rows(deployment.warehouse, EVALUATION, [week])
    return deployment


class TestMessage:
    def test_a_message_has_five_sentences_of_stored_rows(self, deployment, chat):
        """The sum, the verdict, what needs a person, whom next, and the link to the
        dashboard, which the run writes into the bucket. No user is named in either."""
        answer = deployment.run("overview", MONDAY)
        [text] = texts_of(chat)
        brought, verdict, needs, chosen, link = text.splitlines()
        pages = deployment.artifacts.names("dashboard/")

        assert answer["weekly_message"] == "sent"
        assert answer["sentences"] == text.splitlines()
        assert brought.startswith("What contacting brought: Contacting 681 users ")
        assert "brought 218 USD more" in brought
        assert "their first contacts cost 341 USD" in brought
        assert "79 expected, 60 to 100 in 19 weeks of 20; actual: 80, as exp" in verdict
        assert "(week from 8 Jun 2026 on): 1 expected." in verdict
        assert "Audience winback has 1 pending user" in needs
        assert "winback: 1 user, and a control group of 1" in chosen
        bucket = deployment.settings.bucket
        assert link.endswith(f"/{bucket}/dashboard/index.html")
        assert "stranger" not in text
        assert answer["pages"] == len(pages)
        assert "dashboard/use-case-ga4_purchase.html" in pages
        for said in [text] + [deployment.read(name).decode() for name in pages]:
            assert USER not in said

    def test_a_message_says_of_each_finding_what_it_means(self, deployment):
        """For the list, and who does what by when. Also of an audience that stopped on
        another day of the week."""
        later = MONDAY + 2 * WEEK
        harms = {**LIFT, "audience": "harms", "verdict": "harms"}
        append_rows(deployment.warehouse, AUDIENCE_LIFT, [harms])
        lease = b'{"state": "failed", "error": "AudienceStopped"}'
        name = name_of("ga4_purchase", "audiences", later - 4 * DAY)
        deployment.artifacts.create(name, lease)
        [_, _, needs, *_] = deployment.run("overview", later)["sentences"]

        for word in ("audience_not_sent", "harms", "run_missed_predictions"):
            assert str(meanings()[word]) in needs
        assert needs.endswith(f" Whose is it? {PAGE_OF_FINDINGS}.")

    def test_a_message_says_whose_it_is_below_what_it_names(self, deployment):
        """Of five findings, too."""
        for number in range(3):
            harms = {**LIFT, "audience": f"harms_{number}", "verdict": "harms"}
            append_rows(deployment.warehouse, AUDIENCE_LIFT, [harms])
        five = deployment.run("overview", MONDAY)["sentences"][2]
        week = {"use_case": "ga4_purchase", "week": MONDAY - WEEK, "users": 1000}
        week |= {"prediction_as_of": MONDAY - WEEK, "prediction_scored_at": NOW}
        week |= {"conversions": 20, "mean_probability": 0.08, "conversions_low": 60}
        week |= {"conversions_high": 100, "evaluated_at": NOW}
        append_rows(deployment.warehouse, EVALUATION, [week])
        six = deployment.run("overview", MONDAY, force=True)["sentences"][2]

        whose = f"Whose is it? {PAGE_OF_FINDINGS}."
        assert "more are on" not in five
        assert five.endswith(f" {whose}")
        assert six.endswith(f"1 more are on the dashboard. {whose}")
        assert "is far off: 80 expected, 60 to 100 in 19 weeks of 20; actual" in six

    def test_an_export_that_has_stopped_is_named_instead_of_what_follows(
        self, deployment
    ):
        """By what 05 found out on a day of the week."""
        later = MONDAY + 14 * DAY
        lease = {"state": "done", "answer": {"export_age_days": 11}}
        name = name_of("ga4_purchase", "audiences", later - DAY)
        deployment.artifacts.create(name, json.dumps(lease).encode())
        needs = deployment.run("overview", later)["sentences"][2]

        assert "lacks all since" in needs
        assert str(meanings()["export_stopped"]) in needs
        assert "No predictions since" not in needs

    def test_a_message_tells_audiences_of_one_name_apart(self, deployment, tmp_path):
        """Otherwise a person would stop the wrong one. A sum of two use cases is told
        once."""
        folder = tmp_path / "ga4_value" / "audiences"
        folder.mkdir(parents=True)
        (folder / "winback.toml").write_text('destination = "bucket"\ntop = 2\n')
        harms = {**LIFT, "use_case": "ga4_value", "verdict": "harms"}
        append_rows(deployment.warehouse, AUDIENCE_LIFT, [harms])
        deployment.artifacts.create(
            "audiences/stopped.json", b'{"audiences": ["ga4_value/winback"]}'
        )
        said = deployment.run("overview", MONDAY)["sentences"]
        brought, _, needs, chosen, _ = said

        assert "winback of ga4_purchase: Contacting" in brought
        assert "winback of ga4_value: Contacting" in brought
        quarter = "What will users spend in the next 91 days?"
        assert f"{quarter}: Audience winback does harm." in needs
        assert f"{quarter}: Audience winback is stopped." in needs
        assert "send winback --use-case ga4_purchase" in needs
        assert "winback of ga4_purchase: 1 user, and" in chosen

    def test_a_message_opens_with_the_total_alone(self, deployment):
        """Sums of audiences that share users can't be reconciled with it."""
        together = {**LIFT, "control_group": "winback", "period": "all"}
        together["audiences"] = ["mailing", "winback"]
        append_rows(deployment.warehouse, PROGRAMME_LIFT, [together])
        brought = deployment.run("overview", MONDAY)["sentences"][0]

        assert brought.count("Contacting") == 1
        assert "(mailing, winback): Contacting 681 users" in brought

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
