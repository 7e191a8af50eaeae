"""
A deployment's folder deploys itself: its workflows, played as they are written, up to
the stand-ins for Google and Terraform.
"""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from pathlib import Path

import pytest
import yaml

from deploy.configuration import TEMPLATE
from tests.deploy.conftest import SETTINGS, Cloud, cloud_of, settings_file
from tests.programs import execute

WORKFLOW = yaml.safe_load((TEMPLATE / ".github/workflows/deploy.yml").read_text())
BUILD = yaml.safe_load((TEMPLATE / "cloudbuild.yaml").read_text())
FEW = {"DEPLOY_FUNCTIONS": "get_proba compact_features"}
TEST = {"GOOGLE_CLOUD_PROJECT": "my-test-project", "PROPENSITY_BUCKET": "my-test"}
IMAGE = f"docker.pkg.dev/my-test-project/image@sha256:{'a' * 64}"


def machine_in(folder: Path, project: Path) -> Cloud:
    """Where a workflow runs: Propensity's checkout beside the deployment's folder."""
    checkout = folder / "propensity"
    shutil.copytree(project, checkout, symlinks=True)
    shutil.copytree(TEMPLATE, folder / "deployment")
    for name, settings in (("production", {}), ("test", TEST)):
        file = settings_file(folder / "deployment", SETTINGS | FEW | settings)
        file.rename(file.with_name(f"{name}.env"))
    return cloud_of(folder, checkout)


@pytest.fixture
def machine(tmp_path, project) -> Cloud:
    return machine_in(tmp_path, project)


def on_github(machine: Cloud, job: str) -> str:
    """Return what a job of the workflow runs, as a script, and jobs that it needs."""
    described = WORKFLOW["jobs"][job]
    variables = WORKFLOW["env"] | described.get("env", {})
    file = variables["PROPENSITY_DEPLOYMENT"]
    file = file.replace("${{ github.workspace }}", str(machine.folder))
    lines = [f"export PROPENSITY_DEPLOYMENT='{file}'"]
    if job == "plan":
        lines.insert(0, on_github(machine, described["needs"]))
    for step in described["steps"]:
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


def service(name: str, sources: str) -> str:
    """Return what Google says of a service that was built of some sources."""
    template = {"metadata": {}, "spec": {"containers": [{"image": IMAGE}]}}
    metadata = {"name": name, "labels": {"sources": sources}}
    return json.dumps({"metadata": metadata, "spec": {"template": template}})


# Stands in for a script: notes it, with its settings file and its words.
NOTING = """#!/bin/bash
set -e
file="$PROPENSITY_DEPLOYMENT" words=""
for word in "$@"; do
  case "$word" in
  --plan=*) words+=" --plan=$(realpath --relative-to="$HOME" "${word#*=}")" ;;
  --images-from=*) words+=" --images-from=$(basename "$(realpath -e "${word#*=}")")" ;;
  --deployment=*) file="${word#*=}" ;;
  *) words+=" $word" ;;
  esac
done
echo "${0##*/} $(basename "$(realpath -e "$file")")$words" >>"$HOME/noted"
"""


@pytest.mark.parametrize("name", PLAYED)
def test_every_workflow_runs_the_same_commands(machine, name):
    """What they do is played for one of them."""
    for script in ("setup.sh", "deploy_all.sh"):
        (machine.project / "deploy" / script).write_text(NOTING)
    for job in ("plan", "deploy"):
        # Where the workflow keeps it, between the jobs.
        (machine.folder / "plan").mkdir(exist_ok=True)
        played(machine, PLAYED[name](machine, job))

    assert (machine.folder / "noted").read_text().splitlines() == [
        "deploy_all.sh test.env --yes",
        "setup.sh production.env --dry-run --plan=plan",
        "deploy_all.sh production.env --plan=plan --yes --images-from=test.env",
    ]


@pytest.fixture(scope="module")
def workflow(tmp_path_factory, project) -> tuple[Cloud, list[str], list[str]]:
    """A workflow that was played: its machine, and what it asked when it planned, and
    when it deployed."""
    machine = machine_in(tmp_path_factory.mktemp("workflow"), project)
    planned = played(machine, on_github(machine, "plan"))
    services = []
    for call in planned:
        for name, sources in re.findall(r"run deploy (\S+) .*=sources=(\S+)", call):
            asked = f"run services describe {name} --project=my-test-project"
            services.append(service(name, sources))
            machine.rules.insert(0, (asked, services[-1], 0))
    listed = "run services list --project=my-test-project"
    machine.rules.insert(0, (listed, f"[{','.join(services)}]", 0))
    return machine, planned, played(machine, on_github(machine, "deploy"))


def test_a_workflow_plans_first_and_changes_nothing_of_production(workflow):
    """What it plans is kept for who approves it. The test environment is deployed."""
    machine, planned, _ = workflow
    deployed = [call for call in planned if "gcloud run deploy" in call]

    assert len(deployed) == 2
    assert all("--source=" in call for call in deployed)
    assert all("--project=my-test-project" in call for call in deployed)
    kept = sorted(path.name for path in (machine.folder / "plan").glob("*.plan"))
    assert kept == ["main.plan", "watch.plan"]


def test_a_workflow_deploys_what_was_planned(workflow):
    """It plans anew only what follows from functions that are there then."""
    machine, _, calls = workflow
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


def test_production_runs_the_images_that_were_tested(workflow):
    """By their digests, and nothing is built again."""
    _, _, calls = workflow
    deployed = [call for call in calls if "gcloud run deploy " in call]

    assert all(f"--image={IMAGE} " in call for call in deployed)
    assert all("--project=my-project " in call for call in deployed)
    assert not any("--source=" in call for call in deployed)


@pytest.mark.parametrize("script", ["deploy/deploy_all.sh", "02-GetProba/deploy.sh"])
def test_what_was_not_tested_is_not_deployed(set_up, script):
    """As when a use case was changed since: an image has it within it.

    Defect: the set-up had changed everything else by then.
    """
    folder = set_up.folder / "tested"
    folder.mkdir()
    file = settings_file(folder, SETTINGS | FEW | TEST)
    other = service("propensity-get-proba", "other")
    listed = "run services list --project=my-test-project"
    asked = "run services describe propensity-get-proba --project=my-test-project"
    set_up.rules.insert(0, (listed, f"[{other}]", 0))
    set_up.rules.insert(0, (asked, other, 0))
    refused = set_up.run(script, f"--images-from={file}")

    assert (refused.returncode, set_up.count("run deploy")) == (1, 0)
    assert set_up.changes() == []
    assert f"deploy/deploy_all.sh --deployment {file}" in refused.stderr


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
