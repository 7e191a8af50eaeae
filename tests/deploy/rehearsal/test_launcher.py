"""
Commands that a Cloud Run job runs in a buildpack's image, by the launcher's own rules.

Sources: buildpacks/lifecycle, launch/process.go (``userProvidedProcess``) and
launch/bash.go (``bashCommandWithTokens``).
"""

from __future__ import annotations

import json
import os

import pytest

from deploy import stage
from deploy.functions import ROOT
from tests.deploy.conftest import SETTINGS
from tests.deploy.scripts.test_scripts import flags, words_of
from tests.functions.instances import python_of
from tests.programs import execute


def launched(words: list[str]) -> list[str]:
    """Return what the launcher executes: only after ``--`` the words as they are. Else
    bash evaluates each between double quotes, which takes its own quotes away."""
    if words[0] == "--" and len(words) > 1:
        return words[1:]
    tokens = " ".join(f'"$(eval echo \\"${{{n}}}\\")"' for n in range(len(words)))
    return ["bash", "-c", f"exec bash -c '{tokens}' \"${{@:1}}\"", "launcher", *words]


def listed(flag: str) -> list[str]:
    """Return the items of a list of gcloud: ``^|^a|b`` is taken apart at each ``|``."""
    _, separator, items = flag.split("^", 2)
    return items.split(separator)


@pytest.fixture
def job(cloud) -> dict[str, str]:
    """The flags that a training job is made with."""
    cloud.settings = SETTINGS
    printed = cloud.run("deploy/training_job.sh", "--dry-run").stdout
    made = words_of(printed)[0]
    assert made[1:4] == ["run", "jobs", "deploy"]
    return flags(made)


def test_a_training_job_starts_by_the_launchers_rules(job, google, tmp_path):
    """From the staged folder, with the packages of the lock and the variables that the
    deploy sets; then its line says which permission is missing, and on which object."""
    folder = stage.stage(ROOT / "00-ModelTraining", tmp_path / "staged", locked=True)
    variables = dict(one.split("=", 1) for one in listed(job["set-env-vars"]))
    path = f"{python_of('model_training').parent}{os.pathsep}/usr/bin:/bin"
    environment = variables | google.environment | {"PATH": path}
    words = listed(job["args"])
    done = execute(launched(words), cwd=folder, env=environment, status=1)
    line = json.loads(done.stderr.splitlines()[0])

    assert job["command"] == "/cnb/lifecycle/launcher"
    assert (line["function"], line["use_case"]) == ("modelTraining", "ga4_purchase")
    assert line["outcome"] == "access_denied"
    assert f"gs://my-bucket/runs/ga4_purchase/train/{line['as_of']}" in line["message"]
    assert google.asked
    assert all("/b/my-bucket/o/runs" in one for one in google.asked)


def test_a_shell_of_the_launcher_would_spoil_the_request():
    """So the words above begin with ``--``."""
    told = execute(launched(["printf", "%s", '{"use_case": "mine"}'])).stdout

    assert told == "{use_case: mine}"
