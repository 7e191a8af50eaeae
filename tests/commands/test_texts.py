"""What people read of an answer, specified: sentences in the glossary's words."""

from __future__ import annotations

from datetime import date

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


def test_a_delivery_says_who_was_added():
    """Whoever is removed is counted apart."""
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


def test_a_version_is_a_line_with_its_figures(capsys):
    """Without the epoch, the hash and the microseconds."""
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
