"""
A delivery, specified on a destination that says when it answers, and on a ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from offline.audience import members
from offline.audience.delivery import Delivery, deliver
from offline.audience.ledger import Ledger
from offline.audience.members import Audience
from offline.audience.posting import Refused
from offline.audience.requests import ADD, REMOVE, Request
from offline.audience.selection import Control, Member
from offline.promote import Deployment
from propensity.errors import Unavailable
from propensity.privacy.suppression import EVERYWHERE, NOBODY, Suppressed, user_hash
from propensity.statements import statement

AS_OF = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
# Longer than any answer takes, so that a test that fails ends.
PATIENCE_S = 20.0


class Crm:
    """A destination; ``answer`` is called in the thread that sends."""

    name = "crm"
    actions: Sequence[str] = (REMOVE, ADD)

    def __init__(
        self,
        answer: Callable[[Request], Mapping[str, str]] = lambda request: {},
        *,
        batch: int = 1,
        at_once: int = 1,
    ) -> None:
        self.batch = batch
        self.at_once = at_once
        self.sent: list[tuple[str, list[str]]] = []
        self._answer = answer

    def problems(self, members: Sequence[Member]) -> Mapping[str, str]:
        return {m.user_id: "no id" for m in members if m.user_id.startswith("-")}

    def send(self, request: Request) -> Mapping[str, str]:
        self.sent.append((request.action, [m.user_id for m in request.members]))
        return self._answer(request)

    def close(self) -> None:
        pass


class Warehouse:
    """The ledger's table."""

    def __init__(self, listed: Sequence[str] = ()) -> None:
        self.rows: list[dict[str, Any]] = []
        self._listed = listed

    def table(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        if sql == statement("audience_sent", own=members.SQL):
            columns = ("action", "user_id", "status", "request")
            return pa.table({n: [row[n] for row in self.newest()] for n in columns})
        return pa.table({"user_id": pa.array(self._listed, pa.string())})

    def write(self, table: object, rows: pa.Table) -> None:
        self.rows += rows.to_pylist()

    def newest(self) -> list[dict[str, Any]]:
        rows = sorted(self.rows, key=lambda row: row["status"] != "pending")
        return [*{(row["action"], row["user_id"]): row for row in rows}.values()]

    def users(self) -> list[str]:
        """Who was accepted or rejected; each once."""
        rows = [row for row in self.rows if row["status"] != "pending"]
        return sorted(row["user_id"] for row in rows)

    def pending(self) -> list[str]:
        rows = self.newest()
        return sorted(row["user_id"] for row in rows if row["status"] == "pending")


def delivered(
    crm: Crm,
    users: Sequence[str],
    *,
    warehouse: Warehouse,
    flushed_at: int = 1_000,
    suppressed: Callable[[], Suppressed] = lambda: NOBODY,
) -> Delivery:
    audience = Audience(
        name="winback",
        as_of=AS_OF,
        members=[Member(user, 0.5) for user in users],
        selection="all",
        suppressed=0,
        is_stored=True,
        chosen_at=NOON,
        control=Control(key=b"key", group="winback", share=0.0),
    )
    deployment = SimpleNamespace(
        warehouse=warehouse, use_case=SimpleNamespace(name="ga4_purchase")
    )
    ledger = Ledger(
        cast(Deployment, deployment),
        audience="winback",
        as_of=AS_OF,
        destination="crm",
        now=lambda: NOON,
        flushed_at=flushed_at,
    )
    return deliver(
        audience,
        use_case="ga4_purchase",
        destination=crm,
        ledger=ledger,
        recorded=ledger.recorded(),
        suppressed=suppressed,
        is_quiet=True,
    )


class TestRequests:
    def test_as_many_as_the_destination_takes_are_under_way_together(self):
        together = threading.Barrier(4)

        def answer(request: Request) -> Mapping[str, str]:
            together.wait(PATIENCE_S)
            return {}

        warehouse = Warehouse()
        delivery = delivered(
            Crm(answer, at_once=4), [f"u{n}" for n in range(8)], warehouse=warehouse
        )

        assert delivery.is_complete
        assert warehouse.users() == [f"u{n}" for n in range(8)]

    @pytest.mark.parametrize("at_once", [1, 3])
    def test_are_never_more(self, at_once):
        lock, under_way, most = threading.Lock(), 0, 0

        def answer(request: Request) -> Mapping[str, str]:
            nonlocal under_way, most
            with lock:
                under_way += 1
                most = max(most, under_way)
            with lock:
                under_way -= 1
            return {}

        users = [f"u{n:03}" for n in range(100)]
        delivered(Crm(answer, at_once=at_once), users, warehouse=Warehouse())

        assert most <= at_once

    def test_that_add_wait_for_the_last_removal(self):
        removed: list[str] = []

        def answer(request: Request) -> Mapping[str, str]:
            if request.action == REMOVE:
                removed.append(request.members[0].user_id)
            else:
                assert len(removed) == 5
            return {}

        gone = [f"g{n}" for n in range(5)]
        crm = Crm(answer, at_once=4)
        delivery = delivered(crm, ["u1", "u2"], warehouse=Warehouse(listed=gone))

        assert delivery.is_complete
        assert delivery.tallies[REMOVE].accepted == 5

    def test_have_the_users_and_keys_that_they_had_before(self):
        """Whatever the batch is now, and whoever else is in the audience since."""
        keys: list[str] = []

        def answer(request: Request) -> Mapping[str, str]:
            keys.append(request.key)
            if request.members[0].user_id == "u2":
                raise Unavailable("killed here")
            return {}

        warehouse = Warehouse()
        delivered(
            Crm(answer, batch=2), ["u0", "u1", "u2", "u3", "u4"], warehouse=warehouse
        )
        assert warehouse.pending() == ["u2", "u3", "u4"]

        lost = keys[-1]
        again = Crm(lambda request: keys.append(request.key) or {}, batch=5)
        delivered(again, ["u0", "u1", "u2", "u3", "u4", "u9"], warehouse=warehouse)

        assert sorted(again.sent) == [(ADD, ["u2", "u3"]), (ADD, ["u4"]), (ADD, ["u9"])]
        assert keys.count(lost) == 2
        assert warehouse.pending() == []
        assert len(warehouse.users()) == len({*warehouse.users()}) == 6

    def test_have_nobody_who_is_suppressed_meanwhile(self):
        """Defect: who was forgotten while a delivery ran was sent and recorded."""
        listed = [NOBODY]

        def answer(request: Request) -> Mapping[str, str]:
            entries = [(EVERYWHERE, user_hash("key", user)) for user in ("u1", "u4")]
            listed[:] = [Suppressed("key", entries)]
            return {}

        warehouse, crm = Warehouse(listed=["u4"]), Crm(answer, batch=2)
        users = ["u0", "u1", "u2", "u3", "u5"]
        delivery = delivered(
            crm, users, warehouse=warehouse, suppressed=lambda: listed[0]
        )

        assert crm.sent == [(REMOVE, ["u4"]), (ADD, ["u0"]), (ADD, ["u2", "u3"]),
                            (ADD, ["u5"])]  # fmt: skip
        assert delivery.is_complete
        assert delivery.left == 0

    def test_end_where_nobody_knows_who_is_suppressed(self):
        """What is under way is in the ledger all the same."""
        calls = iter([NOBODY])

        def listed() -> Suppressed:
            for suppressed in calls:
                return suppressed
            raise Unavailable("no list")

        warehouse = Warehouse()
        delivery = delivered(
            Crm(at_once=2), ["u0", "u1"], warehouse=warehouse, suppressed=listed
        )

        assert delivery.failure == "no list"
        assert (warehouse.users(), delivery.left) == (["u0"], 1)


class TestReason:
    def test_of_a_receiver_is_one_that_a_table_takes(self):
        """Half a character, as of a text that was cut, cannot be written."""
        warehouse = Warehouse()
        crm = Crm(lambda request: {"u1": "no \ud83d\x1b user"}, batch=2)

        delivery = delivered(crm, ["u0", "u1"], warehouse=warehouse)

        reason = "no \ufffd\ufffd user"
        assert delivery.tallies[ADD].rejected == {reason: 1}
        assert [row["reason"] for row in warehouse.rows] == [None, None, None, reason]


class TestKey:
    def test_in_the_ledger_is_that_of_the_request_that_was_taken(self):
        """Of one that was refused as a whole these are parts of it."""
        keys: dict[str, str] = {}

        def answer(request: Request) -> Mapping[str, str]:
            users = [member.user_id for member in request.members]
            if "u3" in users:
                raise Refused("400 no such user")
            keys.update(dict.fromkeys(users, request.key))
            return {}

        warehouse = Warehouse()
        delivered(
            Crm(answer, batch=8), [f"u{n}" for n in range(8)], warehouse=warehouse
        )

        accepted = {
            row["user_id"]: row["request"]
            for row in warehouse.rows
            if row["status"] == "accepted"
        }
        assert accepted == keys


class TestFailure:
    """After it nothing more is sent, and what was under way is in the ledger."""

    def fails(self, error: Exception, warehouse: Warehouse) -> tuple[Delivery, Crm]:
        has_failed = threading.Event()

        def answer(request: Request) -> Mapping[str, str]:
            if request.members[0].user_id == "u1":
                has_failed.set()
                raise error
            # The others answer once it has failed.
            assert has_failed.wait(PATIENCE_S)
            return {}

        crm = Crm(answer, at_once=3)
        users = [f"u{n}" for n in range(30)]
        return delivered(crm, users, warehouse=warehouse), crm

    def test_of_a_receiver(self):
        warehouse = Warehouse()
        delivery, crm = self.fails(Unavailable("crm took nothing"), warehouse)

        assert delivery.failure == "crm took nothing"
        assert not delivery.is_complete
        sent = sorted(user for _, users in crm.sent for user in users)
        assert warehouse.users() == [user for user in sent if user != "u1"]
        assert len(sent) < 30

    def test_that_nobody_foresaw(self):
        """It is raised, and whoever was sent is in the ledger all the same."""
        warehouse = Warehouse()
        with pytest.raises(KeyError, match="what"):
            self.fails(KeyError("what"), warehouse)

        assert {"u0", "u10"} <= {*warehouse.users()}

    def test_by_ctrl_c(self, monkeypatch):
        """It is raised once what was taken is recorded."""
        warehouse = Warehouse()
        with pytest.raises(KeyboardInterrupt):
            self.fails(KeyboardInterrupt(), warehouse)

        assert {"u0", "u10"} <= {*warehouse.users()}

    def test_of_the_ledger_ends_it_and_the_next_goes_on(self):
        """Rows of which nobody knows whether they were written are of no harm."""

        class Failing(Warehouse):
            def write(self, table: object, rows: pa.Table) -> None:
                super().write(table, rows)
                if len(self.users()) >= 4:
                    raise Unavailable("nobody knows")

        warehouse = Failing()
        users = [f"u{n}" for n in range(10)]
        delivery = delivered(Crm(at_once=2), users, warehouse=warehouse, flushed_at=4)

        assert delivery.failure == "nobody knows"
        later = Warehouse()
        later.rows = warehouse.rows
        assert delivered(Crm(), users, warehouse=later).is_complete
        assert {*later.users()} == {*users}

    def test_where_a_large_request_is_refused_whatever_its_users(self):
        """As by a version that is no more: halves of it are not tried to the last."""

        def answer(request: Request) -> Mapping[str, str]:
            raise Refused("400 UNSUPPORTED_VERSION")

        crm = Crm(answer, batch=3_000)
        users = [f"u{n:04}" for n in range(3_000)]
        delivery = delivered(crm, users, warehouse=Warehouse())

        assert "crm rejected 100 users in a row (400 UNSUPP" in delivery.failure
        assert len(crm.sent) < 250
        assert delivery.left == 3_000

    def test_where_a_receiver_refuses_one_user_after_the_other(self):
        """Of a destination that takes one user a request, a hundred in a row end it.
        Everybody is accepted, rejected or left, and the next delivery goes on."""

        def answer(request: Request) -> Mapping[str, str]:
            # A reason may name the user.
            raise Refused(f"400 no stream for {request.members[0].user_id}")

        warehouse = Warehouse()
        crm = Crm(answer, at_once=8)
        users = ["-", *(f"u{n:03}" for n in range(400))]
        delivery = delivered(crm, users, warehouse=warehouse)

        assert "users in a row (400 no stream for u" in delivery.failure
        assert not delivery.is_complete
        tally = delivery.tallies[ADD]
        assert 90 <= tally.sent == len(warehouse.users()) <= 101 + crm.at_once
        assert tally.accepted == 0
        assert delivery.left == 401 - tally.sent
        assert f"{delivery.left} are pending" in str(delivery)

        again = delivered(Crm(), users, warehouse=warehouse)
        assert again.is_complete
        assert (again.before, again.left) == (tally.sent, 0)
        assert again.tallies[ADD].accepted == 401 - tally.sent
        assert warehouse.users() == sorted(users)

    def test_only_where_nobody_is_accepted_in_between(self):
        """A receiver that does not know most users is asked for all of them; who
        cannot be sent is no refusal of it."""

        def answer(request: Request) -> Mapping[str, str]:
            [member] = request.members
            return {} if int(member.user_id[1:]) % 99 == 0 else {member.user_id: "?"}

        users = [*(f"-{n}" for n in range(150)), *(f"u{n:03}" for n in range(300))]
        delivery = delivered(Crm(answer), users, warehouse=Warehouse())

        assert delivery.is_complete
        assert delivery.tallies[ADD].rejected == {"no id": 150, "?": 296}
