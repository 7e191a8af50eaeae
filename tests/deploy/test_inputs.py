"""
What Infrastructure Manager is given, specified: by gcloud's own reader.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from deploy import configuration
from deploy.render import TERRAFORM
from tests.deploy.conftest import SDK, SETTINGS, WHOLE, sdk_python, settings_file
from tests.programs import execute

READER = Path(__file__).with_name("read_inputs.py")
ROOTS = {"main": TERRAFORM, "watch": TERRAFORM / "watch"}
# Where a reader of HCL and one of JSON could differ: what texts may hold.
ODD = {
    **WHOLE,
    "DEPLOY_ALERT_EMAIL": "o'neil+alerts%x@sub.example.com",
    "DEPLOY_CALLERS": "domain:example.com,user:a.b+c%d'e@example.com",
    "DEPLOY_REPOSITORY": "europe-docker.pkg.dev/shared/images",
    "PROPENSITY_RETENTION_DAYS": "stream_events=30",
}


def written(tmp_path: Path, root: str, settings: dict[str, str]) -> Path:
    """The file that setup.sh hands over."""
    services = tmp_path / "services.json"
    url = "https://propensity-get-proba-1.us-central1.run.app"
    service = {"metadata": {"name": "propensity-get-proba"}, "status": {"url": url}}
    services.write_text(json.dumps([service]))
    told = execute(
        [sys.executable, "-m", "deploy", "variables", root, "--settings",
         settings_file(tmp_path, settings), "--services", services],
    )  # fmt: skip
    (tmp_path / f"{root}.tfvars").write_text(told.stdout)
    return tmp_path / f"{root}.tfvars"


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(SETTINGS, id="few", marks=pytest.mark.long),
        pytest.param(ODD, id="odd"),
    ],
)
def test_gcloud_sends_the_values_that_terraform_reads(tmp_path, settings):
    """Every variable, as it is: lists as lists, maps as maps; and uploads each file of
    the root with what it reads, the state's bucket apart."""
    given = {root: written(tmp_path, root, settings) for root in ROOTS}
    pairs = [path for root, file in given.items() for path in (file, ROOTS[root])]
    done = execute(
        [sdk_python(), READER, SDK, *pairs],
        env={"PATH": os.environ["PATH"], "CLOUDSDK_CONFIG": str(tmp_path)},
    )
    for (root, file), told in zip(given.items(), json.loads(done.stdout), strict=True):
        lines = [line.partition(" = ") for line in file.read_text().splitlines()]
        parts = [*ROOTS[root].glob("*.tf")]
        text = "".join(part.read_text() for part in parts)
        read = set(re.findall(r'path\.module}/([\w/.]+)"', text))

        assert told["values"] == {name: json.loads(value) for name, _, value in lines}
        assert set(told["values"]) == set(re.findall(r'^variable "(\w+)"', text, re.M))
        assert {part.name for part in parts} - set(told["files"]) == {"backend.tf"}
        assert read <= {*told["files"], "alerts"}
        assert not [file for file in told["files"] if file.startswith("watch/")]
    if root == "watch":
        assert sum(file.startswith("alerts/") for file in told["files"]) == 11


@pytest.mark.parametrize("value", ['a"b@example.com', "a\\b@example.com", "${x}@y.z"])
def test_no_text_needs_an_escape(value):
    """Which gcloud's reader would leave in, and Terraform would not."""
    with pytest.raises(configuration.DeploymentError, match="DEPLOY_ALERT_EMAIL"):
        configuration.of({**SETTINGS, "DEPLOY_ALERT_EMAIL": value})
