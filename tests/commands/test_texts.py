"""What people read of an answer, specified: sentences in the glossary's words."""

from __future__ import annotations

from datetime import date

import pytest

from commands.texts import audiences, deployments
from propensity.cli.answers import show, spoken

ABOUT = {
    "use_case": "ga4_purchase",
    "audience": "winback",
    "as_of": date(2026, 6, 24),
    "destination": "crm",
    "members": 649,
    "held_out": 118,
}


@pytest.mark.parametrize(
    ("effect", "text"),
    [
        (
            0.4,
            "After 4 weeks you can show an effect of +61% or more. Hoped for: +40%. "
            "You reach that after 13 weeks (39%).",
        ),
        (
            0.3,
            "This audience can't prove an effect of +30%: so few are expected. With "
            "63,000 members it could.",
        ),
        (None, "After 13 weeks you can show an effect of +39% or more."),
    ],
)
def test_a_plan_is_a_sentence_about_the_effect_that_is_hoped_for(effect, text):
    lifts = {1: 0.84, 4: 0.61, 13: 0.39}
    power = [{"weeks": weeks, "smallest_lift": lift} for weeks, lift in lifts.items()]
    answer = {"power": power, "members_needed": 63_000}

    assert audiences.provable(answer, effect) == text


def test_an_audience_that_can_prove_nothing_says_how_many_members_could():
    """Defect: it could "show an effect of +979% or more", which is nobody's goal."""
    power = [{"weeks": 1, "smallest_lift": None}, {"weeks": 52, "smallest_lift": 9.79}]
    text = audiences.provable({"power": power, "members_needed": 63_000}, None)

    assert "can't prove an effect of +100%" in text
    assert "With 63,000 members it could." in text


def test_a_delivery_says_who_was_added():
    """Defect: 681 users sent were 531 added and 150 removed."""
    tallies = {
        "add": {"sent": 535, "accepted": 531, "rejected": {"unsubscribed": 4}},
        "remove": {"sent": 150, "accepted": 150, "rejected": {}},
    }
    text = audiences.sent({**ABOUT, "tallies": tallies, "pending": 0})

    assert text.splitlines() == [
        "winback of 24 Jun 2026, to crm: 531 users added, 150 removed; control group "
        "of 118.",
        "Rejected by the receiver: 4 unsubscribed.",
    ]


def test_a_ledger_has_a_line_for_each_date_below_what_contacting_brought():
    user = {"destination": "crm", "as_of": date(2026, 6, 24), "reason": ""}
    users = [
        {**user, "action": "add", "status": "accepted", "users": 531},
        {**user, "action": "add", "status": "waiting", "users": 3},
        {**user, "action": "remove", "status": "accepted", "users": 150},
    ]
    chosen = {"selection": "deciles 3", "control_users": 118}
    dates = [{**chosen, "as_of": date(2026, 6, day)} for day in (24, 17)]
    says = "Contacting 681 users brought 218 USD more than not contacting them."
    text = audiences.ledger({**ABOUT, "members": dates, "users": users, "says": says})
    title, money, _, head, newest, oldest = text.splitlines()

    assert money == says
    assert head.split()[:4] == ["date", "to", "added", "removed"]
    assert "24 Jun 2026  crm" in newest
    assert newest.split()[4:] == ["531", "150", "0", "3", "118", "the", "top", "30%"]
    assert "not sent yet" in oldest


def test_a_version_is_a_line_with_its_figures(capsys):
    """Defect: it was an epoch, a hash of 64 digits, and microseconds."""
    row = {
        "as_of": date(2026, 6, 3),
        "roc_auc": 0.77612,
        "is_warm": True,
        "serves": "yes",
        "model_version": 1,
        "verdict": "not worse: ROC AUC -0.0006 against version 0 on the same 980 rows",
    }
    champion = {"version": 1, "promoted_at": "2026-06-03T05:00:00.123", "pinned": False}
    answer = {"use_case": "ga4_purchase", "champion": champion, "versions": [row]}
    show(spoken(answer, deployments.versions), as_json=False)
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == "Version 1 of ga4_purchase is live since 3 Jun 2026."
    newest = " ".join(lines[-1].split())
    assert newest == "1 live 3 Jun 2026 0.776 as good as version 0"
