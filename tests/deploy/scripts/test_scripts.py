"""
The scripts, specified: what they run, as gcloud's own parser takes it, and in order.
"""

from __future__ import annotations

import json
import os
import re
import shlex

import pytest

from deploy.functions import ROOT
from tests.deploy.conftest import (
    KEY,
    OUTPUTS,
    SDK,
    SETTINGS,
    WHOLE,
    cloud_of,
    settings_file,
)
from tests.support.programs import execute

# What deploys and schedules functions, with what else it is told.
DRY = "--dry-run"
RUN = [(str(file.relative_to(ROOT)), DRY) for file in sorted(ROOT.glob("0*/*.sh"))]
RUN += [
    ("deploy/training_job.sh", "--schedule", DRY),
    ("deploy/roles.sh", "user:ana@example.com", DRY),
    ("deploy/roles.sh", "--operator", "user:ana@example.com", DRY),
    ("deploy/call.sh", "predictions", '{"force": true}', DRY),
    ("deploy/operate.sh", DRY, "forget", "-"),
    ("deploy/setup.sh", DRY),
]

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


@pytest.fixture(scope="module")
def printed(tmp_path_factory, project) -> list[list[str]]:
    """Every command that scripts of functions print in a dry run, with all settings."""
    cloud = cloud_of(tmp_path_factory.mktemp("dry"), project)
    cloud.settings = WHOLE
    cloud.rules.insert(0, ("auth print-access-token", "not logged in", 1))
    commands = []
    for words in RUN:
        result = cloud.run(*words)
        assert (result.returncode, cloud.changes()) == (0, []), result.stderr
        commands += words_of(result.stdout)
    return commands


def words_of(text: str) -> list[list[str]]:
    """The commands of gcloud in what was printed, taken apart by the shell itself."""
    keep = "gcloud() { printf '%s\\0' gcloud \"$@\"; printf '\\036'; }\n"
    lines = [line for line in text.splitlines() if line.startswith("gcloud ")]
    output = execute(["bash", "-c", keep + "\n".join(lines)]).stdout
    return [words.rstrip("\0").split("\0") for words in output.split("\036") if words]


def of_pages() -> list[list[str]]:
    """The commands of gcloud that the pages tell an operator to type."""
    names = ("deploy.md", "deploy-reference.md", "destinations.md", "operate.md")
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


# What makes something that can have a key: the flag that gives it one, and its setting.
KEYED = {
    "run deploy": ("key", "DEPLOY_FUNCTIONS_KMS_KEY"),
    "run jobs deploy": ("key", "DEPLOY_FUNCTIONS_KMS_KEY"),
    "storage buckets create": ("default-encryption-key", "DEPLOY_KMS_KEY"),
}


def made_with(commands: list[list[str]], settings: dict[str, str]) -> set[str]:
    """Return which kinds of things are made, once each has the key of its setting."""
    made = set()
    for words in commands:
        for command, (flag, setting) in KEYED.items():
            if " ".join(words[1:]).startswith(f"{command} "):
                made.add(command)
                assert flags(words).get(flag, "") == settings.get(setting, ""), words
    return made


class TestStrictOrganisation:
    """With all settings, what its policies demand of whatever a script makes; those of
    what Terraform makes are rules over its plan."""

    def test_what_a_script_makes_has_a_key(self, printed):
        assert made_with(printed, WHOLE) == set(KEYED)

    @pytest.mark.parametrize("key", ["", "DEPLOY_KMS_KEY", "DEPLOY_FUNCTIONS_KMS_KEY"])
    def test_a_key_is_for_what_its_setting_says(self, cloud, key):
        """Each alone, and neither."""
        cloud.settings = SETTINGS | {"PROPENSITY_LOCATION": "us-central1"}
        if key:
            cloud.settings[key] = KEY
        cloud.rules.insert(0, ("auth print-access-token", "not logged in", 1))
        commands = []
        for script in ("deploy/setup.sh", "00-ModelTraining/deploy.sh"):
            commands += words_of(cloud.run(script, DRY).stdout)

        assert made_with(commands, cloud.settings) == set(KEYED)

    def test_no_script_opens_a_function_or_leaves_the_region(self, printed):
        for words in printed:
            given = flags(words)
            deploys = words[1:3] == ["run", "deploy"]
            assert "allow-unauthenticated" not in given
            assert "allUsers" not in " ".join(words)
            assert given.get("region", "us-central1") == "us-central1"
            assert given.get("location", "us-central1") == "us-central1"
            assert not deploys or given["ingress"] != "all"
            assert not deploys or given["vpc-egress"] == "all-traffic"

    def test_no_script_makes_the_key_of_an_account(self, printed):
        assert not any("keys" in words and "create" in words for words in printed)


class TestTeardown:
    def test_the_teardown_asks_first(self, cloud):
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

    @pytest.mark.parametrize("options", [(), ("--delete-data",)])
    def test_without_a_login_a_dry_run_prints_what_a_teardown_runs(
        self, cloud, options
    ):
        """
        Defect: it said that a first set-up would run them, began twice, and left out
        what takes things away.
        """
        cloud.rules.insert(0, ("auth print-access-token", "not logged in", 1))
        result = cloud.run("deploy/teardown.sh", "--dry-run", *options)
        destroyed = [line for line in result.stdout.splitlines() if "destroy" in line]

        assert result.returncode == 0, result.stderr
        assert "setup.sh" not in result.stderr
        assert result.stdout.count("-chdir=deploy/terraform init") == 1
        assert len(destroyed) == 1 + len(options)

    def test_the_teardown_deletes_data_where_told(self, cloud):
        """Their protection is lifted before."""
        result = cloud.run("deploy/teardown.sh", "--delete-data", "--yes")
        calls = [call for call in cloud.calls() if "-chdir=deploy/terraform " in call]
        done = [call.split()[2] for call in calls if "init" not in call]

        assert result.returncode == 0, result.stderr
        assert done == ["state", "plan", "apply", "output", "destroy"]


def test_help_is_of_the_script(cloud):
    result = cloud.run("02-GetProba/deploy.sh", "--help")

    assert result.stdout.startswith("Deploy the lookup of 02-GetProba;")
    assert cloud.calls() == []


def test_an_unknown_option_is_refused(cloud):
    refused = cloud.run("02-GetProba/deploy.sh", "--dryrun")

    assert refused.returncode == 2
    assert "unknown option --dryrun" in refused.stderr
    assert cloud.calls() == []


def test_a_script_is_about_a_deployment_that_is_named(cloud):
    """By the variable, too; none is assumed, and a file that is not there is named."""
    file = settings_file(cloud.folder, cloud.settings)
    named = {"PATH": "/usr/bin:/bin", "PROPENSITY_DEPLOYMENT": "settings.env"}
    script = cloud.project / "02-GetProba/deploy.sh"
    printed = execute([script, "--dry-run"], cwd=file.parent, env=named).stdout
    missing = execute([script, "--deployment", "prod.env"], status=2).stderr
    refused = execute([script], env={"PATH": "/usr/bin:/bin"}, status=2).stderr

    assert "PROPENSITY_BUCKET=my-bucket" in printed
    assert "there is no file 'prod.env'" in missing
    assert "propensity deployment new" in refused


# What docs/deploy.md quotes of Google's and Terraform's own messages.
OTHERS = {
    "API … has not been used",
    "Quota violated: CpuAllocPerProjectRegion",
    "Views cannot be queried through prefix",
    "Constraint … violated",
    "violates constraint",
    "Error 403",
    "cannot run builds in this region",
}


def test_a_page_explains_what_a_script_prints():
    """Defect: a sentence stood there that none prints, so that nobody found it."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    cells = re.findall(r"^\| (`.*?) \| ", page, re.M)
    seen = {sentence for cell in cells for sentence in re.findall("`(.*?)`", cell)}
    files = [*ROOT.glob("deploy/**/*.sh"), *ROOT.glob("deploy/**/*.tf")]
    files.append(ROOT / "propensity" / "errors.py")
    printed = "\n".join(file.read_text() for file in files)

    assert len(seen) > 10
    for sentence in seen - OTHERS:
        for part in sentence.split("…"):
            assert part.strip() in printed, sentence
