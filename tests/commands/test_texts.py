"""What people read of an answer, specified: sentences in the glossary's words."""

from __future__ import annotations

from datetime import date

from commands.texts import audiences

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
