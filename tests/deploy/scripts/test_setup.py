"""deploy/setup.sh, specified: what it applies, in which order, and where it stops."""

from __future__ import annotations

import json
import time
from subprocess import CompletedProcess

import pytest

from tests.deploy.conftest import Cloud, cloud_of, planned, state_of

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
# What is asked, what answers, and what the last line says. Settings may be wrong where
# there is no state. Without the functions that are there, an apply would take away who
# may call them.
LOCKED = "Error: Error acquiring the state lock\nID: 17"
REFUSED = [
    ("setup --yes", "deploy/terraform plan", LOCKED, "ID: 17"),
    ("setup --yes", "services list --project=my-project", "no network", "no network"),
    ("teardown", "buckets describe", "404", "nothing has been set up"),
    ("teardown", "state list", "404", "nothing has been set up"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory, project) -> tuple[Cloud, CompletedProcess[str], str]:
    """A cloud where a set-up went through, what it said, and Terraform's values."""
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
    return cloud, result, (cloud.work / "terraform.tfvars").read_text()


class TestSetup:
    def test_the_set_up_applies_a_plan(self, done):
        """The state's bucket first, and nothing asks where it is told --yes."""
        parts = (
            "buckets create gs://my-bucket-state",
            "-backend-config=prefix=propensity",
            "-chdir=deploy/terraform plan -out=",
            "-chdir=deploy/terraform apply /",
            "output -raw source_grants",
        )
        calls = done[0].calls()
        places = [[part in call for call in calls].index(True) for part in parts]

        assert places == sorted(places)

    def test_the_set_up_goes_on_where_the_digest_cannot_be_looked_at(self, done):
        """It says what to run, or what happens otherwise: the next run does it."""
        _, result, _ = done

        assert "propensity deployment digest', or leave it" in result.stderr
        assert result.returncode == 0

    def test_the_set_up_removes_old_schedules(self, done):
        """Schedules, services and jobs, and none that are called likewise, nor the
        schedule of a request that is under way. Defect: that of a request whose script
        was killed stayed, and was called again in a leap year."""
        deleted = [
            call.partition(" --")[0] for call in done[0].changes() if " delete " in call
        ]

        assert deleted == [
            "gcloud scheduler jobs delete propensity-predictions-old",
            "gcloud scheduler jobs delete propensity-by-hand-1-2",
            "gcloud run services delete propensity-score",
            "gcloud run jobs delete propensity-training-job-old",
        ]

    def test_the_set_up_lets_in_callers_of_functions_that_are_there(self, done):
        """What Cloud Run has goes to Terraform, by its address."""
        _, _, values = done
        address = "https://propensity-get-proba-1.run.app"

        assert f'services = {{"get_proba": "{address}"}}' in values

    @pytest.mark.parametrize("script", ["setup", "teardown"])
    def test_the_set_up_prints_the_commands_where_nobody_is_logged_in(
        self, cloud, script
    ):
        """In a clean clone, before there is an account or even a project."""
        cloud.rules.insert(0, ("buckets describe", "not logged in", 1))
        result = cloud.run(f"deploy/{script}.sh", "--dry-run")
        [asked] = cloud.calls()

        assert result.returncode == 0, result.stderr
        assert "terraform -chdir=deploy/terraform apply" in result.stdout
        assert asked.startswith("gcloud storage buckets describe gs://my-bucket-state")
        assert "not logged in" in result.stderr

    @pytest.mark.parametrize(("command", "part", "answer", "told"), REFUSED)
    def test_nothing_is_applied_where_a_call_is_refused(
        self, cloud, command, part, answer, told
    ):
        cloud.rules.insert(0, (part, answer, 1))
        name, *words = command.split()
        result = cloud.run(f"deploy/{name}.sh", *words, stdin="my-project\n")

        assert result.returncode == 1
        assert told in result.stderr.splitlines()[-1]
        assert cloud.count(" apply") == 0

    def test_an_older_version_takes_no_column_away_unless_told(self, cloud):
        plan = planned("scores", ["update"], ["a", "b"], ["a"])
        cloud.rules.insert(0, ("show -json", plan, 0))
        refused = cloud.run("deploy/setup.sh", "--yes")
        applied = cloud.count(" apply")
        told = cloud.run("deploy/setup.sh", "--yes", "--drop-columns")

        assert (refused.returncode, applied, told.returncode) == (1, 0, 0)
        assert "scores.b" in refused.stderr
        assert "--drop-columns" in refused.stderr

    @pytest.mark.parametrize(("answer", "is_done"), [("no\n", 0), ("yes\n", 1)])
    def test_nothing_is_changed_before_a_plan_is_agreed(self, cloud, answer, is_done):
        result = cloud.run("deploy/setup.sh", stdin=answer)

        assert result.returncode == 1 - is_done
        assert cloud.count("terraform apply /") == is_done

    @pytest.mark.parametrize(
        ("refusal", "times"), [("Cannot find metric", 2), ("Error 403", 1)]
    )
    def test_what_was_just_made_is_waited_for(self, cloud, refusal, times):
        """A metric of the log can be watched some minutes after it was made; what is
        refused for another reason is said at once."""
        cloud.rules.insert(0, ("terraform apply /", refusal, 1, 1))
        result = cloud.run("deploy/setup.sh", "--yes")

        assert result.returncode == 2 - times
        assert refusal in result.stderr
        assert cloud.count("terraform apply /") == times


WINBACK = "usecases/ga4_purchase/audiences/winback.toml"


@pytest.fixture
def deployed(cloud) -> Cloud:
    """The cloud after a set-up with a caller and an audience that the folder has no
    more."""
    file = cloud.folder / WINBACK
    file.parent.mkdir(parents=True)
    file.write_text('destination = "bucket"\ntop = 10\n')
    cloud.settings["DEPLOY_CALLERS"] = "group:website@example.com"
    assert cloud.run("deploy/setup.sh", "--yes").returncode == 0
    record = cloud.deployed()
    file.unlink()
    del cloud.settings["DEPLOY_CALLERS"]
    cloud.run("deploy/setup.sh", "--yes")
    change = {
        "actions": ["update"],
        "before": {"input": json.loads(record)},
        "after": {"input": json.loads(cloud.deployed())},
    }
    folder = {"type": "terraform_data", "name": "deployed", "change": change}
    plan = json.dumps({"resource_changes": [folder]})
    cloud.rules.insert(0, ("show -json", plan, 0))
    cloud.rules.insert(0, ("storage cat gs://", json.dumps(state_of(record)), 0))
    return cloud


class TestDeployed:
    """Defect: a set-up from a clone without the folder, or with an older one, took
    audiences, callers and the values of secrets away, and said nothing."""

    @pytest.mark.parametrize(
        ("script", "words"),
        [("deploy/setup.sh", ["--yes"]), ("02-GetProba/deploy.sh", [])],
    )
    def test_what_was_deployed_does_not_go_in_silence(self, deployed, script, words):
        """Nothing is applied before somebody says so; a line names it all."""
        refused = deployed.run(script, *words)

        assert refused.returncode == 1
        assert deployed.count(" apply ") + deployed.count("run deploy") == 0
        assert "audience ga4_purchase/winback" in refused.stderr
        assert "DEPLOY_CALLERS=group:website@example.com" in refused.stderr
        assert "deploy/setup.sh --remove" in refused.stderr

    def test_what_was_deployed_goes_if_somebody_says_so(self, deployed):
        """From then on it is not missed."""
        assert deployed.run("deploy/setup.sh", "--yes", "--remove").returncode == 0
        state = json.dumps(state_of(deployed.deployed()))
        deployed.rules.insert(0, ("storage cat gs://", state, 0))
        assert deployed.run("02-GetProba/deploy.sh").returncode == 0


class TestAfterASetup:
    def test_a_function_runs_its_latest_revision(self, cloud):
        result = cloud.run("02-GetProba/deploy.sh")
        asked = [call for call in cloud.calls() if "gcloud run " in call]
        _, deployed, sent = asked

        assert result.returncode == 0, result.stderr
        assert "run deploy propensity-get-proba" in deployed
        # Also after somebody went back by sending requests to an older revision.
        assert "update-traffic propensity-get-proba --to-latest" in sent
        assert "runs its latest revision" in result.stdout
        other = cloud.run("02-GetProba/deploy_score.sh")
        assert "# score is not among DEPLOY_FUNCTIONS" in other.stdout

    def test_rights_on_their_way_are_waited_for(self, cloud):
        """A line says what is waited for; the second attempt is let through."""
        refusal = "PERMISSION_DENIED: build service account"
        cloud.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1, 1))
        cloud.work.mkdir(parents=True)
        (cloud.work / "granted").write_text(f"{int(time.time())}")
        result = cloud.run("02-GetProba/deploy.sh")

        assert result.returncode == 0, result.stderr
        assert refusal in result.stderr
        assert cloud.count("sleep ") == 1
        assert "for permissions that deploy/setup.sh has just granted" in result.stderr

    def test_functions_are_built_one_by_one(self, cloud):
        """gcloud's database takes one call at a time. The others are deployed; nothing
        is scheduled then."""
        refusal = ("run deploy propensity-get-proba", "quota exceeded", 1)
        cloud.rules.insert(0, refusal)
        result = cloud.run("deploy/deploy_all.sh", "--yes")

        assert result.returncode == 1
        assert "these failed: 02-GetProba/deploy.sh" in result.stderr
        assert not (cloud.folder / "beside").exists()
        assert cloud.count("run deploy propensity-compact-features") == 1
        assert cloud.count("scheduler jobs create") == 0

    def test_nothing_is_deployed_without_a_set_up(self, cloud):
        cloud.rules.insert(0, ("storage cat gs://", "404", 1))
        result = cloud.run("02-GetProba/deploy.sh")

        assert (result.returncode, cloud.count("run deploy")) == (1, 0)
        assert "Run deploy/setup.sh first" in result.stderr
