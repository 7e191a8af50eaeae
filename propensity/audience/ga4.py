"""
Google Analytics, by events of the Measurement Protocol: docs/audiences.md has the file.

Source:
    https://developers.google.com/analytics/devguides/collection/protocol/ga4;
    https://support.google.com/analytics/answer/9267744, limits of names and values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from msgspec import Meta

from propensity.audience.delivery import Request
from propensity.audience.http import URL, File, Http, HttpFile, Removal
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError

_OWN = "_|firebase_|ga_|google_|first_open|first_visit|user_id$"
_PROPERTY = rf"^(?!{_OWN})[A-Za-z][A-Za-z0-9_]{{0,23}}$"
_BACKDATED = timedelta(hours=72)


class Ga4File(File, tag="ga4", kw_only=True):
    """The file of the destination, its variables filled in."""

    measurement_id: Annotated[str, Meta(pattern=r"^G-[A-Z0-9]+$")]
    api_secret: Annotated[str, Meta(min_length=1)]
    property: Annotated[str, Meta(pattern=_PROPERTY)]
    consent: Literal["", "GRANTED", "DENIED"] = ""
    url: Annotated[str, Meta(pattern=URL)] = (
        "https://www.google-analytics.com/mp/collect"
    )
    rate: Annotated[float, Meta(ge=0, le=10_000)] = 50.0

    def body(self, state: str) -> dict[str, Any]:
        """Return the template of an event that sets the property."""
        consent = dict.fromkeys(("ad_user_data", "ad_personalization"), self.consent)
        parameters = {
            "audience": "{audience}",
            "as_of": "{as_of}",
            "state": state,
            "delivery": f"{{audience}} {{as_of}} {state}",
        }
        return {
            "client_id": "{user_id}",
            "timestamp_micros": "{chosen_micros}",
            "user_properties": {self.property: {"value": state}},
            "events": [
                {
                    "name": "propensity_audience",
                    # Of this and the one above, Google's guide lets this one win.
                    "timestamp_micros": "{chosen_micros}",
                    "params": parameters,
                }
            ],
            **({"consent": consent} if self.consent else {}),
        }


class Ga4(Http):
    """
    Sets a user property to ``in`` or ``out``.

    Analytics takes events of one browser a request, so a user is a request. It answers
    invalid events like valid ones: what its limits forbid is refused here. An event has
    the time at which the audience was chosen, so that one that is sent again is the
    same; Analytics takes it for 72 hours.
    """

    def __init__(self, file: Ga4File, *, clock: Clock = SYSTEM) -> None:
        account = {"measurement_id": file.measurement_id, "api_secret": file.api_secret}
        template = HttpFile(
            name=file.name,
            url=f"{file.url}?{urlencode(account)}",
            rate=file.rate,
            batch=1,
            body=file.body("in"),
            remove=Removal(body=file.body("out")),
        )
        super().__init__(template, {"$api_secret": file.api_secret}, clock=clock)

    def send(self, request: Request) -> Mapping[str, str]:
        """
        Send a user's event; reject a user whose id is no client id.

        Raises:
            RequestError: Analytics takes it no more.
        """
        chosen_at = request.audience.chosen_at
        if self._clock.now() - chosen_at > _BACKDATED:
            raise RequestError(
                f"the audience was chosen at {chosen_at:%Y-%m-%d %H:%M} UTC, "
                "and Analytics takes events of the last 72 hours: send the next "
                "publication",
                field="as_of",
            )
        [member] = request.members
        if not re.fullmatch(r"[!-~]+", member.user_id):
            return {member.user_id: "not a client id"}
        if re.fullmatch(r"[0-9a-fA-F]{32}", member.user_id):
            return {member.user_id: "an app instance instead of a browser"}
        return super().send(request)
