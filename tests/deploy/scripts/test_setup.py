"""deploy/setup.sh, specified: what it applies, in which order, and where it stops."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from deploy.__main__ import main
from tests.deploy.conftest import OUTPUTS, SETTINGS, Cloud, cloud_of, settings_file

SOURCE = """
[sources.loyalty]
table = "crm-project.crm.loyalty"
user_id = "customer_id"
valid_from = "changed_at"
columns = { points = "INT64" }
"""


SERVICE = {
    "metadata": {"name": "propensity-get-proba"},
    "status": {"url": "https://propensity-get-proba-1.run.app"},
}
# One function is there, and so are things that no function has any more, and a request
# that somebody sends by hand meanwhile.
LISTED = {
    "scheduler jobs list": (
        *("compact-features", "predictions-old", "report", "by-hand-1-2"),
    ),
    "run services list": ("get-proba", "score", "dashboard"),
    "run jobs list": ("training-job-old",),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory, project) -> Cloud:
    """A cloud where a set-up went through, and what this has left in ``left``."""
    cloud = cloud_of(tmp_path_factory.mktemp("ran"), project)
    cloud.rules.insert(0, ("buckets describe", "", 1))
    cloud.rules.append(("region=us-central1 --format=json", json.dumps([SERVICE]), 0))
    for part, names in LISTED.items():
        lines = [f"propensity-{name}" for name in names]
        cloud.rules.append((part, "\n".join(lines), 0))
    result = cloud.run("deploy/setup.sh", "--yes")
    assert result.returncode == 0, result.stderr
    shutil.copytree(project / ".local", cloud.folder / "left")
    return cloud


@pytest.fixture
def set_up(cloud, ran) -> Cloud:
    """The cloud once the set-up has run."""
    shutil.copytree(ran.folder / "left", cloud.project / ".local")
    return cloud


NOTHING = "nothing has been set up"
EXISTS = "Error: Error 409: Already Exists: Dataset my-project:propensity, duplicate"
# Settings may be wrong where there is no state, or nothing in it. Without the functions
# that are there, an apply would take away who may call them.
REFUSED = {
    "only what watches": (
        *("setup --yes", "terraform/watch apply", "refused", 3),
        *("everything is set up except some alerts", 1),
    ),
    "what is there already is not taken over": (
        *("setup --yes --wait=0", "deploy/terraform apply", EXISTS, 1),
        *("Set another DEPLOY_PREFIX", 1),
    ),
    "which functions there are": (
        *("setup --yes", "services list --project=my-project", "no network", 1),
        *("no network", 0),
    ),
    "a state": ("setup --outputs", "buckets describe", "404", 1, NOTHING, None),
    "all that was set up": ("teardown", "state list", "404", 1, NOTHING, None),
    "a state, in a dry run": (
        *("teardown --dry-run", "buckets describe", "404", 1, NOTHING, None),
    ),
    "a bucket, in a dry run": (
        *("setup --dry-run --yes", "buckets describe", "HTTPError 403", 1),
        *("HTTPError 403", None),
    ),
    "a plan, in a dry run": (
        *("teardown --dry-run --yes", "terraform plan", "HTTPError 403", 1),
        *("HTTPError 403", None),
    ),
}


class TestSetup:
    def test_the_set_up_applies_what_is_stood_on_then_what_watches(self, ran):
        """The state's bucket first, and nothing asks where it is told --yes."""
        parts = (
            "buckets create gs://my-bucket-state",
            "-backend-config=prefix=propensity/main",
            "-chdir=deploy/terraform plan -out=",
            "-chdir=deploy/terraform apply /",
            "output -json scripts",
            "-chdir=deploy/terraform/watch apply",
        )
        calls = ran.calls()
        places = [[part in call for call in calls].index(True) for part in parts]

        assert places == sorted(places)

    def test_the_set_up_removes_what_no_function_and_no_use_case_has_any_more(
        self, ran
    ):
        """Schedules, services and jobs, and none that are called likewise, nor the
        schedule of a request by hand."""
        deleted = [
            call.partition(" --")[0] for call in ran.changes() if " delete " in call
        ]

        assert deleted == [
            "gcloud scheduler jobs delete propensity-predictions-old",
            "gcloud run services delete propensity-score",
            "gcloud run jobs delete propensity-training-job-old",
        ]

    def test_the_set_up_lets_in_callers_of_functions_that_are_there(self, ran):
        """What Cloud Run has goes to Terraform, by its address."""
        address = "https://propensity-get-proba-1.run.app"

        [file] = ran.folder.glob("left/deploy/*/main.tfvars")

        assert f'services = {{"get_proba": "{address}"}}' in file.read_text()

    @pytest.mark.parametrize(("times", "status"), [(1, 0), (2, 1)])
    def test_the_set_up_tries_once_more_what_is_not_known_everywhere_yet(
        self, cloud, times, status
    ):
        """Google's provider does not: it takes such an answer for a wrong setting. What
        goes on failing fails, with Terraform's own words and status."""
        refusal = "Service account service-1@gcp-sa-pubsub does not exist., badRequest"
        cloud.rules.insert(0, ("deploy/terraform apply", refusal, 1, times))
        result = cloud.run("deploy/setup.sh", "--yes", "--wait=0")

        assert result.returncode == status
        assert cloud.count("deploy/terraform apply") == 2
        assert refusal in result.stderr

    @pytest.mark.parametrize("script", ["setup", "teardown"])
    def test_the_set_up_prints_the_commands_where_nobody_is_logged_in(
        self, cloud, script
    ):
        """In a clean clone, before there is an account or even a project."""
        cloud.rules.insert(0, ("auth print-access-token", "not logged in", 1))
        result = cloud.run(f"deploy/{script}.sh", "--dry-run")

        assert result.returncode == 0, result.stderr
        assert "terraform -chdir=deploy/terraform apply" in result.stdout
        assert cloud.calls() == ["gcloud auth print-access-token"]

    def test_the_set_up_plans_both_roots_in_a_dry_run_and_changes_nothing(self, cloud):
        """Though told --yes."""
        assert cloud.run("deploy/setup.sh", "--dry-run", "--yes").returncode == 0
        assert (cloud.count(" plan "), cloud.changes()) == (2, [])

    @pytest.mark.parametrize("refused", REFUSED)
    def test_the_set_up_and_the_teardown_end_where_a_call_is_refused(
        self, cloud, refused
    ):
        """The last line says why; none for ``applied``: nothing at all was changed."""
        command, part, answer, status, told, applied = REFUSED[refused]
        cloud.rules.insert(0, (part, answer, 1))
        name, *words = command.split()
        result = cloud.run(f"deploy/{name}.sh", *words, stdin="my-project\n")

        assert result.returncode == status
        assert told in result.stderr.splitlines()[-1]
        assert cloud.count("deploy/terraform apply") == (applied or 0)
        assert applied or cloud.count(" apply") == 0
        assert applied is not None or cloud.changes() == []

    @pytest.mark.parametrize("part", ["output -json", "buckets describe"])
    def test_outputs_that_cannot_be_fetched_change_nothing(self, set_up, part):
        """Nor are those lost that were fetched before."""
        [kept] = set_up.project.glob(".local/deploy/*/outputs.json")
        before = kept.read_text()
        set_up.rules.insert(0, (part, "not found: 404", 1))

        assert set_up.run("deploy/setup.sh", "--outputs").returncode == 1
        assert (kept.read_text(), set_up.changes()) == (before, [])

    def test_the_set_up_prints_what_the_owner_of_sources_elsewhere_grants(self, cloud):
        """Where whoever deploys may not grant it."""
        file = cloud.project / "propensity/usecases/ga4_purchase/usecase.toml"
        grant = "GRANT `roles/bigquery.dataViewer` ON TABLE `crm-project.crm.loyalty`"
        outputs = {**OUTPUTS, "source_grants": grant}
        cloud.rules[:0] = [
            ("use_legacy_sql=false", "", 1),
            ("output -json scripts", json.dumps(outputs), 0),
        ]
        text = file.read_text()
        file.write_text(text + SOURCE)
        result = cloud.run("deploy/setup.sh", "--yes")
        file.write_text(text)

        assert result.returncode == 0, result.stderr
        assert cloud.count(grant) == 1
        assert "Their owner runs there" in result.stderr


class TestAfterASetup:
    def test_names_are_those_that_terraform_has_put_out(self, set_up):
        """An account by another name is the one that is deployed with."""
        result = set_up.run("02-GetProba/deploy.sh")

        assert result.returncode == 0, result.stderr
        assert set_up.count("--service-account=lookups@my-project") == 1
        other = set_up.run("02-GetProba/deploy_score.sh")
        assert "# score is not among DEPLOY_FUNCTIONS" in other.stdout

    def test_rights_on_their_way_are_waited_for(self, set_up):
        """A line says what is waited for; the second attempt is let through."""
        refusal = "PERMISSION_DENIED: build service account"
        set_up.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1, 1))
        [granted] = set_up.project.glob(".local/deploy/*/granted")
        granted.write_text(f"{time.time():.0f}")
        result = set_up.run("02-GetProba/deploy.sh", "--wait=600")

        assert result.returncode == 0, result.stderr
        assert refusal in result.stderr
        assert set_up.count("sleep ") == 1
        assert "for permissions that deploy/setup.sh has just granted" in result.stderr

    @pytest.mark.parametrize(
        ("refusal", "patience"), [("quota exceeded", 60), ("PERMISSION_DENIED", 0)]
    )
    def test_no_other_failure_is_waited_for(self, set_up, refusal, patience):
        """Nor is a refusal when rights had their time to spread."""
        set_up.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1))

        result = set_up.run("02-GetProba/deploy.sh", f"--wait={patience}")
        assert result.returncode == 1
        assert set_up.count("run deploy") == 1

    def test_functions_are_built_one_by_one_and_failures_named(self, cloud):
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
        result = cloud.run("02-GetProba/deploy.sh")

        assert result.returncode == 1
        assert "Run deploy/setup.sh first" in result.stderr
        assert cloud.calls() == []

    def test_a_schedule_that_starts_a_job_is_left_to_it(self, cloud):
        """Else each deploy of all would give the clock back to a function that takes
        longer than the scheduler waits."""
        starts = "https://run.googleapis.com/v2/projects/p/locations/r/jobs/j:run"
        outputs = {"functions": "model_training", "use_cases_model_training": "mine"}
        cloud.rules[:0] = [
            ("jobs describe propensity-model-training-mine", starts, 0),
            ("output -json scripts", json.dumps({**OUTPUTS, **outputs}), 0),
        ]
        assert cloud.run("deploy/setup.sh", "--outputs").returncode == 0
        kept = cloud.run("00-ModelTraining/scheduler.sh")
        assert "deploy/training_job.sh" in kept.stdout
        assert cloud.count("scheduler jobs update") == 0

        cloud.run("00-ModelTraining/scheduler.sh", "--function")
        assert cloud.count("scheduler jobs update http propensity-model-training") == 1


A, B = {"name": "a", "type": "STRING"}, {"name": "b", "type": "STRING"}
R = {"name": "r", "type": "RECORD", "fields": [A, B]}


def planned(*changes: tuple[str, list[str], object, object]) -> str:
    """A plan of Terraform that changes tables, as ``show -json`` has it."""

    def state(columns: object) -> object:
        return columns and {"schema": json.dumps(columns)}

    tables = [
        {
            "type": "google_bigquery_table",
            "name": "table",
            "index": name,
            "change": {
                "actions": actions,
                "before": state(before),
                "after": state(after),
            },
        }
        for name, actions, before, after in changes
    ]
    return json.dumps({"resource_changes": tables})


class TestTables:
    def test_an_older_version_takes_no_column_away_unless_told(self, cloud):
        """Nor a field, nor a table, whether or not it would be made anew."""
        plan = planned(
            ("scores", ["update"], [A, B], [A]),
            ("log", ["update"], [A, R], [A, {**R, "fields": [A]}]),
            ("made_anew", ["delete", "create"], [A], [B]),
            ("gone", ["delete"], [A], None),
        )
        cloud.rules.insert(0, ("show -json", plan, 0))
        refused = cloud.run("deploy/setup.sh", "--yes", "--wait=0")
        applied = cloud.count(" apply")
        told = cloud.run("deploy/setup.sh", "--yes", "--drop-columns")

        assert (refused.returncode, applied, told.returncode) == (1, 0, 0)
        for lost in ("scores.b,", "log.r.b,", "made_anew whole", "gone whole"):
            assert lost in refused.stderr
        assert "--drop-columns" in refused.stderr

    def test_a_column_that_is_added_is_no_loss(self, tmp_path):
        file = settings_file(tmp_path, SETTINGS)
        plan = tmp_path / "plan.json"
        plan.write_text(planned(("scores", ["update"], [A], [A, B])))

        assert main(["losses", "--settings", str(file), "--json", str(plan)]) == 0

    @pytest.mark.parametrize(("answer", "is_done"), [("no\n", 0), ("yes\nyes\n", 1)])
    def test_nothing_is_changed_before_somebody_has_agreed_to_the_plan(
        self, cloud, answer, is_done
    ):
        result = cloud.run("deploy/setup.sh", stdin=answer)

        assert result.returncode == 1 - is_done
        assert cloud.count("terraform apply /") == is_done


class TestOutputs:
    def test_a_dry_run_keeps_no_outputs(self, cloud):
        """Defect: it kept the command that it printed, and no script could read it."""
        for logged_in in (1, 0):
            cloud.rules.insert(0, ("print-access-token", "", logged_in))
            result = cloud.run("deploy/setup.sh", "--outputs", "--dry-run")
            assert (result.returncode, cloud.changes()) == (0, []), result.stderr

        assert list(cloud.project.glob(".local/deploy/*/outputs.json")) == []

    def test_outputs_that_cannot_be_read_are_named(self, set_up):
        [kept] = set_up.project.glob(".local/deploy/*/outputs.json")
        kept.write_text("env TF_DATA_DIR=x terraform output")
        result = set_up.run("02-GetProba/deploy.sh")

        assert result.returncode == 1
        [line] = result.stderr.splitlines()
        assert str(kept) in line

    def test_a_dry_run_is_of_the_settings_and_not_of_the_last_set_up(self, set_up):
        set_up.settings["DEPLOY_FUNCTIONS"] = "get_proba predictions"
        set_up.settings["DEPLOY_USE_CASES"] = "ga4_purchase first_day_churn"
        printed = set_up.run("01-Predictions/scheduler.sh", "--dry-run").stdout

        assert printed.count("--schedule=") == 2


class TestTraffic:
    def test_a_deploy_ends_with_the_latest_revision_serving(self, set_up):
        """Also after somebody went back by sending requests to an older one."""
        result = set_up.run("02-GetProba/deploy.sh")
        deployed, sent = [call for call in set_up.calls() if "gcloud run " in call]

        assert "run deploy propensity-get-proba" in deployed
        assert "update-traffic propensity-get-proba --to-latest" in sent
        assert "runs its latest revision" in result.stdout

    def test_services_that_serve_an_older_revision_are_named(self, cloud):
        def service(name: str, serving: str) -> dict[str, object]:
            traffic = [{"revisionName": serving, "percent": 100}, {"tag": "x"}]
            status = {"latestCreatedRevisionName": "r2", "traffic": traffic}
            return {"metadata": {"name": name}, "status": status}

        listed = [service("propensity-get-proba", "r1")]
        listed.append(service("propensity-compact-features", "r2"))
        cloud.rules.insert(0, ("services list", json.dumps(listed), 0))
        told = cloud.run("deploy/setup.sh", "--dry-run").stderr

        assert "propensity-get-proba runs r1" in told
        assert "update-traffic propensity-get-proba --to-latest" in told
        assert "compact-features serves" not in told
