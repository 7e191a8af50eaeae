"""
The scripts, specified: what they run, as gcloud's own parser takes it, and in order.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy import functions
from tests.deploy.conftest import (
    ROOT,
    SDK,
    SETTINGS,
    WHOLE,
    script_of,
    sdk_python,
    settings_file,
)

SCRIPTS = sorted(
    path for glob in ("deploy/*.sh", "0*/*.sh") for path in ROOT.glob(glob)
)
SOURCED = {"common.sh", "terraform.sh"}
RUN = [one for one in SCRIPTS if one.name not in SOURCED]
PARSER = Path(__file__).with_name("parse_commands.py")
EVERY = {one.target: one for one in functions.load()}
# Stands in for gcloud, bq and terraform: keeps what it is asked, and answers by rules.
# In the shell, as a set-up asks some thirty times and Python would start for each.
SHIM = """#!/bin/bash
call="${0##*/} $*"
folder="${0%/*/*}"
printf '%s\\036' "$call" >>"$folder/calls"
# Answer a call that holds a part; the number is how often, if not always.
rule() {
  local part="$1" answer="$2" status="$3" times="${4:-}" asked one
  [[ "$call" == *"$part"* ]] || return 0
  if [[ -n "$times" ]]; then
    mapfile -d $'\\036' -t asked <"$folder/calls"
    for one in "${asked[@]}"; do [[ "$one" != *"$part"* ]] || times=$((times - 1)); done
    [[ $times -ge 0 ]] || return 0
  fi
  [[ $status == 0 ]] || exec >&2
  printf '%s\\n' "$answer"
  exit "$status"
}
. "$folder/rules"
"""
RECORD = "\036"


@dataclass
class Cloud:
    """Programs on PATH that remember, and a settings file."""

    folder: Path
    project: Path
    settings: dict[str, str]
    # What a call holds, the answer, the exit status, and how many times if not always.
    rules: list[tuple[str, str, int] | tuple[str, str, int, int]]

    def run(
        self, script: str, *words: str, told: str = "", engine: str = "terraform"
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the project, with one engine beside gcloud and bq."""
        shutil.rmtree(self.folder / "bin", ignore_errors=True)
        (self.folder / "bin").mkdir()
        for program in {"gcloud", "bq", engine}:
            file = self.folder / "bin" / program
            file.write_text(SHIM)
            file.chmod(0o755)
        rules = [shlex.join(["rule", *map(str, rule)]) for rule in self.rules]
        (self.folder / "rules").write_text("\n".join(rules))
        (self.folder / "calls").unlink(missing_ok=True)
        file = settings_file(self.folder, self.settings)
        path = [
            str(self.folder / "bin"), str(Path(sys.executable).parent), "/usr/bin",
            "/bin",
        ]  # fmt: skip
        return subprocess.run(
            [self.project / script, *words, f"--settings={file}"],
            check=False,
            capture_output=True,
            text=True,
            input=told,
            cwd=self.folder,
            env={
                "PATH": os.pathsep.join(path),
                "HOME": str(self.folder),
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": (
                    "http://127.0.0.1:9/"
                ),
            },
        )

    def calls(self) -> list[str]:
        """What the programs were asked, each call with its words."""
        file = self.folder / "calls"
        return file.read_text().split(RECORD)[:-1] if file.exists() else []


NONE = ("infra-manager deployments describe", "", 1)
OUTPUTS = {
    "account_scheduler": "propensity-scheduler@my-project.iam.gserviceaccount.com",
    "account_build": "propensity-build@my-project.iam.gserviceaccount.com",
    "account_get_proba": "lookups@my-project.iam.gserviceaccount.com",
    "repository": "us-central1-docker.pkg.dev/my-project/propensity",
    "functions": "get_proba compact_features",
    "schedules": "propensity-compact-features",
    "services": "propensity-get-proba propensity-compact-features",
    "training_jobs": "",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of what is deployed, and of what deploys it."""
    copy = tmp_path_factory.mktemp("clone") / "project"
    ignored = shutil.ignore_patterns("__pycache__", ".terraform*")
    parts = ("deploy", "propensity", "offline", *(p.name for p in ROOT.glob("0*")))
    for part in parts:
        shutil.copytree(ROOT / part, copy / part, ignore=ignored)
    return copy


def cloud_of(folder: Path, project: Path) -> Cloud:
    """A cloud that has nothing yet, and a project that has left nothing."""
    shutil.rmtree(project / ".local", ignore_errors=True)
    rules = [
        NONE,
        ("output -json scripts", json.dumps(OUTPUTS), 0),
        ("bq ", "", 1),
    ]
    settings = {**SETTINGS, "DEPLOY_FUNCTIONS": "get_proba compact_features"}
    return Cloud(folder, project, settings, rules)


@pytest.fixture
def cloud(tmp_path, project) -> Cloud:
    return cloud_of(tmp_path, project)


@pytest.fixture
def set_up(cloud, ran) -> Cloud:
    """The cloud once the set-up has run."""
    shutil.copytree(ran.left, cloud.project / ".local")
    return cloud


@dataclass(frozen=True)
class Dry:
    """A dry run of what deploys functions, with all that can be set."""

    printed: list[list[str]]
    calls: list[str]


@pytest.fixture(scope="module")
def dry(tmp_path_factory, project) -> Dry:
    cloud = cloud_of(tmp_path_factory.mktemp("dry"), project)
    cloud.settings = WHOLE
    return Dry(printed(cloud), cloud.calls())


def printed(cloud: Cloud) -> list[list[str]]:
    """Every command that the scripts of functions print in a dry run."""
    found = []
    for script in RUN:
        if script.parent.name != "deploy" or script.name == "training_job.sh":
            more = ("--schedule",) if script.name == "training_job.sh" else ()
            name = str(script.relative_to(ROOT))
            done = cloud.run(name, "--dry-run", *more)
            assert done.returncode == 0, (name, done.stderr)
            found += words_of(done.stdout)
    return found


def words_of(text: str) -> list[list[str]]:
    """The commands of gcloud in what was printed, taken apart by the shell itself."""
    keep = "gcloud() { printf '%s\\0' gcloud \"$@\"; printf '\\036'; }\n"
    lines = [line for line in text.splitlines() if "-m deploy.stage" not in line]
    told = subprocess.run(
        ["bash", "-c", keep + "\n".join(lines)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [one.rstrip("\0").split("\0") for one in told.split("\036") if one]


def flags(words: list[str]) -> dict[str, str]:
    pairs = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


class TestDryRun:
    def test_calls_nothing(self, dry):
        """Of what deploys functions, schedules them and makes jobs of them."""
        assert dry.printed
        assert dry.calls == []

    def test_prints_what_the_real_parser_takes(self, dry, tmp_path):
        """gcloud's own, of the command tree of its version; and it refuses a flag that
        there is not."""
        self.taken(dry.printed, tmp_path)

    @pytest.mark.long
    def test_of_few_settings_prints_what_the_real_parser_takes(self, cloud, tmp_path):
        """Where only what must be set is set."""
        cloud.settings = SETTINGS
        self.taken(printed(cloud), tmp_path)

    @staticmethod
    def taken(commands: list[list[str]], tmp_path: Path) -> None:
        """Have gcloud's parser take commands."""
        wrong = ["gcloud", "run", "deploy", "x", "--colour=blue"]
        done = subprocess.run(
            [sdk_python(), PARSER, SDK],
            input=json.dumps([*commands, wrong]),
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "CLOUDSDK_CONFIG": str(tmp_path)},
        )
        *told, refused = json.loads(done.stdout)

        assert len(commands) >= len(EVERY) + 4
        assert [one for one in zip(commands, told, strict=True) if one[1]] == []
        assert refused

    def test_deploys_every_function_private_under_its_own_account(self, dry):
        """From its staged source, as a function of Cloud Run, with hash locks."""
        deploys = {
            flags(words)["function"]: flags(words)
            for words in dry.printed
            if words[1:3] == ["run", "deploy"]
        }

        assert set(deploys) == set(EVERY)
        for target, given in deploys.items():
            name = f"propensity-{target.replace('_', '-')}"
            assert given["service-account"].startswith(f"{name}@")
            assert given["base-image"] == "python311"
            assert given["source"].endswith(f"staged/{target}")
            assert "no-allow-unauthenticated" in given
            assert "allow-unauthenticated" not in given
            assert given["build-service-account"].endswith(
                "/propensity-build@my-project.iam.gserviceaccount.com"
            )
            asked = given["set-env-vars"]
            assert "PROPENSITY_BUCKET=my-bucket" in asked
            assert "DEPLOY_" not in asked
            is_public = EVERY[target].ingress == "all"
            assert given["ingress"] == (
                "internal-and-cloud-load-balancing" if is_public else "internal"
            )
            key = "PROPENSITY_SUPPRESSION_KEY=propensity-suppression-key:latest"
            assert given.get("set-secrets") == (
                key if EVERY[target].needs_key else None
            )

    @pytest.mark.parametrize(
        ("repository", "image"),
        [
            ("", "us-central1-docker.pkg.dev/my-project/propensity"),
            ("images", "us-central1-docker.pkg.dev/my-project/images"),
            ("eu-docker.pkg.dev/org/images", "eu-docker.pkg.dev/org/images"),
        ],
    )
    def test_puts_images_where_the_setting_says(self, cloud, repository, image):
        """The deployment's own repository, or the organisation's by its whole name."""
        cloud.settings["DEPLOY_REPOSITORY"] = repository
        done = cloud.run("02-GetProba/deploy.sh", "--dry-run")
        [deploy] = [
            one for one in words_of(done.stdout) if one[1:3] == ["run", "deploy"]
        ]

        assert flags(deploy)["image"] == image

    def test_schedules_by_a_token_and_never_without(self, dry):
        """As the scheduler's account, for that very function, in one time zone."""
        jobs = [
            (words[5], flags(words))
            for words in dry.printed
            if words[1:3] == ["scheduler", "jobs"]
            and "run.googleapis" not in str(words)
        ]

        assert {name for name, _ in jobs} == {
            "propensity-model-training-ga4-purchase",
            "propensity-model-training-first-day-churn",
            "propensity-model-training-card-fraud",
            "propensity-predictions-ga4-purchase",
            "propensity-predictions-first-day-churn",
            "propensity-model-evaluation-ga4-purchase",
            "propensity-model-evaluation-first-day-churn",
            "propensity-model-evaluation-card-fraud",
            "propensity-compact-features",
        }
        for _, given in jobs:
            account = given["oidc-service-account-email"]
            assert account.startswith("propensity-scheduler@")
            assert given["uri"] == given["oidc-token-audience"] + "/"
            assert given["time-zone"] == "Etc/UTC"
            assert json.loads(given["message-body"]) is not None


@dataclass(frozen=True)
class Ran:
    """A set-up that went through: its calls, and the folder that it leaves."""

    calls: list[str]
    left: Path

    @property
    def variables(self) -> str:
        """The file that it gave to Terraform."""
        [file] = self.left.glob("deploy/*/main.tfvars")
        return file.read_text()


@pytest.fixture(scope="module")
def ran(tmp_path_factory, project) -> Ran:
    """
    A set-up without a bucket for the state.

    One function is there, so are things that no function has any more, and a table has
    a column of another type.
    """
    service = {
        "metadata": {"name": "propensity-get-proba"},
        "status": {"url": "https://propensity-get-proba-1.run.app"},
    }
    lift = {"name": "lift", "fields": [{"name": "users", "type": "INTEGER"}]}
    listing = "services list --project=my-project --region=us-central1 --format=json"
    cloud = cloud_of(tmp_path_factory.mktemp("ran"), project)
    cloud.rules[:0] = [
        ("buckets describe", "", 1),
        (listing, json.dumps([service]), 0),
        ("show --format=json", json.dumps({"schema": {"fields": [lift]}}), 0),
        (" query ", "", 0),
    ]
    cloud.rules += [
        (
            "scheduler jobs list",
            "propensity-compact-features\npropensity-predictions-old\n"
            "propensity-report",
            0,
        ),
        (
            "run services list",
            "propensity-get-proba\npropensity-score\npropensity-dashboard",
            0,
        ),
        ("run jobs list", "propensity-training-job-old", 0),
    ]
    done = cloud.run("deploy/setup.sh", "--yes")
    assert done.returncode == 0, done.stderr
    left = shutil.copytree(project / ".local", cloud.folder / "left")
    return Ran(cloud.calls(), left)


@pytest.fixture(scope="module")
def refused(tmp_path_factory, project) -> Cloud:
    """A set-up of all that can be set, whose first apply is refused."""
    cloud = cloud_of(tmp_path_factory.mktemp("refused"), project)
    cloud.settings = {**WHOLE, "DEPLOY_FUNCTIONS": "get_proba compact_features"}
    cloud.rules.insert(0, ("deploy/terraform apply", "refused", 1))
    assert cloud.run("deploy/setup.sh", "--yes").returncode == 1
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
        deleted = [one.partition(" --")[0] for one in ran.calls if " delete " in one]

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
            done = cloud.run("deploy/setup.sh", "--yes")
        finally:
            sleep.write_text(text)

        assert done.returncode == 3
        assert "all else is done" in done.stderr
        assert any("deploy/terraform apply" in call for call in cloud.calls())

    @pytest.mark.parametrize(
        "refusal",
        [
            "Error 400: Service account service-1@gcp-sa-pubsub.iam.gserviceaccount.com"
            " does not exist., badRequest",
            pytest.param(
                "Error 400: Role (projects/p/roles/propensity_table_writer) does not "
                "exist in the resource's hierarchy., badRequest",
                marks=pytest.mark.long,
            ),
            pytest.param(
                "Error 403: Cloud Run Admin API has not been used in project 1 before "
                "or it is disabled., accessNotConfigured",
                marks=pytest.mark.long,
            ),
            pytest.param(
                "Error 400: grant Cloud KMS CryptoKey Encrypter/Decrypter role to "
                "BigQuery",
                marks=pytest.mark.long,
            ),
        ],
    )
    def test_tries_once_more_what_is_not_known_everywhere_yet(self, cloud, refusal):
        """Google's provider does not: it takes such an answer for a wrong setting. What
        goes on failing fails, with Terraform's own words and status."""
        first = ("deploy/terraform apply", f"Error: {refusal}", 1, 1)
        cloud.rules.insert(0, first)
        done = cloud.run("deploy/setup.sh", "--yes", "--wait=0")
        calls = cloud.calls()
        cloud.rules[0] = first[:3]
        again = cloud.run("deploy/setup.sh", "--yes", "--wait=0")

        assert done.returncode == 0, done.stderr
        assert sum("deploy/terraform apply" in one for one in calls) == 2
        assert refusal in done.stderr
        assert "not known everywhere yet" in done.stderr
        assert again.returncode == 1
        assert sum("deploy/terraform apply" in one for one in cloud.calls()) == 2

    @pytest.mark.parametrize(
        "refusal",
        [
            "Error 409: Already Exists: Dataset my-project:propensity, duplicate",
            pytest.param(
                "Error 409: Resource already exists in the project "
                "(resource=propensity-e)",
                marks=pytest.mark.long,
            ),
        ],
    )
    def test_says_what_to_do_about_what_is_there_already(self, cloud, refusal):
        """It is not taken over: another name, or deploy/adopt.sh; once is enough."""
        cloud.rules.insert(0, ("deploy/terraform apply", f"Error: {refusal}", 1))
        done = cloud.run("deploy/setup.sh", "--yes", "--wait=0")

        assert done.returncode == 1
        assert refusal in done.stderr
        assert "set another DEPLOY_PREFIX" in done.stderr
        assert "deploy/adopt.sh" in done.stderr
        assert sum("deploy/terraform apply" in one for one in cloud.calls()) == 1

    def test_has_apis_make_the_accounts_that_are_given_rights(self, refused, ran):
        """Those of Google's own that enabling an API does not make."""
        few = [one for one in ran.calls if "services identity create" in one]
        calls = refused.calls()
        made = [n for n, one in enumerate(calls) if "services identity create" in one]

        assert [one.split()[5] for one in few] == ["--service=pubsub.googleapis.com"]
        assert {calls[n].split()[5] for n in made} == {
            f"--service={one}.googleapis.com"
            for one in ("pubsub", "artifactregistry", "run")
        }
        assert max(made) < min(n for n, one in enumerate(calls) if " apply" in one)

    def test_stops_where_what_is_stood_on_fails(self, refused):
        """Nothing is removed, nothing watches; the status is Terraform's."""
        calls = refused.calls()

        assert any(" apply" in one for one in calls)
        assert not [one for one in calls if "watch" in one or "delete" in one]

    def test_plans_in_a_dry_run_and_applies_nothing(self, cloud):
        """Both roots; no bucket is made, no table is looked at."""
        done = cloud.run("deploy/setup.sh", "--dry-run")
        calls = cloud.calls()

        assert done.returncode == 0, done.stderr
        assert sum(" plan " in call for call in calls) == 2
        words = (" apply", " create", " delete", "bq ")
        assert not [call for call in calls if any(word in call for word in words)]

    def test_plans_all_as_new_where_no_bucket_keeps_a_state_yet(self, cloud):
        """In a copy without the backend, which a plan could not begin without."""
        gone = "ERROR: gs://my-bucket-state not found: 404."
        cloud.rules.insert(0, ("buckets describe", gone, 1))
        done = cloud.run("deploy/setup.sh", "--dry-run")
        plans = [one for one in cloud.calls() if " plan " in one]
        place = ".local/deploy/my-project-propensity/first"

        assert done.returncode == 0, done.stderr
        assert [one.split()[1] for one in plans] == [
            f"-chdir={place}",
            f"-chdir={place}/watch",
        ]
        assert not list((cloud.project / place).rglob("backend.tf"))
        assert not [one for one in cloud.calls() if "backend-config" in one]

    @pytest.mark.parametrize(
        ("script", "rule"),
        [
            ("setup", ("terraform plan", "no network", 1)),
            ("setup", ("terraform init", "no network", 1)),
            ("setup", ("buckets describe", "HTTPError 403", 1)),
            ("teardown", ("terraform plan", "no network", 1)),
        ],
        ids=["setup-plan", "setup-init", "setup-state", "teardown"],
    )
    def test_a_dry_run_that_fails_changes_nothing(self, cloud, script, rule):
        """Though told --yes: it does not go on as if it were none."""
        cloud.rules.insert(0, rule)
        done = cloud.run(f"deploy/{script}.sh", "--dry-run", "--yes")
        words = (" apply", " create", " delete", " destroy", " enable", "bq ")

        assert done.returncode == 1
        assert rule[1] in done.stdout + done.stderr
        assert not [
            call for call in cloud.calls() if any(word in call for word in words)
        ]

    def test_outputs_that_cannot_be_fetched_change_nothing(self, cloud):
        """Nor are those lost that were fetched before."""
        assert cloud.run("deploy/setup.sh", "--outputs").returncode == 0
        [kept] = cloud.project.glob(".local/deploy/*/outputs.json")
        before, rules = kept.read_text(), cloud.rules
        words = (" apply", " create", " delete", "bq ")
        for rule in (
            ("output -json", "no network", 1),
            ("terraform init", "no network", 1),
            ("buckets describe", "not found: 404", 1),
        ):
            cloud.rules = [rule, *rules]
            done = cloud.run("deploy/setup.sh", "--outputs")

            assert done.returncode == 1, rule
            assert kept.read_text() == before
            assert not [
                call for call in cloud.calls() if any(word in call for word in words)
            ]

    def test_stops_where_nobody_says_which_functions_there_are(self, cloud):
        """It would take away who may call them; a plan goes on, and says so."""
        listing = "services list --project=my-project --region=us-central1"
        cloud.rules.insert(0, (listing, "no network", 1))
        done = cloud.run("deploy/setup.sh", "--yes")
        calls = cloud.calls()
        dry = cloud.run("deploy/setup.sh", "--dry-run")

        assert done.returncode == 1
        assert not [one for one in calls if " apply" in one]
        assert dry.returncode == 0
        assert "as if no function was deployed" in dry.stderr

    def test_enables_first_what_a_new_project_lacks(self, ran):
        """What a plan itself calls."""
        calls = ran.calls
        [enabled] = [n for n, one in enumerate(calls) if "services enable" in one]

        assert "cloudresourcemanager.googleapis.com" in calls[enabled]
        assert enabled < min(n for n, one in enumerate(calls) if " list " in one)

    def test_says_which_program_is_missing(self, cloud):
        """Before anything is asked."""
        cloud.settings["DEPLOY_ENGINE"] = "tofu"
        done = cloud.run("deploy/setup.sh", "--yes")

        assert done.returncode == 1
        assert "there is no tofu on PATH" in done.stderr
        assert cloud.calls() == []

    def test_takes_opentofu_where_that_is_what_there_is(self, cloud):
        """By the same words."""
        cloud.settings["DEPLOY_ENGINE"] = "tofu"
        assert cloud.run("deploy/setup.sh", "--dry-run", engine="tofu").returncode == 0
        told = [one.split()[:3] for one in cloud.calls() if one.startswith("tofu")]

        assert told == [
            ["tofu", f"-chdir=deploy/terraform{root}", verb]
            for root in ("", "/watch")
            for verb in ("init", "plan")
        ]

    def test_needs_gcloud_alone_by_infrastructure_manager(self, cloud, tmp_path):
        """Applied from the folder, previewed in a dry run; the account is named."""
        cloud.settings["DEPLOY_ENGINE"] = "gcloud"
        refused = cloud.run("deploy/setup.sh", "--yes", engine="gcloud")
        cloud.settings["DEPLOY_INFRA_ACCOUNT"] = (
            "infra@my-project.iam.gserviceaccount.com"
        )
        told = {"applyResults": {"outputs": {"scripts": {"value": OUTPUTS}}}}
        cloud.rules = [
            ("bq ", "", 1),
            ("storage ls", "", 1),
            ("deployments describe", "projects/p/locations/l/deployments/d/r", 0),
            ("revisions describe", json.dumps(told), 0),
        ]
        done = cloud.run("deploy/setup.sh", "--yes", engine="gcloud")
        calls = cloud.calls()
        dry = cloud.run("deploy/setup.sh", "--dry-run", engine="gcloud")
        previews = [one for one in cloud.calls() if "previews create" in one]
        commands = [shlex.split(one) for one in [*calls, *previews] if "infra-m" in one]
        checked = subprocess.run(
            [sdk_python(), PARSER, SDK],
            input=json.dumps(commands), check=True, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "CLOUDSDK_CONFIG": str(tmp_path)},
        )  # fmt: skip

        assert "DEPLOY_INFRA_ACCOUNT" in refused.stderr
        assert done.returncode == dry.returncode == 0, done.stderr + dry.stderr
        applied = [one for one in calls if "infra-manager deployments apply" in one]
        assert [one.split()[4].rpartition("/")[2] for one in applied] == [
            "propensity-main",
            "propensity-watch",
        ]
        assert all("--local-source=deploy/terraform" in one for one in applied)
        assert len(previews) == 2
        assert [one for one in json.loads(checked.stdout) if one] == []

    @pytest.mark.parametrize(
        ("engine", "rule"),
        [
            ("terraform", ("infra-manager deployments describe", "there", 0)),
            ("gcloud", ("storage ls", "there", 0)),
        ],
    )
    def test_begins_no_second_state(self, cloud, engine, rule):
        """Where another engine keeps one, its name is told and nothing is changed."""
        cloud.settings |= {
            "DEPLOY_ENGINE": engine,
            "DEPLOY_INFRA_ACCOUNT": "infra@my-project.iam.gserviceaccount.com",
        }
        cloud.rules.insert(0, rule)
        done = cloud.run("deploy/setup.sh", "--yes", engine=engine)

        assert done.returncode == 1
        assert "DEPLOY_ENGINE=" in done.stderr
        assert not [one for one in cloud.calls() if " apply" in one]

    def test_casts_types_before_terraform_sees_them(self, ran):
        """Which would make the table anew: the rows are kept."""
        calls = ran.calls
        [place, *_] = [n for n, one in enumerate(calls) if "_before" in one]

        assert "CAST(part.users AS FLOAT64)" in calls[place]
        assert place < next(
            n for n, one in enumerate(calls) if "deploy/terraform apply" in one
        )

    def test_looks_for_files_before_anything_is_called(self, cloud):
        """The postcode index is loaded at the end: it is looked for at the start."""
        done = cloud.run("deploy/setup.sh", "--postcodes=/nope.csv")

        assert done.returncode == 1
        assert "there is no /nope.csv" in done.stderr
        assert cloud.calls() == []


class TestAfterASetup:
    def test_names_are_those_that_terraform_has_put_out(self, set_up):
        """An account by another name is the one that is deployed with."""
        done = set_up.run("02-GetProba/deploy.sh")
        [call] = [one for one in set_up.calls() if "run deploy" in one]

        assert done.returncode == 0, done.stderr
        assert "--service-account=lookups@my-project" in call
        assert (set_up.project / ".local").glob("deploy/*/staged/get_proba/main.py")
        other = set_up.run("02-GetProba/deploy_score.sh")
        assert other.returncode == 0
        assert "# score is not among DEPLOY_FUNCTIONS" in other.stdout

    def test_rights_on_their_way_are_waited_for(self, set_up):
        """A line says what is waited for; the second attempt is let through."""
        refusal = "PERMISSION_DENIED: build service account"
        set_up.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1, 1))
        done = set_up.run("02-GetProba/deploy.sh", "--wait=60")

        assert done.returncode == 0, done.stderr
        assert refusal in done.stderr
        assert "waiting for rights that the set-up has just granted" in done.stderr
        assert len([one for one in set_up.calls() if "run deploy" in one]) == 2

    @pytest.mark.parametrize("refusal", ["quota exceeded", "PERMISSION_DENIED"])
    def test_no_other_failure_is_waited_for(self, set_up, refusal):
        """Nor is a refusal when rights had their time to spread."""
        set_up.rules.insert(0, ("run deploy propensity-get-proba", refusal, 1))
        patience = "--wait=0" if refusal == "PERMISSION_DENIED" else "--wait=60"
        done = set_up.run("02-GetProba/deploy.sh", patience)

        assert done.returncode == 1
        assert "waiting" not in done.stderr
        assert len([one for one in set_up.calls() if "run deploy" in one]) == 1

    def test_functions_are_built_side_by_side_and_failures_named(self, cloud):
        """The others are deployed; nothing is scheduled then."""
        refusal = ("run deploy propensity-get-proba", "quota exceeded", 1)
        cloud.rules.insert(0, refusal)
        done = cloud.run("deploy/deploy_all.sh", "--yes")
        calls = cloud.calls()

        assert done.returncode == 1
        assert "not all was deployed of 02-GetProba/deploy.sh" in done.stderr
        assert "02-GetProba/deploy.sh: quota exceeded" in done.stdout
        assert any("run deploy propensity-compact-features" in one for one in calls)
        assert not any("scheduler jobs create" in one for one in calls)

    def test_a_schedule_that_is_there_is_changed(self, set_up):
        """And one that is not is made."""
        for rule, verb in ((("jobs describe", "x", 0), "update"),
                           (("jobs describe", "", 1), "create")):  # fmt: skip
            set_up.rules.insert(0, rule)
            done = set_up.run("04-StreamFeatures/scheduler.sh")
            assert done.returncode == 0, done.stderr
            assert any(f"scheduler jobs {verb} http" in one for one in set_up.calls())

    def test_without_one_nothing_is_deployed(self, cloud):
        """The message says what comes first."""
        done = cloud.run("02-GetProba/deploy.sh")

        assert done.returncode == 1
        assert "run deploy/setup.sh first" in done.stderr.replace("Run", "run")
        assert cloud.calls() == []


class TestAdopt:
    """What is there already comes into the state, and nothing else is changed."""

    GONE = "Error: Cannot import non-existent remote object"
    HELD = "Error: Resource already managed by Terraform"
    THINGS = {
        "google_bigquery_dataset.this": "projects/my-project/datasets/propensity",
        'google_bigquery_table.table["dead_letters"]': "projects/p/datasets/d/tables/t",
        'google_pubsub_topic.topic["events"]': "projects/p/topics/propensity-events",
        "google_storage_bucket.this": "my-bucket",
    }

    @pytest.fixture
    def taken(self, cloud):
        told = json.dumps(json.dumps(self.THINGS))
        cloud.rules[:0] = [
            ("terraform console", told, 0),
            ("state list", "google_bigquery_dataset.this", 0),
            ("google_pubsub_topic", self.GONE, 1),
            ("google_storage_bucket", self.HELD, 1),
        ]
        return cloud

    def test_imports_what_is_there_and_not_in_the_state(self, taken):
        done = taken.run("deploy/adopt.sh", told="my-project\n")
        imported = [one for one in taken.calls() if " import " in one]

        assert done.returncode == 0, done.stderr
        assert len(imported) == 3
        assert "adopted projects/p/datasets/d/tables/t" in done.stdout
        assert "not there: projects/p/topics/propensity-events" in done.stdout
        assert "my-bucket" not in done.stdout
        assert not [one for one in taken.calls() if " apply" in one]

    def test_asks_and_does_nothing_in_a_dry_run(self, taken):
        refused = taken.run("deploy/adopt.sh", told="yes\n")
        assert refused.returncode == 1
        assert "nothing was adopted" in refused.stdout
        dry = taken.run("deploy/adopt.sh", "--dry-run")

        assert dry.returncode == 0, dry.stderr
        assert "would look for projects/p/topics/propensity-events" in dry.stdout
        assert not [one for one in taken.calls() if " import " in one]

    def test_stops_where_it_is_refused(self, taken):
        """With what Terraform says; what was adopted stays so."""
        taken.rules.insert(0, ("google_bigquery_table", "Error: 403", 1))
        done = taken.run("deploy/adopt.sh", "--yes")

        assert done.returncode == 1
        assert "Error: 403" in done.stderr

    def test_is_terraforms(self, taken):
        """Infrastructure Manager takes a state as a file, and the message says so."""
        taken.settings |= {"DEPLOY_ENGINE": "gcloud", "DEPLOY_INFRA_ACCOUNT": (
            "infra@my-project.iam.gserviceaccount.com")}  # fmt: skip
        done = taken.run("deploy/adopt.sh", "--yes", engine="gcloud")

        assert done.returncode == 1
        assert "import-statefile" in done.stderr


class TestTeardown:
    def test_asks_and_does_nothing_unless_answered(self, cloud):
        for told in ("yes\n", ""):
            done = cloud.run("deploy/teardown.sh", told=told)
            assert done.returncode == 1
            assert "nothing was removed" in done.stdout
            assert not [one for one in cloud.calls() if "destroy" in one]

    def test_keeps_data_unless_told(self, cloud):
        """All else is taken out by an apply that keeps only data."""
        gone = json.dumps(dict.fromkeys(OUTPUTS, ""))
        cloud.rules.insert(0, ("output -json", gone, 0))
        cloud.rules.append(("scheduler jobs list", "propensity-compact-features", 0))
        done = cloud.run("deploy/teardown.sh", told="my-project\n")
        [file] = cloud.project.glob(".local/deploy/*/main.tfvars")
        calls = cloud.calls()

        assert done.returncode == 0, done.stderr
        assert "keep_only_data = true" in file.read_text()
        assert "delete_data = false" in file.read_text()
        assert any("terraform/watch destroy" in one for one in calls)
        assert not any("deploy/terraform destroy" in one for one in calls)
        assert any("jobs delete propensity-compact-features" in one for one in calls)

    def test_deletes_data_where_told(self, cloud):
        """Their protection is lifted before."""
        done = cloud.run("deploy/teardown.sh", "--delete-data", "--yes")
        calls = [one for one in cloud.calls() if "-chdir=deploy/terraform " in one]

        assert done.returncode == 0, done.stderr
        assert [one.split()[2] for one in calls if "init" not in one] == [
            "apply",
            "output",
            "destroy",
        ]


class TestShell:
    def test_every_function_has_its_scripts(self):
        """A deploy.sh in each folder, one script for each function, which stages and
        deploys it in about 25 lines; scheduler.sh where something is scheduled."""
        for one in EVERY.values():
            assert (ROOT / one.folder / "deploy.sh").is_file()
            text = script_of(one).read_text()
            assert re.findall(r"^ *run gcloud (.*?) \"", text, re.M) == ["run deploy"]
            assert re.findall(r"^ *stage (\w+)", text, re.M) == [one.target]
            assert len(text.splitlines()) <= 30
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

    @pytest.mark.parametrize(
        "script", RUN, ids=lambda one: f"{one.parent.name}-{one.name}"
    )
    def test_stops_at_the_first_failure(self, script):
        """Each begins with set -euo pipefail."""
        assert "\nset -euo pipefail\n" in script.read_text()
        assert os.access(script, os.X_OK)

    def test_help_is_of_the_script_and_what_is_unknown_is_refused(self, cloud):
        """The words at its head."""
        told = cloud.run("02-GetProba/deploy.sh", "--help")
        refused = cloud.run("02-GetProba/deploy.sh", "--dryrun")

        assert told.stdout.startswith("Deploy the lookup of 02-GetProba;")
        assert refused.returncode == 2
        assert "unknown option --dryrun" in refused.stderr
        assert cloud.calls() == []

    @pytest.mark.parametrize("words", [["--settings"], ["--settings", "/nope.env"]])
    def test_a_settings_file_that_is_not_there_is_named(self, words):
        """And so is the option that has none."""
        done = subprocess.run(
            [ROOT / "02-GetProba" / "deploy.sh", "--dry-run", *words],
            check=False, capture_output=True, text=True,
        )  # fmt: skip

        assert done.returncode == 2
        assert f"--settings FILE: there is no file '{''.join(words[1:])}'" in (
            done.stderr
        )

    def test_everything_in_order_has_a_help_of_its_own(self, cloud):
        """And loads once what is loaded, though it sets up twice."""
        told = cloud.run("deploy/deploy_all.sh", "--help")
        text = (ROOT / "deploy" / "deploy_all.sh").read_text()

        assert told.stdout.startswith("Everything, in order")
        assert cloud.calls() == []
        assert text.count('setup.sh" "$@"') == 1

    def test_the_flags_are_where_one_looks_for_them(self):
        """Of each function, in the script that deploys it, a line each and why."""
        for one in EVERY.values():
            text = script_of(one).read_text()
            for flag in ("memory", "cpu", "concurrency", "timeout", "min-instances",
                         "max-instances", "ingress"):  # fmt: skip
                assert re.search(rf"^  --{flag}=\S+ +# \w+", text, re.M), (one, flag)
