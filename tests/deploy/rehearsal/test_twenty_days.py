"""
Twenty days of a deployment, in fast motion: the processes that a deploy starts, from
the code of each release, are called by the clock.

In these days a release goes forward and back, a week is lost, and a second property,
with an export of its own, is added and removed. A day of the export is late, one is
written anew, and one has only been streamed while runs read it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import requests
from google.cloud.bigquery import SchemaField

from commands.cli import main
from deploy import configuration
from deploy.functions import Function
from local.exports import digest, ga4_export
from local.exports.ga4_export import PREFIX as DAILY
from local.exports.ga4_schema import ARROW_SCHEMA
from local.processes import free_ports
from local.stack.stack import Stack
from local.stack.state import FUNCTIONS, PORTS, ROOT, State
from offline import promote
from propensity import usecases
from propensity.cli.answers import Exit
from propensity.gcp.warehouse import Warehouse
from propensity.runs import setup
from propensity.settings import Settings
from propensity.tables.export import CONVERSIONS, USER_DAYS
from tests.deploy.conftest import SETTINGS, settings_file
from tests.support import own_use_cases, shop
from tests.support.deployment import entered
from tests.support.programs import execute

FIRST = date(2026, 4, 20)  # a Monday
SHOP = "ga4_purchase"
UK = "shop_uk"
EXPORT = "analytics_uk"
NEW = f"usecase new {UK} --like {SHOP} --ga4-dataset {EXPORT} --currency GBP"
HOURS = configuration.of(SETTINGS).hours
DAYS = configuration.of(SETTINGS).days
SCHEDULED = sorted(
    (one for one in FUNCTIONS if one.schedule), key=lambda one: HOURS.get(one.target, 0)
)
DEPLOYED = [*SCHEDULED, *(one for one in FUNCTIONS if one.target == "get_proba")]
TABLES = "deploy/terraform/generated/tables.json"
# The newer release has this column beyond the older one.
COLUMN = 'approved_by: Annotated[str | None, "Who looked at it"] = None\n    '
PUBLISHED = "SELECT DISTINCT use_case, as_of FROM ma_predictions_history WHERE TRUE"
OF_SHOP = f"use_case = '{SHOP}' AND week IS NOT NULL"
EVALUATED = f"SELECT week, model_version FROM ma_model_evaluation WHERE {OF_SHOP}"
BEFORE = "training_date: Annotated[date"


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


# The users of the small shop come on Wednesdays. Of these days the first is late, the
# second is written anew after a Monday, and so long the third has only been streamed.
LATE = day(2)
REPLACED = day(9)
STREAMED = day(16)


def exported(whole: Mapping[str, pa.Table], on: date) -> dict[str, pa.Table]:
    """Return the tables of an export as they are on the morning of a day."""
    tables = {}
    for name, rows in whole.items():
        of_day = date.fromisoformat(name.removeprefix(DAILY))
        age = (on - of_day).days
        streamed = name.replace(DAILY, f"{DAILY}intraday_")
        half = rows.slice(0, len(rows) // 2)
        if age == 0 or (of_day == STREAMED and 0 < age < 6):
            tables[streamed] = half
        elif of_day == REPLACED and 0 < age < 6:
            tables[name] = half
        elif age > 0 and not (of_day == LATE and age < 3):
            tables[name] = rows
    # Today's table is there before its first event.
    today = f"{DAILY}intraday_{on:%Y%m%d}"
    tables.setdefault(today, ARROW_SCHEMA.empty_table())
    return tables


def is_due(function: Function, on: date) -> bool:
    """Return whether the clock calls a function on a day."""
    _, _, of_month, _, weekday = function.schedule.cron.split()
    is_day = of_month in {"*", str(on.day)}
    return is_day and DAYS.get(function.target, weekday) in {"*", f"{on:%a}".upper()}


def release(folder: Path, *, column: bool = False) -> Path:
    """Check out a release, and make its files for Terraform."""
    parts = {"propensity", "offline", "deploy", "docs"}
    for name in parts.union(function.folder for function in FUNCTIONS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    if column:
        file = folder / "propensity" / "tables" / "models.py"
        file.write_text(file.read_text().replace(BEFORE, COLUMN + BEFORE, 1))
    services = folder / "services.json"
    settings = settings_file(folder, SETTINGS)
    services.write_text("[]")
    words = ["variables", "--deployment", settings, "--json", services]
    execute([ROOT / ".venv/bin/python", "-m", "deploy", *words], cwd=folder)
    return folder


class Rehearsal:
    """One deployment: its data stay, whichever release serves it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._base = free_ports(PORTS)[0]
        self._rows = shop.weekly(date(2026, 1, 7), 20)
        self._whole = shop.shards(self._rows)
        self._there: dict[str, pa.Table] = {}

    @contextmanager
    def serving(self, root: Path) -> Iterator[Stack]:
        """Deploy the functions of a release, without its set-up."""
        state = State("twenty-days", self._home)
        with Stack(state, base=self._base, functions=DEPLOYED, root=root) as stack:
            yield stack

    def set_up(self, stack: Stack, root: Path) -> str:
        """Run a release's set-up; return its refusal, or "" once it has been done."""
        warehouse = warehouse_of(stack)
        client = warehouse.client
        changes = []
        planned = json.loads((root / TABLES).read_text())
        for name, table in planned.items():
            now = client.get_table(f"{stack.options.dataset}.{name}")
            before = [column.to_api_repr() for column in now.schema]
            kind = {"type": "google_bigquery_table", "name": "table", "index": name}
            columns = {"before": before, "after": table["schema"]}
            change = {at: {"schema": json.dumps(of)} for at, of in columns.items()}
            changes.append({**kind, "change": {**change, "actions": ["update"]}})
        plan = root / "plan.json"
        plan.write_text(json.dumps({"resource_changes": changes}))
        words = ["losses", "--deployment", root / "settings.env", "--json", plan]
        python = ROOT / ".venv/bin/python"
        done = execute([python, "-m", "deploy", *words], cwd=root, status=None)
        for name, table in {} if done.returncode else planned.items():
            stored = client.get_table(f"{stack.options.dataset}.{name}")
            stored.schema = [SchemaField.from_api_repr(one) for one in table["schema"]]
            client.update_table(stored, ["schema"])
        for export in usecases.exports(warehouse.settings):
            setup.prepare_export(warehouse.for_run(export), export)
        return done.stderr

    def arrive(self, stack: Stack, on: date) -> None:
        """Let the export be as it is on the morning of a day."""
        client = warehouse_of(stack).client
        dataset = stack.options.ga4_dataset
        tables = exported(self._whole, on)
        changed = {}
        for name, rows in tables.items():
            if name not in self._there or len(self._there[name]) != len(rows):
                changed[name] = rows
        ga4_export.load_tables(client, dataset, changed)
        for name in self._there.keys() - tables.keys():
            client.delete_table(f"{client.project}.{dataset}.{name}")
        self._there = tables

    def export_the_second_property(self, stack: Stack) -> None:
        """Have its whole export; no browser is in both."""
        british = []
        for row in self._rows:
            british.append({**row, "user_pseudo_id": f"uk.{row['user_pseudo_id']}"})
        client = warehouse_of(stack).client
        ga4_export.load_tables(client, EXPORT, shop.shards(british))

    def live(self, stack: Stack, days: Sequence[int], *use_cases: str) -> None:
        """Have the clock call what is due on these days."""
        for on in map(day, days):
            self.arrive(stack, on)
            for function in (one for one in SCHEDULED if is_due(one, on)):
                for use_case in use_cases if function.schedule.per_use_case else [""]:
                    self.call(stack, function.target, on, use_case)

    def call(
        self, stack: Stack, target: str, on: date, use_case: str, **more: bool
    ) -> dict:
        """Call a function as the clock does; it must succeed."""
        body = {"use_case": use_case, "as_of": on.isoformat()} if use_case else {}
        body |= more
        answer = stack.call(target, body).answer
        assert "error" not in answer, answer
        return answer


def warehouse_of(stack: Stack) -> Warehouse:
    return Warehouse.open(Settings.from_environment(stack.environment))


def digested(warehouse: Warehouse) -> dict[date, list[str]]:
    """Return the rows of the digest by day of the export."""
    days: dict[date, list[str]] = {}
    for table in (USER_DAYS, CONVERSIONS):
        for row in warehouse.rows(f"SELECT * FROM {table.name} WHERE TRUE"):
            days.setdefault(row["export_day"], []).append(repr(sorted(row.items())))
    return {of_day: sorted(rows) for of_day, rows in days.items()}


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
    assert "All in GBP" in page
    assert "All in USD" in page


def go_back(rehearsal: Rehearsal, stack: Stack) -> tuple[int, int]:
    """Find a bad version live; return those of a lookup before, and the same day."""
    before = answered(stack, SHOP)["model_version"]
    with entered(stack.environment):
        promote.run("rollback", use_case=SHOP, publishes=True)
    rehearsal.call(stack, "predictions", day(21), SHOP, force=True)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if answered(stack, SHOP)["model_version"] != before:
            break
        time.sleep(1)
    return before, answered(stack, SHOP)["model_version"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_deployment_lives_through_twenty_days(tmp_path):
    """Whichever release serves, what was published stays, and the clock goes on."""
    rehearsal = Rehearsal(tmp_path)
    older = release(tmp_path / "older")
    newer = release(tmp_path / "newer", column=True)
    none = tmp_path / "none"
    with own_use_cases.in_folder(none), rehearsal.serving(older) as stack:
        rehearsal.arrive(stack, FIRST)
        assert rehearsal.set_up(stack, older) == ""
        assert rehearsal.call(stack, "model_training", FIRST, SHOP)["promoted"]
        rehearsal.live(stack, range(7), SHOP)

    # The clock of day 7 finds nobody: that week has no predictions.
    with own_use_cases.in_folder(tmp_path / "both"):
        assert main(NEW.split()) == Exit.DONE
        with rehearsal.serving(newer) as stack:
            rehearsal.export_the_second_property(stack)
            rehearsal.arrive(stack, day(9))
            assert rehearsal.set_up(stack, newer) == ""
            rehearsal.live(stack, range(9, 15), SHOP, UK)
            check_both(stack)

    with own_use_cases.in_folder(none), rehearsal.serving(older) as stack:
        rehearsal.arrive(stack, day(15))
        assert "training_metadata_runs.approved_by" in rehearsal.set_up(stack, older)
        rehearsal.live(stack, range(15, 22), SHOP)
        assert answered(stack, SHOP)["prediction_date"] == day(21).isoformat()
        warehouse = warehouse_of(stack)
        rehearsal.arrive(stack, day(22))
        assert go_back(rehearsal, stack) == (1, 0)
        published = {tuple(row) for row in warehouse.rows(PUBLISHED)}
        evaluated = {tuple(row) for row in warehouse.rows(EVALUATED)}
        with_changes = digested(warehouse)
        digest.fill(warehouse, ["purchase", "refund"])

        # As if the export had been complete from the start.
        assert digested(warehouse) == with_changes
        assert set(with_changes) >= {LATE, REPLACED, STREAMED}

    # What was published of the removed property stays.
    shop_days = {(SHOP, day(number)) for number in (0, 14, 21)}
    assert published == {*shop_days, (UK, day(14))}
    # Before the first predictions a week has version -1, and in the lost week those of
    # the week before are in force.
    assert evaluated == {(day(-7), -1), (FIRST, 0), (day(7), 0), (day(14), 1)}
