"""
A deployment's folder deploys itself: its workflows, played as they are written, up to
the stand-ins for Google and Terraform; and who may do what.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from argparse import Namespace
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from deploy import DeploymentError, configuration, deployed, images, plans, setup, stage
from deploy.configuration import TEMPLATE
from deploy.functions import ROOT
from deploy.roles import ROLES
from tests.deploy.conftest import (
    FEW,
    POOL,
    SETTINGS,
    WHOLE,
    Cloud,
    cloud_of,
    settings_file,
)
from tests.support.programs import execute

WORKFLOWS = {
    file.name: yaml.safe_load(file.read_text())
    for file in (TEMPLATE / ".github/workflows").iterdir()
}
WORKFLOW = WORKFLOWS["deploy.yml"]
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]
PAGE = (ROOT / "docs/deploy-reference.md").read_text()
TEST = {"GOOGLE_CLOUD_PROJECT": "my-test-project", "PROPENSITY_BUCKET": "my-test"}
IMAGE = "us-central1-docker.pkg.dev/my-test-project/propensity/image@sha256:"
IMAGE += "a" * 64
LISTED = "run services list --project=my-test-project"


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


def played(machine: Cloud, job: str) -> list[str]:
    """Play a job of the workflow; return what the programs were asked."""
    text = on_github(machine, job)
    script = machine.folder / "played.sh"
    script.write_text(f"#!/bin/bash\nset -e\n{text}\n")
    script.chmod(0o755)
    done = machine.run(str(script))
    machine.said = done.stderr
    assert done.returncode == 0, done.stderr
    return machine.calls()


def service(name: str, sources: str, image: str = IMAGE) -> str:
    """Return what Google says of a service that was built of some sources."""
    template = {"metadata": {}, "spec": {"containers": [{"image": image}]}}
    metadata = {"name": name, "labels": {"sources": sources}}
    return json.dumps({"metadata": metadata, "spec": {"template": template}})


@pytest.fixture
def runner(tmp_path, project) -> Cloud:
    """A machine of GitHub's, with both checkouts."""
    checkout = tmp_path / "propensity"
    shutil.copytree(project, checkout, symlinks=True)
    shutil.copytree(TEMPLATE, tmp_path / "deployment")
    for name, settings in (("production", {}), ("test", TEST)):
        file = settings_file(tmp_path / "deployment", FEW | settings)
        file.rename(file.with_name(f"{name}.env"))
    return cloud_of(tmp_path, checkout)


def try_out(machine: Cloud) -> list[str]:
    """Play the job that deploys to the test environment, whose services are there from
    then on; return how each function was deployed."""
    calls = played(machine, "test")
    deploys = [call for call in calls if "gcloud run deploy" in call]
    services = []
    for call in deploys:
        [(name, sources)] = re.findall(r"run deploy (\S+) .*=sources=(\S+)", call)
        services.append(service(name, sources))
    listed = f"[{','.join(services)}]"
    machine.rules.insert(0, (LISTED, listed, 0))
    return deploys


def test_a_workflow_deploys_what_was_planned_and_tested(tmp_path, runner):
    """The plan is kept for who approves it, and changes nothing of production. That
    very plan is applied, and the images that it names are deployed by their digests,
    whatever the test environment runs by then; its repository keeps them."""
    machine = runner
    built = try_out(machine)
    planned = played(machine, "plan")
    kept = sorted(path.name for path in (tmp_path / "plan").iterdir())

    assert len(built) == 2
    for call in built:
        assert "--source=" in call
        assert "--project=my-test-project" in call
    assert not any("gcloud run deploy" in call or " apply " in call for call in planned)
    assert kept == ["images.json", "plan", "plan.json"]

    evil = str(machine.rules[0][1]).replace("a" * 64, "e" * 64)
    machine.rules.insert(0, (LISTED, evil, 0))
    calls = played(machine, "deploy")
    [applied, *_] = [call for call in calls if " apply " in call]
    deploys = [call for call in calls if "gcloud run deploy " in call]
    first, *_ = [call for call in calls if " plan -out=" in call]

    assert applied.endswith(f" {tmp_path}/plan/plan")
    assert calls.index(applied) < calls.index(deploys[0]) < calls.index(first)
    assert len(deploys) == 2
    for call in deploys:
        assert f"--image={IMAGE} " in call
        assert "--project=my-project " in call
        assert "--source=" not in call
        # gcloud refuses what is about a build, beside an image.
        assert "--function=" not in call
        assert "--no-automatic-updates" not in call
    assert f"tags add {IMAGE} " in " ".join(calls)


def test_a_commit_that_removes_is_deployed_and_an_older_one_is_refused(
    tmp_path, runner
):
    """The plan says what goes. A job of last week that is run again would take away
    what came since; so would changes that nobody has committed, before or now."""
    folder = tmp_path / "deployment"
    file = folder / "production.env"
    audience = folder / "usecases/ga4_purchase/audiences/winback.toml"

    def committed(*words: str) -> dict[str, object]:
        git = ["git", "-C", folder, "-c", "user.name=ana", "-c", "user.email=a@b.org"]
        execute([*git, *words])
        return deployed.described(configuration.read(file), file)

    def applies(job: str, before: object, now: object) -> None:
        record = changed("terraform_data", {"input": before}, {"input": now})
        record["name"] = "deployed"
        plan = json.dumps({"resource_changes": [record]})
        runner.rules.insert(0, ("show -json", plan, 0))
        if job == "test":
            try_out(runner)
        else:
            played(runner, job)

    committed("init", "--quiet")
    committed("add", ".")
    first = committed("commit", "--quiet", "--message=begin")
    audience.parent.mkdir(parents=True)
    audience.write_text('destination = "bucket"\ntop = 10\n')
    untracked = deployed.described(configuration.read(file), file)
    committed("add", ".")
    added = committed("commit", "--quiet", "--message=add")
    removed = committed("revert", "--no-edit", "HEAD")

    assert (added["audiences"], removed["audiences"]) == (["ga4_purchase/winback"], [])
    applies("test", added, removed)
    applies("plan", added, removed)
    assert (
        f"{removed['commit']} takes away: audience ga4_purchase/winback" in runner.said
    )
    applies("deploy", removed, removed)
    assert runner.count("terraform -chdir=deploy/terraform apply ") == 2
    for before, now in (
        (added, first),
        (added, removed | {"commit": f"{removed['commit']}-dirty"}),
        (untracked, removed),
        (added | {"commit": ""}, removed),
    ):
        with pytest.raises(DeploymentError, match="not in your deployment's folder"):
            deployed.check_kept(before, now, folder=folder)


ELSEWHERE = f"evil.example/x@sha256:{'a' * 64}"


def test_what_was_not_tested_is_not_planned(tmp_path):
    """As when a service has the label of the tested one, and an image from somewhere
    else."""
    d = configuration.of({**SETTINGS, "DEPLOY_FUNCTIONS": "get_proba"})
    sources = stage.locked(d.functions[0], tmp_path / "get_proba")
    repository = IMAGE.partition("/image@")[0]
    tested = [(sources, IMAGE), (sources, ELSEWHERE), ("another", IMAGE)]
    services = [service("propensity-get-proba", *made) for made in tested]
    right, *others = map(json.loads, services)
    where = {"repository": repository, "file": Path("test.env")}

    assert images.of_another(d, [right], **where)["get_proba"]["sources"] == sources
    for other in others:
        with pytest.raises(DeploymentError, match="has no get_proba of your code"):
            images.of_another(d, [other], **where)


GOOGLES = "https://cloudbuild.googleapis.com/GoogleHostedWorker@v0.3"


@pytest.mark.parametrize(
    ("builder", "status", "told"),
    [
        (GOOGLES, 0, ""),
        ("https://evil.example/worker", 0, "built by https://evil.example/worker"),
        ("", 1, "doesn't say who built the image of get_proba"),
    ],
)
def test_an_image_of_another_builder_is_not_planned(
    inside, capsys, builder, status, told
):
    """One of which the registry says nothing is told of: a label is no proof."""
    inside.settings["DEPLOY_FUNCTIONS"] = "get_proba"
    [function] = configuration.of(inside.settings).functions
    sources = stage.locked(function, inside.folder / "get_proba")
    image = IMAGE.replace("my-test-project", "my-project")
    made = {"slsaProvenance": {"builder": {"id": builder}}}
    said = {
        "provenance_summary": {"provenance": [{"build": {"intotoStatement": made}}]}
    }
    listed = f"[{service('propensity-get-proba', sources, image)}]"
    inside.rules[:0] = [
        ("--show-provenance", json.dumps(said), status),
        ("run services list", listed, 0),
    ]
    kept = Namespace(plan=inside.folder, images_from=inside.folder / "settings.env")
    refused = contextlib.nullcontext()
    if "evil" in builder:
        refused = pytest.raises(DeploymentError, match=told)
    with patch.dict(os.environ, inside.install()), refused:
        setup.keep_images(inside.shell(), kept)
        assert told in capsys.readouterr().err

    is_kept = (inside.folder / "images.json").is_file()
    assert is_kept == ("evil" not in builder)


def changed(kind: str, before: object, after: object) -> dict[str, object]:
    """Return a change of a plan, as ``show -json`` has it."""
    action = "no-op" if before == after else "update"
    change = {"actions": [action], "before": before, "after": after}
    return {"type": kind, "name": "x", "address": f"{kind}.x", "change": change}


def test_what_the_plan_does_not_show_ends_the_deploy():
    """Once functions are there, only who calls them and where topics push may
    change."""
    pushed = {"name": "s", "push_config": [{"push_endpoint": "https://f"}]}
    waits = {"name": "s", "push_config": []}
    lets_in = changed("google_cloud_run_v2_service_iam_binding", None, {"members": []})
    pushes = changed("google_pubsub_subscription", waits, pushed)
    right = changed("google_project_iam_member", None, {"role": "roles/owner"})
    plan = {"resource_changes": [lets_in, pushes]}

    plans.check(plan, project="p", may=["only_callers"], folder=ROOT)
    plan["resource_changes"].append(right)
    with pytest.raises(DeploymentError, match="iam_member.x differs by now"):
        plans.check(plan, project="p", may=["only_callers"], folder=ROOT)


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


def test_only_what_is_reviewed_says_what_a_workflow_runs():
    """A variable may be set by whoever may push to any branch. The files beside it that
    say whose data go where need an approval, too."""
    owned = (TEMPLATE / ".github/CODEOWNERS").read_text()
    codes = set()
    for file, workflow in WORKFLOWS.items():
        text = (TEMPLATE / ".github/workflows" / file).read_text()
        assert set(re.findall(r"\$\{\{ *([\w.]+)", text)) == {"github.workspace"}
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                if "repository" in step.get("with", {}):
                    codes.add((step["with"]["repository"], step["with"]["ref"]))

    assert codes == {("OWNER/propensity", "0" * 40)}
    assert re.findall(r"^(/\S+) @", owned, re.M) == [
        "/.github/",
        "/*.env",
        "/usecases/**/audiences/",
    ]


def test_every_grant_is_of_one_environment():
    """And each environment of a job has one: nobody else has production's
    permissions."""
    granted = re.findall(r"(?:roles\.sh |--member=)(principal\S+)(.*)", PAGE)
    pool = "principal://iam.googleapis.com/projects/NUMBER/locations/global"
    pool += "/workloadIdentityPools/github/subject/123456789:"
    environments = set()
    deployers = set()
    for member, words in granted:
        assert member.startswith(pool)
        environments.add(member.removeprefix(pool))
        if "--planner" not in words and "test.env" not in words:
            deployers.add(member.removeprefix(pool))
    [condition] = re.findall('--attribute-condition="(.*)"', PAGE)

    assert environments == {
        WORKFLOWS[file]["jobs"][job]["environment"] for file, job in JOBS
    }
    assert deployers == {"production"}
    # GitHub's own subject has names, of another form for each age of a repository.
    [subject] = re.findall('--attribute-mapping="google.subject=(.*?)"', PAGE)
    assert subject == "assertion.repository_id + ':' + assertion.environment"
    for claim in ("repository_id == '", "repository_owner_id == '", "ref == 'refs/h"):
        assert f"assertion.{claim}" in condition


ENVIRONMENT = POOL.replace("principalSet", "principal")
ENVIRONMENT += "/subject/123456789:production"


@pytest.mark.parametrize("member", ["user:ana@example.com", ENVIRONMENT])
def test_who_deploys_need_not_own_the_project(inside, member):
    """An account, or an environment of a repository; nobody else gets a role."""
    inside.settings = WHOLE

    assert inside.do("roles", member) == 0
    assert len(inside.calls()) > 10
    for call in inside.calls():
        assert f"--member={member} --role=roles/" in call
        assert "owner" not in call


def test_who_plans_changes_nothing_and_reads_no_user():
    changing = (
        r"(?i)admin|editor|owner|user$|writer|creator|^viewer|\.dataviewer|accessor"
    )
    assert len(ROLES["planner"]) > 5
    assert [role for role in ROLES["planner"] if re.search(changing, role)] == []


def test_who_plans_reads_the_state_and_the_budget_that_there_is(inside, capsys):
    """Terraform looks at it before each plan."""
    inside.settings["DEPLOY_BILLING_ACCOUNT"] = "0A1B2C-3D4E5F-678901"
    inside.settings["PROPENSITY_GA4_DATASET"] = "their-project.analytics_1"
    assert inside.do("roles", ENVIRONMENT, "--planner") == 0
    told = "billing account 0A1B2C-3D4E5F-678901 also grants roles/billing.vi"

    said = capsys.readouterr().err
    assert told in said
    # Of an export in another project it needs the names, and no row.
    granted = "owner of their-project.analytics_1 also grants roles/bigquery.metadataV"
    assert granted in said
    assert "bigquery.dataViewer" not in said
    assert inside.count("--role=roles/serviceusage.serviceUsageConsumer") == 1
    [state] = [call for call in inside.calls() if "objectViewer" in call]
    assert "gs://my-bucket-state " in state
