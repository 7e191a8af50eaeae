"""
Google Analytics, by events of the Measurement Protocol.

    kind = "ga4"
    name = "analytics"
    measurement_id = "G-XXXXXXXXXX"
    api_secret = "${GA4_API_SECRET}"
    property = "winback"
    consent = "GRANTED"
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from offline.audience.posting import Poster
from offline.audience.requests import ADD, REMOVE, Request
from offline.audience.selection import Member
from offline.audience.templates import check_url, checked, fail, number, secrets
from propensity.clock import SYSTEM
from propensity.errors import RequestError


class Ga4:
    """
    Events of the Measurement Protocol: a user property is ``in`` or ``out``.

    Analytics takes events of one browser a request, so a user is a request. It answers
    invalid events like valid ones: what its limits forbid is refused here. An event has
    the time at which the audience was chosen, so that one that is sent again is the
    same; Analytics takes it for 72 hours.

    Source:
        https://developers.google.com/analytics/devguides/collection/protocol/ga4;
        https://support.google.com/analytics/answer/9267744, limits of names and values.
    """

    backdated = timedelta(hours=72)
    batch = 1
    actions: Sequence[str] = (REMOVE, ADD)
    _defaults: Mapping[str, Any] = {
        "kind": "ga4",
        "name": "",
        "measurement_id": "",
        "api_secret": "",
        "event": "propensity_audience",
        "property": "",
        "consent": "",
        "url": "https://www.google-analytics.com/mp/collect",
        "rate": 50.0,
        "at_once": 8,
    }
    _reserved = ("_", "firebase_", "ga_", "google_", "first_open", "first_visit")

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        audience: str,
        now: Callable[[], datetime] = SYSTEM.now,
        poster: Callable[..., Poster] = Poster,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        """
        Check a template.

        Args:
            audience: Name of the property where the file has none.
            now: Says how old an event is.

        Raises:
            RequestError: It is wrong; the message says where.
            SettingsError: A variable that it names is not set.
        """
        values = checked(template, self._defaults, variables)
        if not re.fullmatch(r"G-[A-Z0-9]+", values["measurement_id"]):
            fail("measurement_id", "is that of a web stream: G-XXXXXXXXXX")
        if not values["api_secret"]:
            fail("api_secret", "is missing: a text")
        if values["consent"] not in ("", "GRANTED", "DENIED"):
            fail("consent", "is GRANTED or DENIED")
        check_url("url", values["url"])
        self.name: str = values["name"]
        self.at_once = number(values, "at_once", 1, 64)
        self._values = values | {"property": values["property"] or audience}
        for field, longest in (("event", 40), ("property", 24)):
            name = self._values[field]
            is_own = name.startswith(self._reserved) or name == "user_id"
            if is_own or not re.fullmatch(
                rf"[A-Za-z]\w{{0,{longest - 1}}}", name, re.A
            ):
                fail(
                    field,
                    f"{name!r} is not a name that Analytics takes: letters, digits and "
                    f"underscores, {longest} at most, a letter first, none of its own",
                )
        self._now = now
        self._poster = poster(
            rate=number(values, "rate", 0, 10_000),
            at_once=self.at_once,
            secrets=secrets(template, variables),
        )

    def problems(self, members: Sequence[Member]) -> Mapping[str, str]:
        """Return users whose id is no client id."""
        return {
            member.user_id: "no client id"
            for member in members
            if not re.fullmatch(r"[!-~]+", member.user_id)
        }

    def send(self, request: Request) -> Mapping[str, str]:
        """Send a user's event."""
        if self._now() - request.chosen_at > self.backdated:
            raise RequestError(
                f"the audience was chosen at {request.chosen_at:%Y-%m-%d %H:%M} UTC, "
                "and Analytics takes events of the last 72 hours: send the next "
                "publication",
                field="as_of",
            )
        [member] = request.members
        state = "in" if request.action == ADD else "out"
        consent = self._values["consent"]
        body = {
            "client_id": member.user_id,
            "timestamp_micros": int(request.chosen_at.timestamp() * 1_000_000),
            "user_properties": {self._values["property"]: {"value": state}},
            "events": [
                {
                    "name": self._values["event"],
                    "params": {
                        "audience": request.audience[:100],
                        "as_of": request.as_of.isoformat(),
                        "state": state,
                        "delivery": f"{request.audience} {request.as_of} {state}",
                    },
                }
            ],
        }
        if consent:
            body["consent"] = {"ad_user_data": consent, "ad_personalization": consent}
        self._poster.send(
            "POST",
            self._values["url"],
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            parameters={n: self._values[n] for n in ("measurement_id", "api_secret")},
        )
        return {}

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()
