"""
The settings of a deployment, specified: checked whole, before anything is called.
"""

from __future__ import annotations

import json
import re
import sys

import pytest

from deploy import configuration, render
from deploy.__main__ import main
from tests.deploy.conftest import KEY, SETTINGS, settings_file
from tests.programs import execute


class TestWrongSettings:
    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("PROPENSITY_REFESH_S", "60", "PROPENSITY_REFESH_S"),
            ("PROPENSITY_BUCKET", "", "PROPENSITY_BUCKET"),
            ("PROPENSITY_SUPPRESSION_KEY", "k" * 40, "DEPLOY_SUPPRESSION_SECRET"),
            ("DEPLOY_REGION", "", "DEPLOY_REGION"),
            ("DEPLOY_FUNCTIONS", "get_probability", "get_probability"),
            ("DEPLOY_CALLERS", "user:ana@example.com allUsers", "allUsers"),
            ("DEPLOY_ALERT_EMAIL", "nobody", "DEPLOY_ALERT_EMAIL"),
            ("DEPLOY_TIMEZONE", "Etc/UTC", "Did you mean DEPLOY_TIME_ZONE?"),
            ("PROPENSITY_LOCATION", "europe", "PROPENSITY_LOCATION"),
            ("DEPLOY_TIME_ZONE", "Mars/Base", "DEPLOY_TIME_ZONE"),
            ("DEPLOY_ALERT_ROC_AUC", "7", "DEPLOY_ALERT_ROC_AUC"),
            ("DEPLOY_ALERT_RUN_BYTES", "1.5", "DEPLOY_ALERT_RUN_BYTES"),
            ("DEPLOY_INGRESS", "everybody", "DEPLOY_INGRESS"),
            ("DEPLOY_LOG_DAYS", "0", "DEPLOY_LOG_DAYS"),
            ("PROPENSITY_TOPIC_PREFIX", "another", "DEPLOY_PREFIX"),
            ("DEPLOY_PREFIX", "google", "DEPLOY_PREFIX"),
            ("DEPLOY_FUNCTIONS", " , ", "DEPLOY_FUNCTIONS names nothing"),
            *(
                ("PROPENSITY_BUCKET", name, "PROPENSITY_BUCKET")
                for name in ("a" * 64, "a..b", "192.168.5.4", "google-x")
            ),
            *(
                ("GOOGLE_CLOUD_PROJECT", name, "GOOGLE_CLOUD_PROJECT")
                for name in ("--help", "123456", "example.com:my-shop")
            ),
        ],
    )
    def test_wrong_settings_are_named(self, name, value, told):
        with pytest.raises(configuration.DeploymentError, match=re.escape(told)):
            configuration.of({**SETTINGS, name: value})

    @pytest.mark.parametrize("name", sorted(configuration.FORMS))
    def test_wrong_settings_are_told_with_their_value_and_one_that_is_right(self, name):
        """In one line, and without a regular expression."""
        with pytest.raises(configuration.DeploymentError) as told:
            configuration.of({**SETTINGS, name: "\N{SNOWMAN}"})
        message = str(told.value)

        assert message.startswith(f"{name} is '\N{SNOWMAN}'") or name in message
        assert "\n" not in message
        if "Example: " in message:
            [(_, value)] = re.findall(r"Example: (\w+)=(.+)$", message)
            assert re.fullmatch(configuration.FORMS[name], value.strip('"'))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DEPLOY_INGRESS", "internal"),
            ("PROPENSITY_GA4_DATASET", "example.com:web.analytics_1"),
            ("DEPLOY_REGION", "europe-west12"),
            ("DEPLOY_TIME_ZONE", "America/Argentina/Buenos_Aires"),
            ("DEPLOY_ALERT_ROC_AUC", "0.05"),
            ("DEPLOY_CALLERS", "user:ana@example.com, group:website@example.com"),
            ("DEPLOY_KMS_KEY", KEY),
        ],
    )
    def test_wrong_settings_are_not_taken_for_right_ones(self, name, value):
        assert configuration.of({**SETTINGS, name: value})

    @pytest.mark.parametrize("line", ["A B=1", "=1", 'X="a" b', 'X="'])
    def test_wrong_settings_that_are_no_line_of_a_shell_are_named(self, tmp_path, line):
        """By what stands there."""
        file = settings_file(tmp_path, SETTINGS)
        file.write_text(file.read_text() + line)

        with pytest.raises(configuration.DeploymentError, match="NAME=value|quotation"):
            configuration.read(file)


def test_the_example_is_one_to_deploy_from(tmp_path):
    """Every setting of a deployment is in it, if commented out."""
    text = configuration.EXAMPLE.read_text()
    file = tmp_path / "settings.env"
    file.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.M))
    d = configuration.read(file)

    assert d.prefix == "propensity"
    named = set(re.findall(r"^#? ?(DEPLOY_[A-Z_]+)=", text, re.M))
    assert named == set(configuration.OWN)


def test_the_environment_is_what_functions_have(tmp_path):
    """A shell that takes it over has the names of this deployment."""
    file = settings_file(tmp_path, {**SETTINGS, "DEPLOY_PREFIX": "shop"})
    program = f"{sys.executable} -m deploy environment --settings {file}"
    told = execute(["bash", "-c", f'eval "$({program})"; env']).stdout

    assert {
        "PROPENSITY_TOPIC_PREFIX=shop",
        "PROPENSITY_DATASET=shop",
        "GOOGLE_CLOUD_PROJECT=my-project",
    } <= {*told.splitlines()}
    assert "\nDEPLOY_" not in told


def test_terraform_knows_every_table_that_is_kept_for_a_time(tmp_path, capsys):
    """Defect: one with the rows of runs was called by its view's name, and refused."""
    kept = "ma_drift_runs=90 stream_events=400"
    file = settings_file(tmp_path, {**SETTINGS, "PROPENSITY_RETENTION_DAYS": kept})
    assert main(["variables", "--settings", str(file)]) == 0
    [line] = re.findall(r"^retention_days = (.*)$", capsys.readouterr().out, re.M)

    assert json.loads(line) == {"ma_drift_runs": 90, "stream_events": 400}
    assert {*json.loads(line)} <= {
        *render.files()[render.TERRAFORM / "generated" / "tables.json"]
    }
