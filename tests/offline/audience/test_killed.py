"""
Deliveries that are killed, and gone on with.

Whoever is killed is so by an error that nothing catches, before or after a request is
sent or rows are written: what was in memory is lost, as by SIGKILL.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import requests

from local.receiver import Receiver
from propensity.errors import RunInProgress
from propensity.gcp.warehouse import Warehouse
from tests.offline.audience.conftest import MONDAY, WEEK, accepted, send
from tests.support.deployment import Deployment
from tests.support.rows import publish


class Killed(BaseException):
    """As by SIGKILL: nothing catches it."""


class Fate:
    """
    Kills the process at a call of a receiver, by its path, or of the warehouse.

    Whoever is killed writes and sends nothing more, until ``left`` is None again.
    """

    def __init__(self, monkeypatch, path: str = "/users") -> None:
        self.left: int | None = None
        self._path = path
        self._wrap(monkeypatch, requests.Session, "request")
        self._wrap(monkeypatch, Warehouse, "write")

    def _wrap(self, monkeypatch, owner, name) -> None:
        original = getattr(owner, name)

        def called(*args, **kwargs):
            is_own = owner is Warehouse or self._path in str(args)
            self._step(is_own)
            result = original(*args, **kwargs)
            try:
                self._step(is_own)
            except Killed:
                if isinstance(result, requests.Response):
                    # The system closes the connections of whom is killed.
                    result.close()
                raise
            return result

        monkeypatch.setattr(owner, name, called)

    def _step(self, is_own: bool) -> None:
        if is_own and self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise Killed


def kill_and_resume(
    deployment: Deployment,
    to: str,
    fate: Fate,
    *,
    at_most: int,
    seed: int,
    **changed: Any,
) -> int:
    """Kill deliveries until one gets through; return how many were killed."""
    generator = random.Random(seed)
    for killed in range(at_most):
        fate.left = generator.randint(1, 12)
        try:
            assert send(deployment, to, **changed)["failure"] == ""
        except Killed:
            # The lease of whom is killed ends by itself.
            deployment.clock.advance(6 * 60)
        else:
            return killed
    fate.left = None
    assert send(deployment, to, **changed)["failure"] == ""
    return at_most


def check_account(
    deployment: Deployment, receiver: Receiver, *, rejected: set[str]
) -> None:
    taken = accepted(deployment, but=rejected)
    assert {user for _, user in receiver.users} == taken
    # Nobody came twice in a way that a receiver could tell.
    assert set(receiver.users.values()) == {1}
    assert receiver.changed == []


class TestKilled:
    def test_a_delivery_that_is_killed_reaches_everybody_once(
        self, deployment, crm, monkeypatch
    ):
        with Receiver(
            lost=0.05, rejects=lambda user: "x" * (user == "u120")
        ) as receiver:
            fate = Fate(monkeypatch)
            folder = crm(receiver, batch=7)
            killed = kill_and_resume(deployment, folder, fate, at_most=6, seed=0)

        assert killed >= 4
        check_account(deployment, receiver, rejected={"u120"})

    def test_a_killed_delivery_resumes_with_the_next_request(
        self, deployment, crm, monkeypatch
    ):
        """Also a receiver that knows no keys hears of each user once."""

        class Keyless(Receiver):
            def take(self, method, path, headers, body):
                return super().take(method, path, {}, body)

        with Keyless() as receiver:
            to = crm(receiver)
            fate = Fate(monkeypatch)
            requests = 2
            # Members, plan, pending users, and what became of each request are written.
            fate.left = 6 + 4 * requests + 1
            with pytest.raises(Killed):
                send(deployment, to)
            fate.left = None
            deployment.clock.advance(6 * 60)
            assert send(deployment, to)["failure"] == ""

        check_account(deployment, receiver, rejected=set())

    def test_delivery_excludes_those_of_all_dates_for_a_while(
        self, deployment, crm, monkeypatch
    ):
        """Those who leave by a newer date would be put on the list after it."""
        publish(deployment.warehouse, MONDAY + WEEK, {"u001": 0.5})
        with Receiver() as receiver:
            to = crm(receiver)
            fate = Fate(monkeypatch)
            fate.left = 5
            with pytest.raises(Killed):
                send(deployment, to, until=MONDAY)
            fate.left = None
            for day in (MONDAY, MONDAY + WEEK):
                with pytest.raises(RunInProgress, match="audience-winback"):
                    send(deployment, to, until=day)
            deployment.clock.advance(6 * 60)
            assert send(deployment, to, until=MONDAY)["failure"] == ""
