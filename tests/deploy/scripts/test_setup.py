"""What the scripts apply and call, in which order, and where they stop."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator

import pytest

from tests.deploy.conftest import Cloud, cloud_of, planned

SERVICE = {
    "metadata": {"name": "propensity-get-proba"},
    "status": {"url": "https://propensity-get-proba-1.run.app"},
}
# These are things that no function has any more, and a request that somebody sends
# by hand meanwhile.
LISTED = {
    "scheduler jobs list": (
        "compact-features",
        "predictions-old",
        "report",
        "by-hand-1-2",
        f"by-hand-{int(time.time())}-2",
    ),
    "run services list": ("get-proba", "score", "dashboard"),
    "run jobs list": ("training-job-old",),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory, project) -> tuple[Cloud, str]:
    """A cloud where a set-up went through, and what it said."""
    cloud = cloud_of(tmp_path_factory.mktemp("ran"), project)
    cloud.rules[:0] = [
        ("buckets describe", "", 1),
        ("propensity deployment digest", "no login", 1),
    ]
    cloud.rules.append(("region=us-central1 --format=json", json.dumps([SERVICE]), 0))
    for part, names in LISTED.items():
        lines = [f"propensity-{name}" for name in names]
        cloud.rules.append((part, "\n".join(lines), 0))
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
    )
    calls = cloud.calls()
    places = [[part in call for call in calls].index(True) for part in parts]

    assert places == sorted(places)
    assert cloud.variable("services") == {"get_proba": SERVICE["status"]["url"]}
    assert "propensity deployment digest', or leave it" in said


@pytest.fixture
def of_ci(cloud) -> Iterator[Cloud]:
    """A cloud with the environment of `make setup-deploy`."""
    venv = cloud.project / ".venv"
    venv.unlink()
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (venv / ".set-up-to-deploy").touch()
    yield cloud
    shutil.rmtree(venv)
    venv.symlink_to(sys.prefix)


def test_a_set_up_by_ci_names_the_job_that_prices_the_export(of_ci):
    """So that a log of CI shows a price, and no traceback."""
    of_ci.rules.insert(0, ("propensity deployment digest", "No module named click", 1))
    done = of_ci.run("deploy/setup.sh", "--yes")

    assert done.returncode == 0, done.stderr
    assert of_ci.count("propensity deployment digest") == 0
    last = done.stderr.strip().splitlines()[-1]
    assert "'deploy/operate.sh deployment digest' says what reading" in last


def test_the_set_up_removes_old_schedules(done):
    """Schedules, services and jobs, and none that are called likewise, nor the schedule
    of a request that is under way. That of a request whose script was killed goes,
    too."""
    calls = [call for call in done[0].changes() if " delete " in call]

    assert [call.partition(" --")[0] for call in calls] == [
        "gcloud scheduler jobs delete propensity-predictions-old",
        "gcloud scheduler jobs delete propensity-by-hand-1-2",
        "gcloud run services delete propensity-score",
        "gcloud run jobs delete propensity-training-job-old",
    ]


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
    assert cloud.run("deploy/setup.sh", stdin="yes\n").returncode == 0
    assert cloud.count(" apply ") == 1
    plan = planned(
        "scores", ["update"], [{"name": "a"}, {"name": "b"}], [{"name": "a"}]
    )
    cloud.rules.insert(0, ("show -json", plan, 0))
    refused = cloud.run("deploy/setup.sh", "--yes")
    assert (refused.returncode, cloud.count(" apply ")) == (1, 0)
    assert "scores.b" in refused.stderr
    assert cloud.run("deploy/setup.sh", "--yes", "--drop-columns").returncode == 0


def test_what_was_just_made_is_waited_for(cloud):
    """A metric of the log can be watched some minutes after it was made; what is
    refused for another reason is said at once."""
    cloud.rules.insert(0, ("terraform apply /", "Cannot find metric", 1, 1))
    assert cloud.run("deploy/setup.sh", "--yes").returncode == 0
    assert cloud.count("terraform apply /") == 2
    cloud.rules.insert(0, ("terraform apply /", "Error 403", 1))
    assert cloud.run("deploy/setup.sh", "--yes").returncode == 1
    assert cloud.count("terraform apply /") == 1


def test_what_was_deployed_does_not_go_in_silence(cloud):
    """Nothing is applied before somebody says so; a line names all audiences, callers
    and values of secrets that would go."""
    file = cloud.folder / "usecases/ga4_purchase/audiences/winback.toml"
    file.parent.mkdir(parents=True)
    file.write_text('destination = "bucket"\ntop = 10\n')
    cloud.settings["DEPLOY_CALLERS"] = "group:website@example.com"
    assert cloud.run("deploy/setup.sh", "--yes").returncode == 0
    before = cloud.variable("deployed")
    file.unlink()
    del cloud.settings["DEPLOY_CALLERS"]
    cloud.run("deploy/setup.sh", "--yes")
    change = {
        "actions": ["update"],
        "before": {"input": before},
        "after": {"input": cloud.variable("deployed")},
    }
    folder = {"type": "terraform_data", "name": "deployed", "change": change}
    plan = json.dumps({"resource_changes": [folder]})
    cloud.rules.insert(0, ("show -json", plan, 0))
    refused = cloud.run("deploy/setup.sh", "--yes")

    assert (refused.returncode, cloud.count(" apply ")) == (1, 0)
    assert "audience ga4_purchase/winback" in refused.stderr
    assert "DEPLOY_CALLERS=group:website@example.com" in refused.stderr
    assert cloud.run("deploy/setup.sh", "--yes", "--remove").returncode == 0


def test_a_function_runs_its_latest_revision(cloud):
    """Also after somebody went back by sending requests to an older one. Rights on
    their way are waited for, and a line says so."""
    refusal = "PERMISSION_DENIED: build service account"
    cloud.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1, 1))
    cloud.work.mkdir(parents=True)
    (cloud.work / "granted").write_text(f"{int(time.time())}")
    result = cloud.run("02-GetProba/deploy.sh")
    asked = [call for call in cloud.calls() if "gcloud run " in call]

    assert result.returncode == 0, result.stderr
    assert "run deploy propensity-get-proba" in asked[-2]
    assert "update-traffic propensity-get-proba --to-latest" in asked[-1]
    assert "runs its latest revision" in result.stdout
    assert cloud.count("sleep ") == 1
    assert "for permissions that deploy/setup.sh has just granted" in result.stderr
    other = cloud.run("02-GetProba/deploy_score.sh")
    assert "# score is not among DEPLOY_FUNCTIONS" in other.stdout


def test_a_function_that_is_refused_stops_no_other(cloud):
    """If one fails, the others are deployed; nothing is scheduled then."""
    refusal = ("run deploy propensity-get-proba", "quota exceeded", 1)
    cloud.rules.insert(0, refusal)
    result = cloud.run("deploy/deploy_all.sh", "--yes")

    assert result.returncode == 1
    assert "these failed: 02-GetProba/deploy.sh" in result.stderr
    assert cloud.count("run deploy propensity-compact-features") == 1
    assert cloud.count("scheduler jobs create") == 0


def test_the_teardown_asks_and_keeps_data_unless_told(cloud):
    """All else is taken out by an apply that keeps only data; where they go, their
    protection is lifted before."""
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
