"""
Twenty days of a deployment, in fast motion: the processes that a deploy starts, from
the code of each release, are called by the clock.

In these days a release goes forward and back, a week is lost, and a second property,
with an export of its own, is added and removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest
import requests
from google.cloud.bigquery import SchemaField

from deploy import configuration
from deploy.functions import Function
from local.exports import ga4_export
from local.processes import free_ports
from local.stack.stack import Stack
from local.stack.state import FUNCTIONS, PORTS, ROOT, State
from propensity.gcp.warehouse import Warehouse
from propensity.runs import setup
from propensity.settings import Settings
from propensity.usecases.exports import settings_of_exports
from tests.deploy.conftest import SETTINGS, settings_file
from tests.support import own_use_cases, shop
from tests.support.programs import execute

FIRST = date(2026, 4, 20)  # a Monday
SHOP = "ga4_purchase"
UK = "shop_uk"
EXPORT = "analytics_uk"
DEPLOYMENT = configuration.of(SETTINGS)
HOURS = DEPLOYMENT.hours
SCHEDULED = sorted(
    (one for one in FUNCTIONS if one.schedule), key=lambda one: HOURS.get(one.target, 0)
)
DEPLOYED = [*SCHEDULED, *(one for one in FUNCTIONS if one.target == "get_proba")]
TABLES = "deploy/terraform/generated/tables.json"
# Run in a release's folder, it makes that release's files.
WRITE = """
import sys
from pathlib import Path
from deploy import configuration, render
render.write(configuration.read(Path(sys.argv[1])), [])
"""
# The newer release has this column beyond the older one.
COLUMN = 'approved_by: Annotated[str | None, "Who looked at it"] = None\n    '
PUBLISHED = "SELECT DISTINCT use_case, as_of FROM ma_predictions_history WHERE TRUE"
OF_SHOP = f"use_case = '{SHOP}' AND week IS NOT NULL"
EVALUATED = f"SELECT week, model_version FROM ma_model_evaluation WHERE {OF_SHOP}"
BEFORE = "training_date: Annotated[date"


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def is_due(function: Function, on: date) -> bool:
    """Return whether the clock calls a function on a day."""
    _, _, of_month, _, weekday = DEPLOYMENT.cron(function).split()
    is_day = of_month in {"*", str(on.day)}
    return is_day and weekday in {"*", f"{on:%a}".upper()}


def release(folder: Path, *, column: bool = False) -> Path:
    """Check out a release, and make its files for Terraform."""
    parts = {"propensity", "offline", "deploy", "docs"}
    for name in parts.union(function.folder for function in FUNCTIONS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    if column:
        file = folder / "propensity" / "tables" / "models.py"
        file.write_text(file.read_text().replace(BEFORE, COLUMN + BEFORE, 1))
    settings = settings_file(folder, SETTINGS)
    execute([ROOT / ".venv/bin/python", "-c", WRITE, settings], cwd=folder)
    return folder


class Play:
    """One deployment: its data stay, whichever release serves it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._base = free_ports(PORTS)[0]

    @contextmanager
    def serving(self, root: Path) -> Iterator[Stack]:
        """Set up a release, but for columns that it does not know, and deploy its
        functions."""
        state = State("twenty-days", self._home)
        with Stack(state, base=self._base, functions=DEPLOYED, root=root) as stack:
            client = warehouse_of(stack).client
            for name, table in json.loads((root / TABLES).read_text()).items():
                stored = client.get_table(f"{stack.options.dataset}.{name}")
                # BigQuery takes new columns at the end alone.
                known = {column.name for column in stored.schema}
                for column in map(SchemaField.from_api_repr, table["schema"]):
                    if column.name not in known:
                        stored.schema = [*stored.schema, column]
                        client.update_table(stored, ["schema"])
            yield stack


def export(stack: Stack, dataset: str, prefix: str = "") -> None:
    """Have the whole export of a property; no browser is in two."""
    rows = []
    for row in shop.weekly(date(2026, 1, 7), 20):
        rows.append({**row, "user_pseudo_id": prefix + row["user_pseudo_id"]})
    warehouse = warehouse_of(stack)
    ga4_export.load_tables(warehouse.client, dataset, shop.shards(rows))
    for exported in settings_of_exports(warehouse.settings):
        setup.prepare_export(warehouse.for_run(exported), exported)


def live(stack: Stack, days: Sequence[int], *use_cases: str) -> None:
    """Have the clock call what is due on these days."""
    for on in map(day, days):
        for function in (one for one in SCHEDULED if is_due(one, on)):
            for use_case in use_cases if function.schedule.per_use_case else [""]:
                call(stack, function.target, on, use_case)


def call(stack: Stack, target: str, on: date, use_case: str) -> dict:
    """Call a function as the clock does; it must succeed."""
    body = {"use_case": use_case, "as_of": on.isoformat()} if use_case else {}
    answer: dict = stack.call(target, body).answer
    assert "error" not in answer, answer
    return answer


def warehouse_of(stack: Stack) -> Warehouse:
    return Warehouse.open(Settings.from_environment(stack.environment))


def answered(stack: Stack, use_case: str, user: str = "user.004") -> dict:
    """Look a user up."""
    asked = {"user_id": user, "use_case": use_case}
    return requests.get(stack.url("get_proba"), asked, timeout=30).json()


def check_both(stack: Stack) -> None:
    """Assert that each property has its own users, and the dashboard shows both."""
    for use_case, theirs, others in (
        (SHOP, "user.004", "uk.user.004"),
        (UK, "uk.user.004", "user.004"),
    ):
        known = answered(stack, use_case, theirs)
        assert known["prediction_date"] == day(14).isoformat()
        assert answered(stack, use_case, others)["error"] == "unknown_user"
    page = (stack.bucket_folder / "dashboard" / "index.html").read_text()
    for use_case in (SHOP, UK):
        assert f'href="use-case-{use_case}.html"' in page


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_deployment_lives_through_twenty_days(tmp_path):
    """Whichever release serves, what was published stays, and the clock goes on."""
    play = Play(tmp_path)
    older = release(tmp_path / "older")
    newer = release(tmp_path / "newer", column=True)
    none = tmp_path / "none"
    with own_use_cases.in_folder(none), play.serving(older) as stack:
        export(stack, stack.options.ga4_dataset)
        assert call(stack, "model_training", FIRST, SHOP)["promoted"]
        live(stack, range(7), SHOP)

    # The clock of day 7 finds nobody: that week has no predictions.
    with own_use_cases.in_folder(tmp_path / "both") as both:
        own_use_cases.write_instance(both, UK, ga4_dataset=EXPORT)
        with play.serving(newer) as stack:
            export(stack, EXPORT, "uk.")
            live(stack, range(9, 15), SHOP, UK)
            check_both(stack)

    with own_use_cases.in_folder(none), play.serving(older) as stack:
        live(stack, range(15, 22), SHOP)
        assert answered(stack, SHOP)["prediction_date"] == day(21).isoformat()
        warehouse = warehouse_of(stack)
        published = {tuple(row) for row in warehouse.rows(PUBLISHED)}
        evaluated = {tuple(row) for row in warehouse.rows(EVALUATED)}

    # What was published of the removed property stays.
    shop_days = {(SHOP, day(number)) for number in (0, 14, 21)}
    assert published == {*shop_days, (UK, day(14))}
    # Before the first predictions a week has version -1, and in the lost week those of
    # the week before are in force.
    assert evaluated == {(day(-7), -1), (FIRST, 0), (day(7), 0), (day(14), 1)}
