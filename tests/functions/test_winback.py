"""A win-back of customers who were away, and a mailing, by the files of the pages."""

from __future__ import annotations

import json
import subprocess

import pyarrow as pa
import pytest

from local.exports import digest
from local.exports.sources import replace_table
from local.stack.state import ROOT
from tests.docs.pages import blocks
from tests.functions.conftest import MONDAY
from tests.support import own_use_cases
from tests.support.rows import publish
from tests.support.shop import DAY, event, purchase

[DECLARING] = blocks("docs/audiences.md", "bash")
OF_BROWSERS, OF_USERS = blocks("docs/audiences.md", "sql")
[MAILING] = [
    toml for toml in blocks("docs/audiences.md", "toml") if "control_by" in toml
]
PLANNED = "# The end for which the verdict is planned.\nuntil = 2025-06-30\n"
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


@pytest.mark.parametrize(
    ("sql", "column"), [(OF_BROWSERS, "user_pseudo_id"), (OF_USERS, "user_id")]
)
def test_a_mailing_has_the_addresses_of_customers_who_agreed(
    borrow_deployment, tmp_path, sql, column
):
    """Browsers by their newest login: the last one at a computer is whose it is."""
    ids = {"user_pseudo_id": ["b1", "b2", "b3"], "user_id": ["7", "8", "9"]}[column]
    customers = [
        {
            "customer_id": number,
            "email": f"{number}@example.com",
            "agreed_to_mail": agrees,
        }
        for number, agrees in ((7, True), (8, False), (9, True))
    ]
    rows = [
        event("b1", MONDAY - 9 * DAY, user_id="8"),
        event("b1", MONDAY - 8 * DAY, user_id="7"),
        event("b2", MONDAY - 8 * DAY, user_id="8"),
        event("b3", MONDAY - 8 * DAY),
    ]
    with own_use_cases.in_folder(tmp_path / "own") as folder:
        audiences = folder / "ga4_purchase/audiences"
        audiences.mkdir(parents=True)
        (audiences / "mailing.sql").write_text(sql)
        (audiences / "mailing.toml").write_text(MAILING.replace('"50%"', '"0%"'))
        deployment = borrow_deployment(rows, user_column=column)
        client = deployment.warehouse.client
        client.create_dataset("crm", exists_ok=True)
        replace_table(
            client, f"{client.project}.crm.customers", pa.Table.from_pylist(customers)
        )
        publish(deployment.warehouse, MONDAY, dict.fromkeys(ids, 0.25))
        digest.fill(deployment.warehouse, ["purchase", "refund"])
        status = deployment.command("audience", "send", "mailing")
        rows = deployment.warehouse.rows(
            "SELECT user_id, attributes FROM ma_audience_members", {}
        )

    assert status == 0
    sent = {row["user_id"]: json.loads(row["attributes"])["email"] for row in rows}
    expected = {"user_pseudo_id": {"b1": "7@example.com"}}
    expected["user_id"] = {"7": "7@example.com", "9": "9@example.com"}
    assert sent == expected[column]


def test_the_demo_has_the_mailing_of_the_page():
    folder = ROOT / "local/demos/audiences/shop"

    assert (folder / "mailing.sql").read_text() == OF_BROWSERS
    # The demo's campaign is over with its last Monday.
    mailing = (folder / "mailing.toml").read_text()
    assert mailing.removesuffix(PLANNED) == MAILING
