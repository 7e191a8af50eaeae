"""
The audience of the demo, specified: sent by the real command to its own receiver.

The whole of it, up to the lift, is what `make demo` runs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count

import pytest

from local.demos import audience
from local.errors import LocalError
from offline.audience.http import Http
from tests.conftest import Workplace
from tests.offline.audience.conftest import TABLES, Site

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)
USERS = 200
# Every fifth is somebody whom the receiver does not take. Of so many not all are held
# out, whatever the key of the control group, which is drawn.
REFUSED = (name for name in (f"r{n}" for n in count()) if audience.rejects(name))
NAMES = [f"u{n:03}" if n % 5 else next(REFUSED) for n in range(USERS)]


@pytest.fixture(scope="module")
def site(module_workplace: Workplace) -> Iterator[Site]:
    """Two publications; the best users of the second are others in part."""
    site = Site(module_workplace)
    for table in TABLES:
        site.warehouse.create(table)
    for week in (0, 1):
        site.publish(
            MONDAY + week * WEEK,
            {name: ((n + 40 * week) % USERS + 1) / 400 for n, name in enumerate(NAMES)},
        )
    yield site
    site.warehouse.close()


def act(site: Site, folder, as_of: date, *, is_first: bool, capsys) -> list[str]:
    """Send, and return the lines that are said."""
    capsys.readouterr()
    audience.act(site.environment, folder, "ga4_purchase", as_of, is_first=is_first)
    return capsys.readouterr().out.splitlines()


class TestAudience:
    @pytest.mark.long
    def test_is_previewed_sent_and_sent_again(self, site, tmp_path, capsys):
        """To the user, what the ledger has is what the lines say. The destination's
        file that is left to begin with is one that the command takes."""
        previewed, first = act(site, tmp_path, MONDAY, is_first=True, capsys=capsys)
        [second] = act(site, tmp_path, MONDAY + WEEK, is_first=False, capsys=capsys)
        [again] = act(site, tmp_path, MONDAY, is_first=False, capsys=capsys)
        rows = site.newest()
        members = site.rows("SELECT * FROM ma_audience_members WHERE is_control")

        def counted(as_of, action, status="") -> int:
            return sum(
                (row["as_of"], row["action"]) == (as_of, action)
                and row["status"].startswith(status)
                for row in rows
            )

        sent, rejected = counted(MONDAY, "add"), counted(MONDAY, "add", "rejected")
        held_out = sum(row["as_of"] == MONDAY for row in members)
        assert sent + held_out == 60  # three deciles of the users
        assert 0 < held_out < 30
        assert 0 < rejected < sent
        assert (
            f"60 users (deciles 3), {held_out} held out; {sent} in 1 req" in previewed
        )
        assert (
            f"{MONDAY}  send      audience best_customers to crm: {sent} sent = "
            f"{sent - rejected} accepted + {rejected} rejected ({rejected} "
            f"unsubscribed); {held_out} held out"
        ) == first
        taken_off = counted(MONDAY + WEEK, "remove")
        assert 0 < taken_off < sent
        assert f"crm: {taken_off} taken off = {taken_off} accepted + 0 rej" in second
        assert f"; {counted(MONDAY + WEEK, 'add')} sent = " in second
        assert f"crm: {sent} were sent before; {held_out} held out" in again
        template = tomllib.loads((tmp_path / "crm.toml").read_text())
        assert Http(template, poster=lambda **_: None).name == "crm"
        assert template["batch"] == audience.LIMITS.users

    def test_that_cannot_be_sent_says_why(self, site, tmp_path, capsys):
        """In the words of the command."""
        with pytest.raises(LocalError, match="has published no probability up to"):
            act(site, tmp_path, MONDAY - WEEK, is_first=False, capsys=capsys)


class TestLift:
    def test_is_that_of_the_newest_week(self):
        """With its interval, and what the truth is."""
        row = {
            "audience": "best_customers",
            "week": "2025-06-24",
            "verdict": "open",
            "conversion_difference": 0.012,
            "conversion_difference_low": -0.08,
            "conversion_difference_high": 0.1,
            "treated_users": 514,
            "control_users": 130,
        }
        earlier = row | {"week": "2025-06-17", "verdict": "helps"}
        of_others = row | {"audience": "winback", "week": "2025-07-01"}

        assert audience.lift_text(
            {"as_of": "2025-07-01", "audiences": [row, earlier, of_others]}
        ) == (
            "2025-07-01  lift      Audience best_customers: not decided yet; "
            "conversions of the treated less those of the held out are 1.2 percentage "
            "points (95% interval −8.0 to 10.0, 514 treated, 130 held out). Nobody was "
            "written to, so the truth is 0"
        )

    def test_is_nothing_where_nobody_was_sent(self):
        """As in the first weeks, and of data without a champion."""
        assert audience.lift_text({"as_of": "2025-05-06"}) == ""
