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

from deploy import functions
from propensity import tables, topics
from tests.deploy.conftest import ROOT, changes

SCRIPTS = sorted(
    path for glob in ("deploy/*.sh", "0*/*.sh") for path in ROOT.glob(glob)
)
SDK = Path(os.environ.get("CLOUD_SDK", "/usr/lib/google-cloud-sdk"))
PYTHON = SDK / "platform" / "bundledpythonunix" / "bin" / "python3"
PARSER = Path(__file__).with_name("parse_commands.py")


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
        position = 0
        for call in changes(calls):
            found = every.find(plain("".join(call)), position)
            assert found >= 0, call
            position = found + 1

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
            place("topics create events")
            < place("subscriptions create events-stream-features")
            < place("functions deploy propensity-stream-features")
            < place("run services add-iam-policy-binding propensity-stream-features")
            < place("modify-push-config events-stream-features")
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
        assert {f"pubsub topics {name}" for name in topics.TOPICS} <= {*there}
        for one in topics.SUBSCRIPTIONS:
            found = there[f"pubsub subscriptions {one.name}"]
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
    from deploy import deployment, plan
    from tests.deploy.conftest import SETTINGS

    d = deployment.of(SETTINGS)
    found = plan.everything(d)
    commands = [one for step in found.steps for one in step.update]

    def plain(word):
        word = re.sub(r"\$\{URL_[A-Z_]+\}", "https://f-1.a.run.app", word)
        return re.sub(r"\$\{[A-Z_]+\}", "1234", word)

    made = [[plain(word) for word in one] for one in commands]
    return made + [list(one) for one in found.lookups.values()]


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

    def test_prints_what_it_would_do(self, cloud):
        """A dry run calls nothing, and names what is kept."""
        printed = cloud.run("deploy/teardown.sh", "--dry-run").stdout

        assert cloud.calls() == []
        assert "gcloud functions delete propensity-get-proba" in printed
        assert "gcloud storage rm" not in printed
        assert "kept" in printed


@pytest.mark.long
class TestChanges:
    def test_only_what_differs_is_deployed_again(self, deployed):
        """A setting reaches every function, and tables and rights stay untouched."""
        deployed.settings["PROPENSITY_LOOKUP_TTL_S"] = "60"

        done = deployed.run("deploy/deploy_all.sh")
        made = changes(deployed.calls())

        assert done.returncode == 0, done.stderr
        assert [call[1:4] for call in made] == [
            ["functions", "deploy", "propensity-get-proba"],
            ["functions", "deploy", "propensity-archive-events"],
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
        (deployed.folder / "home" / "state.json").write_text(json.dumps(state))
        deployed.calls()

        done = deployed.run("deploy/setup.sh")
        [change] = changes(deployed.calls())

        assert done.returncode == 0
        assert "ADD COLUMN IF NOT EXISTS latency_ms FLOAT64" in change[-1]
        assert "inference_log" in done.stdout


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
        ],
    )
    def test_stop_before_anything_is_called(self, cloud, name, value, told):
        """The message names the setting, and gcloud is not even asked."""
        cloud.settings[name] = value

        done = cloud.run("deploy/deploy_all.sh")

        assert done.returncode == 1
        assert told in done.stderr
        assert cloud.calls() == []

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
