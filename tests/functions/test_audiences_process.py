"""
05-Audiences, specified as it is deployed: a process that the clock calls and that dies.

It has its staged source and its own requirements alone, so Google's own client reaches
Google's Data Manager, over HTTP.
"""

from __future__ import annotations

import pytest

from local.stack import scheduler
from local.stack.state import FUNCTIONS
from tests.data_manager import DataManager
from tests.functions.instances import Instance
from tests.functions.test_audiences import (
    MONDAY,
    NEXT,
    WINBACK,
    Crm,
    by_hand,
    check_account,
    declare,
    file_of,
    forget_leases,
    running,
    site,
)

__all__ = ["running", "site"]
[AUDIENCES] = [one for one in FUNCTIONS if one.target == "audiences"]
ADS = """
kind = "google"
name = "ads"
account_type = "GOOGLE_ADS"
account = "123"
target = "456"
url = "{url}"
"""


class Deadly(Crm):
    """A receiver that knows no keys; while it hears some request the sender dies."""

    def __init__(self, **more) -> None:
        super().__init__(**more)
        self.dies_at, self.kill = 0, lambda: None

    def answer(self, *request):
        if self.requests + 1 == self.dies_at:
            self.dies_at = 0
            self.kill()
            return None
        return super().answer(*request)

    def take(self, method, path, headers, body):
        assert headers["Idempotency-Key"]
        only = {"Authorization": headers["Authorization"]}
        return super().take(method, path, only, body)


@pytest.fixture
def crm():
    with Deadly(rejects=lambda user: "unsubscribed" * (user == "u150")) as receiver:
        yield receiver


def test_a_clock_that_fires_twice_and_a_kill_between_requests_send_nobody_twice(
    running, crm, tmp_path
):
    """Nor does Google, which says late what it has taken, and takes some in part."""
    body = {"use_case": "ga4_purchase", "as_of": f"{NEXT}"}
    with (
        DataManager(fails=lambda user: "NO_CONSENT" * user.endswith("7")) as fake,
        Instance("audiences", running.environment, tmp_path) as process,
    ):
        file_of(running, "destinations/ads.toml").write_text(ADS.format(url=fake.url))
        declare(running, "ads", WINBACK.replace("crm", "ads"))
        by_hand(running, MONDAY, name="ads")

        def revived(_: float) -> None:
            """Start the process again, once its leases have ended."""
            process.start()
            forget_leases(running)

        def call() -> dict:
            answer = scheduler.run(process.url, AUDIENCES, body, sleep=revived)
            assert answer.ok, answer.text
            return answer.json()

        crm.dies_at, crm.kill = crm.requests + 5, process.kill
        first, again = call(), call()

    assert process.starts == 2
    # The users of four requests were recorded before the kill.
    ads, winback = first["audiences"]
    assert winback["sent"] == 100 - winback["held_out"] - 4 * 7
    assert again["sent"] == 0
    check_account(running, crm)
    ledger = running.rows("SELECT * FROM ma_audience_ledger WHERE audience = 'ads'")
    assert {row["status"] for row in ledger} == {"accepted"}
    assert {row["receipt"] for row in ledger} == {"request-0", "request-1"}
    assert all("failed" in row["reason"] for row in ledger)
    taken = {("add", row["user_id"]) for row in ledger} - {
        ("add", f"u{n:03}") for n in range(7, 200, 10)
    }
    assert dict(fake.users) == dict.fromkeys(taken, 2)
    members = running.rows("SELECT * FROM ma_audience_members WHERE audience = 'ads'")
    treated = [row["user_id"] for row in members if not row["is_control"]]
    assert sorted(row["user_id"] for row in ledger) == sorted(treated)
    assert ads["members"] - ads["held_out"] == len(treated) / 2
