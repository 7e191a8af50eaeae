"""
The scripts, specified: what they run, as gcloud's own parser takes it, and in order.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy import functions
from tests.deploy.conftest import ROOT, SDK, WHOLE, sdk_python
from tests.deploy.scripts.conftest import OUTPUTS, PARSER, Cloud, cloud_of
from tests.programs import execute

SCRIPTS = sorted(
    path for glob in ("deploy/*.sh", "0*/*.sh") for path in ROOT.glob(glob)
)
SOURCED = {"common.sh", "terraform.sh"}
RUN = [path for path in SCRIPTS if path.name not in SOURCED]

EVERY = {function.target: function for function in functions.load()}


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
    commands = []
    for script in RUN:
        if script.parent.name != "deploy" or script.name == "training_job.sh":
            more = ("--schedule",) if script.name == "training_job.sh" else ()
            name = str(script.relative_to(ROOT))
            result = cloud.run(name, "--dry-run", *more)
            assert result.returncode == 0, (name, result.stderr)
            commands += words_of(result.stdout)
    return commands


def words_of(text: str) -> list[list[str]]:
    """The commands of gcloud in what was printed, taken apart by the shell itself."""
    keep = "gcloud() { printf '%s\\0' gcloud \"$@\"; printf '\\036'; }\n"
    lines = [line for line in text.splitlines() if "-m deploy.stage" not in line]
    output = execute(["bash", "-c", keep + "\n".join(lines)]).stdout
    return [words.rstrip("\0").split("\0") for words in output.split("\036") if words]


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
        commands = dry.printed
        wrong = ["gcloud", "run", "deploy", "x", "--colour=blue"]
        result = execute(
            [sdk_python(), PARSER, SDK],
            input=json.dumps([*commands, wrong]),
            env={"PATH": os.environ["PATH"], "CLOUDSDK_CONFIG": str(tmp_path)},
        )
        *answers, refused = json.loads(result.stdout)

        assert len(commands) >= len(EVERY) + 4
        assert [pair for pair in zip(commands, answers, strict=True) if pair[1]] == []
        assert refused

    def test_deploys_every_function_private_under_its_own_account(self, dry):
        """From its staged source, as a function of Cloud Run, with hash locks."""
        deploys = {
            flags(words)["function"]: flags(words)
            for words in dry.printed
            if words[1:3] == ["run", "deploy"]
        }

        assert set(deploys) == set(EVERY)
        for target, options in deploys.items():
            name = f"propensity-{target.replace('_', '-')}"
            assert options["service-account"].startswith(f"{name}@")
            version = (ROOT / "deploy" / "python-version").read_text().strip()
            assert options["base-image"] == f"python{version.replace('.', '')}"
            # gcloud builds an image without an operating system for a function whose
            # base image is Google's to update, and a job has none to put beneath.
            assert ("no-automatic-updates" in options) == (target == "model_training")
            assert options["source"].endswith(f"staged/{target}")
            assert "no-allow-unauthenticated" in options
            assert "allow-unauthenticated" not in options
            assert options["build-service-account"].endswith(
                "/propensity-build@my-project.iam.gserviceaccount.com"
            )
            variables = options["set-env-vars"]
            assert "PROPENSITY_BUCKET=my-bucket" in variables
            assert "DEPLOY_" not in variables
            is_public = EVERY[target].is_public
            assert options["ingress"] == (
                "internal-and-cloud-load-balancing" if is_public else "internal"
            )
            key = "PROPENSITY_SUPPRESSION_KEY=propensity-suppression-key:latest"
            assert options.get("set-secrets") == (
                key if EVERY[target].needs_key else None
            )

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
        for _, options in jobs:
            account = options["oidc-service-account-email"]
            assert account.startswith("propensity-scheduler@")
            assert options["uri"] == options["oidc-token-audience"] + "/"
            assert options["time-zone"] == "Etc/UTC"
            assert json.loads(options["message-body"]) is not None


class TestTeardown:
    def test_asks_and_does_nothing_unless_answered(self, cloud):
        for stdin in ("yes\n", ""):
            result = cloud.run("deploy/teardown.sh", stdin=stdin)
            assert result.returncode == 1
            assert "nothing was removed" in result.stdout
            assert not [call for call in cloud.calls() if "destroy" in call]

    def test_keeps_data_unless_told(self, cloud):
        """All else is taken out by an apply that keeps only data."""
        empty = json.dumps(dict.fromkeys(OUTPUTS, ""))
        cloud.rules.insert(0, ("output -json", empty, 0))
        cloud.rules.append(("scheduler jobs list", "propensity-compact-features", 0))
        result = cloud.run("deploy/teardown.sh", stdin="my-project\n")
        [file] = cloud.project.glob(".local/deploy/*/main.tfvars")
        calls = cloud.calls()

        assert result.returncode == 0, result.stderr
        assert "keep_only_data = true" in file.read_text()
        assert "delete_data = false" in file.read_text()
        assert any("terraform/watch destroy" in call for call in calls)
        assert not any("deploy/terraform destroy" in call for call in calls)
        assert any("jobs delete propensity-compact-features" in call for call in calls)

    def test_deletes_data_where_told(self, cloud):
        """Their protection is lifted before."""
        result = cloud.run("deploy/teardown.sh", "--delete-data", "--yes")
        calls = [call for call in cloud.calls() if "-chdir=deploy/terraform " in call]

        assert result.returncode == 0, result.stderr
        assert [call.split()[2] for call in calls if "init" not in call] == [
            "apply",
            "output",
            "destroy",
        ]


class TestShell:
    def test_shellcheck_finds_nothing(self):
        """All of them, and what they source."""
        beside = Path(sys.executable).with_name("shellcheck")
        program = str(beside) if beside.exists() else shutil.which("shellcheck")
        if program is None:
            pytest.skip("shellcheck is not installed")

        result = execute([program, "--external-sources", *SCRIPTS], status=None)

        assert len(SCRIPTS) > 12
        assert (result.returncode, result.stdout) == (0, "")

    def test_help_is_of_the_script_and_what_is_unknown_is_refused(self, cloud):
        """The words at its head."""
        result = cloud.run("02-GetProba/deploy.sh", "--help")
        refused = cloud.run("02-GetProba/deploy.sh", "--dryrun")

        assert result.stdout.startswith("Deploy the lookup of 02-GetProba;")
        assert refused.returncode == 2
        assert "unknown option --dryrun" in refused.stderr
        assert cloud.calls() == []
