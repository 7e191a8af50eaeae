"""docs/audiences.md, played as it is printed, against the emulators and receivers."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.cli import main
from local.receiver import Receiver
from propensity.cli.answers import Exit
from tests.docs.pages import blocks, text
from tests.offline.audience.conftest import MONDAY, USERS, members_of
from tests.offline.audience.test_google import digest
from tests.support import own_use_cases
from tests.support.data_manager import DataManager
from tests.support.deployment import Deployment
from tests.support.rows import publish

PAGE = "docs/audiences.md"
[MAILING] = blocks(PAGE, "toml")
[_, MAIL] = blocks(PAGE, "sql")
[ADS] = [sql for sql in blocks("docs/destinations.md", "sql") if "ads_consent" in sql]


class HubSpot(Receiver):
    """HubSpot, as far as docs/destinations/hubspot.toml uses it."""

    def take(self, method, path, headers, body):
        assert headers["Authorization"] == "Bearer a token"
        contacts = json.loads(body)["inputs"]
        users = [{"id": contact["id"]} for contact in contacts]
        content = json.dumps({"users": users}).encode()
        return super().take(method, path, headers, content)


@pytest.fixture
def deployment(emulated) -> Deployment:
    """What the page's tables of customers are in, too."""
    return emulated


@pytest.fixture
def folder(tmp_path, deployment, monkeypatch) -> Iterator[Path]:
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
        customer = {
            "customer_id": user,
            "email": f"{user}@example.com",
            "phone": f"+4420794{number:05}",
            "agreed_to_mail": number % 10 > 0,
            "agreed_to_ads": True,
        }
        rows.append(customer)
    client.load_table_from_json(rows, "crm.customers").result()
    yield {row["customer_id"]: row["email"] for row in rows if row["agreed_to_mail"]}
    client.delete_table("crm.customers")


def run(*words: str) -> None:
    assert main(["audience", *words]) == Exit.DONE


def test_the_steps_of_the_page_give_a_list(deployment, folder, capfdbinary):
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
    [name] = deployment.artifacts.names("audiences/ga4_purchase/winback/")
    assert deployment.artifacts.read(name).data.decode("utf-8-sig") == printed["list"]


def test_the_pages_audience_is_in_the_deployments_folder(tmp_path):
    """Defect: it was written into the checkout, or into the state that the shell had
    named before, where no command of the deployment finds it."""
    [script] = blocks(PAGE, "bash")
    shell = {
        **os.environ,
        "PROPENSITY_DEPLOYMENT": str(tmp_path / "shop" / "production.env"),
        "PROPENSITY_USE_CASES": str(tmp_path / "state"),
    }
    subprocess.run(["bash", "-ec", script], check=True, env=shell)

    assert (tmp_path / "shop/usecases/ga4_purchase/audiences/winback.toml").is_file()


def test_from_ga4_to_a_mail_service(deployment, folder, addresses, monkeypatch, capsys):
    """By the e-mail addresses of those who agreed to mail."""
    (folder / "mailing.toml").write_text(MAILING.replace("csv", "hubspot"))
    (folder / "mailing.sql").write_text(MAIL)
    monkeypatch.setattr(
        "propensity.gcp.secrets.reader", lambda settings: lambda name: "a token"
    )
    with HubSpot() as receiver:
        file = text("docs/destinations/hubspot.toml")
        here = file.replace("https://api.hubapi.com", receiver.url)
        (folder / "destinations" / "hubspot.toml").write_text(here)
        run("preview", "mailing", "--json")
        preview = json.loads(capsys.readouterr().out)
        run("send", "mailing")

    treated = members_of(deployment, is_control=False)
    assert {address for _, address in receiver.users} == {
        addresses[user] for user in treated
    }
    assert preview["treated"] == len(treated) > 60
    assert preview["warnings"][0] == (
        "top = 500, but only 180 users are in mailing.sql, so all of these are in the "
        "audience."
    )


@pytest.mark.usefixtures("addresses")
def test_from_ga4_to_google_ads(deployment, folder):
    """By the hashes of the addresses."""
    [ads] = [toml for toml in blocks("docs/destinations.md", "toml") if "ADS" in toml]
    (folder / "ads_list.toml").write_text(MAILING.replace("csv", "ads"))
    (folder / "ads_list.sql").write_text(ADS)
    with DataManager() as google:
        account = tomllib.loads(ads)["account"]
        here = ads.replace(account, "123") + f'url = "{google.url}"\n'
        (folder / "destinations" / "ads.toml").write_text(here)
        run("send", "ads_list")

    treated = members_of(deployment, is_control=False)
    hashes = {digest(f"{user}@example.com") for user in treated}
    assert hashes <= {identifier for _, identifier in google.users}
    assert len(treated) > 60


@pytest.mark.parametrize(
    ("user_column", "sent", "words"),
    [
        ("user_pseudo_id", ["user_id"], "crm gets nothing but their ids"),
        ("user_pseudo_id", ["user_id", "email"], "[]"),
        ("user_pseudo_id", ["email"], "[]"),
        ("user_id", ["user_id"], "[]"),
    ],
)
@pytest.mark.usefixtures("addresses")
def test_a_preview_warns_of_browsers_that_go_to_people(
    folder, capsys, user_column, sent, words
):
    """Defect: a CRM got the ids of cookies, and knew none of them."""
    os.environ["PROPENSITY_USER_COLUMN"] = user_column
    (folder / "winback.toml").write_text('destination = "crm"\ntop = 10\n')
    (folder / "winback.sql").write_text(MAIL)
    user = "\n".join(f'{name} = "{{{name}}}"' for name in sent)
    (folder / "destinations" / "crm.toml").write_text(
        f'kind = "http"\nname = "crm"\nurl = "https://x.example.com"\n[user]\n{user}\n'
    )
    run("preview", "winback", "--json")

    assert words in str(json.loads(capsys.readouterr().out)["warnings"])


@pytest.mark.usefixtures("addresses")
def test_a_preview_warns_of_another_control_group(folder, capsys):
    """Defect: a second audience spoiled the result of the first without a word."""
    groups = {"winback": "mail", "spring": "mail", "loyal": "loyal", "new": "new"}
    for name, group in groups.items():
        entries = f'destination = "csv"\ntop = 10\ncontrol_group = "{group}"\n'
        (folder / f"{name}.toml").write_text(entries)
    for file in folder.glob("*.toml"):
        if file.stem not in groups:
            file.unlink()
    run("preview", "winback", "--json")

    [warning] = json.loads(capsys.readouterr().out)["warnings"]
    assert "the control group of loyal, new, which" in warning
    # The statement that it prints is the way out.
    (folder / "winback.sql").write_text(warning.partition("\n\n")[2])
    run("preview", "winback", "--json")
    assert json.loads(capsys.readouterr().out)["warnings"] == []


def test_a_preview_says_that_a_model_cannot_rank(deployment, folder, capsys):
    """Defect: "the best 500" of customers who were all alike was a draw."""
    alike = {f"u{n:03}": 0.003 + n / 1e7 for n in range(USERS)}
    publish(deployment.warehouse, MONDAY, alike)
    (folder / "winback.toml").write_text('destination = "csv"\ntop = 100\n')
    run("preview", "winback")

    shown = capsys.readouterr().out
    assert "can't rank these: 0.30% of the members" in shown
    assert "and 0.30% of the 100 others who may be members" in shown
    assert "This audience can't prove an effect of +100%" in shown
