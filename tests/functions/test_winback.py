"""A win-back of customers who were away, by the files that the pages show."""

from __future__ import annotations

import subprocess

import pytest

from local.exports import digest
from tests.docs.pages import blocks
from tests.functions.conftest import MONDAY
from tests.support import own_use_cases
from tests.support.rows import publish
from tests.support.shop import DAY, event, purchase

[DECLARING] = blocks("docs/audiences.md", "bash")
# How many days ago each customer bought last, and had an event last.
LAST = {
    "away": (91, 91),
    "long away": (500, 300),
    "looked lately": (91, 89),
    "yesterday": (1, 1),
}


@pytest.mark.parametrize(
    ("days", "members"),
    [
        ("away_days = 90", {"away", "long away"}),
        ("away_days = 90\nbought_days = 100", {"away"}),
        ("away_days = 80", {"away", "long away", "looked lately"}),
        ("bought_days = 100", {"away", "looked lately"}),
    ],
)
def test_an_audience_says_how_long_its_customers_were_away(
    borrow_deployment, tmp_path, days, members
):
    with own_use_cases.in_folder(tmp_path / "own") as folder:
        subprocess.run(["bash", "-ec", DECLARING], check=True)
        file = folder / "ga4_purchase/audiences/winback.toml"
        lines = file.read_text().splitlines()
        lines = [line for line in lines if not line.startswith("away_days")]
        file.write_text("\n".join(lines + [days, ""]))
        rows = []
        for user, (bought, seen) in LAST.items():
            rows.append(purchase(user, MONDAY - bought * DAY))
            rows.append(event(user, MONDAY - seen * DAY))
        deployment = borrow_deployment(rows)
        kinds = dict.fromkeys(LAST, '{"presence": "away"}')
        kinds["yesterday"] = '{"presence": "active"}'
        publish(
            deployment.warehouse, MONDAY, dict.fromkeys(LAST, 0.25), categories=kinds
        )
        digest.fill(deployment.warehouse, ["purchase", "refund"])
        status = deployment.command("audience", "send", "winback")
        rows = deployment.warehouse.rows("SELECT user_id FROM ma_audience_members", {})

    assert status == 0
    assert {row["user_id"] for row in rows} == members
