"""
A deployment's folder deploys itself: its workflows, played as they are written, up to
the stand-ins for Google and Terraform; and who may do that.
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
from deploy.functions import ROOT
from tests.deploy.conftest import POOL, SETTINGS, Cloud, cloud_of, settings_file

WORKFLOWS = {
    file.name: yaml.safe_load(file.read_text())
    for file in (TEMPLATE / ".github/workflows").iterdir()
}
WORKFLOW = WORKFLOWS["deploy.yml"]
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]
PAGE = (ROOT / "docs/deploy-reference.md").read_text()
FEW = {"DEPLOY_FUNCTIONS": "get_proba compact_features"}
TEST = {"GOOGLE_CLOUD_PROJECT": "my-test-project", "PROPENSITY_BUCKET": "my-test"}
IMAGE = "us-central1-docker.pkg.dev/my-test-project/propensity/image@sha256:"
IMAGE += "a" * 64


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
    """Return what a job of the workflow runs, as a script."""
    described = WORKFLOW["jobs"][job]
    variables = WORKFLOW["env"] | described.get("env", {})
    file = variables["PROPENSITY_DEPLOYMENT"]
    file = file.replace("${{ github.workspace }}", str(machine.folder))
    lines = [f"export PROPENSITY_DEPLOYMENT='{file}'"]
    for step in described["steps"]:
        if "run" in step:
            lines.append(f"(cd {step['working-directory']}; {step['run']})")
    return "\n".join(lines)


def played(machine: Cloud, text: str) -> list[str]:
    """Play a script where a workflow runs; return what the programs were asked."""
    script = machine.folder / "played.sh"
    script.write_text(f"#!/bin/bash\nset -e\n{textwrap.dedent(text)}\n")
    script.chmod(0o755)
    done = machine.run(str(script))
    assert done.returncode == 0, done.stderr
    return machine.calls()


def service(name: str, sources: str, image: str = IMAGE) -> str:
    """Return what Google says of a service that was built of some sources."""
    template = {"metadata": {}, "spec": {"containers": [{"image": image}]}}
    metadata = {"name": name, "labels": {"sources": sources}}
    return json.dumps({"metadata": metadata, "spec": {"template": template}})


@pytest.fixture(scope="module")
def workflow(tmp_path_factory, project) -> tuple[Cloud, list[str], list[str]]:
    """A workflow that was played: its machine, and what it asked when it planned, and
    when it deployed."""
    machine = machine_in(tmp_path_factory.mktemp("workflow"), project)
    tested = played(machine, on_github(machine, "test"))
    services = []
    for call in tested:
        for name, sources in re.findall(r"run deploy (\S+) .*=sources=(\S+)", call):
            services.append(service(name, sources))
    listed = ("run services list --project=my-test-project", f"[{','.join(services)}]")
    machine.rules.insert(0, (*listed, 0))
    planned = played(machine, on_github(machine, "plan"))
    # From now on the test environment runs something else by the same label.
    evil = listed[1].replace("a" * 64, "e" * 64)
    machine.rules.insert(0, (listed[0], evil, 0))
    return machine, tested + planned, played(machine, on_github(machine, "deploy"))


def test_a_workflow_plans_first_and_changes_nothing_of_production(workflow):
    """What it plans is kept for who approves it. The test environment is deployed."""
    machine, planned, _ = workflow
    deployed = [call for call in planned if "gcloud run deploy" in call]

    assert len(deployed) == 2
    assert all("--source=" in call for call in deployed)
    assert all("--project=my-test-project" in call for call in deployed)
    kept = sorted(path.name for path in (machine.folder / "plan").iterdir())
    assert kept == ["images.json", "plan", "plan.json"]


def test_a_workflow_deploys_what_was_planned(workflow):
    """It plans anew only what follows from functions that are there then."""
    machine, _, calls = workflow
    first, *_ = [call for call in calls if " plan -out=" in call]
    applied = [call for call in calls if " apply " in call]
    deployed = [call for call in calls if "gcloud run deploy " in call]

    kept = machine.folder / "propensity" / ".." / "plan"
    assert applied[0].endswith(f" {kept}/plan")
    assert len(deployed) == 2
    assert calls.index(applied[0]) < calls.index(deployed[0]) < calls.index(first)


def test_production_runs_the_images_that_the_plan_names(workflow):
    """By their digests, whatever the test environment runs by then; nothing is built
    again, and the test environment's repository keeps them."""
    _, _, calls = workflow
    assert f"tags add {IMAGE} " in " ".join(calls)
    deployed = [call for call in calls if "gcloud run deploy " in call]

    assert all(f"--image={IMAGE} " in call for call in deployed)
    assert all("--project=my-project " in call for call in deployed)
    assert not any("--source=" in call for call in deployed)


ELSEWHERE = f"evil.example/x@sha256:{'a' * 64}"


@pytest.mark.parametrize("image", [IMAGE, ELSEWHERE])
def test_what_was_not_tested_is_not_planned(cloud, image):
    """As when a use case was changed since, which an image has within it; or when a
    service has the label of the tested one, and an image from somewhere else."""
    folder = cloud.folder / "tested"
    folder.mkdir()
    file = settings_file(folder, SETTINGS | FEW | TEST)
    cloud.run("02-GetProba/deploy.sh")
    [sources] = re.findall("=sources=(.*)", "\n".join(cloud.calls()))
    other = service("propensity-get-proba", "x" if image == IMAGE else sources, image)
    listed = "run services list --project=my-test-project"
    cloud.rules.insert(0, (listed, f"[{other}]", 0))
    words = ("--dry-run", f"--plan={folder}/plan", f"--images-from={file}")
    refused = cloud.run("deploy/setup.sh", *words)

    assert (refused.returncode, cloud.changes()) == (1, [])
    assert "has no get_proba of your code" in refused.stderr


def test_what_the_plan_does_not_show_ends_the_deploy(cloud):
    """Once functions are there, only who calls them and where topics push may change.
    Defect: whatever differed by then was applied, and nobody had seen it."""
    pushed = {"name": "s", "push_config": [{"push_endpoint": "https://f"}]}
    waits = {"name": "s", "push_config": []}
    lets_in = changed("google_cloud_run_v2_service_iam_binding", None, {"members": []})
    pushes = changed("google_pubsub_subscription", waits, pushed)
    right = changed("google_project_iam_member", None, {"role": "roles/owner"})
    statuses = []
    for changes in ([lets_in, pushes], [lets_in, right]):
        shown = json.dumps({"resource_changes": changes})
        cloud.rules.insert(0, ("show -json", shown, 0))
        done = cloud.run("deploy/setup.sh", "--yes", "--only-callers")
        statuses.append((done.returncode, cloud.count(" apply ")))

    assert statuses == [(0, 1), (1, 0)]
    assert "google_project_iam_member.x differs by now" in done.stderr


def changed(kind: str, before: object, after: object) -> dict[str, object]:
    """Return a change of a plan, as ``show -json`` has it."""
    change = {"actions": ["update"], "before": before, "after": after}
    return {"type": kind, "name": "x", "address": f"{kind}.x", "change": change}


# -- who may -------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "job"), JOBS)
def test_a_job_that_logs_in_has_an_environment_and_nothing_unknown(file, job):
    """What it runs is named by its commit or hash, and installed before the login;
    none is run for a pull request, or two at once for an environment."""
    workflow = WORKFLOWS[file]
    described = workflow["jobs"][job]
    text = json.dumps(described["steps"])
    actions = re.findall(r'"uses": "([^"]+)"', text)

    # YAML reads the word "on" as true.
    assert "pull_request" not in json.dumps(workflow[True])
    assert described["environment"] == described["concurrency"]
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in actions)
    assert text.index("make setup") < text.index("google-github-actions/auth")
    assert re.search(r'"terraform_version": "[0-9.]+"', text)


def test_every_grant_is_of_one_environment():
    """And each environment of a job has one: production's roles nobody else has.
    Defect: they were every branch's, and an approval guarded the job alone."""
    granted = re.findall(r"(?:roles\.sh |--member=)(principal\S+)(.*)", PAGE)
    environments = {described_by(member) for member, _ in granted}
    deployers = {
        described_by(member)
        for member, words in granted
        if "--planner" not in words and "test.env" not in words
    }

    assert environments == {
        WORKFLOWS[file]["jobs"][job]["environment"] for file, job in JOBS
    }
    assert deployers == {"production"}
    [condition] = re.findall('--attribute-condition="(.*)"', PAGE)
    for claim in (
        "repository_id == '",
        "repository_owner_id == '",
        "ref == 'refs/heads/main'",
    ):
        assert f"assertion.{claim}" in condition


def described_by(member: str) -> str:
    """Return the environment that a member is; fail for what is wider."""
    pool = "principal://iam.googleapis.com/projects/NUMBER/locations/global"
    [name] = re.findall(
        f"^{pool}/workloadIdentityPools/github/subject/repo:OWNER/REPOSITORY:environment:(.+)$",
        member,
    )
    return name


@pytest.mark.parametrize("role", [(), ("--operator",), ("--planner",)])
def test_no_role_is_given_to_every_branch(cloud, role):
    refused = cloud.run(
        "deploy/roles.sh", *role, f"{POOL}/attribute.repository/me/shop"
    )

    assert (refused.returncode, cloud.calls()) == (2, [])
    assert "every branch of a repository" in refused.stderr


def test_who_plans_changes_nothing_and_reads_no_user(cloud):
    member = POOL.replace("principalSet", "principal") + "/subject/repo:me/shop:x"
    assert cloud.run("deploy/roles.sh", "--planner", member).returncode == 0
    roles = re.findall(r"--role=roles/(\S+)", "\n".join(cloud.calls()))

    changing = (
        r"(?i)admin|editor|owner|user$|writer|creator|^viewer|\.dataviewer|accessor"
    )
    assert len(roles) > 5
    assert [role for role in roles if re.search(changing, role)] == []
    [state] = [call for call in cloud.calls() if "objectViewer" in call]
    assert "gs://my-bucket-state " in state
