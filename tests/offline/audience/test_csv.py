"""An audience as CSV, specified: in the bucket, on standard output, and forgotten."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from commands import audience
from commands.cli import main
from local.receiver import Receiver
from offline import forget
from propensity.audience import declared, files, members, run
from propensity.audience.files import CsvFiles
from propensity.audience.members import find_treated
from propensity.cli.answers import Exit
from propensity.errors import Unavailable
from propensity.registry.deployment import open_deployment
from propensity.spreadsheet import csv_parts, rows_of_csv
from propensity.tables.audiences import (
    AUDIENCE_MEMBERS,
    AUDIENCE_PLANS,
    AUDIENCE_REQUESTS,
)
from tests.offline.audience.conftest import act, ledger, members_of, winback
from tests.offline.audience.conftest import send as send_to_crm
from tests.support import own_use_cases
from tests.support.deployment import Deployment

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
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
    with open_deployment() as opened_run:
        named = declared.load(opened_run.use_case, "winback")
    return act(deployment, run.send, named).answer()


def list_of(capsysbinary, *arguments: str) -> list[dict[str, str]]:
    """Return the rows of ``propensity audience list``, as a spreadsheet shows them."""
    assert main(["audience", "list", "winback", *arguments]) == Exit.DONE
    text = capsysbinary.readouterr().out.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def ids(rows: list[dict[str, str]]) -> list[str]:
    return [row["user_id"] for row in rows]


def file_of(deployment: Deployment) -> bytes:
    [name] = deployment.artifacts.names(FOLDER)
    assert name.endswith(".csv")
    return deployment.artifacts.read(name).data


def test_the_list_is_the_file_of_the_delivery(deployment, folder, capsysbinary):
    """The best user first, and nobody of the control group."""
    send(deployment)
    rows = list_of(capsysbinary)
    treated = members_of(deployment, is_control=False)

    assert [*rows[0]] == ["rank", "user_id", "probability", "name"]
    assert [row["user_id"] for row in rows] == sorted(treated, reverse=True)
    assert 0 < len(rows) < 20
    assert [row["rank"] for row in rows] == [f"{n + 1}" for n in range(len(rows))]
    scores = {f"u{n:03}": f"{(n + 1) / 4:.2f}%" for n in range(200)}
    assert {row["probability"] == scores[row["user_id"]] for row in rows} == {True}
    names = {row["user_id"]: row["name"] for row in rows}
    expected = {"u199": '\'=HYPERLINK("http://x.org")', "u198": "Zoë"}
    for user in treated:
        assert names[user] == expected.get(user, f"name of {user}")
    assert rows_of_csv(file_of(deployment))[1:] == [
        [name.removeprefix("'") for name in row.values()] for row in rows
    ]


def test_a_delivery_that_is_repeated_writes_no_second_file(deployment, folder):
    first = send(deployment)
    content = file_of(deployment)
    deployment.empty_tables([AUDIENCE_REQUESTS])
    again = send(deployment)

    assert again == first
    assert first["failure"] == ""
    assert file_of(deployment) == content


def test_a_file_of_many_pages_is_one_and_is_there_whole_or_not_at_all(
    deployment, folder, monkeypatch
):
    send(deployment)
    content = file_of(deployment)
    deployment.empty_tables([AUDIENCE_REQUESTS, AUDIENCE_MEMBERS, AUDIENCE_PLANS])
    deployment.artifacts.delete(deployment.artifacts.names(FOLDER)[0])
    monkeypatch.setattr(CsvFiles, "batch", 3)
    with monkeypatch.context() as patch:
        patch.setattr(files, "csv_parts", broken_off)
        failed = send(deployment)
    lost = deployment.artifacts.names(FOLDER)
    again = send(deployment)

    assert (failed["pending"], lost) == (len(rows_of_csv(content)) - 1, [])
    assert again["tallies"]["add"]["accepted"] == failed["pending"] > 6
    assert file_of(deployment) == content


def test_who_is_suppressed_before_a_file_is_whole_is_not_in_it(
    deployment, folder, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(files, "csv_parts", broken_off)
        send(deployment)
    user = max(members_of(deployment, is_control=False))
    deployment.suppress(user, at=deployment.clock.now())
    send(deployment)

    rejected = [row for row in ledger(deployment) if row["status"] == "rejected"]
    assert [row["user_id"] for row in rejected] == [user]
    assert user not in [row[1] for row in rows_of_csv(file_of(deployment))]


def broken_off(names: Any, pages: Any) -> Iterator[bytes]:
    """Yield a file of which BigQuery does not hand over all pages."""
    parts = csv_parts(names, pages)
    yield next(parts)
    yield next(parts)
    raise Unavailable("BigQuery did not answer")


def test_the_list_leaves_out_who_may_not_be_contacted_any_more(
    deployment, folder, capsysbinary
):
    """Who is suppressed since, and who is not in the statement any more."""
    send(deployment)
    users = ids(list_of(capsysbinary))
    deployment.suppress(users[0], at=deployment.clock.now())
    gone = NAMES.replace("@none", f"['{users[1]}']")
    (folder / "winback.sql").write_text(gone)

    assert ids(list_of(capsysbinary)) == users[2:]


def test_the_list_leaves_out_who_unsubscribed_at_the_destination(deployment, crm):
    """Defect: 492 users were accepted, and 494 were on the list."""
    with Receiver(rejects=lambda user: "unsubscribed" * (user == "u198")) as receiver:
        folder = crm(receiver)
        send_to_crm(deployment, folder, top=3, control="0%")
    with open_deployment() as opened_run:
        *_, pages = find_treated(opened_run, winback(folder, top=3, control="0%"))

        users = {member.user_id for page in pages for member in page}

    assert users == {"u199", "u197"}


def test_an_audience_that_was_not_sent_has_no_list(deployment, folder, capsysbinary):
    """A list that is not stored would have no control group to compare with."""
    assert main(["audience", "list", "winback", "--json"]) == Exit.FAILED
    error = json.loads(capsysbinary.readouterr().out)["error"]

    assert error["message"] == "winback has no members yet"
    assert "propensity audience send winback" in error["hint"]


def test_a_list_that_memory_does_not_hold_is_a_csv(
    deployment, folder, capsysbinary, monkeypatch
):
    send(deployment)
    users = ids(list_of(capsysbinary))
    monkeypatch.setattr(members, "PAGE", 2)
    monkeypatch.setattr(audience, "MOST_AT_ONCE", len(users) - 1)
    for how in ("--json", "--excel"):
        assert main(["audience", "list", "winback", how]) == Exit.FAILED
        assert b"leave --json and --excel out" in capsysbinary.readouterr().err

    assert ids(list_of(capsysbinary)) == users


def test_a_forgotten_user_is_in_no_list(deployment, folder, capsysbinary):
    send(deployment)
    first, *others = list_of(capsysbinary)
    report = forget.run(deployment.settings, [first["user_id"]])

    places = {place["where"]: place for place in report["places"]}
    assert places["audiences/ga4_purchase"]["before"] == 1
    assert report["left"] == 0
    assert [row[1] for row in rows_of_csv(file_of(deployment))[1:]] == ids(others)
    assert ids(list_of(capsysbinary)) == ids(others)


def test_a_workbook_keeps_ids_and_formulas_as_texts(deployment, folder, capsysbinary):
    """Defect: of the id 1035595905.1742250600 Excel kept fifteen digits."""
    send(deployment)
    rows = list_of(capsysbinary)
    assert main(["audience", "list", "winback", "--excel"]) == Exit.DONE
    book = zipfile.ZipFile(io.BytesIO(capsysbinary.readouterr().out))
    sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    lines = []
    for line in sheet.iter(f"{SHEET}row"):
        lines.append([(cell.get("t"), "".join(cell.itertext())) for cell in line])

    assert [text for _, text in lines[0]] == [*rows[0]]
    assert [line[1] for line in lines[1:]] == [
        ("inlineStr", user) for user in ids(rows)
    ]
    assert [line[3][1].removeprefix("'") for line in lines[1:]] == [
        row["name"].removeprefix("'") for row in rows
    ]
    assert {line[2][0] for line in lines[1:]} == {None}
