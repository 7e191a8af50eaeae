"""Of generated events: what is of one player, and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from local.generators.games.games import Games
from local.generators.games.messages import Event
from local.generators.games.towns import postcodes

DAY = timedelta(days=1)


def small(**parameters: Any) -> Games:
    return Games(**{"users": 200, "maximum_events": 60} | parameters)


def instant(event: Event) -> datetime:
    return datetime.fromisoformat(event["event_time"])


def by_user(events: Iterable[Event]) -> dict[str, list[Event]]:
    users: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        users[event["user_id"]].append(event)
    return dict(users)


def normalised(postcode: str) -> str:
    return postcode.replace(" ", "").upper()


def index_of() -> dict[str, float]:
    """The socioeconomic index of every postcode, without its space."""
    table = postcodes()
    codes = map(normalised, table["postcode"].to_pylist())
    return dict(zip(codes, table["socioeconomic_idx"].to_pylist(), strict=True))


def age(event: Event) -> int:
    """Whole years at the registration."""
    born, day = date.fromisoformat(event["date_of_birth"]), instant(event).date()
    had_birthday = (day.month, day.day) >= (born.month, born.day)
    return day.year - born.year - (not had_birthday)
