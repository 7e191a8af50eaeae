"""
Google Analytics: events by the Measurement Protocol, and a file for its data import.

    kind = "ga4"                      kind = "ga4-file"
    name = "analytics"                name = "analytics-import"
    measurement_id = "G-XXXXXXXXXX"   stream_id = "1234567890"
    api_secret = "${GA4_API_SECRET}"  path = "winback.csv"

An event gives the user a property with the name of the audience, in or out, by which an
audience is defined in Analytics. Analytics takes 25 events a request, all of one
browser: so a user is a request. It answers all of them alike, valid or not: what its
limits forbid is rejected here. An event has the time at which the audience was chosen,
so that one that is sent again is the same; Analytics takes it for 72 hours.

Sources:
    https://developers.google.com/analytics/devguides/collection/protocol/ga4/sending-events;
    the same, reference: names that are reserved;
    https://support.google.com/analytics/answer/9267744, limits of names and values;
    https://support.google.com/analytics/answer/10071143, import of user data.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from offline import whole_files
from offline.audience.destinations import templates
from offline.audience.destinations.base import ADD, REMOVE, Request
from offline.audience.posting import Poster
from offline.audience.selection import Member
from propensity.errors import RequestError

URL = "https://www.google-analytics.com/mp/collect"
EVENT = "propensity_audience"

BACKDATED = timedelta(hours=72)
EVENT_CHARACTERS = 40
PROPERTY_CHARACTERS = 24
VALUE_CHARACTERS = 100
# Requests a second, and such as wait for their answers; Google states no limit.
RATE = 50.0
AT_ONCE = 8

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_RESERVED = ("_", "firebase_", "ga_", "google_")
# Names of its own, by what is named.
_OWN = {
    "event": """
        ad_activeview ad_click ad_exposure ad_impression ad_query ad_reward
        adunit_exposure app_background app_clear_data app_exception app_remove
        app_store_refund app_store_subscription_cancel app_store_subscription_convert
        app_store_subscription_renew app_uninstall app_update app_upgrade
        dynamic_link_app_open dynamic_link_app_update dynamic_link_first_open error
        first_open first_visit in_app_purchase notification_dismiss
        notification_foreground notification_open notification_receive
        notification_send os_update screen_view session_start
        session_start_with_rollout user_engagement
        """,
    "property": """
        first_open_after_install first_open_time first_visit_time
        last_deep_link_referrer user_id
        """,
}
_STREAM = re.compile(r"G-[A-Z0-9]+")
_CLIENT = re.compile(r"[!-~]+")
# Texts that a spreadsheet runs as a formula. Ids of server-side tagging are base64 and
# may begin with a sign, too; they are harmless.
_FORMULA = re.compile(r"[=+@-].*[^A-Za-z0-9+/=._-]")


class MeasurementProtocol:
    """Events of a web stream."""

    # All events of a request are of one browser.
    batch = 1
    actions = (REMOVE, ADD)

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        audience: str,
        poster: Callable[[float, int], Poster],
        now: Callable[[], datetime],
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        """
        Check a template.

        Args:
            audience: Its name, which is the property's where the file has none.
            poster: Opens one of a rate and a number of requests at once.
            now: Says how old an event is.

        Raises:
            RequestError: The template is wrong, or the audience's name no property's.
            SettingsError: A variable that it names is not set.
        """
        known = {"measurement_id": "", "api_secret": "", "event": EVENT,
                 "property": "", "consent": "", "url": URL, "rate": RATE,
                 "at_once": AT_ONCE}  # fmt: skip
        values = templates.checked(
            template, known, required=("measurement_id", "api_secret")
        )
        values = templates.with_variables(values, variables)
        if not _STREAM.fullmatch(values["measurement_id"]):
            templates.fail(
                "measurement_id", "measurement_id is that of a web stream: G-XXXXXXXXXX"
            )
        self.name: str = values["name"]
        self._event: str = values["event"]
        self._property = _property(values, audience)
        _check_name("event", self._event, EVENT_CHARACTERS)
        if values["consent"] not in ("", "GRANTED", "DENIED"):
            templates.fail("consent", "consent is GRANTED or DENIED")
        self._consent: str = values["consent"]
        self._secrets = {
            "measurement_id": values["measurement_id"],
            "api_secret": values["api_secret"],
        }
        self._url: str = values["url"]
        self._now = now
        self.at_once = templates.at_once(values)
        self._poster = poster(float(values["rate"]), self.at_once)

    def problems(self, action: str, members: Sequence[Member]) -> Mapping[str, str]:
        """Return users whose id is no client id."""
        return client_problems(members)

    def send(self, request: Request) -> Mapping[str, str]:
        """Send a user's event."""
        if self._now() - request.chosen_at > BACKDATED:
            raise RequestError(
                "the audience was chosen at "
                f"{request.chosen_at.isoformat(timespec='seconds')}, and Analytics "
                "takes events of the last 72 hours: send the next publication",
                field="as_of",
            )
        [member] = request.members
        self._poster.send(
            "POST",
            self._url,
            body=json.dumps(self._body(request, member)).encode(),
            headers={"Content-Type": "application/json"},
            secrets=self._secrets,
        )
        return {}

    def _body(self, request: Request, member: Member) -> dict[str, Any]:
        moment = int(request.chosen_at.timestamp() * 1_000_000)
        consent = {"ad_user_data": self._consent, "ad_personalization": self._consent}
        value = _state(request)
        return {
            "client_id": member.user_id,
            "timestamp_micros": moment,
            **({"consent": consent} if self._consent else {}),
            "user_properties": {self._property: {"value": value}},
            "events": [
                {
                    "name": self._event,
                    "params": {
                        "audience": request.audience[:VALUE_CHARACTERS],
                        "as_of": request.as_of.isoformat(),
                        "state": value,
                        "delivery": f"{request.audience} {request.as_of} {value}",
                    },
                }
            ],
        }

    def close(self) -> None:
        """Close the connections."""
        self._poster.close()


class ImportFile:
    """A CSV file on this machine, for the import of user data."""

    # Analytics takes files of up to 1 GB; a row has some 60 bytes.
    batch = 5_000_000
    at_once = 1
    # An import changes the users who are in it, and leaves all others as they are.
    actions = (REMOVE, ADD)

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        audience: str,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        """
        Check a template; arguments and errors are those of ``MeasurementProtocol``.
        """
        known = {"stream_id": "", "path": "", "property": ""}
        values = templates.checked(template, known, required=("stream_id", "path"))
        values = templates.with_variables(values, variables)
        self.name: str = values["name"]
        self._property = _property(values, audience)
        self._stream: str = values["stream_id"]
        if not self._stream.isdecimal():
            templates.fail("stream_id", "stream_id has digits only")
        self._path = Path(values["path"])
        if not self._path.name or not self._path.parent.is_dir():
            templates.fail(
                "path", f"path must name a file in a folder that exists: {self._path}"
            )

    def problems(self, action: str, members: Sequence[Member]) -> Mapping[str, str]:
        """Return users whose id is no client id, or a formula in a file."""
        formulas = {
            member.user_id: "a formula in a file"
            for member in members
            if _FORMULA.match(member.user_id)
        }
        return formulas | client_problems(members)

    def send(self, request: Request) -> Mapping[str, str]:
        """
        Write a file; its name has the date, and each user is in it once.

        Users who have left are in a file of their own, whose name says ``out``.

        Raises:
            RequestError: It cannot be written.
        """
        state = _state(request)
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["client_id", "stream_id", self._property])
        rows.writerows([m.user_id, self._stream, state] for m in request.members)
        stem = f"{self._path.stem}-{request.as_of}-{state}-{request.key[:8]}"
        path = self._path.with_stem(stem)
        try:
            whole_files.write(path, text.getvalue().encode(), is_private=True)
        except OSError as error:
            raise RequestError(
                f"{path} cannot be written: {error.strerror}", field="path"
            ) from error
        return {}

    def close(self) -> None:
        """Do nothing."""


def _state(request: Request) -> str:
    """Return the property's value for the users of a request."""
    return "in" if request.action == ADD else "out"


def client_problems(members: Sequence[Member]) -> dict[str, str]:
    """Return users whose id is no client id of Analytics, with the reason."""
    return {
        member.user_id: "no client id"
        for member in members
        if not _CLIENT.fullmatch(member.user_id)
    }


def _property(values: Mapping[str, Any], audience: str) -> str:
    """Return the name of the user property; RequestError unless it can be one."""
    name: str = values["property"] or audience
    _check_name("property", name, PROPERTY_CHARACTERS)
    return name


def _check_name(field: str, name: str, longest: int) -> None:
    is_own = name.startswith(_RESERVED) or name in _OWN[field].split()
    if not _NAME.fullmatch(name) or len(name) > longest or is_own:
        templates.fail(
            field,
            f"{field} {name!r} is not a name that Analytics takes: letters, digits and "
            f"underscores, {longest} at most, a letter first, none of its own",
        )
