"""
The scripts, specified on a cloud that remembers: order, twice equals once, dry run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import deployment, functions
from propensity import tables, topics
from tests.deploy.conftest import KEY, ROOT, SETTINGS, Cloud, changes

SCRIPTS = sorted(
    path for glob in ("deploy/*.sh", "0*/*.sh") for path in ROOT.glob(glob)
)
SDK = Path(os.environ.get("CLOUD_SDK", "/usr/lib/google-cloud-sdk"))
PYTHON = SDK / "platform" / "bundledpythonunix" / "bin" / "python3"
PARSER = Path(__file__).with_name("parse_commands.py")
# The longest first: a name may begin with another.
NAMES = sorted(
    (f"propensity-{one.target.replace('_', '-')}" for one in functions.load()),
    key=len,
    reverse=True,
)


def sdk_python() -> str:
    """The Python that the Cloud SDK runs on; skips where there is no SDK."""
    if not (SDK / "lib" / "googlecloudsdk").is_dir():
        pytest.skip(f"there is no Cloud SDK in {SDK}; CLOUD_SDK names another folder")
    return str(PYTHON if PYTHON.exists() else shutil.which("python3"))


def refused(commands: list[list[str]], folder: Path) -> dict[str, str]:
    """What gcloud's and bq's own parsers say is wrong, by command."""
    done = subprocess.run(
        [sdk_python(), PARSER, SDK],
        input=json.dumps(commands),
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "CLOUDSDK_CONFIG": str(folder)},
    )
    told = json.loads(done.stdout)
    return {" ".join(c): t for c, t in zip(commands, told, strict=True) if t}


@pytest.fixture(scope="module")
def first(whole):
    """The calls of a first run, once a dry run has printed them."""
    dry = whole.run("deploy/deploy_all.sh", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert whole.calls() == []
    done = whole.run("deploy/deploy_all.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    return dry.stdout, whole.calls()


@pytest.mark.long
class TestEverything:
    """One deployment of everything, from an empty project until it is gone again."""

    def test_the_dry_run_prints_what_the_run_does(self, first):
        """Each command that changes something is printed before, in the same order."""
        printed, calls = first
        values = {
            "PROJECT_NUMBER": "123456789012",
            "CHANNEL": "channels/0",
        }

        def plain(text):
            for name, value in values.items():
                text = text.replace(f"${{{name}}}", value)
            text = re.sub(
                r"\$\{URL_(\w+)\}",
                lambda m: (
                    f"https://propensity-{m[1].lower().replace('_', '-')}"
                    "-abcdefghij-uc.a.run.app"
                ),
                text,
            )
            return re.sub(r"[\s'\"\\]", "", text)

        every = plain(printed)
        position: dict[str, int] = {}
        for call in changes(calls):
            # Functions are deployed beside each other, each in its own order.
            words = [word for word in call if "env-vars" not in word]
            one = next((n for n in NAMES if any(n in word for word in words)), "")
            found = every.find(plain("".join(call)), position.get(one, 0))
            assert found >= 0, call
            position[one] = found + 1

    def test_the_order_is_that_of_what_needs_what(self, first):
        """Accounts before rights, tables before rights on them, subscriptions before
        functions, functions before what calls them, evaluation before predictions."""
        calls = [" ".join(call) for call in changes(first[1])]

        def place(*parts):
            return next(
                number
                for number, call in enumerate(calls)
                if all(part in call for part in parts)
            )

        assert place("services enable") == 0
        assert (
            place("service-accounts create propensity-predictions")
            < place("CREATE TABLE IF NOT EXISTS `ma_predictions_table`")
            < place("add-iam-policy-binding", "ma_predictions_table")
            < place("functions deploy propensity-predictions")
            < place("jobs create http propensity-predictions-ga4-purchase")
        )
        assert (
            place("functions deploy propensity-compact-features")
            < place("jobs create http propensity-compact-features")
            < place("logging metrics create")
            < place("monitoring policies create")
        )
        assert (
            place("topics create propensity-events")
            < place("subscriptions create propensity-events-stream-features")
            < place("functions deploy propensity-stream-features")
            < place("run services add-iam-policy-binding propensity-stream-features")
            < place("modify-push-config propensity-events-stream-features")
        )

    def test_a_second_run_changes_nothing(self, whole, first):
        """It looks, finds everything, and leaves it."""
        done = whole.run("deploy/deploy_all.sh")

        assert done.returncode == 0, done.stderr
        assert changes(whole.calls()) == []
        assert re.search(r"^0 of \d+ steps changed$", done.stdout, re.M)

    def test_nothing_is_open_and_everything_has_its_own_account(self, first):
        """Every function is deployed private, as itself; nobody is everybody."""
        calls = first[1]
        deploys = [call for call in calls if call[1:3] == ["functions", "deploy"]]

        assert len(deploys) == len(functions.load())
        for call in deploys:
            assert {"--gen2", "--no-allow-unauthenticated", "--trigger-http"} <= {*call}
            assert (
                f"--service-account={call[3]}@my-project.iam.gserviceaccount.com"
                in call
            )
        every = json.dumps(calls)
        assert "allUsers" not in every
        assert "allAuthenticatedUsers" not in every
        assert "--allow-unauthenticated" not in every

    def test_who_works_behind_its_answers_has_its_processor(self, first):
        """Functions have no flag for it: the service behind is told; the others are
        as services are."""
        told = {
            call[4]: call[5]
            for call in first[1]
            if call[:4] == ["gcloud", "run", "services", "update"]
        }

        assert told == {"propensity-score": "--no-cpu-throttling"}

    def test_there_is_all_that_the_code_names(self, whole, first):
        """Every table, topic and subscription, as tables.py and topics.py have them."""
        there = whole.state()

        for table in tables.TABLES:
            fields = there[f"bq my-project:propensity.{table.name}"]["schema"]["fields"]
            assert [one["name"] for one in fields] == [c.name for c in table.columns]
        assert {f"pubsub topics propensity-{name}" for name in topics.TOPICS} <= {
            *there
        }
        for one in topics.SUBSCRIPTIONS:
            found = there[f"pubsub subscriptions propensity-{one.name}"]
            assert found["ackDeadlineSeconds"] == one.acknowledge_s
            assert bool(found.get("pushConfig")) == bool(one.function)

    def test_a_longer_training_becomes_a_job(self, whole, first):
        """It is of the function's own image, and the clock starts it; scheduler.sh goes
        back to the function."""
        whole.run("deploy/training_job.sh")
        by_hand = changes(whole.calls())
        done = whole.run("deploy/training_job.sh", "--schedule")
        by_clock = changes(whole.calls())
        again = whole.run("deploy/training_job.sh", "--schedule")
        unchanged = changes(whole.calls())
        whole.run("00-ModelTraining/scheduler.sh")
        back = changes(whole.calls())

        assert done.returncode == again.returncode == 0
        jobs = [call for call in by_hand if call[1:4] == ["run", "jobs", "deploy"]]
        assert len(jobs) == 3
        assert "--image=us-docker.pkg.dev/x/propensity-model-training" in jobs[0]
        assert [call[3] for call in by_clock] == ["update"] * 3
        assert unchanged == []
        assert [call[5] for call in back] == [call[5] for call in by_clock]

    @pytest.mark.long
    def test_the_real_parsers_take_every_command(self, whole, first, tmp_path):
        """gcloud and bq, asked without credentials, find no fault in any of them: those
        that look and create, those that change, and those that remove."""
        whole.run("deploy/training_job.sh", "--schedule")
        gone = whole.run("deploy/teardown.sh", "--yes", "--delete-data")
        calls = first[1] + whole.calls() + updates()
        every = [list(call) for call in sorted({tuple(call) for call in calls})]

        assert gone.returncode == 0, gone.stderr
        print(f"\n{len(every)} command lines taken by the real parsers")
        assert len(every) > 300
        assert refused(every, tmp_path) == {}

    def test_a_command_that_is_wrong_is_refused(self, tmp_path):
        """The check is one: an unknown flag, command or missing name is found."""
        wrong = [
            ["gcloud", "functions", "deploy", "f", "--gen2", "--concurency=5"],
            ["gcloud", "pubsub", "topic", "create", "t"],
            ["bq", "--project_id=p", "show", "--formt=json", "p:d"],
            ["bq", "--project_id=p", "add-iam-policy-binding", "--table=true", "p:d.t"],
        ]

        assert len(refused(wrong, tmp_path)) == len(wrong)


def updates() -> list[list[str]]:
    """The commands that change what is there already, with what they look up."""
    from deploy import plan

    d = deployment.of({**SETTINGS, "DEPLOY_KMS_KEY": KEY.replace("us-central1", "us")})
    found = plan.everything(d)
    commands = [one for step in found.steps for one in step.update]

    def plain(word):
        word = re.sub(r"\$\{URL_[A-Z_]+\}", "https://f-1.a.run.app", word)
        return re.sub(r"\$\{[A-Z_]+\}", "1234", word)

    made = [[plain(word) for word in one] for one in commands]
    adopted = [list(step.adopt) for step in found.steps if step.adopt]
    return made + adopted + [list(one) for one in found.lookups.values()]


@pytest.mark.long
class TestTeardown:
    def test_asks_and_does_nothing_unless_answered(self, deployed):
        """Only the project's name, typed, goes on."""

        refused = deployed.run("deploy/teardown.sh", told="yes\n")

        assert refused.returncode == 1
        assert "nothing was removed" in refused.stdout
        assert deployed.calls() == []

    def test_keeps_data_and_comes_back(self, deployed):
        """Dataset, bucket and messages stay, all else goes, and a deploy brings it
        back, roles that were just removed too."""
        gone = deployed.run("deploy/teardown.sh", told="my-project\n")
        left = {name.rpartition(" ")[0] for name in deployed.state()}
        back = deployed.run("deploy/deploy_all.sh")

        assert gone.returncode == 0, gone.stderr
        kept = {"bq", "storage buckets", "pubsub topics", "pubsub subscriptions"}
        assert kept <= left
        assert not left & {"functions", "run services", "iam service-accounts"}
        assert back.returncode == 0, back.stderr
        assert "role propensity_table_writer, if it was removed lately" in back.stdout

    def test_deletes_data_where_told(self, deployed):
        """Then nothing is left but APIs, the log bucket's setting, and roles that
        Google keeps for a week, marked as deleted."""
        gone = deployed.run("deploy/teardown.sh", "--yes", "--delete-data")
        state = deployed.state()
        again = deployed.run("deploy/teardown.sh", "--yes", "--delete-data")

        assert gone.returncode == again.returncode == 0
        assert "0 things removed" not in gone.stdout
        assert not [name for name in state if name.startswith(("bq my-project:prop",
            "storage", "pubsub", "functions", "scheduler", "iam service"))]  # fmt: skip
        assert state["alpha monitoring policies"] == []
        assert state["beta monitoring channels"] == []
        roles = [one for name, one in state.items() if name.startswith("iam roles")]
        assert all(one["deleted"] for one in roles)
        bound = [v for name, v in state.items() if name.startswith("policy projects")]
        assert all(one["bindings"] == [] for one in bound)

    def test_says_before_what_is_going_to_be_removed_and_after_what_was(self, deployed):
        """Nobody reads that something is removed which is still there."""
        told = deployed.run("deploy/teardown.sh", "--yes").stdout

        assert told.startswith("Everything of 'propensity' in project my-project is go")
        assert re.search(
            r"^\d\d+ things of 'propensity' removed from my-project; what holds data "
            "was kept$",
            told,
            re.M,
        )

    @pytest.mark.parametrize("data", [(), ("--delete-data",)])
    def test_stops_where_a_look_is_denied(self, deployed, data):
        """What it may not see may still be there: the command and its message are
        printed, and the exit status is 1."""
        done = deployed.run(
            "deploy/teardown.sh", "--yes", *data, FAKE_CLOUD_FAILS="functions describe"
        )

        assert done.returncode == 1
        assert "functions describe propensity-archive-events" in done.stderr
        assert "PERMISSION_DENIED: the test says so" in done.stderr
        assert "things of" not in done.stdout
        assert "functions propensity-archive-events" in deployed.state()

    def test_prints_what_it_would_do(self, cloud):
        """A dry run calls nothing, and names what is kept."""
        printed = cloud.run("deploy/teardown.sh", "--dry-run").stdout

        assert cloud.calls() == []
        assert "gcloud functions delete propensity-get-proba" in printed
        assert "gcloud storage rm" not in printed
        assert "kept" in printed


class TestTeardownOfNothing:
    def test_stops_without_credentials(self, cloud):
        """No look succeeds: nothing is said to be removed, and gcloud's own message
        is."""
        done = cloud.run("deploy/teardown.sh", "--yes", FAKE_CLOUD_SIGNED_OUT="1")

        assert done.returncode == 1
        assert "You do not currently have an active account selected" in done.stderr
        assert "is removed" not in done.stdout
        assert "things" not in done.stdout
        assert len(cloud.calls()) == 1

    def test_stops_at_the_end_of_input(self, cloud):
        """Where nobody can answer, nothing is removed."""
        done = cloud.run("deploy/teardown.sh", told="")

        assert done.returncode == 1
        assert "nothing was removed" in done.stdout
        assert done.stderr == ""
        assert cloud.calls() == []


class TestOwners:
    """What has one name in a project is of one deployment, by its label."""

    LABELLED = (
        "bq my-project:propensity",
        "pubsub topics propensity-dead-letters",
        "pubsub subscriptions propensity-enriched-archive-events",
        "storage buckets gs://my-bucket",
    )

    @pytest.mark.parametrize("name", LABELLED)
    @pytest.mark.parametrize(
        "command",
        [("setup.sh",), ("deploy_all.sh",), ("teardown.sh", "--yes", "--delete-data")],
        ids=lambda command: command[0],
    )
    def test_refuse_what_is_another_deployments(self, cloud, name, command):
        """Nothing is changed, created or removed: each of the four kinds is enough."""
        cloud.put(
            {
                "services": ["pubsub.googleapis.com"],
                name: {"labels": {"deployment": "shop"}},
            }
        )

        done = cloud.run(f"deploy/{command[0]}", *command[1:])

        assert done.returncode == 1
        assert "nothing was changed" in done.stderr
        assert "of the deployment 'shop'" in done.stderr
        assert "a project of its own" in done.stderr
        assert "--update-labels" not in done.stderr
        assert changes(cloud.calls()) == []
        assert name in cloud.state()

    def test_refuse_to_take_over_who_is_pushed_to(self, cloud):
        """deploy.sh alone makes no subscription of another deployment push here."""
        cloud.put(
            {
                "services": ["pubsub.googleapis.com"],
                "pubsub subscriptions propensity-enriched-archive-events": {
                    "labels": {"deployment": "shop"},
                    "pushConfig": {"pushEndpoint": "https://shop-archive-events-x"},
                },
            }
        )

        done = cloud.run("04-StreamFeatures/deploy.sh")

        assert done.returncode == 1
        assert "propensity-enriched-archive-events pushes to propensity" in done.stderr
        assert changes(cloud.calls()) == []

    @pytest.mark.parametrize("name", LABELLED)
    def test_refuse_what_has_no_label_until_it_is_given_one(self, cloud, name):
        """The message holds the command that says whose it is."""
        cloud.put({"services": ["pubsub.googleapis.com"], name: {"there": True}})

        done = cloud.run("deploy/setup.sh")
        [adopt] = [
            line.split()
            for line in done.stderr.splitlines()
            if "update-labels" in line or "set_label" in line
        ]
        subprocess.run(
            [cloud.folder / "bin" / adopt[0], *adopt[1:]],
            check=True,
            env={"FAKE_CLOUD": str(cloud.folder / "home")},
        )
        cloud.calls()
        again = cloud.run("deploy/setup.sh", FAKE_CLOUD_FAILS="services enable")

        assert done.returncode == 1
        assert "without a label" in done.stderr
        assert cloud.state()[name]["labels"] == {"deployment": "propensity"}
        assert "nothing was changed" not in again.stderr
        assert changes(cloud.calls())[0][1:3] == ["services", "enable"]

    @pytest.mark.long
    def test_are_named_by_all_that_a_set_up_creates(self, deployed):
        """A second deployment with the same bucket is refused, whole; with one of its
        own it is beside the first."""
        there = deployed.state()
        labels = {
            name: one["labels"]
            for name, one in there.items()
            if re.match(r"pubsub|storage|bq my-project:propensity$", name)
        }
        deployed.settings["DEPLOY_PREFIX"] = "shop"
        deployed.calls()

        shared = deployed.run("deploy/setup.sh")
        refused = changes(deployed.calls())
        deployed.settings["PROPENSITY_BUCKET"] = "another-bucket"
        own = deployed.run("deploy/setup.sh")

        assert len(labels) == 2 + len(topics.TOPICS) + len(topics.SUBSCRIPTIONS)
        assert all(one == {"deployment": "propensity"} for one in labels.values())
        assert shared.returncode == 1
        # The bucket is all that both would have: it is named in the settings.
        assert shared.stderr.count("of the deployment 'propensity'") == 1
        assert refused == []
        assert own.returncode == 0, own.stderr
        assert "pubsub topics shop-events" in deployed.state()
        assert "pubsub topics propensity-events" in deployed.state()

    def test_are_not_known_where_nothing_can_be_looked_at(self, cloud):
        """A set-up that may not see what is there stops before it has changed
        anything; one whose API is not on yet goes on."""
        done = cloud.run("deploy/setup.sh", FAKE_CLOUD_FAILS="buckets describe")

        assert done.returncode == 1
        assert "PERMISSION_DENIED" in done.stderr
        assert changes(cloud.calls()) == []


@pytest.mark.long
class TestChanges:
    def test_only_what_differs_is_deployed_again(self, deployed):
        """A setting reaches every function, and tables and rights stay untouched."""
        deployed.settings["PROPENSITY_LOOKUP_TTL_S"] = "60"

        done = deployed.run("deploy/deploy_all.sh")
        made = changes(deployed.calls())

        assert done.returncode == 0, done.stderr
        assert sorted(call[1:4] for call in made) == [
            ["functions", "deploy", "propensity-archive-events"],
            ["functions", "deploy", "propensity-get-proba"],
        ]

    def test_what_failed_is_taken_up_where_it_stopped(self, cloud):
        """The command and what it said are printed; a second run does the rest."""
        failed = cloud.run("deploy/setup.sh", FAKE_CLOUD_FAILS="buckets create")
        before = changes(cloud.calls())
        done = cloud.run("deploy/setup.sh")
        after = changes(cloud.calls())

        assert failed.returncode == 1
        assert "PERMISSION_DENIED" in failed.stderr
        assert "Traceback" not in failed.stderr
        assert done.returncode == 0, done.stderr
        assert not {map(tuple, before[:-1])} & {map(tuple, after)}

    def test_goes_on_without_an_export(self, cloud):
        """Where the export has no table yet, its view waits and all else is made."""
        cloud.settings["DEPLOY_FUNCTIONS"] = "predictions"

        early = cloud.run("deploy/setup.sh", FAKE_CLOUD_NO_EXPORT="analytics_1")
        later = cloud.run("deploy/setup.sh")

        assert early.returncode == later.returncode == 0
        assert "left out         view ga_events" in early.stdout
        assert "created          view ga_events" in later.stdout
        assert "bq my-project:propensity.ga_events" in cloud.state()

    def test_a_table_of_an_earlier_version_gets_its_columns(self, deployed):
        """What tables.py has and the table has not is added; rows stay."""
        state = deployed.state()
        table = state["bq my-project:propensity.inference_log"]
        table["schema"]["fields"] = table["schema"]["fields"][:5]
        deployed.put(state)

        done = deployed.run("deploy/setup.sh")
        [change] = changes(deployed.calls())

        assert done.returncode == 0
        assert "ADD COLUMN IF NOT EXISTS latency_ms FLOAT64" in change[-1]
        assert "inference_log" in done.stdout

    def test_a_table_of_an_earlier_version_gets_its_types(self, deployed):
        """Sizes that were whole numbers become fractions, by way of a copy."""
        state = deployed.state()
        table = state["bq my-project:propensity.ma_model_evaluation"]
        for one in table["schema"]["fields"]:
            if one["name"] == "lift":
                one["fields"] = [{"name": "users", "type": "INTEGER"}]
        deployed.put(state)

        done = deployed.run("deploy/setup.sh")
        [change] = changes(deployed.calls())

        assert done.returncode == 0
        assert "CAST(part.users AS FLOAT64) AS users" in change[-1]
        assert "CREATE OR REPLACE TABLE `ma_model_evaluation`" in change[-1]
        assert "changed          types of the table ma_model_evaluation" in done.stdout


@pytest.mark.long
class TestAnExportInAnotherProject:
    EXPORT = "bq their-project:analytics_1"

    @pytest.fixture
    def elsewhere(self, cloud) -> Cloud:
        """A deployment that reads an export of somebody else, in the EU."""
        cloud.settings["DEPLOY_FUNCTIONS"] = "predictions"
        cloud.settings["PROPENSITY_GA4_DATASET"] = "their-project.analytics_1"
        cloud.settings["PROPENSITY_LOCATION"] = "EU"
        cloud.put({self.EXPORT: {"access": [], "location": "EU"}})
        return cloud

    def test_is_read_by_who_may_and_by_nobody_else(self, elsewhere):
        """The right is on the dataset there, and the view is of its tables."""
        done = elsewhere.run("deploy/setup.sh")
        state = elsewhere.state()

        assert done.returncode == 0, done.stderr
        assert [one["userByEmail"] for one in state[self.EXPORT]["access"]] == [
            "propensity-predictions@my-project.iam.gserviceaccount.com"
        ]
        view = state["bq my-project:propensity.ga_events"]["view"]["query"]
        assert view.count("`their-project.analytics_1.events_*`") == 2
        assert "`their-project.analytics_1.INFORMATION_SCHEMA.TABLES`" in view
        elsewhere.calls()
        assert elsewhere.run("deploy/setup.sh").returncode == 0
        assert changes(elsewhere.calls()) == []

    def test_whose_owner_must_grant_the_right_says_so_and_goes_on(self, elsewhere):
        """What the owner is to run is printed, word by word."""
        done = elsewhere.run("deploy/setup.sh", FAKE_CLOUD_FAILS="GRANT `roles")

        assert done.returncode == 0, done.stderr
        assert "left out         propensity-predictions has bigquery.dataV" in (
            done.stdout
        )
        assert "who owns the dataset must run this" in done.stdout
        assert "ON SCHEMA `their-project.analytics_1` TO" in done.stdout

    def test_in_another_location_is_refused_before_anything_is_done(self, elsewhere):
        """Both locations are named: no query reads both."""
        elsewhere.settings["PROPENSITY_LOCATION"] = "US"
        done = elsewhere.run("deploy/setup.sh")

        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "their-project.analytics_1 is in EU" in line
        assert "would be in US" in line
        assert changes(elsewhere.calls()) == []

    def test_that_nobody_here_may_see_is_left_out_and_taken_back_without(
        self, elsewhere
    ):
        """Its owner did not let us look; the rest is set up and removed."""
        denied = {"FAKE_CLOUD_FAILS": "show --format=json their-project"}
        done = elsewhere.run("deploy/setup.sh", **denied)
        gone = elsewhere.run("deploy/teardown.sh", "--yes", **denied)

        assert done.returncode == 0, done.stderr
        assert "left out         export their-project.analytics_1" in done.stdout
        assert gone.returncode == 0, gone.stderr


class TestWrongSettings:
    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("PROPENSITY_LOKUP_TTL_S", "60", "PROPENSITY_LOKUP_TTL_S"),
            ("PROPENSITY_LOOKUP_TTL_S", "soon", "PROPENSITY_LOOKUP_TTL_S"),
            ("PROPENSITY_BUCKET", "", "PROPENSITY_BUCKET"),
            ("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:1", "EMULATOR"),
            ("DEPLOY_REGION", "", "DEPLOY_REGION"),
            ("DEPLOY_FUNCTIONS", "get_probability", "get_probability"),
            ("DEPLOY_USE_CASES", "churn", "churn"),
            ("DEPLOY_CALLERS", "allUsers", "allUsers"),
            ("DEPLOY_ALERT_EMAIL", "nobody", "DEPLOY_ALERT_EMAIL"),
            ("DEPLOY_COLOUR", "blue", "DEPLOY_COLOUR"),
            ("PATH", "/tmp", "PATH"),
            ("DEPLOY_TIMEZONE", "Etc/UTC", "is it DEPLOY_TIME_ZONE?"),
            ("PROPENSITY_LOOKUP_TTL", "60", "is it PROPENSITY_LOOKUP_TTL_S?"),
            ("PROPENSITY_LOCATION", "MARS", "PROPENSITY_LOCATION"),
            ("PROPENSITY_LOCATION", "europe", "europe-west2"),
            ("DEPLOY_TIME_ZONE", "Mars/Base", "DEPLOY_TIME_ZONE"),
            ("DEPLOY_ALERT_ROC_AUC", "7", "DEPLOY_ALERT_ROC_AUC"),
            ("DEPLOY_ALERT_CHAMPION_DAYS", "0", "DEPLOY_ALERT_CHAMPION_DAYS"),
            ("DEPLOY_ALERT_RUN_BYTES", "1.5", "DEPLOY_ALERT_RUN_BYTES"),
            ("DEPLOY_ALERT_LAG_S", "0", "DEPLOY_ALERT_LAG_S"),
            ("DEPLOY_INGRESS", "everybody", "DEPLOY_INGRESS"),
            ("DEPLOY_KMS_KEY", "my-key", "DEPLOY_KMS_KEY"),
            ("DEPLOY_KMS_KEY", KEY, "locations/us/"),
            ("DEPLOY_FUNCTIONS_KMS_KEY", KEY, "DEPLOY_REPOSITORY"),
            ("DEPLOY_REPOSITORY", "My_Images", "DEPLOY_REPOSITORY"),
            ("DEPLOY_VPC_CONNECTOR", "projects/p/vpc", "DEPLOY_VPC_CONNECTOR"),
            (
                "DEPLOY_VPC_CONNECTOR",
                "projects/p/locations/europe-west2/connectors/c",
                "us-central1",
            ),
            ("DEPLOY_VPC_EGRESS", "all", "DEPLOY_VPC_CONNECTOR"),
            ("PROPENSITY_TOPIC_PREFIX", "another", "DEPLOY_PREFIX"),
        ],
    )
    def test_stop_before_anything_is_called(self, cloud, name, value, told):
        """The message names the setting, and gcloud is not even asked."""
        cloud.settings[name] = value

        done = cloud.run("deploy/deploy_all.sh")

        assert done.returncode == 1
        assert told in done.stderr
        assert cloud.calls() == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("PROPENSITY_LOCATION", "eu"),
            ("PROPENSITY_LOCATION", "europe-west2"),
            ("PROPENSITY_LOCATION", "northamerica-northeast1"),
            ("DEPLOY_REGION", "europe-west12"),
            ("DEPLOY_TIME_ZONE", "America/Argentina/Buenos_Aires"),
            ("DEPLOY_TIME_ZONE", "Etc/GMT+5"),
            ("DEPLOY_ALERT_ROC_AUC", "1"),
        ],
    )
    def test_are_not_taken_for_right_ones(self, name, value):
        """What Google has is accepted."""
        assert deployment.of({**SETTINGS, name: value})

    def test_a_file_that_is_not_there_stops_before_anything_is_called(self, cloud):
        """The postcode index is loaded at the end: it is looked for at the start."""
        for words in (("--dry-run",), ()):
            done = cloud.run("deploy/setup.sh", "--postcodes", "/nope.csv", *words)

            assert done.returncode == 1
            assert "there is no /nope.csv" in done.stderr
            assert cloud.calls() == []

    def test_no_export_stops_what_can_only_answer_that_there_is_none(self, cloud):
        """The message says both remedies, and each is one."""
        del cloud.settings["DEPLOY_FUNCTIONS"]
        cloud.settings["PROPENSITY_GA4_DATASET"] = ""

        done = cloud.run("deploy/deploy_all.sh")

        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "set PROPENSITY_GA4_DATASET" in line
        assert cloud.calls() == []
        remedies = re.findall(r'(DEPLOY_\w+)="([^"]+)"', line)
        assert [name for name, _ in remedies] == [
            "DEPLOY_USE_CASES",
            "DEPLOY_FUNCTIONS",
        ]
        for name, value in remedies:
            assert deployment.of({**cloud.settings, name: value})

    def test_the_example_is_one_to_deploy_from(self, cloud):
        """Every line of it is known, those too that are commented out."""
        text = (ROOT / "deploy" / "settings.env.example").read_text()
        file = cloud.folder / "example.env"
        file.write_text(re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.M))

        done = subprocess.run(
            [ROOT / "deploy/deploy_all.sh", "--dry-run", f"--settings={file}"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip

        assert done.returncode == 0, done.stderr

    def test_the_example_has_what_deploys_the_stream_only(self, cloud):
        """Without an export, with the line that it has for that."""
        text = (ROOT / "deploy" / "settings.env.example").read_text()
        text = re.sub(r"^(PROPENSITY_GA4_DATASET=).*", r"\1", text, flags=re.M)
        file = cloud.folder / "example.env"

        def answered(settings):
            file.write_text(settings)
            return subprocess.run(
                [ROOT / "deploy/deploy_all.sh", "--dry-run", f"--settings={file}"],
                check=False, capture_output=True, text=True,
            )  # fmt: skip

        refused = answered(text)
        done = answered(re.sub(r"^# (?=DEPLOY_USE_CASES=)", "", text, flags=re.M))

        assert refused.returncode == 1
        assert done.returncode == 0, done.stderr
        assert "schedule propensity-model-training-first-day-churn" in done.stdout
        assert "ga4-purchase" not in done.stdout


class TestPrinted:
    def test_begins_with_its_words_and_ends_with_its_totals(self, cloud):
        """Each word before a command is explained; the last line counts the steps."""
        told = cloud.run("deploy/deploy_all.sh", "--dry-run").stdout
        lines = told.splitlines()
        steps = [line for line in lines if re.match(r"# \d+\. ", line)]
        words = {one.split()[0] for one in lines if re.match(r"[a-z]{3,6}  ", one)}

        head = "\n".join(lines[: lines.index("## Setup")])
        assert {word for word in words if f"# {word} " in head} == words
        assert "docs/cost.md" in head
        assert "docs/security.md" in head
        assert lines[-1].startswith(f"# {len(steps)} steps: ")
        removal = cloud.run("deploy/teardown.sh", "--dry-run").stdout
        assert "# remove  run where the look finds it" in removal
        assert re.search(r"^# \d+ steps: .* remove, \d+ kept$", removal, re.M)

    @pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
    def test_help_is_of_the_script(self, script):
        """Its own name and its own options, and no verb."""
        if script.name == "python.sh":
            pytest.skip("it is sourced")

        told = subprocess.run(
            [script, "--help"], check=True, capture_output=True, text=True
        ).stdout

        assert told.startswith(f"usage: {script.relative_to(ROOT)} [-h] ")
        assert "{" not in told
        assert ("--delete-data" in told) == (script.name == "teardown.sh")
        assert ("--postcodes" in told) == (script.name in ("setup.sh", "deploy_all.sh"))

    def test_may_be_cut_short(self):
        """Whoever has read enough, such as head, gets no traceback."""
        example = ROOT / "deploy" / "settings.env.example"
        done = subprocess.run(
            f"{ROOT}/deploy/deploy_all.sh --dry-run --settings={example} | head -1",
            shell=True, check=True, capture_output=True, text=True,
        )  # fmt: skip

        assert done.stdout.startswith("# look")
        assert done.stderr == ""


class TestShell:
    def test_every_function_folder_has_its_scripts(self):
        """deploy.sh in each, scheduler.sh where something of it is scheduled."""
        for one in functions.load():
            assert (ROOT / one.folder / "deploy.sh").is_file()
            assert (
                one.schedule is None or (ROOT / one.folder / "scheduler.sh").is_file()
            )

    def test_shellcheck_finds_nothing(self):
        """All of them, and what they source."""
        beside = Path(sys.executable).with_name("shellcheck")
        program = str(beside) if beside.exists() else shutil.which("shellcheck")
        if program is None:
            pytest.skip("shellcheck is not installed")

        done = subprocess.run(
            [program, "--external-sources", *SCRIPTS],
            check=False, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip

        assert len(SCRIPTS) > 12
        assert (done.returncode, done.stdout) == (0, "")

    @pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
    def test_stops_at_the_first_failure(self, script):
        """Each begins with set -euo pipefail; python.sh is sourced by those."""
        if script.name != "python.sh":
            assert "\nset -euo pipefail\n" in script.read_text()
            assert os.access(script, os.X_OK)


class TestFunctions:
    @pytest.mark.long
    def test_are_built_side_by_side(self, cloud):
        """Both deploys are under way at once: each waits until the other has begun."""
        done = cloud.run("deploy/deploy_all.sh", FAKE_CLOUD_TOGETHER="2")

        assert done.returncode == 0, done.stdout + done.stderr
        assert "created          function propensity-get-proba" in done.stdout
        assert "created          function propensity-archive-events" in done.stdout

    def test_that_fail_are_named_and_the_others_are_finished(self, cloud):
        """The message names the function, its command and what it said."""
        done = cloud.run(
            "deploy/deploy_all.sh",
            "--wait=0",
            FAKE_CLOUD_FAILS="functions deploy propensity-get-proba",
        )
        calls = [" ".join(call) for call in cloud.calls()]

        assert done.returncode == 1
        assert "propensity-get-proba:" in done.stderr
        assert "PERMISSION_DENIED" in done.stderr
        assert "functions propensity-archive-events" in cloud.state()
        assert any("modify-push-config" in call for call in calls)
        # What comes after all functions has not begun.
        assert not [call for call in calls if "scheduler jobs" in call]

    @pytest.mark.long
    def test_wait_for_the_rights_of_who_builds_them(self, cloud):
        """A refusal passes once rights hold; a line says what is waited for."""
        done = cloud.run(
            "deploy/deploy_all.sh",
            "--wait=2",
            FAKE_CLOUD_FAILS="functions deploy propensity-get-proba",
            FAKE_CLOUD_FAILS_TIMES="1",
        )

        assert done.returncode == 0, done.stderr
        [line] = [line for line in done.stdout.splitlines() if "  waiting " in line]
        assert "function propensity-get-proba" in line
        assert "the rights of propensity-build" in line
        assert "0 of up to 2 s" in line


class TestWatching:
    @pytest.mark.long
    def test_that_fails_fails_nothing_else(self, cloud):
        """Everything else is done; what was not made is named at the end, the exit
        status is one of its own, and a second run makes up for it."""
        done = cloud.run(
            "deploy/deploy_all.sh",
            FAKE_CLOUD_FAILS="monitoring policies create",
        )
        there = cloud.state()
        again = cloud.run("deploy/setup.sh")

        assert done.returncode == 3
        assert "functions propensity-get-proba" in there
        assert "alert run_failed" in done.stderr
        assert "deploy/setup.sh" in done.stderr
        assert "PERMISSION_DENIED" in done.stdout
        assert again.returncode == 0, again.stderr
        assert "created          alert run_failed" in again.stdout

    def test_says_what_nobody_watches(self, cloud):
        """Without the compaction nothing notices a run that is never begun."""
        cloud.settings["DEPLOY_FUNCTIONS"] = "predictions"
        dry = cloud.run("deploy/deploy_all.sh", "--dry-run")

        assert "nothing would notice a missed run of predictions" in dry.stdout
        cloud.settings["DEPLOY_FUNCTIONS"] = "predictions compact_features"
        dry = cloud.run("deploy/deploy_all.sh", "--dry-run")
        assert "nothing would notice" not in dry.stdout


class TestEnvironment:
    def test_is_what_functions_have(self, cloud):
        """A shell that takes it over has the names of this deployment; nothing is
        called for it."""
        cloud.settings["DEPLOY_PREFIX"] = "shop"
        file = cloud.folder / "settings.env"
        file.write_text("\n".join(f'{n}="{v}"' for n, v in cloud.settings.items()))

        told = subprocess.run(
            ["bash", "-c", f'eval "$({sys.executable} -m deploy environment '
             f'--settings {file})"; env'],
            check=True, capture_output=True, text=True, cwd=ROOT,
        ).stdout  # fmt: skip
        found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

        assert found["PROPENSITY_TOPIC_PREFIX"] == "shop"
        assert found["PROPENSITY_DATASET"] == "shop"
        assert found["PROPENSITY_ENRICHED_TOPIC"] == "shop-enriched"
        assert found["GOOGLE_CLOUD_PROJECT"] == "my-project"
        assert not [name for name in found if name.startswith("DEPLOY_")]
        assert cloud.calls() == []
