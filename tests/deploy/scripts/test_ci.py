"""
A deployment's folder deploys itself: its workflows, played as they are written, up to
the stand-ins for Google and Terraform.
"""

from __future__ import annotations

import shutil
import textwrap

import pytest
import yaml

from deploy.configuration import TEMPLATE
from tests.deploy.conftest import SETTINGS, Cloud, cloud_of, settings_file
from tests.programs import execute

WORKFLOW = yaml.safe_load((TEMPLATE / ".github/workflows/deploy.yml").read_text())
BUILD = yaml.safe_load((TEMPLATE / "cloudbuild.yaml").read_text())
FEW = {"DEPLOY_FUNCTIONS": "get_proba compact_features"}


@pytest.fixture
def machine(tmp_path, project) -> Cloud:
    """Where a workflow runs: Propensity's checkout beside the deployment's folder."""
    checkout = tmp_path / "propensity"
    shutil.copytree(project, checkout, symlinks=True)
    shutil.copytree(TEMPLATE, tmp_path / "deployment")
    file = settings_file(tmp_path / "deployment", SETTINGS | FEW)
    file.rename(file.with_name("production.env"))
    return cloud_of(tmp_path, checkout)


def on_github(machine: Cloud, job: str) -> str:
    """Return what a job of the workflow runs, as a script."""
    file = machine.folder / "deployment" / "production.env"
    lines = [f"export PROPENSITY_DEPLOYMENT='{file}'"]
    for step in WORKFLOW["jobs"][job]["steps"]:
        if "run" in step:
            lines.append(f"(cd {step['working-directory']}; {step['run']})")
    return "\n".join(lines)


def on_cloud_build(machine: Cloud, job: str) -> str:
    """Return what a build runs; its workspace is the deployment's folder."""
    shutil.copytree(machine.folder / "deployment", machine.folder, dirs_exist_ok=True)
    machine.programs += ("git",)
    values = BUILD["substitutions"] | {"_DO": job, "COMMIT_SHA": "c1"}
    lines = []
    for text in BUILD["steps"][-1]["env"]:
        variable = text
        for name, value in values.items():
            variable = variable.replace(f"${name}", value)
        lines.append(f"export '{variable}'")
    return "\n".join(lines + [BUILD["steps"][-1]["script"]])


PLAYED = {"GitHub": on_github, "Cloud Build": on_cloud_build}


def played(machine: Cloud, text: str) -> list[str]:
    """Play a script where a workflow runs; return what the programs were asked."""
    script = machine.folder / "played.sh"
    script.write_text(f"#!/bin/bash\nset -e\n{textwrap.dedent(text)}\n")
    script.chmod(0o755)
    done = machine.run(str(script))
    assert done.returncode == 0, done.stderr
    return machine.calls()


@pytest.mark.parametrize("by", PLAYED)
def test_a_workflow_plans_first_and_changes_nothing(machine, by):
    """What it plans is kept for whoever approves it."""
    played(machine, PLAYED[by](machine, "plan"))

    assert machine.changes() == []
    assert machine.count(" plan -out=") == 2
    kept = sorted(path.name for path in (machine.folder / "plan").glob("*.plan"))
    assert kept == ["main.plan", "watch.plan"]


@pytest.mark.parametrize("by", PLAYED)
def test_a_workflow_deploys_what_was_planned(machine, by):
    """It plans anew only what follows from functions that are there then."""
    played(machine, PLAYED[by](machine, "plan"))
    calls = played(machine, PLAYED[by](machine, "deploy"))
    first, *_ = [call for call in calls if " plan -out=" in call]
    applied = [call for call in calls if " apply " in call]
    deployed = [call for call in calls if "gcloud run deploy " in call]

    kept = machine.folder / "propensity" / ".." / "plan"
    assert [call.split()[-1] for call in applied[:2]] == [
        f"{kept}/main.plan",
        f"{kept}/watch.plan",
    ]
    assert len(deployed) == 2
    assert calls.index(applied[1]) < calls.index(deployed[0]) < calls.index(first)


def test_a_plan_that_nobody_has_kept_is_not_applied(machine):
    text = on_github(machine, "deploy").replace("; deploy/", "; ! deploy/")
    played(machine, text)

    assert machine.changes() == []


@pytest.mark.installs
def test_a_deploy_needs_little(machine):
    """A machine of a workflow is set up in seconds, and deploys."""
    (machine.project / ".venv").unlink()
    execute(["make", "setup-deploy"], cwd=machine.project)
    words = ["--dry-run", f"--deployment={machine.folder}/deployment/production.env"]
    done = execute([machine.project / "deploy/deploy_all.sh", *words])
    installed = (machine.project / ".venv").glob("lib/python*/site-packages/*-info")

    assert "gcloud run deploy propensity-get-proba" in done.stdout
    assert len(list(installed)) < 5
