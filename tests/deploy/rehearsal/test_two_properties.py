"""
Two properties in one deployment, by the commands of the page: the processes that a
deploy starts are called by the clock for both.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests

from commands.answers import Exit
from commands.cli import main
from deploy.__main__ import main as deploy
from local.exports import ga4_export
from local.stack.stack import Stack
from local.stack.state import ROOT
from propensity.runs import setup
from tests.deploy.conftest import SETTINGS
from tests.deploy.rehearsal.test_twenty_days import (
    FIRST,
    PUBLISHED,
    SHOP,
    Rehearsal,
    day,
    warehouse_of,
)
from tests.support import own_use_cases, shop

UK = "shop_uk"
EXPORT = "analytics_uk"
NEW = f"usecase new {UK} --like {SHOP} --ga4-dataset {EXPORT} --currency GBP"
EVALUATED = """
SELECT use_case, week FROM ma_model_evaluation
WHERE week IS NOT NULL AND model_version >= 0
"""


def new_deployment(home: Path) -> Path:
    """Make a deployment's folder with two properties; return its settings file."""
    assert main(["deployment", "new", str(home)]) == Exit.DONE
    file = home / "production.env"
    text = "".join(f'{name}="{value}"\n' for name, value in SETTINGS.items())
    file.write_text(text)
    assert main(["--deployment", str(file), *NEW.split()]) == Exit.DONE
    file.write_text(f'{text}DEPLOY_USE_CASES="{SHOP} {UK}"\n')
    return file


def load_exports(stack: Stack) -> None:
    """Have an export of each property; no browser is in both."""
    client = warehouse_of(stack).client
    rows = shop.weekly(FIRST - 15 * shop.WEEK + 2 * shop.DAY, 18)
    ga4_export.load_tables(client, stack.options.ga4_dataset, shop.shards(rows))
    british = []
    for row in rows:
        british.append({**row, "user_pseudo_id": f"uk.{row['user_pseudo_id']}"})
    ga4_export.load_tables(client, EXPORT, shop.shards(british))


def status_of(stack: Stack, user: str, use_case: str) -> int:
    """Look a user up; return the status of the answer."""
    named = {"user_id": user, "use_case": use_case}
    return requests.get(stack.url("get_proba"), named, timeout=30).status_code


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_deployment_has_two_properties_from_its_first_command_to_its_third_week(
    tmp_path, capsys
):
    """Each is trained, predicted and evaluated by its own users; the dashboard shows
    both. A folder without one of them is refused."""
    home = tmp_path / "deployment"
    file = new_deployment(home)
    services = tmp_path / "services.json"
    services.write_text("[]")
    words = ["--deployment", str(file), "--json", str(services)]
    assert deploy(["variables", *words]) == 0
    values = (tmp_path / "main.tfvars").read_text()
    [line] = re.findall(r"^exports = (.*)$", values, re.M)
    assert json.loads(line) == {"": "analytics_1", f"_{EXPORT}": EXPORT}
    capsys.readouterr()
    assert deploy(["describe", "--deployment", str(file)]) == 0
    (tmp_path / "deployed.json").write_text(capsys.readouterr().out)

    rehearsal = Rehearsal(tmp_path)
    with (
        own_use_cases.in_folder(home / "usecases"),
        rehearsal.serving(ROOT) as stack,
    ):
        load_exports(stack)
        warehouse = warehouse_of(stack)
        setup.prepare(warehouse, warehouse.settings)
        for use_case in (SHOP, UK):
            answer = rehearsal.call(stack, "model_training", FIRST, use_case)
            assert answer["promoted"]
        rehearsal.live(stack, range(0, 15, 7), SHOP, UK)
        published = {tuple(row) for row in warehouse.rows(PUBLISHED)}
        evaluated = {tuple(row) for row in warehouse.rows(EVALUATED)}
        assert status_of(stack, "uk.user.004", UK) == 200
        assert status_of(stack, "uk.user.004", SHOP) == 404
        assert status_of(stack, "user.004", UK) == 404
        page = (stack.bucket_folder / "dashboard" / "index.html").read_text()

    mondays = [day(number) for number in (0, 7, 14)]
    assert published == {(name, as_of) for name in (SHOP, UK) for as_of in mondays}
    assert evaluated == {(name, as_of) for name in (SHOP, UK) for as_of in mondays[:2]}
    assert "All in GBP" in page
    assert "All in USD" in page

    (home / "usecases" / UK / "usecase.toml").unlink()
    file.write_text(file.read_text().replace(f" {UK}", ""))
    words = ["--deployment", str(file), "--json", str(tmp_path / "deployed.json")]
    assert deploy(["kept", *words]) == 1
    assert f"use case {UK}" in capsys.readouterr().err
