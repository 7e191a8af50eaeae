"""
The account of an audience, specified on a receiver that works on requests later.
"""

from __future__ import annotations

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import main
from local.receiver import Faults
from offline.audience.account import account
from offline.audience.destinations.data_manager import DataManager
from offline.audience.posting import Poster, Refused
from offline.replay.sending import Stop
from propensity.errors import RequestError, SchemaError, Unavailable
from tests.offline.audience.conftest import MONDAY, WEEK, members_of, send
from tests.offline.audience.data_manager_receiver import (
    CONTACTS,
    DataManagerReceiver,
    ads,
    destination_file,
)


@pytest.fixture
def to(site, tmp_path, monkeypatch):
    """Return the destination file of a receiver; everybody has an email address."""
    site.rows(CONTACTS)
    monkeypatch.setattr(DataManager, "batch", 40)

    return partial(destination_file, tmp_path)


@pytest.fixture
def receiver():
    with DataManagerReceiver() as receiver:
        yield receiver


@pytest.fixture
def path(site, to, receiver):
    """The destination file with which an audience was sent to the receiver."""
    path = to(receiver)
    send(site, path)
    return path


def outcomes(site, path):
    rows = account("winback", to=path, clock=site.clock).outcomes
    return {(r["action"], r["status"], r["reason"]): r["users"] for r in rows}


class TestWhatGoogleMadeOfRequests:
    def test_waits_at_first_and_is_then_counted_by_reason(self, site, receiver, path):
        """Of three requests one is done, one partly, and one has failed."""
        sizes = [len(members) for _, members in receiver.requests]
        at_first = outcomes(site, path)
        receiver.finish(1)
        half_way = outcomes(site, path)
        few = {"PROCESSING_ERROR_REASON_INVALID_PHONE": 3, "OTHER": 1}
        receiver.finish(2, "PARTIAL_SUCCESS", errors=few, warnings={"KEY": 2})
        receiver.finish(3, "FAILED", errors={"OTHER": sizes[2]})
        later = outcomes(site, path)

        treated = len(members_of(site, is_control=False))
        assert len(sizes) == 3
        assert sum(sizes) == treated
        assert at_first == {("add", "waiting", ""): treated}
        assert half_way == {
            ("add", "done", ""): sizes[0],
            ("add", "waiting", ""): sizes[1] + sizes[2],
        }
        assert later == {
            ("add", "done", ""): sizes[0] + sizes[1] - 4,
            ("add", "failed", "PROCESSING_ERROR_REASON_INVALID_PHONE"): 3,
            ("add", "failed", "OTHER"): 1 + sizes[2],
            ("add", "warned", "KEY"): 2,
        }

    def test_is_told_of_removals_by_date(self, site, to):
        with DataManagerReceiver() as receiver:
            path = to(receiver)
            send(site, path, until=MONDAY)
            site.publish(MONDAY + WEEK, {"u150": 0.5})
            site.clock.advance(WEEK.total_seconds())
            send(site, path, until=MONDAY + WEEK, control=0.1)
            removals = [
                number
                for number, (verb, _) in enumerate(receiver.requests, start=1)
                if verb == "remove"
            ]
            for number in range(1, len(receiver.requests) + 1):
                receiver.finish(number)
            receiver.finish(removals[0], "FAILURE")
            counts = outcomes(site, path)

        size = len(receiver.requests[removals[0] - 1][1])
        assert counts["remove", "failed", "FAILURE"] == size

    def test_of_users_who_were_rejected_is_nothing(self, site, to):
        """They were in no request that was taken in."""
        faults = Faults(rejects=lambda key: "WRONG" * ('"emailAddress": "0' in key))
        with DataManagerReceiver(faults) as receiver:
            path = to(receiver)
            send(site, path)
            receipts = {
                (row["status"], row["receipt"] is None) for row in site.ledger()
            }

        assert receipts == {("accepted", False), ("rejected", True)}

    def test_of_long_ago_is_not_asked_for(self, site, receiver, path):
        site.clock.advance(50 * 24 * 3600)
        requests = receiver.taken.requests
        assert outcomes(site, path) == {}
        assert receiver.taken.requests == requests

    def test_is_unknown_where_it_does_not_know_the_request(self, site, receiver, path):
        receiver.requests.clear()
        counts = outcomes(site, path)

        assert {status for _, status, _ in counts} == {"unknown"}

    def test_is_printed_below_the_ledger(self, site, receiver, path, capsys):
        receiver.finish(1)
        # The account is as of today, and the members of the tests are not.
        lines = str(account("winback", to=path, clock=site.clock)).splitlines()
        assert main(["audience", "ledger", "winback", "--json"]) == 0

        assert [line.split()[:4] for line in lines[-3:]] == [
            ["ads", "add", "accepted", str(len(members_of(site, is_control=False)))],
            ["ads", "add", "done", "40"],
            ["ads", "add", "waiting", lines[-1].split()[3]],
        ]
        assert json.loads(capsys.readouterr().out)["outcomes"] == []

    def test_is_not_asked_of_a_destination_that_answers_at_once(self, site):
        send(site)
        with pytest.raises(RequestError, match="works on nothing later") as raised:
            account("winback", to="bucket", clock=site.clock)

        assert raised.value.field == "to"


class TestAnOutcome:
    @given(
        sent=st.integers(1, 10_000),
        shares=st.lists(st.integers(0, 100), max_size=3),
        status=st.sampled_from(["SUCCESS", "PARTIAL_SUCCESS", "FAILED", "FAILURE"]),
    )
    def test_counts_every_user_once(self, sent, shares, status):
        """Done and failed are all who were sent, whatever Google gives reasons for."""
        errors = {
            f"reason {n}": sent * share // (100 * len(shares))
            for n, share in enumerate(shares)
        }
        receiver = _status_of(sent, status, errors)
        outcome = ads_answering(receiver).outcome("request-1", users=7)

        assert outcome.is_over
        assert outcome.done + outcome.failed.total() == sent
        assert outcome.done == 0 or status in ("SUCCESS", "PARTIAL_SUCCESS")

    @pytest.mark.parametrize(
        "answer", [{}, [], None, {"requestStatusPerDestination": ["x"]}]
    )
    def test_that_cannot_be_read_is_none(self, answer):
        with pytest.raises(Unavailable):
            ads_answering(answer).outcome("request-1", users=7)

    @pytest.mark.parametrize(
        "answer",
        [
            {"requestStatusPerDestination": []},
            {"requestStatusPerDestination": [{"requestStatus": "PROCESSING"}]},
            {"requestStatusPerDestination": [{"requestStatus": "OF_TOMORROW"}]},
            {"requestStatusPerDestination": [{}]},
        ],
    )
    def test_that_is_not_there_is_waited_for(self, answer):
        assert not ads_answering(answer).outcome("request-1", users=7).is_over

    def test_without_a_count_is_of_the_users_of_the_ledger(self):
        answer = {"requestStatusPerDestination": [{"requestStatus": "SUCCESS"}]}
        assert ads_answering(answer).outcome("request-1", users=7).done == 7

    def test_of_a_request_that_is_not_known_is_refused(self):
        with DataManagerReceiver() as receiver, pytest.raises(Refused):
            ads(receiver).outcome("a/b&c", users=7)

        assert receiver.taken.refusals == {400: 1}


def _status_of(sent, status, errors):
    receiver = DataManagerReceiver.__new__(DataManagerReceiver)
    receiver.requests = [("ingest", ["x"] * sent)]
    receiver._over = {}
    receiver.finish(1, status, errors=errors)
    return {"requestStatusPerDestination": [*receiver._over.values()]}


def ads_answering(answer):
    """Return a destination whose receiver answers so, without a network."""

    class Answering(Poster):
        def send(self, *args, **kwargs):
            return answer

    destination = ads(_Nowhere())
    destination._poster = Answering(Stop(), rate=0)
    return destination


class _Nowhere:
    url = "https://nowhere.example.com"


def test_a_ledger_without_receipts_is_refused_before_anything_is_sent(site, to):
    """Nobody could be recorded in that of an earlier release."""
    site.rows("ALTER TABLE ma_audience_ledger DROP COLUMN receipt")
    with DataManagerReceiver() as receiver:
        path = to(receiver)
        with pytest.raises(SchemaError, match="set-up adds columns"):
            send(site, path)
        assert receiver.requests == []
        assert site.rows("SELECT * FROM ma_audience_members WHERE TRUE") == []
        site.rows("ALTER TABLE ma_audience_ledger ADD COLUMN receipt STRING")
        assert send(site, path).is_complete
