"""
Deliveries of one audience that meet: one works at a time, whatever its date.

Of two that meet the other one does its work once the first has written to its ledger.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local.receiver import Receiver
from propensity import tables
from propensity.errors import RunInProgress
from propensity.gcp.warehouse import Warehouse
from tests.offline.audience.conftest import MONDAY, WEEK, members_of, send

pytestmark = pytest.mark.runs

# Users of another week, of whom half were in the audience before.
OTHERS = {f"u{n:03}": 0.5 - n / 1000 for n in range(150)}


class Meanwhile:
    """Does something once, after a write to the ledger."""

    def __init__(self, monkeypatch) -> None:
        self.what: Callable[[], object] | None = None
        write = Warehouse.write

        def called(warehouse, table, rows):
            write(warehouse, table, rows)
            what = self.what
            if table == tables.AUDIENCE_LEDGER and what is not None:
                self.what = None
                what()

        monkeypatch.setattr(Warehouse, "write", called)


class TestTwoDates:
    def test_are_not_sent_together(self, site, crm, monkeypatch):
        """Those who leave by the newer date would be put on the list after it."""
        meanwhile = Meanwhile(monkeypatch)
        refused = []
        with Receiver() as receiver:
            to = crm(receiver, remove=True)

            def newer():
                site.publish(MONDAY + WEEK, OTHERS)
                site.clock.advance(1)
                with pytest.raises(RunInProgress) as raised:
                    send(site, to, until=MONDAY + WEEK)
                refused.append(str(raised.value))

            meanwhile.what = newer
            assert send(site, to, until=MONDAY, flushed_at=14).is_complete
            assert send(site, to, until=MONDAY + WEEK).is_complete

        assert "another delivery of winback is under way" in refused[0]
        last = {}
        for row in sorted(site.ledger(), key=lambda row: row["recorded_at"]):
            last[row["user_id"]] = row["action"]
        treated = members_of(site, MONDAY + WEEK, is_control=False)
        assert {user for user, action in last.items() if action == "add"} == treated
