"""Google's Data Manager, specified: Google's own client against the API's fake."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import msgspec
import pytest
import requests

from propensity import usecases
from propensity.audience import google, run
from propensity.audience.destination import (
    ADD,
    REMOVE,
    Outcome,
    Refused,
    Request,
    Sent,
    Unanswered,
)
from propensity.audience.google import (
    ANALYTICS,
    Google,
    GoogleFile,
    hashed_email,
    hashed_phone,
)
from propensity.audience.members import Member
from propensity.errors import AccessDenied, RequestError, Unavailable
from propensity.gcp import data_manager
from propensity.gcp.data_manager import DataManager
from tests.offline.audience.conftest import (
    START,
    act,
    ledger,
    send,
    winback,
)
from tests.offline.audience.test_destinations import AUDIENCE
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


# As gcloud auth application-default login writes them.
PERSON = {"type": "authorized_user", "client_id": "a", "client_secret": "b"}
PERSON |= {"refresh_token": "c"}
FUNCTION = {
    "type": "impersonated_service_account",
    "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/"
    "projects/-/serviceAccounts/propensity-audiences@p.iam.gserviceaccount.com"
    ":generateAccessToken",
    "source_credentials": PERSON,
}
VALIDATED = {
    "destinations": [{"operating_account": {"account_id": "123"}}],
    "events": [{"client_id": "u1", "event_timestamp": "2026-03-02T00:00:00Z"}],
    "validate_only": True,
}


@pytest.fixture
def log_in(fake, monkeypatch, tmp_path):
    """Log in by a file; what goes to Google reaches the fake by Google's client."""
    send = requests.adapters.HTTPAdapter.send

    def redirected(adapter, request, **how):
        address = urlsplit(request.url)
        if address.netloc.endswith(".googleapis.com"):
            request.url = f"{fake.url}{address.path}?{address.query}"
        return send(adapter, request, **how)

    def logged_in(login) -> DataManager:
        file = tmp_path / "login.json"
        file.write_text(json.dumps(login))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", redirected)
        return DataManager("https://datamanager.googleapis.com")

    return logged_in


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
    return Request(AUDIENCE, "google", action, members)


class TestEvents:
    def test_events_set_a_property_of_the_browser(self, fake):
        """In, or out; with the time at which the audience was chosen, and consent. What
        is sent again is the same.

        Defect: who had left because they withdrew a consent was declared to grant it.
        Google takes events with a transaction of chosen properties alone."""
        client = opened(fake)
        for action in (*client.actions, ADD):
            client.send(request_of("GA1.2.3", action=action))

        assert fake.taken.pop().events == fake.taken[-1].events
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

    def test_events_are_refused_once_analytics_takes_them_no_more(self, fake):
        late = opened(fake, now=START + timedelta(hours=73))

        with pytest.raises(RequestError, match="72 hours"):
            late.send(request_of("GA1.2.3"))

    def test_events_are_of_browsers_alone(self, fake):
        """Others are rejected, and stop nobody."""
        users = "GA1.2.3", "a b", "猫", "0123456789abcdef" * 2
        sent = opened(fake).send(request_of(*users))

        assert sent.rejected == dict.fromkeys(users[1:3], "not a client id") | {
            users[3]: "an app instance instead of a browser"
        }
        assert [event.client_id for event in fake.taken[0].events] == ["GA1.2.3"]

    def test_events_without_a_browser_are_no_request(self, fake):
        sent = opened(fake).send(request_of("a b"))

        assert sent == Sent({"a b": "not a client id"})
        assert fake.requests == 0


class TestMembers:
    def test_members_are_user_ids_where_the_file_names_no_address(self, fake):
        opened(fake, LIST).send(request_of("u1"))
        [request] = fake.taken

        assert request.audience_members[0].user_id_data.user_id == "u1"
        login = request.destinations[0].login_account.account_id
        assert (request.destinations[0].product_destination_id, login) == ("456", "789")
        accepted = request.terms_of_service.customer_match_terms_of_service_status
        assert accepted.name == "ACCEPTED"

    def test_members_are_hashes_of_their_addresses(self, fake):
        client = opened(fake, LIST | ADDRESSES, columns=["email", "phone"])
        client.send(
            request_of("u1", email=" Ann@Example.com", phone="+44 20 7946 0000")
        )
        first, second = fake.taken[0].audience_members[0].user_data.user_identifiers

        assert first.email_address == digest("ann@example.com")
        assert second.phone_number == digest("+442079460000")

    def test_members_without_an_address_are_rejected_by_themselves(self, fake):
        client = opened(fake, LIST | ADDRESSES, columns=["email", "phone"])
        members = [
            Member("u1", attributes='{"email": "ann@example.com"}'),
            Member("u2", attributes='{"email": null}'),
            Member("u3", attributes='{"email": "nobody"}'),
            Member("u4"),
            # One of both is enough.
            Member("u5", attributes='{"email": "bo@example.com", "phone": "123"}'),
        ]
        sent = client.send(Request(AUDIENCE, "ads", ADD, members))

        assert sent.rejected == {
            "u2": "no e-mail address and no phone number",
            "u3": "no e-mail address",
            "u4": "no e-mail address and no phone number",
        }
        assert len(fake.taken[0].audience_members) == 2

    def test_members_have_their_own_consent(self, fake):
        """Of those of whom it is not known nothing is said; a word is no consent."""
        client = opened(fake, LIST, consent_by="ads", columns=["ads"])
        said = {"u1": "true", "u2": "false", "u3": "null", "u4": '"no"'}
        members = [
            Member(user, attributes=f'{{"ads": {value}}}')
            for user, value in said.items()
        ]
        sent = client.send(Request(AUDIENCE, "ads", ADD, members))
        client.send(Request(AUDIENCE, "ads", REMOVE, members))
        first, removal = fake.taken

        assert sent.rejected == {"u4": "ads is neither true nor false"}
        assert [one.consent.ad_user_data.name for one in first.audience_members] == [
            "CONSENT_GRANTED",
            "CONSENT_DENIED",
            "CONSENT_STATUS_UNSPECIFIED",
        ]
        assert "consent" not in removal.audience_members[0]

    def test_members_are_taken_off_the_list(self, fake):
        opened(fake, LIST, consent="GRANTED").send(request_of("u1", action=REMOVE))

        assert dict(fake.users) == {("remove", "u1"): 1}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("Ann@Example.com ", digest("ann@example.com")),
        ("A.n.n+shop@Gmail.com", digest("ann@gmail.com")),
        ("a.n.n+shop@example.com", digest("a.n.n+shop@example.com")),
        # Hashes stay as they are, in small letters, as Google wants them.
        (digest("a@b.c").upper(), digest("a@b.c")),
    ],
)
def test_addresses_are_normalised_as_google_does(given, address):
    assert hashed_email(given) == address
    assert hashed_phone(digest("+1")) == digest("+1")


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("+44 20 7946 0958", "+442079460958"),
        ("+44 (0) 20 7946 0958", "+442079460958"),
        ("+49 (0)170 1234567", "+491701234567"),
        ("+(44) 20-7946.0958", "+442079460958"),
        ("+1\u2011555\u00a0010\u20110199", "+15550100199"),
        ("+420 601 123 456", "+420601123456"),
        # The 0 of Italy and of a few others is a part of the number.
        ("+39 06 698 12345", "+390669812345"),
        ("+39 (0)6 698 12345", "+390669812345"),
        ("+229 01 95 12 34 56", "+2290195123456"),
        ("+7 (495) 000-00-00", "+74950000000"),
    ],
)
def test_a_phone_number_has_one_form(given, number):
    """Defect: the zero of calls within the country was hashed with the rest."""
    assert hashed_phone(given) == digest(number)


@pytest.mark.parametrize(
    ("hashing", "message", "texts"),
    [
        (
            hashed_email,
            "^no e-mail address$",
            ("", "ann", "@b", "a@", "a@b@c", "a b@c.d", "+@gmail.com"),
        ),
        (
            hashed_phone,
            "country code",
            ("020 7946 0000", "0044 20 7946 0000", "+0 123 4567", "phone"),
        ),
        (
            hashed_phone,
            "0 behind the country code",
            ("+44 020 7946 0000", "+49 (0170) 1234567", "+420 0601 123456"),
        ),
        (
            hashed_phone,
            "too few or too many digits",
            ("+44 2", "+1 (1) 555 010 0199", "+1 555 010 01", "+491234567890123456"),
        ),
        # Defect: the digit of calls within the country was hashed with the rest.
        (
            hashed_phone,
            "too few or too many digits",
            ("+7 (8) 495 000-00-00", "+52 1 55 0000 0000", "+370 8 600 00000"),
        ),
    ],
)
def test_nothing_is_hashed_that_is_no_address(hashing, message, texts):
    for text in texts:
        with pytest.raises(ValueError, match=message):
            hashing(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"target": "UA-1"},
        {"account": "abc"},
        {"account_type": "GOOGLE_ADS"},
        {"consent": "YES"},
        {"property": "user_id"},
        {"property": "a_name_longer_than_a_property"},
        {"url": "google.com"},
        {"other": 1},
    ],
)
def test_a_file_that_google_would_refuse_is_refused_at_once(changed):
    [name] = changed
    with pytest.raises(ValueError, match="target" if name == "account_type" else name):
        msgspec.convert(EVENTS | changed, GoogleFile)


@pytest.mark.parametrize(
    ("required", "use_case", "is_refused"),
    [
        ("ads_storage", "ga4_purchase", False),
        ("both", "ga4_purchase", False),
        ("false", "ga4_purchase", True),
        ("analytics_storage", "ga4_purchase", True),
        # Its users are not of the export, and so not of the view with that consent.
        ("both", "first_day_churn", True),
    ],
)
def test_a_file_grants_consent_of_all_users_alone(required, use_case, is_refused):
    """Defect: Google was told of users who had refused that they had consented."""
    file = msgspec.convert(EVENTS, GoogleFile)
    settings = SimpleNamespace(require_consent=required)
    with pytest.raises(ValueError, match="consent_by") if is_refused else nullcontext():
        file.check_consent(settings, usecases.load(use_case))


def test_a_file_grants_no_consent_beside_a_column_of_consents():
    with pytest.raises(ValueError, match="consent and consent_by contradict"):
        msgspec.convert(EVENTS | {"consent_by": "ads"}, GoogleFile)


def test_a_file_names_columns_that_there_are(fake):
    with pytest.raises(ValueError, match="no column email"):
        opened(fake, LIST | {"email": "email"}, columns=["phone"])


class TestRequests:
    def test_requests_hold_as_many_users_as_google_takes(self, fake):
        client = opened(fake, EVENTS)
        users = [f"u{n}" for n in range(client.batch)]
        client.send(request_of(*users))

        assert (client.batch, opened(fake, LIST).batch) == (2_000, 10_000)
        with pytest.raises(RequestError, match="TOO_MANY"):
            client.send(request_of(*users, "more"))

    def test_wrong_requests_name_no_address(self, fake, monkeypatch):
        """The reason may stand in a table."""
        monkeypatch.setattr(google, "hashed_email", lambda text: text)
        client = opened(fake, LIST | ADDRESSES, columns=[*ADDRESSES])

        with pytest.raises(Refused) as raised:
            client.send(request_of("u1", email="ann@b.c"))
        assert "audience_members[0]: INVALID_SHA256_FORMAT" in str(raised.value)
        assert "ann" not in str(raised.value)

    def test_wrong_requests_repeat_no_sentence(self, fake):
        faults = [{"field": "events[0].client_id", "reason": "Ann (+49 170) is wrong"}]
        fake.take = lambda *_: error(400, "INVALID_ARGUMENT", "of Ann", faults)

        with pytest.raises(Refused) as raised:
            opened(fake).send(request_of("u1"))
        assert str(raised.value) == "status 400, events[0].client_id: wrong"

    def test_requests_to_an_account_of_somebody_else_say_what_to_do(self, fake):
        with pytest.raises(AccessDenied, match="as an editor"):
            opened(fake, account="9").send(request_of("u1"))

    def test_requests_of_a_persons_login_say_how_to_log_in(self, fake, log_in):
        """Defect: the message told to make the account an editor, which it was."""
        api = log_in(PERSON)

        with pytest.raises(AccessDenied, match="impersonate-service-account"):
            api.send("ingest_events", VALIDATED)

    def test_requests_of_a_login_as_the_functions_account_are_taken(self, fake, log_in):
        log_in(FUNCTION).send("ingest_events", VALIDATED)

        assert len(fake.validated) == 1

    @pytest.mark.parametrize("fault", [{"lost": 1.0}, {"unavailable": 1.0}])
    def test_requests_without_an_answer_may_be_sent_again(self, fault):
        with Fake(**fault) as fake, pytest.raises(Unanswered):
            opened(fake).send(request_of("u1"))

    @pytest.mark.parametrize("words", ["a page", {"error": "no"}, {"requestId": []}])
    @pytest.mark.parametrize("status", [200, 500])
    def test_requests_that_are_answered_with_nonsense_are_unanswered(
        self, fake, status, words
    ):
        fake.take = lambda *_: (status, {}, words)

        with pytest.raises((Unanswered, Unavailable)):
            opened(fake).send(request_of("u1"))


class TestOutcomes:
    @pytest.mark.parametrize(
        ("failing", "outcome"),
        [
            ("", Outcome(is_accepted=True)),
            (
                "u1",
                Outcome(
                    is_accepted=True,
                    reason="some of request-0 failed, Google does not say who: "
                    "NO_CONSENT (1)",
                    is_partial=True,
                ),
            ),
            ("u", Outcome(is_accepted=False, reason="Google failed: NO_CONSENT (2)")),
        ],
        ids=["success", "in part", "failure"],
    )
    def test_outcomes_are_what_google_says_later(self, failing, outcome):
        def fails(user: str) -> str:
            return "NO_CONSENT" * bool(failing and user.startswith(failing))

        with Fake(fails=fails) as fake:
            client = opened(fake, LIST)
            answer = client.send(request_of("u1", "u2"))

            assert client.outcome(answer.receipt) is None
            assert client.outcome(answer.receipt) == outcome

    def test_outcomes_that_google_keeps_no_more_stay_open(self, fake):
        assert opened(fake).outcome("of last year") is None


class TestDeliveries:
    """The ledger of a destination that says later what became of users."""

    @pytest.fixture
    def ads(self, tmp_path):
        """Return the folder of audiences that go to a customer list."""

        def write(fake: Fake) -> Path:
            file = tmp_path / "destinations" / "crm.toml"
            file.parent.mkdir(exist_ok=True)
            entries = {**LIST, "url": fake.url}.items()
            file.write_text("".join(f'{key} = "{value}"\n' for key, value in entries))
            return tmp_path

        return write

    def test_deliveries_are_checked_by_google_in_a_preview(self, deployment, fake, ads):
        answer = act(deployment, run.preview, winback(ads(fake)), validate=True)

        assert answer["validated"] == "yes"
        assert (len(fake.validated), fake.taken) == (1, [])

    def test_users_are_accepted_once_google_has_taken_them(self, deployment, fake, ads):
        """Not before; and sent once, whoever asks, as Google is asked no more."""
        folder = ads(fake)
        best = {"top": 2, "control": "0%"}

        assert [send(deployment, folder, **best)["pending"] for _ in range(2)] == [2, 2]
        assert {row["status"] for row in ledger(deployment)} == {"pending"}
        assert {row["receipt"] for row in ledger(deployment)} == {"request-0"}
        assert send(deployment, folder, **best)["pending"] == 0
        settled = ledger(deployment)
        asked = fake.asked.total()
        assert {row["status"] for row in settled} == {"accepted"}
        assert send(deployment, folder, **best)["pending"] == 0
        assert (ledger(deployment), fake.asked.total()) == (settled, asked)
        assert set(fake.users.values()) == {1}

    def test_it_is_recorded_why_google_took_nobody(self, deployment, ads):
        with Fake(late=0, fails=lambda user: "NO_CONSENT") as fake:
            for _ in range(2):
                send(deployment, ads(fake), top=1, control="0%")
        [row] = ledger(deployment)

        assert (row["status"], row["reason"]) == (
            "rejected",
            "Google failed: NO_CONSENT (1)",
        )
