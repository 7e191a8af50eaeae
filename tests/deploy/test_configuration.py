"""
The settings of a deployment, specified: checked whole, before anything is called.
"""

from __future__ import annotations

import os
import re
import shutil

import pytest

from commands import cli
from deploy import DeploymentError, configuration
from propensity import folders
from propensity.settings import Settings
from tests.deploy.conftest import POOL, SETTINGS, settings_file


# A setting that is missing or unknown, and one value of each kind that is wrong.
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PROPENSITY_BUCKET", "", "PROPENSITY_BUCKET is not set"),
        ("PROPENSITY_SUPPRESSION_KEY", "k" * 40, "DEPLOY_SUPPRESSION_SECRET"),
        ("DEPLOY_CALLERS", "user:ana@example.com allUsers", "Example: DEPLOY_CALLERS="),
        ("DEPLOY_CALLERS", f"{POOL}/*", "Example: DEPLOY_CALLERS="),
        ("DEPLOY_TIMEZONE", "Etc/UTC", "Did you mean DEPLOY_TIME_ZONE?"),
        ("DEPLOY_TIME_ZONE", "Mars/Base", "DEPLOY_TIME_ZONE"),
        ("DEPLOY_PREDICTION_DAYS", "MON,", "DEPLOY_PREDICTION_DAYS=daily"),
        ("DEPLOY_PACKAGE_INDEX", "https://me:token@pypi.example.com/", "Example: "),
        ("GOOGLE_CLOUD_PROJECT", "--help", "GOOGLE_CLOUD_PROJECT"),
    ],
)
def test_wrong_settings_are_named_in_a_line(name, value, told):
    with pytest.raises(DeploymentError, match=re.escape(told)) as error:
        configuration.of({**SETTINGS, name: value})

    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", ["A B=1", 'X="'])
def test_a_line_that_is_none_of_a_shell_is_refused(tmp_path, line):
    """By what stands there."""
    file = settings_file(tmp_path, SETTINGS)
    file.write_text(file.read_text() + line)

    with pytest.raises(DeploymentError, match="NAME=value|quotation"):
        configuration.read(file)


def test_the_example_is_one_to_deploy_from(tmp_path):
    """Every setting of a deployment is in it, if commented out."""
    text = configuration.EXAMPLE.read_text()
    file = settings_file(tmp_path, {})
    file.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.M))
    d = configuration.read(file)

    assert d.prefix == "propensity"
    named = set(re.findall(r"^#? ?(DEPLOY_[A-Z_]+)=", text, re.M))
    assert named == set(configuration.OWN)


def test_a_new_deployment_has_environments_of_its_own(tmp_path, capsys):
    """Both deploy as they are, once they are filled in; no resource is of both, and the
    second does not read the export, and its users, for as much money again."""
    folder = tmp_path / "my shop"
    assert cli.main(["deployment", "new", str(folder), "--dry-run"]) == 0
    assert not folder.exists()
    assert cli.main(["deployment", "new", str(folder)]) == 0
    assert f"--deployment '{folder}/production.env'" in capsys.readouterr().out
    production = configuration.read(folder / "production.env")
    test = configuration.read(folder / "test.env")

    assert production.project != test.project
    assert production.settings.bucket != test.settings.bucket
    assert production.settings.export != test.settings.export
    assert production.functions == test.functions


def test_a_command_is_about_the_deployment_that_is_named(tmp_path):
    """Whatever the shell has of a local state; the key is in no file."""
    file = settings_file(tmp_path, {**SETTINGS, "DEPLOY_PREFIX": "shop"})
    variables = {
        "PROPENSITY_BUCKET": "another",
        "PROPENSITY_DATASET": "another",
        "PROPENSITY_USER_COLUMN": "user_id",
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9",
        "PROPENSITY_SUPPRESSION_KEY": "k" * 32,
    }
    os.environ.update(variables)

    assert (
        cli.main(["--deployment", str(file), "usecase", "new", "some", "--dry-run"])
        == 0
    )
    settings = Settings.from_environment()

    assert (settings.project, settings.bucket) == ("my-project", "my-bucket")
    assert (settings.dataset, settings.topic_prefix) == ("shop", "shop")
    assert (settings.user_column, settings.bigquery_endpoint) == ("", "")
    assert settings.suppression_key == "k" * 32
    assert folders.own() == tmp_path / "usecases"


def test_a_candidate_of_a_package_that_a_lock_lacks_is_refused(tmp_path, monkeypatch):
    """By the set-up: the function would end where it loads the model."""
    monkeypatch.setenv("PROPENSITY_USE_CASES", str(tmp_path))
    classes = {
        "mine": "lightgbm.LGBMClassifier",
        "yours": "sklearn.naive_bayes.GaussianNB",
    }
    for name, algorithm in classes.items():
        shutil.copytree(folders.place("ga4_purchase"), tmp_path / name)
        file = tmp_path / name / "usecase.toml"
        text = file.read_text().replace('"LogisticRegression"', f'"{algorithm}"')
        file.write_text(text)

    assert configuration.of({**SETTINGS, "DEPLOY_USE_CASES": "yours"})
    with pytest.raises(DeploymentError, match="mine needs lightgbm, which"):
        configuration.of({**SETTINGS, "DEPLOY_USE_CASES": "mine"})
