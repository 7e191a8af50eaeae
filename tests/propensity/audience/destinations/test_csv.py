"""An audience as CSV, specified: in the bucket, on standard output, and forgotten."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from commands.cli import main
from local.exports.sources import replace_table
from propensity.audience import declared, run
from propensity.audience.destinations import files
from propensity.audience.destinations.files import CsvFiles, workbook_of_members
from propensity.audience.members import Member, Sums
from propensity.cli.answers import Exit
from propensity.errors import Unavailable
from propensity.registry.deployment import open_deployment
from propensity.spreadsheet import csv_parts, rows_of_csv
from propensity.tables.audiences import (
    AUDIENCE_MEMBERS,
    AUDIENCE_PLANS,
    AUDIENCE_REQUESTS,
)
from tests.docs.pages import blocks
from tests.propensity.audience.conftest import MONDAY, USERS, act, ledger, members_of
from tests.support import own_use_cases
from tests.support.deployment import Deployment
from tests.support.rows import log_request, publish

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
        named = declared.load_audience(opened_run.use_case, "winback")
    return act(deployment, run.send, named).answer()


def list_of(capsysbinary, *arguments: str) -> list[dict[str, str]]:
    """Return the rows of ``propensity audience list``, as a spreadsheet shows them."""
    assert main(["audience", "list", "winback", *arguments]) == Exit.DONE
    text = capsysbinary.readouterr().out.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def ids(rows: list[dict[str, str]]) -> list[str]:
    return [row["user_id"] for row in rows]


def ids_of(file: bytes) -> list[str]:
    return [row[1] for row in rows_of_csv(file)[1:]]


def file_of(deployment: Deployment) -> bytes:
    [name] = deployment.artifacts.names(FOLDER)
    assert name.endswith(".csv")
    return deployment.artifacts.read(name).data


def test_the_list_is_the_file_of_the_delivery(deployment, folder, capsysbinary):
    """The best user first, and nobody of the control group."""
    send(deployment)
    rows = list_of(capsysbinary)
    treated = members_of(deployment, is_control=False)
    accepted = {(row["status"], row["reason"]) for row in ledger(deployment)}

    assert accepted == {("accepted", None)}
    assert [*rows[0]] == ["rank", "user_id", "probability", "name"]
    assert ids(rows) == sorted(treated, reverse=True)
    assert 0 < len(rows) < 20
    names = {"u199": '\'=HYPERLINK("http://x.org")', "u198": "Zoë"}
    for place, row in enumerate(rows):
        user = row["user_id"]
        assert row["rank"] == f"{place + 1}"
        assert row["probability"] == f"{(int(user[1:]) + 1) / 4:.2f}%"
        assert row["name"] == names.get(user, f"name of {user}")
    assert rows_of_csv(file_of(deployment))[1:] == [
        [name.removeprefix("'") for name in row.values()] for row in rows
    ]


def test_a_file_of_many_pages_is_one_and_is_there_whole_or_not_at_all(
    deployment, folder, monkeypatch
):
    """Who is suppressed before it is whole is not in it."""
    declaration = folder / "winback.toml"
    # Of a half that is drawn, one page was enough once in twenty runs.
    declaration.write_text(declaration.read_text().replace("50%", "10%"))
    send(deployment)
    content = file_of(deployment)
    deployment.empty_tables([AUDIENCE_REQUESTS])
    # Who finds a file of these requests writes no second one.
    assert send(deployment)["failure"] == ""
    assert file_of(deployment) == content
    users = ids_of(content)
    deployment.empty_tables([AUDIENCE_REQUESTS, AUDIENCE_MEMBERS, AUDIENCE_PLANS])
    deployment.artifacts.delete(deployment.artifacts.names(FOLDER)[0])
    monkeypatch.setattr(CsvFiles, "batch", 3)
    with monkeypatch.context() as patch:
        patch.setattr(files, "csv_parts", broken_off)
        failed = send(deployment)
    lost = deployment.artifacts.names(FOLDER)
    deployment.suppress(users[0], at=deployment.clock.now())
    again = send(deployment)

    assert (failed["pending"], lost) == (len(users), [])
    assert again["tallies"]["add"]["accepted"] == len(users) - 1 > 5
    assert ids_of(file_of(deployment)) == users[1:]
    rejected = [row for row in ledger(deployment) if row["status"] == "rejected"]
    assert [row["user_id"] for row in rejected] == users[:1]


def broken_off(names: Any, pages: Any) -> Iterator[bytes]:
    """Yield a file of which BigQuery does not hand over all pages."""
    parts = csv_parts(names, pages)
    yield next(parts)
    yield next(parts)
    raise Unavailable("BigQuery did not answer")


def test_the_list_leaves_out_who_may_not_be_contacted_any_more(
    deployment, folder, capsysbinary
):
    """Who is suppressed since, who is not in the statement any more, and who has
    unsubscribed at a destination."""
    send(deployment)
    users = ids(list_of(capsysbinary))
    deployment.suppress(users[0], at=deployment.clock.now())
    gone = NAMES.replace("@none", f"['{users[1]}']")
    (folder / "winback.sql").write_text(gone)
    rejection = {"use_case": "ga4_purchase", "audience": "winback", "as_of": MONDAY}
    rejection |= {"status": "rejected", "recorded_at": deployment.clock.now()}
    deployment.empty_tables([AUDIENCE_REQUESTS])
    log_request(deployment.warehouse, users[2], **rejection)

    assert ids(list_of(capsysbinary)) == users[3:]


def test_a_workbook_keeps_ids_and_formulas_as_texts(deployment, folder, capsysbinary):
    """Of the number 1035595905.1742250600 Excel keeps fifteen digits."""
    send(deployment)
    users = ids(list_of(capsysbinary))
    assert main(["audience", "list", "winback", "--excel"]) == Exit.DONE
    book = zipfile.ZipFile(io.BytesIO(capsysbinary.readouterr().out))
    sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    _, *lines = sheet.iter(f"{SHEET}row")

    for user, line in zip(users, lines, strict=True):
        _, name_of_user, probability, name = line
        assert "".join(name_of_user.itertext()) == user
        assert name_of_user.get("t") == name.get("t") == "inlineStr"
        assert probability.get("t") is None


def test_a_workbook_keeps_each_digit_of_a_number():
    numbers = '{"id": 12345678901234567, "total": 123456789012345.678}'
    content = workbook_of_members(
        [Member("u1", attributes=numbers)], Sums(), ["id", "total"], "probability"
    )
    book = zipfile.ZipFile(io.BytesIO(content))
    sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    *_, user_id, total = sheet.iter(f"{SHEET}c")

    assert "".join(user_id.itertext()) == "12345678901234567"
    assert "".join(total.itertext()) == "123456789012345.678"


PAGE = "docs/audiences.md"
[MAILING] = blocks(PAGE, "toml")
[MAIL] = blocks(PAGE, "sql")


@pytest.fixture
def page(tmp_path, deployment, monkeypatch) -> Iterator[Path]:
    """The folder of the page's audience, which its own lines write."""
    with own_use_cases.in_folder(tmp_path / "own"):
        [script] = blocks(PAGE, "bash")
        subprocess.run(["bash", "-ec", script], check=True)
        monkeypatch.setenv("PROPENSITY_USER_COLUMN", "user_id")
        folder = tmp_path / "own" / "ga4_purchase" / "audiences"
        # The users of these tests have no events, which say for how long one was away.
        file = folder / "winback.toml"
        lines = [line for line in file.read_text().splitlines() if "90" not in line]
        file.write_text("\n".join(lines))
        yield folder


@pytest.fixture
def addresses(deployment: Deployment) -> Iterator[dict[str, str]]:
    """The e-mail address of each user, as the table of customers has it."""
    client = deployment.warehouse.client
    client.create_dataset("crm", exists_ok=True)
    rows = []
    for number in range(USERS):
        user = f"u{number:03}"
        customer = {"customer_id": user, "email": f"{user}@example.com"}
        rows.append({**customer, "agreed_to_mail": number % 10 > 0})
    table = pa.Table.from_pylist(rows)
    replace_table(client, f"{client.project}.crm.customers", table)
    yield {row["customer_id"]: row["email"] for row in rows if row["agreed_to_mail"]}
    client.delete_table("crm.customers")


def command(*words: str) -> None:
    assert main(["audience", *words]) == Exit.DONE


def test_the_steps_of_the_page_give_a_list(deployment, page, capfdbinary):
    """Whoever is in it is in the bucket's file, too. The users of the tests who were
    away are fewer than the audience is to have, and the preview says so."""
    scores = {f"u{n:03}": (n + 1) / 400 for n in range(USERS)}
    away = list(scores)[:150]
    categories = dict.fromkeys(away, json.dumps({"presence": "away"}))
    publish(deployment.warehouse, MONDAY, scores, categories=categories)
    steps = [line for block in blocks(PAGE) for line in block.splitlines()]
    commands = [line for line in steps if " audience " in line]
    printed = {}
    for line in commands:
        words = line.partition(" >")[0].split()[1:]
        assert main(words) == Exit.DONE, line
        printed[words[1]] = capfdbinary.readouterr().out.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(printed["list"])))

    expected = ["preview", "send", "list", "ledger", "programme", "end"]
    assert [*printed] == expected
    assert {row["user_id"] for row in rows} == members_of(deployment, is_control=False)
    assert {row["user_id"] for row in rows} < set(away)
    assert "only 150 users are away, so all of these are in" in printed["preview"]
    assert "of away users" in printed["preview"]
    [name] = deployment.artifacts.names("audiences/ga4_purchase/winback/")
    assert deployment.artifacts.read(name).data.decode("utf-8-sig") == printed["list"]


def test_from_ga4_to_a_mail_service(deployment, page, addresses, capfdbinary):
    """A list with the e-mail addresses of those who agreed to mail."""
    (page / "mailing.toml").write_text(MAILING)
    (page / "mailing.sql").write_text(MAIL)
    command("send", "mailing")
    capfdbinary.readouterr()
    command("list", "mailing")
    text = capfdbinary.readouterr().out.decode("utf-8-sig")

    listed = {row["email"] for row in csv.DictReader(io.StringIO(text))}
    treated = members_of(deployment, is_control=False)
    assert listed == {addresses[user] for user in treated}
    assert len(treated) > 60
