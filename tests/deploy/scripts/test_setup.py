"""What the scripts apply and call, in which order, and where they stop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from subprocess import CalledProcessError
from unittest.mock import patch

import pytest

from deploy import DeploymentError, configuration, deployed, plans, prune
from deploy.functions import ROOT
from deploy.terraform import Terraform
from tests.deploy.conftest import (
    FEW,
    SETTINGS,
    Cloud,
    cloud_of,
    planned,
    settings_file,
)
from tests.support.programs import execute

SERVICE = {
    "metadata": {"name": "propensity-get-proba"},
    "status": {"url": "https://propensity-get-proba-1.run.app"},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory, project) -> tuple[Cloud, str]:
    """A cloud where a set-up went through, and what it said."""
    cloud = cloud_of(tmp_path_factory.mktemp("ran"), project)
    cloud.rules[:0] = [
        ("buckets describe", "", 1),
        ("propensity deployment digest", "no login", 1),
        ("scheduler jobs list", "propensity-predictions-old", 0),
    ]
    cloud.rules.append(("region=us-central1 --format=json", json.dumps([SERVICE]), 0))
    result = cloud.run("deploy/setup.sh", "--yes")
    assert result.returncode == 0, result.stderr
    return cloud, result.stderr


def test_the_set_up_applies_a_plan(done):
    """The state's bucket first, and nothing asks where it is told --yes. It lets in
    callers of functions that are there, and goes on where the digest cannot be looked
    at: the next run does it."""
    cloud, said = done
    parts = (
        "buckets create gs://my-bucket-state",
        "-backend-config=prefix=propensity",
        "-chdir=deploy/terraform plan -out=",
        "-chdir=deploy/terraform apply /",
        "scheduler jobs list",
        "scheduler jobs delete propensity-predictions-old",
    )
    calls = cloud.calls()
    places = [[part in call for call in calls].index(True) for part in parts]

    assert places == sorted(places)
    assert cloud.variable("services") == {"get_proba": SERVICE["status"]["url"]}
    assert "propensity deployment digest', or leave it" in said


@pytest.mark.parametrize(
    ("kind", "names", "gone"),
    [
        (
            "scheduler jobs",
            "compact-features predictions-old report by-hand-1-2 by-hand-9999-2",
            "predictions-old by-hand-1-2",
        ),
        ("run services", "get-proba score dashboard", "score"),
        ("run jobs", "training-job-old", "training-job-old"),
    ],
)
def test_the_set_up_removes_what_nothing_has(kind, names, gone):
    """None that are called likewise, nor the schedule of a request that is under way.
    That of a request whose script was killed goes, too."""
    d = configuration.of(FEW)
    listed = [f"propensity-{name}" for name in names.split()]
    old = prune.old(kind, listed, d, now_s=10_000)

    assert old == [f"propensity-{name}" for name in gone.split()]


# What is asked, what answers, and what the last line says. Without the functions that
# are there, an apply would take away who may call them.
REFUSED = [
    ("setup --yes", "services list --project=my-project", "no network", "no network"),
    ("teardown", "state list", "404", "nothing has been set up"),
]


@pytest.mark.parametrize(("command", "part", "answer", "told"), REFUSED)
def test_nothing_is_applied_where_a_call_is_refused(cloud, command, part, answer, told):
    cloud.rules.insert(0, (part, answer, 1))
    name, *words = command.split()
    result = cloud.run(f"deploy/{name}.sh", *words, stdin="my-project\n")

    assert result.returncode == 1
    assert told in result.stderr.splitlines()[-1]
    assert cloud.count(" apply") == 0


def test_nothing_is_changed_before_a_plan_is_agreed(cloud):
    """Nor by an older version that would take a column away, unless it is told."""
    assert cloud.run("deploy/setup.sh", stdin="no\n").returncode == 1
    assert cloud.count(" apply ") == 0
    closed = cloud.folder / "closed.sh"
    closed.write_text(f"#!/bin/bash\n{cloud.project}/deploy/setup.sh <&-\n")
    closed.chmod(0o755)
    assert "nothing was changed" in cloud.run(str(closed)).stderr
    assert cloud.count(" apply ") == 0
    assert cloud.run("deploy/setup.sh", stdin="yes\n").returncode == 0
    assert cloud.count(" apply ") == 1
    columns = [{"name": "a"}, {"name": "b"}]
    plan = planned("scores", ["update"], columns, columns[1:])
    cloud.rules.insert(0, ("show -json", plan, 0))
    refused = cloud.run("deploy/setup.sh", "--yes")
    assert (refused.returncode, cloud.count(" apply ")) == (1, 0)
    assert "scores.a" in refused.stderr
    assert cloud.run("deploy/setup.sh", "--yes", "--drop-columns").returncode == 0


def test_what_was_just_made_is_waited_for(inside):
    """A metric of the log can be watched some minutes after it was made; what is
    refused for another reason is said at once."""
    terraform = Terraform(inside.shell(), begins="")
    inside.rules.insert(0, ("terraform apply /", "Cannot find metric", 1, 1))
    with patch.dict(os.environ, inside.install()):
        terraform.apply_patiently(may=[], asks=False)
    assert (inside.count("terraform apply /"), inside.pauses) == (2, [60])
    inside.rules.insert(0, ("terraform apply /", "Error 403", 1))
    with (
        patch.dict(os.environ, inside.install()),
        pytest.raises(CalledProcessError),
    ):
        terraform.apply_patiently(may=[], asks=False)
    assert inside.count("terraform apply /") == 1


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ("Error 403: forbidden", "approve the new plan; on GitHub: gh run rerun 77"),
        ("Saved plan is stale", "approve the new plan; on GitHub: gh run rerun 77"),
        (
            "Error acquiring the state lock",
            "gcloud storage rm gs://my-bucket-state/propensity/default.tflock",
        ),
    ],
)
def test_a_kept_plan_that_breaks_off_says_how_to_go_on(
    inside, monkeypatch, capsys, failure, told
):
    """On any machine: the runner of CI has gone by then."""
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    plan = inside.folder / "kept" / "plan"
    plan.parent.mkdir()
    plan.touch()
    inside.rules.insert(0, ("terraform apply", failure, 1))

    assert inside.do("setup", "--yes", f"--plan={plan.parent}") == 1
    assert told in capsys.readouterr().err
    assert inside.count("terraform apply") == 1


def test_what_was_deployed_does_not_go_in_silence(tmp_path):
    """Nothing is applied before somebody says so; a line names all audiences, callers
    and values of secrets that would go."""
    before = {"DEPLOY_CALLERS": "group:website@example.com"}
    described = []
    audience = tmp_path / "usecases/ga4_purchase/audiences/winback.toml"
    audience.parent.mkdir(parents=True)
    audience.write_text('destination = "bucket"\ntop = 10\n')
    for settings in (SETTINGS | before, SETTINGS):
        file = settings_file(tmp_path, settings)
        described.append({"input": deployed.described(configuration.read(file), file)})
        audience.unlink(missing_ok=True)
    change = {"actions": ["update"], "before": described[0], "after": described[1]}
    folder = {"type": "terraform_data", "name": "deployed", "change": change}
    plan = {"resource_changes": [folder]}

    told = "DEPLOY_CALLERS=group:website@example.com, audience ga4_purchase/winback"
    with pytest.raises(DeploymentError, match=told):
        plans.check(plan, project="p", may=[], folder=ROOT)
    plans.check(plan, project="p", may=["remove"], folder=ROOT)


def test_a_function_runs_its_latest_revision(inside, capfd):
    """Also after somebody went back by sending requests to an older one. Rights on
    their way are waited for, and a line says so."""
    refusal = "PERMISSION_DENIED: build service account"
    inside.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1, 1))
    granted = inside.folder / ".local/deploy/my-project-propensity/granted"
    granted.parent.mkdir(parents=True)
    granted.write_text(f"{int(time.time())}")
    assert inside.do("function", "get_proba") == 0
    said = capfd.readouterr()
    asked = [call for call in inside.calls() if "gcloud run " in call]

    assert "run deploy propensity-get-proba" in asked[-2]
    assert "update-traffic propensity-get-proba --to-latest" in asked[-1]
    assert "runs its latest revision" in said.out
    assert inside.pauses == [5]
    assert "for permissions that deploy/setup.sh has just granted" in said.err
    assert inside.do("function", "score") == 0
    assert "# score is not among DEPLOY_FUNCTIONS" in capfd.readouterr().out


def test_a_job_gets_the_code_of_each_deploy(inside):
    """Of the use cases that have one, also by CI, where nobody runs another script."""
    inside.settings |= {"DEPLOY_FUNCTIONS": "model_training predictions"}
    inside.settings["DEPLOY_USE_CASES"] = "ga4_purchase ga4_value"
    job = "propensity-training-job-ga4-value"
    other = "propensity-predictions-job-ga4-value"
    image = "us-central1-docker.pkg.dev/my-project/propensity/i@sha256:1"
    inside.rules[:0] = [
        ("run jobs list", f"{job}\npropensity-training-job-old\n{other}", 0),
        ("containers[0].image", image, 0),
    ]
    assert inside.do("function", "model_training") == 0
    jobs = [call for call in inside.calls() if "gcloud run jobs deploy " in call]

    assert [call.split()[4] for call in jobs] == ["propensity-operator", job, other]
    assert f"--image={image} " in jobs[1]
    assert '{"use_case": "ga4_value"}' in jobs[1]


def test_a_function_that_is_refused_stops_no_other(cloud):
    """If one fails, the others are deployed; nothing is scheduled then."""
    refusal = ("run deploy propensity-get-proba", "quota exceeded", 1)
    cloud.rules.insert(0, refusal)
    result = cloud.run("deploy/deploy_all.sh", "--yes")

    assert result.returncode == 1
    assert "these failed: get_proba" in result.stderr
    assert cloud.count("run deploy propensity-compact-features") == 1
    assert cloud.count("scheduler jobs create") == 0


def test_images_of_another_deployment_are_for_a_plan_alone(cloud):
    """Else what was not tested would be built and deployed in silence; where it runs
    other code, there is no plan."""
    images = "--images-from=settings.env"
    result = cloud.run("deploy/deploy_all.sh", "--yes", images)
    assert (result.returncode, cloud.calls()) == (2, [])
    cloud.rules.insert(0, ("run services list", "[]", 0))
    result = cloud.run("deploy/setup.sh", "--dry-run", "--plan", "a plan", images)

    assert "has no get_proba of your code" in result.stderr
    assert list((cloud.folder / "a plan").iterdir()) == []


INTERRUPTED = """#!/bin/bash
[[ "$*" != *" show "* ]] || echo '{"resource_changes": []}'
[[ "$*" == *" apply "* ]] || exit 0
trap 'sleep 0.2; echo unlocking >&2; touch "${0%/*}/unlocked"; exit 1' INT
echo applying >&2
while true; do sleep 0.1; done
"""


def test_terraform_ends_by_itself_on_ctrl_c(cloud):
    """It says so, and unlocks the state."""
    environment = cloud.install()
    terraform = cloud.folder / "bin" / "terraform"
    terraform.write_text(INTERRUPTED)
    file = settings_file(cloud.folder, cloud.settings)
    with subprocess.Popen(
        [cloud.project / "deploy/deploy_all.sh", "--yes", f"--deployment={file}"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line == "applying\n":
                os.killpg(process.pid, signal.SIGINT)

    assert process.returncode == 130
    assert terraform.with_name("unlocked").exists()


def test_nobody_is_asked_back_in_silence(cloud):
    """As gcloud asks whether to enable an API, and waits, also where nobody sees it."""
    environment = cloud.install()
    gcloud = cloud.folder / "bin" / "gcloud"
    gcloud.write_text("#!/bin/bash\nread -r said\necho it is $said >&2\nexit 1\n")
    file = settings_file(cloud.folder, cloud.settings)
    refused = execute(
        [cloud.project / "04-StreamFeatures/scheduler.sh", f"--deployment={file}"],
        input="answered\n",
        env=environment,
        status=1,
    )

    assert refused.stderr == "it is\n"


def test_a_script_takes_only_its_own_flags(cloud, tmp_path):
    """Defect: ``deploy/teardown.sh --plan`` did what the plan said."""
    for words in (["teardown.sh", f"--plan={tmp_path}"], ["schedule.sh", "--rebuild"]):
        refused = cloud.run(f"deploy/{words[0]}", *words[1:])
        assert refused.returncode == 2
        assert words[1] in refused.stderr
    assert cloud.count(" apply ") == 0


def test_the_teardown_asks_and_keeps_data_unless_told(cloud):
    """All else is taken out by an apply that keeps only data; where they go, their
    protection is lifted before. A secret is data, also one that nothing needs."""
    change = {"actions": ["delete"], "before": {"secret_id": "TOKEN"}, "after": None}
    secret = {"type": "google_secret_manager_secret", "name": "old", "change": change}
    plan = json.dumps({"resource_changes": [secret]})
    cloud.rules.insert(0, ("show -json", plan, 0))
    refused = cloud.run("deploy/teardown.sh", "--yes")
    assert "secret TOKEN would be deleted" in refused.stderr
    assert cloud.count(" apply ") == 0
    cloud.rules.pop(0)
    cloud.rules.append(("scheduler jobs list", "propensity-compact-features", 0))
    asked = cloud.run("deploy/teardown.sh", stdin="yes\n")
    assert (asked.returncode, cloud.changes()) == (1, [])
    result = cloud.run("deploy/teardown.sh", stdin="my-project\n")
    [gone] = [call for call in cloud.calls() if re.search(r" (destroy|delete) ", call)]

    assert result.returncode == 0, result.stderr
    [planned_] = [call for call in cloud.calls() if " plan -out=" in call]
    assert "keep_only_data=true" in planned_
    assert "delete_data" not in planned_
    assert "jobs delete propensity-compact-features" in gone
    assert cloud.run("deploy/teardown.sh", "--delete-data", "--yes").returncode == 0
    calls = [call for call in cloud.calls() if "-chdir=deploy/terraform " in call]
    done = [call.split()[2] for call in calls if "init" not in call]
    assert done == ["state", "plan", "apply", "destroy"]
