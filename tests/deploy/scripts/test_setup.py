"""deploy/setup.sh, specified: what it applies, in which order, and where it stops."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.deploy.scripts.conftest import OUTPUTS, Cloud

SOURCE = """
[sources.loyalty]
table = "crm-project.crm.loyalty"
user_id = "customer_id"
valid_from = "changed_at"
columns = { points = "INT64" }
"""


@pytest.fixture
def set_up(cloud, ran) -> Cloud:
    """The cloud once the set-up has run."""
    shutil.copytree(ran.left, cloud.project / ".local")
    return cloud


class TestSetup:
    def test_applies_what_is_stood_on_then_what_watches(self, ran):
        """The state's bucket first, and nothing asks where it is told --yes."""
        calls = ran.calls

        def place(*parts: str) -> int:
            return next(
                n for n, call in enumerate(calls) if all(p in call for p in parts)
            )

        assert (
            place("buckets create gs://my-bucket-state")
            < place("-chdir=deploy/terraform init", "prefix=propensity/main")
            < place("-chdir=deploy/terraform apply", "-auto-approve", "main.tfvars")
            < place("output -json scripts")
            < place("-chdir=deploy/terraform/watch apply", "watch.tfvars")
        )

    def test_removes_what_no_function_and_no_use_case_has_any_more(self, ran):
        """Schedules, services and jobs, and none that are called likewise."""
        deleted = [call.partition(" --")[0] for call in ran.calls if " delete " in call]

        assert deleted == [
            "gcloud scheduler jobs delete propensity-predictions-old",
            "gcloud run services delete propensity-score",
            "gcloud run jobs delete propensity-training-job-old",
        ]

    def test_lets_in_callers_of_functions_that_are_there(self, ran):
        """What Cloud Run has goes to Terraform, by its address."""
        address = "https://propensity-get-proba-1.run.app"

        assert f'services = {{"get_proba": "{address}"}}' in ran.variables

    def test_exits_with_3_where_only_what_watches_is_missing(self, cloud):
        """All else is done."""
        cloud.rules.insert(0, ("terraform/watch apply", "refused", 1))
        sleep = cloud.project / "deploy" / "setup.sh"
        text = sleep.read_text()
        sleep.write_text(text.replace("60 180 360 0", "0"))
        try:
            result = cloud.run("deploy/setup.sh", "--yes")
        finally:
            sleep.write_text(text)

        assert result.returncode == 3
        assert "all else is done" in result.stderr
        assert any("deploy/terraform apply" in call for call in cloud.calls())

    def test_tries_once_more_what_is_not_known_everywhere_yet(self, cloud):
        """Google's provider does not: it takes such an answer for a wrong setting. What
        goes on failing fails, with Terraform's own words and status."""
        refusal = "Service account service-1@gcp-sa-pubsub does not exist., badRequest"
        first = ("deploy/terraform apply", f"Error: {refusal}", 1, 1)
        cloud.rules.insert(0, first)
        result = cloud.run("deploy/setup.sh", "--yes", "--wait=0")
        calls = cloud.calls()
        cloud.rules[0] = first[:3]
        again = cloud.run("deploy/setup.sh", "--yes", "--wait=0")

        assert result.returncode == 0, result.stderr
        assert sum("deploy/terraform apply" in call for call in calls) == 2
        assert refusal in result.stderr
        assert "not known everywhere yet" in result.stderr
        assert again.returncode == 1
        assert sum("deploy/terraform apply" in call for call in cloud.calls()) == 2

    def test_says_what_to_do_about_what_is_there_already(self, cloud):
        """It is not taken over, and tried once."""
        refusal = "Error 409: Already Exists: Dataset my-project:propensity, duplicate"
        cloud.rules.insert(0, ("deploy/terraform apply", f"Error: {refusal}", 1))
        result = cloud.run("deploy/setup.sh", "--yes", "--wait=0")

        assert result.returncode == 1
        assert refusal in result.stderr
        assert "Set another DEPLOY_PREFIX" in result.stderr
        assert sum("deploy/terraform apply" in call for call in cloud.calls()) == 1

    def test_plans_in_a_dry_run_and_applies_nothing(self, cloud):
        """Both roots; no bucket is made, no table is looked at."""
        result = cloud.run("deploy/setup.sh", "--dry-run")

        assert result.returncode == 0, result.stderr
        assert sum(" plan " in call for call in cloud.calls()) == 2
        assert cloud.changes() == []

    @pytest.mark.parametrize("script", ["setup", "teardown"])
    def test_prints_the_commands_where_nobody_is_logged_in(self, cloud, script):
        """In a clean clone, before there is an account or even a project."""
        cloud.rules.insert(0, ("auth print-access-token", "not logged in", 1))
        result = cloud.run(f"deploy/{script}.sh", "--dry-run")
        applied = [line for line in result.stdout.splitlines() if " apply " in line]

        assert result.returncode == 0, result.stderr
        assert "nobody is logged in" in result.stderr
        assert "terraform -chdir=deploy/terraform apply" in applied[0]
        assert cloud.calls() == ["gcloud auth print-access-token"]

    @pytest.mark.parametrize(
        ("script", "rule"),
        [
            ("setup", ("terraform plan", "no network", 1)),
            ("setup", ("buckets describe", "HTTPError 403", 1)),
            ("teardown", ("terraform plan", "no network", 1)),
        ],
        ids=["setup-plan", "setup-state", "teardown"],
    )
    def test_a_dry_run_that_fails_changes_nothing(self, cloud, script, rule):
        """Though told --yes: it does not go on as if it were none."""
        cloud.rules.insert(0, rule)
        result = cloud.run(f"deploy/{script}.sh", "--dry-run", "--yes")

        assert result.returncode == 1
        assert rule[1] in result.stdout + result.stderr
        assert cloud.changes() == []

    def test_outputs_that_cannot_be_fetched_change_nothing(self, cloud):
        """Nor are those lost that were fetched before."""
        assert cloud.run("deploy/setup.sh", "--outputs").returncode == 0
        [kept] = cloud.project.glob(".local/deploy/*/outputs.json")
        before, rules = kept.read_text(), cloud.rules
        for rule in (
            ("output -json", "no network", 1),
            ("terraform init", "no network", 1),
            ("buckets describe", "not found: 404", 1),
        ):
            cloud.rules = [rule, *rules]
            result = cloud.run("deploy/setup.sh", "--outputs")

            assert result.returncode == 1, rule
            assert kept.read_text() == before
            assert cloud.changes() == []

    def test_stops_where_nobody_says_which_functions_there_are(self, cloud):
        """It would take away who may call them; a plan goes on, and says so."""
        listing = "services list --project=my-project --region=us-central1"
        cloud.rules.insert(0, (listing, "no network", 1))
        result = cloud.run("deploy/setup.sh", "--yes")
        calls = cloud.calls()
        dry = cloud.run("deploy/setup.sh", "--dry-run")

        assert result.returncode == 1
        assert not [call for call in calls if " apply" in call]
        assert dry.returncode == 0
        assert "as if no function was deployed" in dry.stderr

    def test_names_what_would_break_the_wildcards_of_the_export(self, cloud):
        """Before a plan, in a dry run as well; a refusal to list stops nothing."""
        views = [{"tableReference": {"tableId": "events_2x"}, "type": "VIEW"}]
        assert (
            "could not be looked into" in cloud.run("deploy/setup.sh", "--yes").stderr
        )
        cloud.rules.insert(0, ("bq ", json.dumps(views), 0))
        result = cloud.run("deploy/setup.sh", "--dry-run")
        [call] = [call for call in cloud.calls() if call.startswith("bq ")]

        assert result.returncode == 0
        assert "in the export my-project.analytics_1, events_2x is a view" in (
            result.stderr
        )
        assert call.endswith("ls --max_results=100000 my-project:analytics_1")

    @pytest.mark.parametrize("is_allowed", [True, False])
    def test_lets_functions_read_sources_in_other_projects(self, cloud, is_allowed):
        """Or prints what the owner runs; and names a table where no query reaches."""
        file = cloud.project / "propensity/usecases/ga4_purchase/usecase.toml"
        grant = "GRANT `roles/bigquery.dataViewer` ON TABLE `crm-project.crm.loyalty`"
        table = {"id": "crm-project:crm.loyalty", "location": "EU"}
        cloud.rules[:0] = [
            ("show crm-project:crm.loyalty", json.dumps(table), 0),
            ("use_legacy_sql=false", "", 0 if is_allowed else 1),
            (
                "output -json scripts",
                json.dumps({**OUTPUTS, "source_grants": grant}),
                0,
            ),
        ]
        text = file.read_text()
        file.write_text(text + SOURCE)
        try:
            result = cloud.run("deploy/setup.sh", "--yes")
        finally:
            file.write_text(text)

        assert result.returncode == 0, result.stderr
        assert (
            "crm-project:crm.loyalty is in EU, and queries run in US" in result.stderr
        )
        assert any(call.endswith(grant) for call in cloud.calls())
        assert ("Their owner runs there" in result.stderr) is not is_allowed


class TestAfterASetup:
    def test_names_are_those_that_terraform_has_put_out(self, set_up):
        """An account by another name is the one that is deployed with."""
        result = set_up.run("02-GetProba/deploy.sh")
        [call] = [call for call in set_up.calls() if "run deploy" in call]

        assert result.returncode == 0, result.stderr
        assert "--service-account=lookups@my-project" in call
        assert (set_up.project / ".local").glob("deploy/*/staged/get_proba/main.py")
        other = set_up.run("02-GetProba/deploy_score.sh")
        assert other.returncode == 0
        assert "# score is not among DEPLOY_FUNCTIONS" in other.stdout

    def test_rights_on_their_way_are_waited_for(self, set_up):
        """A line says what is waited for; the second attempt is let through."""
        refusal = "PERMISSION_DENIED: build service account"
        set_up.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1, 1))
        result = set_up.run("02-GetProba/deploy.sh", "--wait=600")

        assert result.returncode == 0, result.stderr
        assert refusal in result.stderr
        assert "waiting for rights that the set-up has just granted" in result.stderr
        assert len([call for call in set_up.calls() if "run deploy" in call]) == 2

    @pytest.mark.parametrize("refusal", ["quota exceeded", "PERMISSION_DENIED"])
    def test_no_other_failure_is_waited_for(self, set_up, refusal):
        """Nor is a refusal when rights had their time to spread."""
        set_up.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1))
        patience = "--wait=0" if refusal == "PERMISSION_DENIED" else "--wait=60"
        result = set_up.run("02-GetProba/deploy.sh", patience)

        assert result.returncode == 1
        assert "waiting" not in result.stderr
        assert len([call for call in set_up.calls() if "run deploy" in call]) == 1

    def test_functions_are_built_one_by_one_and_failures_named(self, cloud):
        """gcloud's database takes one call at a time. The others are deployed; nothing
        is scheduled then."""
        refusal = ("run deploy propensity-get-proba", "quota exceeded", 1)
        cloud.rules.insert(0, refusal)
        result = cloud.run("deploy/deploy_all.sh", "--yes")
        calls = cloud.calls()

        assert result.returncode == 1
        assert "not all was deployed of 02-GetProba/deploy.sh" in result.stderr
        assert "quota exceeded" in result.stderr
        assert not (cloud.folder / "beside").exists()
        assert any("run deploy propensity-compact-features" in call for call in calls)
        assert not any("scheduler jobs create" in call for call in calls)

    def test_without_one_nothing_is_deployed(self, cloud):
        """The message says what comes first."""
        result = cloud.run("02-GetProba/deploy.sh")

        assert result.returncode == 1
        assert "run deploy/setup.sh first" in result.stderr.replace("Run", "run")
        assert cloud.calls() == []
