"""
Customer match by Google's Data Manager API, specified on a receiver with its limits.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial

import pytest

from local.receiver import Faults
from offline.audience.delivery import Streak, as_taken, rejected_of
from offline.audience.destinations.data_manager import DataManager
from offline.audience.posting import Poster, Refused
from offline.audience.selection import Rule
from offline.replay.sending import Stop
from propensity.errors import AccessDenied, RequestError, Unavailable
from tests.emptied import empty_tables
from tests.offline.audience.conftest import MONDAY, TABLES, WEEK, members_of, send
from tests.offline.audience.data_manager_receiver import (
    CONTACTS,
    IDENTIFIERS_A_USER,
    LIST,
    MEMBERS,
    DataManagerReceiver,
    ads,
    destination_file,
)
from tests.offline.audience.killing import Fate, kill_and_resume
from tests.offline.audience.people import contact, deliver, request_of


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def email_of(user):
    return f"{user}@a.io"


def known(*users):
    return [contact(user, email=email_of(user)) for user in users]


def rejecting(*users, reason="INVALID_POSTAL_CODE"):
    hashes = [sha256(email_of(user)) for user in users]
    return Faults(rejects=lambda key: reason * any(h in key for h in hashes))


class TestARequest:
    def test_to_add_has_these_fields_and_no_others(self):
        person = contact(
            "a", email="A@a.io", phone="+44 20 7946 0011", first_name="Dr. Anna",
            last_name="Smith", country_code="gb", postal_code="SW1A 1AA",
        )  # fmt: skip
        with DataManagerReceiver() as receiver:
            assert deliver(ads(receiver, person), request_of("a")) == {}

        address = {
            "givenName": sha256("anna"),
            "familyName": sha256("smith"),
            "regionCode": "GB",
            "postalCode": "SW1A 1AA",
        }
        identifiers = [
            {"emailAddress": sha256("a@a.io")},
            {"phoneNumber": sha256("+442079460011")},
            {"address": address},
        ]
        account = {"accountType": "GOOGLE_ADS", "accountId": "123"}
        assert receiver.bodies == [
            {
                "destinations": [
                    {"operatingAccount": account, "productDestinationId": LIST}
                ],
                "audienceMembers": [{"userData": {"userIdentifiers": identifiers}}],
                "encoding": "HEX",
                "consent": {
                    "adUserData": "CONSENT_GRANTED",
                    "adPersonalization": "CONSENT_GRANTED",
                },
                "termsOfService": {"customerMatchTermsOfServiceStatus": "ACCEPTED"},
            }
        ]

    def test_to_remove_says_nothing_of_consent(self):
        with DataManagerReceiver() as receiver:
            client = ads(receiver, *known("a", "b"))
            deliver(client, request_of("a", "b"))
            gone = {**known("b")[0], "has_ads_consent": False}
            other = ads(receiver, gone)
            assert deliver(other, request_of("b", action="remove")) == {}

        assert [verb for verb, _ in receiver.requests] == ["ingest", "remove"]
        assert receiver.bodies[1].keys() == {
            "destinations",
            "audienceMembers",
            "encoding",
        }
        assert len(receiver.listed) == 1

    def test_names_the_manager_account_and_the_project_of_the_quota(self):
        with DataManagerReceiver() as receiver:
            client = ads(
                receiver, *known("a"), login_customer_id="77", quota_project="${SECRET}"
            )
            deliver(client, request_of("a"))

        [destination] = receiver.bodies[0]["destinations"]
        account = {"accountType": "GOOGLE_ADS", "accountId": "77"}
        assert destination["loginAccount"] == account
        assert receiver.headers[0]["x-goog-user-project"] == "s"

    def test_has_ten_thousand_users_and_ten_identifiers_of_each(self):
        users = [f"u{n}" for n in range(DataManager.batch)]
        many = [contact("u0", email=f"{n}@a.io") for n in range(15)]
        with DataManagerReceiver() as receiver:
            client = ads(receiver, *many, *known(*users[1:]))
            client._people._contacts = lambda chunk: [
                *(many if "u0" in chunk else []),
                *known(*(user for user in chunk if user != "u0")),
            ]
            assert deliver(client, request_of(*users)) == {}

        assert DataManager.batch == MEMBERS
        [(_, members)] = receiver.requests
        assert len(members) == MEMBERS
        first = json.loads(members[0])["userData"]["userIdentifiers"]
        assert len(first) == IDENTIFIERS_A_USER

    def test_that_is_sent_again_leaves_the_list_as_it_is(self):
        faults = Faults(lost=0.4, unavailable=0.2, slow=0.2, seed=3)
        with DataManagerReceiver(faults) as receiver:
            client = ads(receiver, *known(*"abc"))
            for _ in range(5):
                assert deliver(client, request_of(*"abc")) == {}

        assert receiver.taken.requests > 5
        assert len(receiver.listed) == 3

    def test_of_gmail_has_no_tag(self):
        with DataManagerReceiver() as receiver:
            person = contact("a", email="Anna.Smith+shop@gmail.com")
            deliver(ads(receiver, person), request_of("a"))

        [member] = receiver.bodies[0]["audienceMembers"]
        [identifier] = member["userData"]["userIdentifiers"]
        assert identifier == {"emailAddress": sha256("annasmith@gmail.com")}

    def test_has_nobody_who_cannot_be_known_or_has_not_consented(self):
        people = [
            contact("a", email="a@a.io", has_ads_consent=False),
            contact("b", email="no address"),
        ]
        with DataManagerReceiver() as receiver:
            rejected = deliver(ads(receiver, *people), request_of(*"abc"))

        assert rejected == {
            "a": "no consent to ads",
            "b": "no email, phone or address",
            "c": "no contact",
        }
        assert receiver.requests == []


class TestARefusal:
    def test_costs_nobody_but_the_users_whom_it_names(self):
        with DataManagerReceiver(rejecting("b", "d")) as receiver:
            client = ads(receiver, *known(*"abcd"))
            rejected = deliver(client, request_of(*"abcd"))

        assert rejected == dict.fromkeys("bd", "INVALID_POSTAL_CODE")
        assert len(receiver.listed) == 2
        assert receiver.taken.requests == 2
        assert [*client.receipts.values()] == ["request-1"]

    def test_of_everybody_sends_no_request_without_users(self):
        with DataManagerReceiver(rejecting(*"ab")) as receiver:
            client = ads(receiver, *known(*"ab"))
            rejected = deliver(client, request_of(*"ab"))

        assert rejected.keys() == {"a", "b"}
        assert receiver.taken.requests == 1

    @pytest.mark.parametrize("named", [1, 3])
    def test_that_names_some_at_a_time_finds_all(self, named):
        users = [f"u{n}" for n in range(60)]
        bad = users[3:50:4]
        with DataManagerReceiver(rejecting(*bad), named=named) as receiver:
            client = ads(receiver, *known(*users))
            request = request_of(*users)
            client.problems("add", request.members)
            parts = as_taken(request, client, Streak("ads"))

        assert rejected_of(parts).keys() == set(bad)
        assert len(receiver.listed) == 60 - len(bad)

    def test_of_the_list_is_nobodys_fault(self):
        with DataManagerReceiver() as receiver:
            client = ads(receiver, *known(*"ab"), user_list="1")
            with pytest.raises(RequestError, match="INVALID_USER_LIST_ID"):
                deliver(client, request_of(*"ab"))

        assert receiver.taken.requests == 1

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ({"error": {"details": [{"reason": "NOT_ALLOWLISTED"}]}}, RequestError),
            ({"error": {"details": [{"reason": "INVALID_ARGUMENT"}]}}, Refused),
            ({"error": "of a gateway"}, Refused),
            ([], Refused),
            (b"<html>", Refused),
        ],
    )
    def test_without_a_field_is_read_by_its_reason(self, answer, error):
        class Refusing(DataManagerReceiver):
            def take(self, *args):
                return 400, {}, answer

        with Refusing() as receiver, pytest.raises(error):
            deliver(ads(receiver, *known("a")), request_of("a"))

    def test_of_the_token_has_no_token_in_it(self):
        with DataManagerReceiver() as receiver:
            client = ads(receiver, *known("a"), access_token="a-secret-token")
            with pytest.raises(AccessDenied) as raised:
                deliver(client, request_of("a"))

        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("answer", [{}, {"requestId": ""}, [], b"<html>"])
def test_an_answer_that_names_no_request_accepts_nobody(answer):
    class Vague(DataManagerReceiver):
        def take(self, *args):
            return 200, {}, answer

    with Vague() as receiver:
        client = ads(receiver, *known("a"))
        client._poster = Poster(Stop(), rate=0, tries=2, sleep=lambda seconds: None)
        with pytest.raises(Unavailable):
            deliver(client, request_of("a"))

    assert not client.receipts


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"customer_id": "123-456-7890"}, "customer_id"),
        ({"user_list": "customers/1/userLists/2"}, "user_list"),
        ({"login_customer_id": "1-2"}, "login_customer_id"),
        ({"access_token": ""}, "access_token"),
        ({"terms_of_service": "yes"}, "terms_of_service"),
        ({"developer_token": "d"}, "developer_token"),
        ({"url": "http://datamanager.example.com/v1"}, "url"),
        ({"rate": -1}, "rate"),
    ],
)
def test_a_file_is_refused_by_its_field(changed, field):
    with DataManagerReceiver() as receiver, pytest.raises(RequestError) as raised:
        ads(receiver, **changed)

    assert raised.value.field == field


@pytest.fixture
def to(site, tmp_path):
    """Return the destination file of a receiver; everybody has an email address."""
    site.rows(CONTACTS)

    return partial(destination_file, tmp_path)


def on_list(receiver, users):
    """Say whether these users are on a receiver's list, and nobody else."""
    hashes = {sha256(email_of(user)) for user in users}
    listed = [json.loads(member) for member in receiver.listed]
    emails = [
        member["userData"]["userIdentifiers"][0]["emailAddress"] for member in listed
    ]
    return len(emails) == len(users) and set(emails) == hashes


class TestADelivery:
    def test_removes_who_has_left_before_it_adds(self, site, to):
        with DataManagerReceiver() as receiver:
            path = to(receiver)
            first = send(site, path, until=MONDAY)
            site.publish(MONDAY + WEEK, {f"u{n:03}": (n + 1) / 400 for n in range(120)})
            second = send(site, path, until=MONDAY + WEEK, rule=Rule(top=50))

        verbs = [verb for verb, _ in receiver.requests]
        assert verbs == ["ingest", "remove", "ingest"]
        assert on_list(receiver, members_of(site, MONDAY + WEEK, is_control=False))
        assert first.receipts == ["request-1"]
        assert second.receipts == ["request-2", "request-3"]
        assert "taken in as 2 requests, on which ads works later" in str(second)

    def test_to_a_wrong_list_records_nobody(self, site, to):
        with DataManagerReceiver() as receiver:
            wrong = send(site, to(receiver, user_list="5"))
            recorded = site.ledger()
            right = send(site, to(receiver))

        assert "INVALID_USER_LIST_ID" in wrong.failure
        assert recorded == []
        assert right.is_complete
        assert on_list(receiver, members_of(site, is_control=False))

    def test_that_is_killed_is_resumed(self, site, to, monkeypatch):
        monkeypatch.setattr(DataManager, "batch", 7)
        with DataManagerReceiver(rejecting("u120")) as receiver:
            fate = Fate(monkeypatch, "audienceMembers")
            killed = kill_and_resume(site, to(receiver), fate, at_most=4, seed=0)

        assert killed >= 2
        assert on_list(receiver, site.accepted(but={"u120"}))

    @pytest.mark.long
    def test_that_is_killed_at_60_points_is_resumed(self, site, to, monkeypatch):
        monkeypatch.setattr(DataManager, "batch", 7)
        rejected = {"u120", "u133", "u134"}
        killed = seed = 0
        while killed < 60:
            seed += 1
            empty_tables(site.warehouse, TABLES[2:])
            faults = Faults(
                lost=0.1, seed=seed, rejects=rejecting(*sorted(rejected)).rejects
            )
            named = 1 + seed % 2
            with (
                DataManagerReceiver(faults, named=named) as receiver,
                monkeypatch.context() as patched,
            ):
                fate = Fate(patched, "audienceMembers")
                killed += kill_and_resume(
                    site, to(receiver), fate, at_most=20, seed=seed
                )
            assert on_list(receiver, site.accepted(but=rejected))
            site.clock.advance(6 * 60)
