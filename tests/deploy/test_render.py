"""
What Terraform reads and makes, specified by its files: as the code has it, who gets in,
what stays, and alerts on what functions log.
"""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest

from deploy import DeploymentError, configuration, functions, plans, render, setup
from deploy.functions import ROOT
from deploy.render import TERRAFORM
from propensity import folders
from tests.deploy.conftest import SETTINGS, planned, settings_file
from tests.support import own_use_cases


def test_a_use_case_of_ones_own_is_deployed_from_the_deployments_folder(
    tmp_path,
):
    """Scripts get its place, and functions do not: their source has the folder."""
    with own_use_cases.in_folder(tmp_path / "usecases") as own:
        shutil.copytree(folders.place("ga4_purchase"), own / "shop")
        file = settings_file(tmp_path, SETTINGS | {"DEPLOY_USE_CASES": "shop"})
        own_use_cases.set_folder(tmp_path / "another")
        deployment = configuration.read(file)
        place = os.environ["PROPENSITY_USE_CASES"]

    assert deployment.use_cases == ("shop",)
    assert "PROPENSITY_USE_CASES" not in deployment.variables
    assert place == f"{own}"


def test_a_deployment_without_its_folder_of_use_cases_is_refused(tmp_path):
    """A set-up from a clone without audiences would remove those that are deployed,
    with the secrets of their destinations."""
    file = settings_file(tmp_path, SETTINGS)
    file.with_name("usecases").rmdir()

    with pytest.raises(DeploymentError, match="usecases' for use cases of your own"):
        configuration.read(file)


def test_a_set_up_names_audiences_of_days_without_predictions(tmp_path):
    """They would be sent up to six days late."""
    with own_use_cases.in_folder(tmp_path / "usecases") as own:
        folder = own / "ga4_purchase" / "audiences"
        folder.mkdir(parents=True)
        audience = 'destination = "bucket"\ntop = 10\ndays = ["monday"]\n'
        (folder / "winback.toml").write_text(audience)
        file = settings_file(tmp_path, SETTINGS | {"DEPLOY_PREDICTION_DAYS": "TUE"})
        [note] = setup.late_audiences(configuration.read(file))

    assert "audience winback of ga4_purchase" in note


A = [{"name": "a"}]
EMPTY = [{"name": "r"}]
RECORD = [{"name": "r", "fields": A}]


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (("scores", ["update"], A + EMPTY, EMPTY), "scores.a"),
        (("log", ["update"], RECORD, EMPTY), "log.r.a"),
        (("made_anew", ["delete", "create"], A, RECORD), "made_anew whole"),
        (("ga_user_days", ["delete"], A, None), "ga_user_days whole"),
        (("scores", ["update"], A, A + EMPTY), ""),
        (("ga_user_days_analytics_2", ["delete"], A, None), ""),
    ],
)
def test_a_plan_that_takes_columns_or_tables_away_is_refused(change, lost):
    """A column that is added is no loss, nor is the digest of a property that goes: the
    export has its days."""
    plan = json.loads(planned(*change))
    plans.check(plan, project="p", may=["drop_columns"], folder=ROOT)
    if lost:
        with pytest.raises(DeploymentError, match=re.escape(lost)):
            plans.check(plan, project="p", may=[], folder=ROOT)
    else:
        plans.check(plan, project="p", may=[], folder=ROOT)


def test_a_set_up_never_deletes_a_secret():
    """Nobody can undo that, so a person does it, also where a destination has no file
    any more."""
    secret = {"type": "google_secret_manager_secret", "name": "destination"}
    change = {"actions": ["delete"], "before": {"secret_id": "shop-TOKEN"}}
    changes = [{**secret, "change": {**change, "after": None}}]
    plan = {"resource_changes": changes}

    with pytest.raises(DeploymentError, match="gcloud secrets delete shop-TOKEN"):
        plans.check(plan, project="p", may=["drop_columns"], folder=ROOT)


def test_rights_are_on_single_things():
    """In the project nothing but to run queries and to read their results."""
    rights = [one for each in functions.load() for one in render.rights(each)]

    assert {one["role"] for one in rights if one["on"] == "project"} == {
        "roles/bigquery.jobUser",
        "roles/bigquery.readSessionUser",
    }


# These lines of the files protect data, and say who may call.
LINES = [
    # Lists for people, with addresses, are not kept for ever.
    ("bucket.tf", 'age = 400 matches_prefix = ["audiences/"]'),
    ("bucket.tf", 'matches_suffix = [".csv", ".parquet"]'),
    ("bucket.tf", "uniform_bucket_level_access = true"),
    ("bucket.tf", 'public_access_prevention = "enforced"'),
    ("bucket.tf", "force_destroy = var.delete_data"),
    ("bucket.tf", "retention_duration_seconds = 0"),
    ("bucket.tf", "versioning { enabled = true"),
    ("bucket.tf", "days_since_noncurrent_time = 30"),
    ("bucket.tf", "days_since_noncurrent_time = 1 "),
    ("dataset.tf", "delete_contents_on_destroy = var.delete_data"),
    ("dataset.tf", "deletion_protection = !var.delete_data"),
    ("rights.tf", 'role = "roles/run.invoker" members = each.value'),
    ("rights.tf", 'secret_id role = "roles/secretmanager.secretAccessor" member = '),
    ("rights.tf", '_secret role = "roles/secretmanager.secretAccessor" member = '),
    ("outputs.tf", "GRANT `roles/bigquery.dataViewer` ON TABLE `${one.table}` TO "),
    ("rights.tf", "local.functions[name].is_public ? sort(var.callers) : []"),
]


def test_terraform_protects_data():
    for file, line in LINES:
        assert line in " ".join((TERRAFORM / file).read_text().split())
