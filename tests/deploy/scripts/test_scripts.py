"""
The scripts, specified: what they run, as gcloud's own parser takes it, and in order.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from deploy import functions
from deploy.functions import ROOT
from tests.deploy.conftest import OUTPUTS, WHOLE, cloud_of
from tests.programs import execute

# What deploys and schedules functions, with what else it is told.
RUN = {str(script.relative_to(ROOT)): () for script in sorted(ROOT.glob("0*/*.sh"))}
RUN["deploy/training_job.sh"] = ("--schedule",)
RUN["deploy/roles.sh"] = ("user:ana@example.com",)
RUN["deploy/call.sh"] = ("predictions", '{"force": true}')

SDK = Path(os.environ.get("CLOUD_SDK", "/usr/lib/google-cloud-sdk"))
BUNDLED = SDK / "platform" / "bundledpythonunix" / "bin" / "python3"
# Parses command lines as gcloud does, and runs none: by the code of the SDK, whose
# folder is the argument. Prints what is wrong with each; nothing where nothing is.
PARSE = """
import contextlib, io, json, sys
sys.path[:0] = [f"{sys.argv[1]}/lib", f"{sys.argv[1]}/lib/third_party"]
from googlecloudsdk import gcloud_main
parse = gcloud_main.CreateCLI([])._CLI__parser.parse_args

def problem(words):
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            parse(words)
    except (Exception, SystemExit) as error:
        return told.getvalue().strip() or repr(error)
    return ""

json.dump([problem(words[1:]) for words in json.load(sys.stdin)], sys.stdout)
"""

EVERY = {function.target: function for function in functions.load()}


@pytest.fixture(scope="module")
def printed(tmp_path_factory, project) -> list[list[str]]:
    """Every command that scripts of functions print in a dry run, with all settings."""
    cloud = cloud_of(tmp_path_factory.mktemp("dry"), project)
    cloud.settings = WHOLE
    commands = []
    for script, words in RUN.items():
        result = cloud.run(script, *words, "--dry-run")
        assert (result.returncode, cloud.calls()) == (0, []), result.stderr
        commands += words_of(result.stdout)
    return commands


def words_of(text: str) -> list[list[str]]:
    """The commands of gcloud in what was printed, taken apart by the shell itself."""
    keep = "gcloud() { printf '%s\\0' gcloud \"$@\"; printf '\\036'; }\n"
    lines = [line for line in text.splitlines() if "-m deploy.stage" not in line]
    output = execute(["bash", "-c", keep + "\n".join(lines)]).stdout
    return [words.rstrip("\0").split("\0") for words in output.split("\036") if words]


def of_pages() -> list[list[str]]:
    """The commands of gcloud that the pages tell an operator to type."""
    names = ("deploy.md", "deploy-reference.md", "operate.md")
    pages = [(ROOT / "docs" / name).read_text() for name in names]
    lines = "\n".join(pages).replace("PROJECT", "my-project").splitlines()
    starts = [re.search(r"^(?:.*\| )?(gcloud (?!.*[`\[…|]).*)$", one) for one in lines]
    return [shlex.split(one[1], comments=True) for one in starts if one]


def flags(words: list[str]) -> dict[str, str]:
    pairs = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


class TestDryRun:
    def test_a_dry_run_prints_what_gclouds_own_parser_takes(self, printed, tmp_path):
        """And runs none of it; so are the commands of the pages. The parser refuses a
        flag that there is not."""
        commands = printed + of_pages()
        if not (SDK / "lib" / "googlecloudsdk").is_dir():
            pytest.skip(f"there is no Cloud SDK in {SDK}; CLOUD_SDK names another one")
        wrong = ["gcloud", "run", "deploy", "x", "--colour=blue"]
        result = execute(
            [BUNDLED if BUNDLED.exists() else "python3", "-c", PARSE, SDK],
            input=json.dumps([*commands, wrong]),
            env={"PATH": os.environ["PATH"], "CLOUDSDK_CONFIG": str(tmp_path)},
        )
        *answers, refused = json.loads(result.stdout)

        assert [pair for pair in zip(commands, answers, strict=True) if pair[1]] == []
        assert refused

    def test_a_dry_run_deploys_every_function_private_under_its_own_account(
        self, printed
    ):
        """From its staged source, as a function of Cloud Run, with hash locks."""
        deploys = {
            flags(words)["function"]: flags(words)
            for words in printed
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

    def test_a_dry_run_schedules_by_a_token_and_never_without(self, printed):
        """As the scheduler's account, for that very function; each use case, but those
        whose events are scored are not predicted."""
        jobs = {
            words[5].removeprefix("propensity-"): flags(words)
            for words in printed
            if words[1:3] == ["scheduler", "jobs"]
            and "run.googleapis" not in str(words)
            and "propensity-by-hand" not in str(words)
        }
        users = ("ga4-purchase", "first-day-churn")

        assert {*jobs} == {
            "compact-features",
            *(f"predictions-{one}" for one in users),
            *(f"audiences-{one}" for one in users),
            *(f"model-training-{one}" for one in (*users, "card-fraud")),
            *(f"model-evaluation-{one}" for one in (*users, "card-fraud")),
        }
        for name, options in jobs.items():
            account = options["oidc-service-account-email"]
            body = json.loads(options["message-body"])
            assert account.startswith("propensity-scheduler@")
            assert options["uri"] == options["oidc-token-audience"] + "/"
            assert name.endswith(body.get("use_case", name).replace("_", "-"))


class TestTeardown:
    def test_the_teardown_asks_and_does_nothing_unless_answered(self, cloud):
        result = cloud.run("deploy/teardown.sh", stdin="yes\n")

        assert (result.returncode, cloud.changes()) == (1, [])

    def test_the_teardown_keeps_data_unless_told(self, cloud):
        """All else is taken out by an apply that keeps only data."""
        empty = json.dumps(dict.fromkeys(OUTPUTS, ""))
        cloud.rules.insert(0, ("output -json", empty, 0))
        cloud.rules.append(("scheduler jobs list", "propensity-compact-features", 0))
        result = cloud.run("deploy/teardown.sh", stdin="my-project\n")
        values = cloud.outputs.with_name("main.tfvars").read_text()
        gone = [
            call for call in cloud.calls() if re.search(r" (destroy|delete) ", call)
        ]

        assert result.returncode == 0, result.stderr
        assert "keep_only_data = true" in values
        assert "delete_data" not in values
        assert ["terraform/watch" in call for call in gone] == [True, False]
        assert "jobs delete propensity-compact-features" in gone[1]

    def test_the_teardown_deletes_data_where_told(self, cloud):
        """Their protection is lifted before."""
        result = cloud.run("deploy/teardown.sh", "--delete-data", "--yes")
        calls = [call for call in cloud.calls() if "-chdir=deploy/terraform " in call]
        done = [call.split()[2] for call in calls if "init" not in call]

        assert result.returncode == 0, result.stderr
        assert done == ["state", "plan", "apply", "output", "destroy"]


def test_help_is_of_the_script_and_what_is_unknown_is_refused(cloud):
    result = cloud.run("02-GetProba/deploy.sh", "--help")
    refused = cloud.run("02-GetProba/deploy.sh", "--dryrun")

    assert result.stdout.startswith("Deploy the lookup of 02-GetProba;")
    assert refused.returncode == 2
    assert "unknown option --dryrun" in refused.stderr
    assert cloud.calls() == []
