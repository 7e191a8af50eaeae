"""
What Terraform reads, specified: as the code has it, now.
"""

from __future__ import annotations

import shutil

from deploy import configuration, functions, render
from deploy.__main__ import main
from propensity import folders
from tests import own_use_cases
from tests.deploy.conftest import SETTINGS, settings_file
from tests.programs import execute


def test_a_use_case_of_ones_own_is_deployed_from_its_folder(tmp_path, capsys):
    """The setting may stand in the settings file; scripts get it, and functions do
    not: their source has the folder."""
    with own_use_cases.in_folder(tmp_path / "own") as own:
        shutil.copytree(folders.place("ga4_purchase"), own / "shop")
        file = own / "shop" / "usecase.toml"
        table = '[events]\ntable = "crm.shop"\nuser_id = "u"\ntime = "t"\n'
        file.write_text(file.read_text() + table)
        (tmp_path / "none").mkdir()
        own_use_cases.set_folder(tmp_path / "none")
        chosen = {"PROPENSITY_USE_CASES": str(own), "DEPLOY_USE_CASES": "shop"}
        file = settings_file(tmp_path, SETTINGS | chosen)
        assert main(["shell", "--dry-run", "--settings", str(file)]) == 0
        known = render.files()[render.TERRAFORM / "generated" / "use_cases.json"]
        deployment = configuration.read(file)

    assert known["shop"] == known["ga4_purchase"] | {"events": ["crm.shop"]}
    assert deployment.use_cases == ("shop",)
    assert "PROPENSITY_USE_CASES" not in deployment.variables
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"export PROPENSITY_USE_CASES={own}"
    assert str(own) not in "".join(others)


def test_a_pull_never_touches_what_is_of_ones_own():
    """Neither use cases, nor what a set-up writes about them: git knows neither."""
    ours = ["usecases/shop/usecase.toml", "deploy/terraform/generated/views.json"]

    ignored = execute(["git", "check-ignore", "--no-index", *ours]).stdout
    assert ignored.splitlines() == ours
    assert (
        execute(["git", "ls-files", "usecases", "deploy/terraform/generated"]).stdout
        == ""
    )


def test_rights_are_on_single_things():
    """In the project nothing but to run queries and to read their results."""
    rights = [one for each in functions.load() for one in render.rights(each)]

    assert {one["role"] for one in rights if one["on"] == "project"} == {
        "roles/bigquery.jobUser",
        "roles/bigquery.readSessionUser",
    }
