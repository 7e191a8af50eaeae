"""
Google's Data Manager: events of Analytics, or members of a customer list of Google Ads.

Source:
    Docstrings of google-ads-datamanager 0.9.4; limits of names and values of Analytics:
    https://support.google.com/analytics/answer/9267744.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from propensity.audience.destinations.addresses import address_of, visible
from propensity.audience.destinations.destination import (
    ADD,
    REMOVE,
    Destination,
    DestinationFile,
    Outcome,
    Refused,
    Request,
    Sent,
    Unanswered,
    check_age,
)
from propensity.audience.destinations.values import coarsest, filled, known_as
from propensity.audience.members import Member
from propensity.clock import SYSTEM, Clock
from propensity.errors import RequestError
from propensity.gcp.artifacts import sha256
from propensity.registry.deployment import Deployment
from propensity.tables.export_names import OWN_EVENT
from propensity.usecases.use_case import BROWSER

if TYPE_CHECKING:
    from propensity.gcp.data_manager import DataManager
    from propensity.settings import Settings
    from propensity.usecases import UseCase

ANALYTICS = "GOOGLE_ANALYTICS_PROPERTY"
ADS = "GOOGLE_ADS"
# Values of PROPENSITY_REQUIRE_CONSENT by which all users have consented to ads.
ADS_CONSENTS = ("ads_storage", "both")
# Google takes no more in a request.
EVENTS = 2_000
MEMBERS = 10_000
_OWN = "_|firebase_|ga_|google_|first_open|first_visit|user_id$"
_PROPERTY = rf"^(?!{_OWN})[A-Za-z][A-Za-z0-9_]{{0,23}}\Z"
_TARGETS = {ANALYTICS: r"G-[A-Z0-9]+", ADS: r"\d+"}
_BACKDATED = timedelta(hours=72)
# The account's token goes to no other host; this machine gets none.
_URL = (
    r"^(https://datamanager(\.[\w-]+)*\.googleapis\.com|http://127\.0\.0\.1)"
    r"(:\d+)?(/[!-~]*)?\Z"
)
Digits = Annotated[str, Meta(pattern=r"^\d{1,20}\Z", description="digits alone")]


class GoogleFile(DestinationFile, tag="google", kw_only=True):
    """
    The file of the destination.

    Attributes:
        target: Measurement id of the property's web stream, or id of a customer list.
        login_account: Manager by which the Google Ads account is reached.
        property: User property of Analytics that is set to ``in`` and ``out``.
        email, phone: Columns of the audience that have addresses, or their hashes; a
            customer list without them is of user ids.
        consent: What Google is told of all users.
        consent_by: A column of the audience that is true for users who have consented.
    """

    account_type: Literal["GOOGLE_ANALYTICS_PROPERTY", "GOOGLE_ADS"]
    account: Digits
    target: str
    login_account: Digits | None = None
    property: str = ""
    email: str = ""
    phone: str = ""
    consent: Literal["", "GRANTED", "DENIED"] = ""
    consent_by: str = ""
    terms: Literal["", "ACCEPTED"] = ""
    url: Annotated[
        str, Meta(pattern=_URL, description="an address of Google's Data Manager")
    ] = "https://datamanager.googleapis.com"

    def __post_init__(self) -> None:
        if self.account_type == ANALYTICS and not re.match(_PROPERTY, self.property):
            raise ValueError(
                f"property is {self.property!r}, which Analytics rejects. Begin with a "
                "letter, use up to 24 of a-z, 0-9 and _, and none of its own names"
            )
        if not re.fullmatch(_TARGETS[self.account_type], self.target):
            raise ValueError(
                "target is the measurement id of a web stream, such as G-ABC123, for "
                f"{ANALYTICS}, and the number of a customer list for {ADS}"
            )
        if self.consent and self.consent_by:
            raise ValueError("consent and consent_by contradict: leave one of them out")

    @classmethod
    def can_remove(cls, entries: Mapping[str, object]) -> bool:
        return True

    @classmethod
    def entries(
        cls, template: Mapping[str, object], variables: Mapping[str, str], audience: str
    ) -> Mapping[str, object]:
        entries: dict[str, object]
        entries = filled({"property": audience, **template}, variables)
        return entries

    def opened(
        self,
        deployment: Deployment,
        variables: Mapping[str, str],
        *,
        columns: Sequence[str],
        clock: Clock,
    ) -> Destination:
        self.check_consent(deployment.settings, deployment.use_case)
        # Google's client takes a second to import.
        from propensity.gcp.data_manager import DataManager

        made = Google(self, DataManager(self.url), columns=columns, clock=clock)
        column = deployment.use_case.user_column(deployment.settings)
        if self.account_type == ANALYTICS and column != BROWSER:
            raise RequestError(
                f"users of {deployment.use_case.name} are not browsers of Analytics "
                f"(PROPENSITY_USER_COLUMN is {column!r}, not {BROWSER!r})",
                field="destination",
            )
        return made

    def check_consent(self, settings: Settings, use_case: UseCase) -> None:
        """
        Raise ValueError if nobody knows that all users have granted their consent.

        The view of the export leaves out events without it, where the setting says so.
        """
        if self.consent != "GRANTED":
            return
        if settings.require_consent not in ADS_CONSENTS or not use_case.reads_export:
            raise ValueError(
                'consent is "GRANTED", but users without consent to ads may be among '
                "them. Set PROPENSITY_REQUIRE_CONSENT to ads_storage or both, or name "
                "a column of the audience's SQL that is true for users who have "
                'consented: consent_by = "ads_consent"'
            )


class Google(Destination):
    """
    Sets a user property of Analytics to ``in`` or ``out``, or keeps a customer list.

    Google answers at once whether a request is well formed, and later what became of
    its records. It has no idempotency keys, but a request that comes twice changes
    nothing: a member is one once, and an event has the time of the first one.
    """

    actions: Sequence[str] = (REMOVE, ADD)

    def __init__(
        self,
        file: GoogleFile,
        api: DataManager,
        *,
        columns: Sequence[str] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        self._file = file
        self._api = api
        self._clock = clock
        self.name = file.name
        self._is_events = file.account_type == ANALYTICS
        self.batch = EVENTS if self._is_events else MEMBERS
        self.known_by = [column for column in (file.email, file.phone) if column]
        self.gets_ids_alone = not (self._is_events or self.known_by)
        for column in (file.email, file.phone, file.consent_by):
            if column and column not in columns:
                raise ValueError(f"the audience has no column {column}")

    def send(self, request: Request) -> Sent:
        return self._sent(request, validate_only=False)

    def validate(self, request: Request) -> None:
        """Let Google check a request without executing it; see ``send``."""
        self._sent(request, validate_only=True)

    def _sent(self, request: Request, *, validate_only: bool) -> Sent:
        if self._is_events:
            now = self._clock.now()
            check_age(request, _BACKDATED, receiver="Analytics", now=now)
        record_of = self._event if self._is_events else self._member
        records = []
        rejected = {}
        for member in request.members:
            try:
                record = record_of(member, request)
                if request.action == ADD:
                    record |= self._consent_of(member)
                records.append(record)
            except ValueError as error:
                rejected[member.key] = str(error)
        if not records:
            return Sent(rejected)
        from propensity.gcp.data_manager import Invalid, NotNow

        method, content = self._request(records, request.action)
        content["validate_only"] = validate_only
        try:
            receipt = self._api.send(method, content)
        except NotNow as error:
            raise Unanswered("Google's Data Manager", str(error)) from error
        except Invalid as error:
            if error.is_about_records:
                raise Refused(str(error)) from error
            raise RequestError(
                f"Google rejects every request of {self.name}: {error}",
                hint="Correct the destination's file",
                field="destination",
            ) from error
        return Sent(rejected, receipt)

    def outcome(self, receipt: str) -> Outcome | None:
        """
        Return what became of the users of a request; None while Google is at it.

        Of a request that Google took in part it says how many users failed, but not
        which ones: all of an addition count as accepted, and none of a removal.
        """
        processed = self._api.processed(receipt)
        if processed is None:
            return None
        status, failed = processed
        if status == "SUCCESS":
            return Outcome(is_accepted=True)
        reasons = ", ".join(f"{reason} ({n:,})" for reason, n in failed.items())
        if status == "PARTIAL_SUCCESS":
            words = f"some of {receipt} failed, Google does not say who: {reasons}"
            return Outcome(is_accepted=True, reason=words, is_partial=True)
        return Outcome(is_accepted=False, reason=f"Google failed: {reasons}")

    def _request(
        self, records: Sequence[Mapping[str, object]], action: str
    ) -> tuple[str, dict[str, object]]:
        """Return the method, and the content of its request."""
        file = self._file
        account = {"account_type": file.account_type, "account_id": file.account}
        login = account
        if file.login_account:
            login = account | {"account_id": file.login_account}
        content: dict[str, object] = {
            "destinations": [
                {
                    "operating_account": account,
                    "login_account": login,
                    "product_destination_id": file.target,
                }
            ],
            "encoding": "HEX",
        }
        # Who leaves may have withdrawn a consent: a removal declares none.
        if file.consent and action == ADD:
            content["consent"] = _consent(file.consent)
        if self._is_events:
            return "ingest_events", content | {"events": records}
        content["audience_members"] = records
        if action == REMOVE:
            return "remove_audience_members", content
        if file.terms:
            terms = {"customer_match_terms_of_service_status": file.terms}
            content["terms_of_service"] = terms
        return "ingest_audience_members", content

    def _consent_of(self, member: Member) -> dict[str, object]:
        """Return a user's own consent, by its column; ValueError for another value."""
        column = self._file.consent_by
        consented = member.values.get(column)
        if consented is None:
            return {}
        if not isinstance(consented, bool):
            raise ValueError(f"{column} is neither true nor false")
        return {"consent": _consent("GRANTED" if consented else "DENIED")}

    def _event(self, member: Member, request: Request) -> dict[str, object]:
        """Return an event that sets the property; ValueError for no browser."""
        user = member.user_id
        if not re.fullmatch(r"[!-~]+", user):
            raise ValueError("not a client id")
        if re.fullmatch(r"[0-9a-fA-F]{32}", user):
            raise ValueError("an app instance instead of a browser")
        name = request.audience.name
        day = str(request.audience.as_of)
        state = "in" if request.action == ADD else "out"
        delivery = f"{name} {day} {state}"
        values = {"audience": name, "as_of": day, "state": state, "delivery": delivery}
        return {
            "client_id": user,
            "event_name": OWN_EVENT,
            "event_source": "WEB",
            "event_timestamp": request.audience.chosen_at,
            "additional_event_parameters": [
                {"parameter_name": name, "value": value}
                for name, value in values.items()
            ],
            "user_properties": {
                "additional_user_properties": [
                    {"property_name": self._file.property, "value": state}
                ]
            },
        }

    def _member(self, member: Member, request: Request) -> dict[str, object]:
        """Return a member of a list; ValueError for one without an address."""
        file = self._file
        if not (file.email or file.phone):
            return {"user_id_data": {"user_id": member.user_id}}
        identifiers = []
        reason = "no e-mail address and no phone number"
        values = member.values
        for column, name, hashing in (
            (file.email, "email_address", hashed_email),
            (file.phone, "phone_number", hashed_phone),
        ):
            try:
                value = values.get(column)
                if value:
                    identifiers.append({name: hashing(str(value))})
            except ValueError as error:
                reason = str(error)
        if not identifiers:
            raise ValueError(reason)
        return {"user_data": {"user_identifiers": identifiers}}


def _consent(status: str) -> dict[str, str]:
    """Return a consent, GRANTED or DENIED, as Google has it."""
    return dict.fromkeys(("ad_user_data", "ad_personalization"), f"CONSENT_{status}")


def hashed_email(text: str) -> str:
    """Return the hash of an address as Google forms it; a hash stays as it is."""
    hashed = known_as(text)
    if re.fullmatch(r"[0-9a-f]{64}", hashed):
        return hashed
    address = coarsest(address_of(text))
    if address.startswith("@"):
        raise ValueError("no e-mail address")
    return sha256(address.encode())


def hashed_phone(text: str) -> str:
    """Return the hash of an international phone number; a hash stays as it is."""
    number = visible(text).lower()
    if re.fullmatch(r"[0-9a-f]{64}", number):
        return number
    # Its rules of all countries take a moment to import.
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        raise ValueError("no phone number with + and the country code") from None
    # Two numbers in a cell, a name, which a telephone dials, or a shared switchboard.
    if parsed.extension or re.search(r"[^\W\d_]|[/~\n]", number):
        raise ValueError(
            "letters, an extension or a second number beside a phone number"
        )
    # A number without its area code is possible, but nobody's.
    possible = phonenumbers.ValidationResult.IS_POSSIBLE
    if phonenumbers.is_possible_number_with_reason(parsed) != possible:
        raise ValueError("a phone number with too few or too many digits")
    international = phonenumbers.PhoneNumberFormat.E164
    return sha256(phonenumbers.format_number(parsed, international).encode())
