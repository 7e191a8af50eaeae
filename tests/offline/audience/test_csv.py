"""An audience as CSV, specified: in the bucket, on standard output, and forgotten."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands.cli import main
from offline import forget
from propensity.audience import declared, run
from propensity.cli.answers import Exit
from propensity.registry.deployment import opened
from propensity.spreadsheet import rows_of_csv
from propensity.tables.audiences import AUDIENCE_LEDGER
from tests.offline.audience.conftest import act, members_of
from tests.support import own_use_cases
from tests.support.deployment import Deployment

FOLDER = "audiences/ga4_purchase/winback/"
# One of the names is a formula, and one has letters that are not English.
NAMES = """
SELECT
  user_id,
  CASE user_id
    WHEN 'u199' THEN '=HYPERLINK("http://x.org")'
    WHEN 'u198' THEN 'Zoë'
    ELSE CONCAT('name of ', user_id)
  END AS name
FROM publication
WHERE user_id NOT IN UNNEST(@none)
"""


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """The audience winback of the use case, which is a CSV file."""
    with own_use_cases.in_folder(tmp_path / "own") as own:
        folder = own / "ga4_purchase" / "audiences"
        folder.mkdir(parents=True)
        (folder / "winback.toml").write_text(
            'top = 20\ncontrol = "50%"\ndestination = "csv"\n'
        )
        (folder / "winback.sql").write_text(NAMES.replace("@none", "['']"))
        yield folder


def send(deployment: Deployment) -> dict[str, Any]:
    with opened() as opened_run:
        named = declared.load(opened_run.use_case, "winback")
    return act(deployment, run.send, named).answer()


def list_of(capsysbinary, *arguments: str) -> list[dict[str, str]]:
    """Return the rows of ``propensity audience list``, as a spreadsheet shows them."""
    assert main(["audience", "list", "winback", *arguments]) == Exit.DONE
    text = capsysbinary.readouterr().out.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def file_of(deployment: Deployment) -> bytes:
    [name] = deployment.artifacts.names(FOLDER)
    assert name.endswith(".csv")
    return deployment.artifacts.read(name).data


def test_the_list_is_the_file_of_the_delivery(deployment, folder, capsysbinary):
    """The best user first, and nobody of the control group."""
    send(deployment)
    rows = list_of(capsysbinary)
    treated = members_of(deployment, is_control=False)

    assert [*rows[0]] == ["user_id", "percentile", "probability", "name"]
    assert [row["user_id"] for row in rows] == sorted(treated, reverse=True)
    assert 0 < len(rows) < 20
    names = {row["user_id"]: row["name"] for row in rows}
    expected = {"u199": '\'=HYPERLINK("http://x.org")', "u198": "Zoë"}
    for user in treated:
        assert names[user] == expected.get(user, f"name of {user}")
    assert rows_of_csv(file_of(deployment))[1:] == [
        [name.removeprefix("'") for name in row.values()] for row in rows
    ]


def test_a_delivery_that_is_repeated_writes_no_second_file(deployment, folder):
    send(deployment)
    content = file_of(deployment)
    deployment.empty_tables([AUDIENCE_LEDGER])
    send(deployment)

    assert file_of(deployment) == content


def test_the_list_leaves_out_who_may_not_be_contacted_any_more(
    deployment, folder, capsysbinary
):
    """Who is suppressed since, and who is not in the statement any more."""
    send(deployment)
    first, second, *others = list_of(capsysbinary)
    deployment.suppress(first["user_id"], at=deployment.clock.now())
    gone = NAMES.replace("@none", f"['{second['user_id']}']")
    (folder / "winback.sql").write_text(gone)

    assert list_of(capsysbinary) == others


def test_an_audience_that_was_not_sent_has_no_list(deployment, folder, capsysbinary):
    """A list that is not stored would have no control group to compare with."""
    assert main(["audience", "list", "winback", "--json"]) == Exit.FAILED
    error = json.loads(capsysbinary.readouterr().out)["error"]

    assert error["message"] == "winback has no members yet"
    assert "propensity audience send winback" in error["hint"]


def test_a_forgotten_user_is_in_no_list(deployment, folder, capsysbinary):
    send(deployment)
    first, *others = list_of(capsysbinary)
    report = forget.run(deployment.settings, [first["user_id"]])

    places = {place["where"]: place for place in report["places"]}
    assert places["audiences/ga4_purchase"]["before"] == 1
    assert report["left"] == 0
    assert [row[0] for row in rows_of_csv(file_of(deployment))[1:]] == [
        row["user_id"] for row in others
    ]
    assert list_of(capsysbinary) == others
