"""Users with contact data, and requests that have them, for both of Google's APIs."""

from __future__ import annotations

from datetime import UTC, date, datetime

from offline.audience.destinations.base import Request
from offline.audience.posting import Poster
from offline.audience.selection import Member
from offline.replay.sending import Stop

CHOSEN = datetime(2026, 3, 2, 6, tzinfo=UTC)
VARIABLES = {"SECRET": "s", "TOKEN": "t"}


def poster(rate, at_once):
    return Poster(Stop(), rate=0, tries=20, sleep=lambda seconds: None)


def request_of(*users, action="add", audience="winback"):
    return Request(
        use_case="ga4_purchase",
        audience=audience,
        as_of=date(2026, 3, 2),
        action=action,
        members=[Member(user, 0.5) for user in users],
        destination="google",
        chosen_at=CHOSEN,
    )


def contact(user, **changed):
    nothing = dict.fromkeys(
        ("email", "phone", "first_name", "last_name", "country_code", "postal_code")
    )
    return {"user_id": user, **nothing, "has_ads_consent": True, **changed}


def contacts_of(*contacts):
    """Return how the contact data of users are read."""
    return lambda users: [row for row in contacts if row["user_id"] in users]


def deliver(destination, request):
    problems = destination.problems(request.action, request.members)
    left = [m for m in request.members if m.user_id not in problems]
    if not left:
        return problems
    return problems | destination.send(Request(**vars(request) | {"members": left}))
