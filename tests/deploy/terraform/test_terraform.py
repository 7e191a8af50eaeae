"""
deploy/terraform, specified: what Terraform itself makes of it, and what a change does.

By the Google provider's published schema, with nothing behind it (``provider.py``).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy import configuration
from deploy.__main__ import named
from deploy.render import TERRAFORM
from tests.deploy.conftest import SETTINGS, WHOLE, settings_file
from tests.programs import execute

MSGPACK = "msgpack==1.1.2"
ANSWERS = {
    "google_bigquery_dataset": {"location": "US"},
    "google_bigquery_tables": {"tables": [{"table_id": "events_20250101"}]},
    "google_project": {"number": "123456789"},
}
CALLED = {**SETTINGS, "DEPLOY_USE_CASES": WHOLE["DEPLOY_USE_CASES"]}
CALLED["DEPLOY_CALLERS"] = WHOLE["DEPLOY_CALLERS"]

pytestmark = [
    pytest.mark.installs,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("terraform"), reason="there is no Terraform"),
]


@pytest.fixture(scope="module")
def terraform(schema, tmp_path_factory) -> Iterator[Callable[..., str]]:
    """Terraform in copies of the folder, without the state's bucket."""
    place = tmp_path_factory.mktemp("terraform")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", place / "site"]
    subprocess.run([*pip, MSGPACK], check=True, capture_output=True)
    (place / "schema.json").write_text(json.dumps(schema))
    (place / "answers.json").write_text(json.dumps(ANSWERS))
    shutil.copytree(TERRAFORM, place / "root")
    for backend in (place / "root").rglob("backend.tf"):
        backend.unlink()
    shutil.copytree(place / "root", place / "second")
    provider = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("provider.py"), "schema.json",
         "answers.json"],
        cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(place / "site")},
    )  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "TF_REATTACH_PROVIDERS": provider.stdout.readline().strip(),
        "TF_CLI_CONFIG_FILE": os.devnull,
        "CHECKPOINT_DISABLE": "1",
    }

    def ask(*words: str, root: str = "root", stdin: str = "", status: int = 0) -> str:
        done = execute(
            ["terraform", f"-chdir={place / root}", *words],
            status=status,
            input=stdin,
            env=environment,
        )
        return done.stderr if status else done.stdout

    ask("init", "-input=false")
    ask("init", "-input=false", root="root/watch")
    ask("init", "-input=false", root="second")
    yield ask
    provider.communicate(timeout=30)


@pytest.fixture(scope="module")
def values(tmp_path_factory) -> Callable[..., str]:
    """The option that gives Terraform what settings say; all functions are there."""

    def option(settings: dict[str, str], *words: str, root: str = "main") -> str:
        folder = tmp_path_factory.mktemp("values")
        d = configuration.of(settings)
        there = [
            {
                "metadata": {"name": d.name(function.target)},
                "status": {"url": f"https://{d.name(function.target)}.run.app"},
            }
            for function in d.functions
        ]
        (folder / "services.json").write_text(json.dumps(there))
        file = settings_file(folder, settings)
        done = execute(
            [sys.executable, "-m", "deploy", "variables", root, "--settings", file,
             "--services", folder / "services.json", *words],
        )  # fmt: skip
        (folder / "values.tfvars").write_text(done.stdout)
        return f"-var-file={folder / 'values.tfvars'}"

    return option


def changed(plan: str) -> dict[str, set[str]]:
    """What a plan does, by what it does: the resources' addresses."""
    by_change: dict[str, set[str]] = {}
    for name, what in re.findall(r"^  # (\S.*) (?:will|must) be (\w+)", plan, re.M):
        by_change.setdefault(what, set()).add(name)
    return by_change


@pytest.fixture(scope="module")
def applied(terraform, values) -> Callable[..., str]:
    """Terraform, once all functions are set up."""
    terraform("apply", "-auto-approve", "-no-color", values(CALLED))
    return terraform


@pytest.mark.parametrize("root", ["root", "root/watch"])
def test_is_valid_by_the_providers_schema(terraform, root):
    assert "is valid" in terraform("validate", "-no-color", root=root)


def test_what_must_be_forgotten_is_not_kept_by_the_bucket(terraform, values):
    """Neither as a generation that was written again nor by soft delete."""
    plan = terraform("plan", "-no-color", values(CALLED))
    rules = re.findall(r"condition \{[^}]*\}", plan)

    assert any(
        re.search(r"days_since_noncurrent_time += 1$", rule, re.M)
        for rule in rules
        if '"exports/"' in rule
    )
    assert re.search(r"retention_duration_seconds += 0$", plan, re.M)


def test_twice_is_once_and_outputs_are_what_scripts_read(applied, values):
    outputs = json.loads(applied("output", "-json", "scripts"))

    assert "No changes" in applied("plan", "-no-color", values(CALLED))
    assert named(configuration.of(CALLED)).items() <= outputs.items()


def test_an_export_in_a_project_of_a_domain_is_read(terraform, values):
    """Whose name has dots, too."""
    old = {**CALLED, "PROPENSITY_GA4_DATASET": "example.com:web.analytics_1"}
    plan = terraform("plan", "-no-color", values(old), root="second")

    assert "`example.com:web.analytics_1.events_2*`" in plan


def test_a_caller_that_is_taken_out_is_out(applied, values):
    less = {**CALLED, "DEPLOY_CALLERS": "group:website@example.com"}
    plan = applied("plan", "-no-color", values(less))

    assert changed(plan) == {
        "updated": {
            'google_cloud_run_v2_service_iam_binding.invoker["get_proba"]',
            'google_cloud_run_v2_service_iam_binding.invoker["score"]',
        }
    }
    assert '- "user:ana@example.com"' in plan


def test_a_use_case_that_is_taken_out_has_no_schedule(applied, values):
    less = {**CALLED, "DEPLOY_USE_CASES": "ga4_purchase"}
    plan = applied("plan", "-no-color", values(less))
    [schedules] = re.findall(r"schedules +=.*-> \"(.*)\"", plan)

    assert "card-fraud" not in schedules
    assert "propensity-predictions-ga4-purchase" in schedules


def test_a_function_that_is_taken_out_loses_all_its_rights(applied, values):
    targets = [function.target for function in configuration.of(CALLED).functions]
    less = {**CALLED, "DEPLOY_FUNCTIONS": " ".join(set(targets) - {"score_stream"})}
    gone = changed(applied("plan", "-no-color", values(less)))
    there = applied("state", "list").splitlines()

    assert set(gone) == {"destroyed"}
    assert all("score" in name for name in gone["destroyed"])
    assert {name for name in there if '["score_stream' in name} <= gone["destroyed"]
    assert 'google_service_account.function["score_stream"]' in gone["destroyed"]


def test_a_teardown_keeps_what_holds_data(applied, values):
    plan = applied("plan", "-no-color", values(CALLED, "--keep-only-data"))
    gone = changed(plan)["destroyed"]
    data = (
        "bigquery_dataset.this",
        "bigquery_table.",
        "storage_bucket.this",
        "pubsub_topic.",
        "pubsub_subscription.",
        "logging_project_bucket",
    )

    assert len(gone) > 100
    assert not [name for name in gone if any(f"google_{kind}" in name for kind in data)]


def test_a_budget_is_made_where_a_billing_account_is_named(terraform, values):
    """For the project alone; without an account nothing asks for rights on billing."""
    billed = {**CALLED, "DEPLOY_BILLING_ACCOUNT": "0A1B2C-3D4E5F-678901"}
    plans = [
        changed(terraform("plan", "-no-color", option, root="root/watch"))["created"]
        for option in (values(CALLED, root="watch"), values(billed, root="watch"))
    ]

    assert plans[1] - plans[0] == {
        'google_billing_budget.month["month"]',
        'google_project_service.budgets["month"]',
    }


def test_settings_that_cannot_be_are_refused_with_what_to_set(terraform, values):
    """By the plan, before anything is made, and on standard error."""
    far = {**CALLED, "PROPENSITY_LOCATION": "EU"}
    said = terraform("plan", "-no-color", values(far), root="second", status=1)

    assert "Set PROPENSITY_LOCATION to where the export is" in " ".join(said.split())
