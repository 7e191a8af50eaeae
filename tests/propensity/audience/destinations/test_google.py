"""Google's Data Manager, specified: Google's own client against the API's fake."""

from __future__ import annotations

import hashlib
import json
import tomllib
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from propensity import usecases
from propensity.audience import run
from propensity.audience.destinations.destination import (
    ADD,
    REMOVE,
    Refused,
    Request,
    Sent,
)
from propensity.audience.destinations.google import (
    ANALYTICS,
    Google,
    GoogleFile,
    hashed_email,
    hashed_phone,
)
from propensity.audience.members import Member
from propensity.gcp import data_manager
from propensity.gcp.data_manager import DataManager
from tests.propensity.audience.conftest import (
    START,
    act,
    ledger,
    next_week,
    send,
    winback,
)
from tests.propensity.audience.destinations.test_destinations import AUDIENCE
from tests.support.clocks import ManualClock
from tests.support.data_manager import DataManager as Fake
from tests.support.data_manager import error

EVENTS = {
    "kind": "google",
    "name": "analytics",
    "account_type": "GOOGLE_ANALYTICS_PROPERTY",
    "account": "123",
    "target": "G-ABC123",
    "property": "winback",
    "consent": "GRANTED",
}
LIST = {
    "kind": "google",
    "name": "ads",
    "account_type": "GOOGLE_ADS",
    "account": "123",
    "target": "456",
    "login_account": "789",
    "terms": "ACCEPTED",
}
ADDRESSES = {"email": "email", "phone": "phone"}
EXAMPLES = Path(__file__).parents[4] / "docs" / "destinations"


@pytest.mark.parametrize("name", ["ads", "analytics"])
def test_an_example_of_the_page_has_all_that_google_needs(name):
    template = tomllib.loads((EXAMPLES / f"{name}.toml").read_text("utf-8"))
    file = msgspec.convert(GoogleFile.entries(template, {}, "winback"), GoogleFile)

    assert (file.name, bool(file.consent or file.consent_by)) == (name, True)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(DataManager, "first_pause_s", 0.001)
    monkeypatch.setattr(data_manager, "DEADLINE_S", 1.0)


@pytest.fixture
def fake():
    with Fake() as running:
        yield running


def opened(fake: Fake, file=None, *, now=START, columns=(), **changed) -> Google:
    template = {**(file or EVENTS), "url": fake.url, **changed}
    return Google(
        msgspec.convert(template, GoogleFile),
        DataManager(fake.url),
        columns=columns,
        clock=ManualClock(now),
    )


def request_of(*users: str, action=ADD, **columns) -> Request:
    own = json.dumps(columns) if columns else None
    members = [Member(user, 0.5, attributes=own) for user in users]
    return Request(AUDIENCE, action, members)


class TestEvents:
    def test_events_set_a_property_of_the_browser(self, fake):
        """
        In, or out; with the time at which the audience was chosen, and consent, which
        who has withdrawn one is not declared to grant.

        Google takes events with a transaction of chosen properties alone.
        """
        client = opened(fake)
        for action in client.actions:
            client.send(request_of("GA1.2.3", action=action))

        for request, state in zip(fake.taken, ("out", "in"), strict=True):
            [event] = request.events
            [target] = request.destinations
            [value] = event.user_properties.additional_user_properties
            assert (value.property_name, value.value) == ("winback", state)
            assert (event.client_id, event.event_timestamp) == ("GA1.2.3", START)
            said = "GRANTED" if state == "in" else "STATUS_UNSPECIFIED"
            assert request.consent.ad_user_data.name == f"CONSENT_{said}"
            assert event.transaction_id == ""
            assert target.operating_account.account_type.name == ANALYTICS
            assert target.product_destination_id == "G-ABC123"

    def test_events_are_of_browsers_alone(self, fake):
        """Others are rejected, and stop nobody."""
        sent = opened(fake).send(request_of("GA1.2.3", "猫", "0123456789abcdef" * 2))

        assert [*sent.rejected.values()] == [
            "not a client id",
            "an app instance instead of a browser",
        ]
        assert [event.client_id for event in fake.taken[0].events] == ["GA1.2.3"]
        assert opened(fake).send(request_of("a b")) == Sent({"a b": "not a client id"})
        assert fake.requests == 1


class TestMembers:
    def test_members_are_hashes_of_their_addresses(self, fake):
        """Who has none is rejected; of two, one is enough."""
        client = opened(fake, LIST | ADDRESSES, columns=["email", "phone"])
        columns = {
            "u1": {"email": " Ann@Example.com", "phone": "+44 20 7946 0000"},
            "u2": {"email": None},
            "u3": {"email": "nobody"},
            "u4": {"email": "bo@example.com", "phone": "123"},
        }
        members = []
        for user, own in columns.items():
            members.append(Member(user, attributes=json.dumps(own)))
        sent = client.send(Request(AUDIENCE, ADD, members))
        first, second = fake.taken[0].audience_members[0].user_data.user_identifiers

        assert first.email_address == digest("ann@example.com")
        assert second.phone_number == digest("+442079460000")
        assert sent.rejected == {
            "u2": "no e-mail address and no phone number",
            "u3": "no e-mail address",
        }
        assert len(fake.taken[0].audience_members) == 2

    def test_members_have_their_own_consent(self, fake):
        """Of those of whom it is not known nothing is said; a word is no consent.
        They are user ids where the file names no address."""
        client = opened(fake, LIST, consent_by="ads", columns=["ads"])
        said = {"u1": "true", "u2": "false", "u3": "null", "u4": '"no"'}
        members = []
        for user, value in said.items():
            members.append(Member(user, attributes=f'{{"ads": {value}}}'))
        sent = client.send(Request(AUDIENCE, ADD, members))
        client.send(Request(AUDIENCE, REMOVE, members))
        first, removal = fake.taken
        [target] = first.destinations
        terms = first.terms_of_service.customer_match_terms_of_service_status

        assert first.audience_members[0].user_id_data.user_id == "u1"
        assert target.product_destination_id == "456"
        assert (target.login_account.account_id, terms.name) == ("789", "ACCEPTED")
        assert sent.rejected == {"u4": "ads is neither true nor false"}
        assert [one.consent.ad_user_data.name for one in first.audience_members] == [
            "CONSENT_GRANTED",
            "CONSENT_DENIED",
            "CONSENT_STATUS_UNSPECIFIED",
        ]
        assert "consent" not in removal.audience_members[0]
        assert fake.users["remove", "u1"] == 1


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("hashing", "given", "address"),
    [
        (hashed_email, "A.n.n+shop@Gmail.com", "ann@gmail.com"),
        (hashed_email, "a.n.n+shop@example.com", "a.n.n+shop@example.com"),
        # The zero, in Russia the 8, is of calls within the country alone.
        (hashed_phone, "+44 (0) 20 7946 0958", "+442079460958"),
        (hashed_phone, "+49 (0170) 1234567", "+491701234567"),
        (hashed_phone, "+7 (8) 495 000-00-00", "+74950000000"),
        # Spaces and marks of pages in French, of typesetters and of directions.
        (hashed_phone, "+33\u202f6\u200912\u200734\u200e 56 78", "+33612345678"),
        (hashed_phone, "+1\u2011555\u00a0010\u20110199", "+15550100199"),
        # The 0 of Italy and of a few others is a part of the number.
        (hashed_phone, "+39 (0)6 698 12345", "+390669812345"),
        (hashed_phone, "+229 01 95 12 34 56", "+2290195123456"),
    ],
)
def test_addresses_are_normalised_as_google_does(hashing, given, address):
    """Hashes stay as they are, in small letters, as Google wants them."""
    hashed = digest(address)

    assert hashing(given) == hashing(hashed.upper()) == hashed


@pytest.mark.parametrize(
    ("hashing", "text", "message"),
    [
        (hashed_email, "+@gmail.com", "^no e-mail address$"),
        (hashed_phone, "020 7946 0000", "country code"),
        (hashed_phone, "+491234567890123456", "too few or too many digits"),
        (hashed_phone, "+1 555 0100", "too few or too many digits"),
        # A telephone's letters are digits: 262 for Ana.
        (hashed_phone, "+49 30 1234567 Ana", "beside a phone number"),
        (hashed_phone, "+49 171 1234567/68", "beside a phone number"),
        (hashed_phone, "+1 415 555 0100 ext 5", "beside a phone number"),
        (hashed_phone, "+1 415 555 0100 #5", "beside a phone number"),
    ],
)
def test_nothing_is_hashed_that_is_no_address(hashing, text, message):
    with pytest.raises(ValueError, match=message):
        hashing(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"target": "UA-1"},
        {"account": "abc"},
        {"consent": "YES"},
        {"property": "user_id"},
        {"url": "google.com"},
        # The account's token goes to no host but Google's.
        {"url": "https://crm.example.com"},
        {"url": "https://datamanager.googleapis.com.example.com"},
        {"url": "https://datamanager.googleapis.com:443@example.com"},
        {"url": "https://example.com/datamanager.googleapis.com"},
    ],
)
def test_a_file_that_google_would_refuse_is_refused_at_once(changed):
    [name] = changed
    with pytest.raises(ValueError, match=name):
        msgspec.convert(EVENTS | changed, GoogleFile)


@pytest.mark.parametrize(
    ("required", "use_case", "is_refused"),
    [
        ("both", "ga4_purchase", False),
        ("analytics_storage", "ga4_purchase", True),
        # Its users are not of the export, and so not of the view with that consent.
        ("both", "first_day_churn", True),
    ],
)
def test_a_file_grants_consent_of_all_users_alone(required, use_case, is_refused):
    """Google is not told of users who have refused that they have consented."""
    file = msgspec.convert(EVENTS, GoogleFile)
    settings = SimpleNamespace(require_consent=required)
    with pytest.raises(ValueError, match="consent_by") if is_refused else nullcontext():
        file.check_consent(settings, usecases.load(use_case))


def test_a_file_names_columns_that_there_are_and_one_consent(fake):
    with pytest.raises(ValueError, match="no column email"):
        opened(fake, LIST | {"email": "email"}, columns=["phone"])
    with pytest.raises(ValueError, match="consent and consent_by contradict"):
        msgspec.convert(EVENTS | {"consent_by": "ads"}, GoogleFile)


class TestRequests:
    @pytest.mark.parametrize(
        ("field", "reason", "said"),
        [
            ("members[0]", "INVALID_FORMAT", "members[0]: INVALID_FORMAT"),
            ("client_id", "Ann (+49 170) is wrong", "client_id: wrong"),
        ],
    )
    def test_wrong_requests_name_no_address_and_repeat_no_sentence(
        self, fake, field, reason, said
    ):
        """The reason may stand in a table."""
        faults = [{"field": field, "reason": reason}]
        fake.take = lambda *_: error(400, "INVALID_ARGUMENT", "of Ann", faults)

        with pytest.raises(Refused) as raised:
            opened(fake).send(request_of("u1"))
        assert str(raised.value) == f"status 400, {said}"


@pytest.fixture
def ads(tmp_path):
    """Return the folder of audiences that go to a customer list."""

    def write(fake: Fake, **more: str) -> Path:
        file = tmp_path / "destinations" / "crm.toml"
        file.parent.mkdir(exist_ok=True)
        entries = LIST | {"url": fake.url} | more
        lines = [f'{key} = "{value}"' for key, value in entries.items()]
        file.write_text("\n".join(lines))
        return tmp_path

    return write


def test_a_preview_lets_google_check_the_first_request(deployment, fake, ads):
    answer = act(deployment, run.preview, winback(ads(fake)), validate=True)

    assert answer["validated"] == "yes"
    assert (len(fake.validated), fake.taken) == (1, [])


@pytest.mark.parametrize(
    ("failing", "status", "reason"),
    [
        ("-", "accepted", None),
        ("u199", "accepted", "some of request-0 failed, Google does not say who: "),
        ("u", "rejected", "Google failed: NO_CONSENT (2)"),
    ],
)
def test_users_are_accepted_once_google_has_taken_them(
    deployment, ads, failing, status, reason
):
    """Not before; and sent once, whoever asks, as Google is asked no more."""
    pending = []
    with Fake(fails=lambda user: "NO_CONSENT" * user.startswith(failing)) as fake:
        folder = ads(fake)
        for _ in range(4):
            done = send(deployment, folder, top=2, control="0%")
            pending.append(done["pending"])

    assert pending == [2, 2, 0, 0]
    assert (fake.asked.total(), len(fake.taken)) == (2, 1)
    for row in ledger(deployment):
        assert row["status"] == status
        assert str(row["reason"]).startswith(str(reason))


def test_whoever_may_be_left_of_a_removal_is_not_said_to_be_removed(deployment, ads):
    """Google does not say who of it failed."""
    failing = set()
    with Fake(fails=lambda user: "NO_CONSENT" * (user in failing)) as fake:
        folder = ads(fake)
        for _ in range(3):
            send(deployment, folder, top=2, control="0%")
        failing.add("u199")
        next_week(deployment, {"u001": 0.5, "u002": 0.4})
        for _ in range(3):
            send(deployment, folder, top=2, control="0%")
    removed = [row for row in ledger(deployment) if row["action"] == "remove"]

    assert {row["user_id"] for row in removed} == {"u198", "u199"}
    assert {row["status"] for row in removed} == {"rejected"}
    assert {row["may_have_arrived"] for row in removed} == {True}


@pytest.mark.parametrize("consent", ["FALSE", "NULL"])
def test_a_consent_withdrawn_since_the_choice_is_not_declared_granted(
    deployment, fake, ads, consent
):
    """Who withdraws it within the audience's SQL is sent by a later try as little as
    who leaves it."""
    folder = ads(fake, consent_by="ads")
    granted = "SELECT user_id, TRUE AS ads FROM publication"
    (folder / "winback.sql").write_text(granted)
    fake.take = lambda *_: error(503, "UNAVAILABLE", "UNAVAILABLE")
    assert send(deployment, folder, top=2, control="0%")["failure"]
    del fake.take
    withdrawn = granted.replace("TRUE", f"IF(user_id = 'u199', {consent}, TRUE)")
    (folder / "winback.sql").write_text(withdrawn)
    done = send(deployment, folder, top=2, control="0%")

    [request] = fake.taken
    [member] = request.audience_members
    assert member.user_id_data.user_id == "u198"
    assert member.consent.ad_user_data.name == "CONSENT_GRANTED"
    assert sum(done["tallies"]["add"]["rejected"].values()) == 1
