"""A win-back of customers who were away, by the files that the pages show."""

from __future__ import annotations

import subprocess

from local.exports import digest
from tests.docs.pages import blocks
from tests.functions.conftest import MONDAY
from tests.support import own_use_cases
from tests.support.rows import publish
from tests.support.shop import DAY, purchase

[DECLARING] = blocks("docs/audiences.md", "bash")
[THREE_MONTHS] = [
    sql for sql in blocks("docs/audiences-reference.md", "sql") if "ga_user_days" in sql
]
# How many days ago each customer bought last.
LAST = {"away": 91, "long away": 300, "lately": 89, "yesterday": 1}


def test_members_are_customers_who_were_away_for_three_months(
    borrow_deployment, tmp_path, capfd
):
    with own_use_cases.in_folder(tmp_path / "own") as folder:
        subprocess.run(["bash", "-ec", DECLARING], check=True)
        (folder / "ga4_purchase/audiences/winback.sql").write_text(THREE_MONTHS)
        rows = [purchase(user, MONDAY - days * DAY) for user, days in LAST.items()]
        deployment = borrow_deployment([*rows, purchase("away", MONDAY - 200 * DAY)])
        kinds = dict.fromkeys(LAST, '{"presence": "away"}')
        scores = dict.fromkeys(LAST, 0.25)
        publish(deployment.warehouse, MONDAY, scores, categories=kinds)
        digest.fill(deployment.warehouse, ["purchase", "refund"])
        status = deployment.command("audience", "preview", "winback")

    assert status == 0
    assert "only 2 users are in winback.sql" in capfd.readouterr().out
