"""
The scripts, specified: what they run, as gcloud's own parser takes it, and in order.
"""

from __future__ import annotations

import re
import shlex

import pytest

from deploy import configuration
from deploy.functions import ROOT
from tests.deploy.conftest import (
    WHOLE,
    cloud_of,
    settings_file,
)
from tests.support.gcloud import flags, listed, problems, words_of
from tests.support.programs import execute

# What deploys and schedules functions, with what else it is told.
DRY = "--dry-run"
RUN = [(str(file.relative_to(ROOT)), DRY) for file in sorted(ROOT.glob("0*/*.sh"))]
RUN += [
    ("deploy/training_job.sh", "--schedule", DRY),
    ("deploy/roles.sh", "user:ana@example.com", DRY),
    ("deploy/roles.sh", "--operator", "user:ana@example.com", DRY),
    ("deploy/call.sh", "predictions", '{"force": true}', DRY),
    # gcloud's lists refuse the same word twice.
    ("deploy/operate.sh", DRY, "audience", "send", "a", "--use-case", "a"),
    ("deploy/setup.sh", DRY),
]


@pytest.fixture(scope="module")
def printed(tmp_path_factory, project) -> list[list[str]]:
    """Every command that scripts of functions print in a dry run, with all settings."""
    cloud = cloud_of(tmp_path_factory.mktemp("dry"), project)
    cloud.settings = WHOLE
    cloud.rules.insert(0, ("buckets describe", "not logged in", 1))
    commands = []
    for words in RUN:
        result = cloud.run(*words)
        assert (result.returncode, cloud.changes()) == (0, []), result.stderr
        commands += words_of(result.stdout)
    return commands


def of_pages() -> list[list[str]]:
    """The commands of gcloud that the pages tell an operator to type."""
    names = ("deploy.md", "deploy-reference.md", "destinations.md", "operate.md")
    pages = [(ROOT / "docs" / name).read_text() for name in names]
    lines = "\n".join(pages).replace("PROJECT", "my-project").splitlines()
    starts = [re.search(r"^(?:.*\| )?(gcloud (?!.*[`\[…|]).*)$", one) for one in lines]
    return [shlex.split(one[1], comments=True) for one in starts if one]


def test_a_dry_run_prints_what_gclouds_own_parser_takes(printed, tmp_path):
    """And runs none of it; so are the commands of the pages. The parser refuses a flag
    that there is not."""
    commands = printed + of_pages()
    wrong = ["gcloud", "run", "deploy", "x", "--colour=blue"]
    *answers, refused = problems([*commands, wrong], tmp_path)

    assert [pair for pair in zip(commands, answers, strict=True) if pair[1]] == []
    assert refused


def test_functions_are_deployed_with_their_own_account_and_the_settings(printed):
    """And who calls one, and over which network, is what the settings say."""
    d = configuration.of(WHOLE)
    deployed = {words[3]: flags(words) for words in printed if "deploy" in words[2:3]}

    for function in d.functions:
        given = deployed[d.name(function.target)]
        variables = dict(one.split("=", 1) for one in listed(given["set-env-vars"]))
        variables.pop("THREADS", None)
        ingress = "internal-and-cloud-load-balancing"
        if not function.is_public:
            ingress = function.flags["ingress"]
        assert given["service-account"] == d.account(function.target)
        assert given["ingress"] == ingress
        assert given["function"] == function.target
        assert "no-allow-unauthenticated" in given
        # Defect: 03-ModelEvaluation could not recognise suppressed users.
        has_key = "PROPENSITY_SUPPRESSION_KEY" in given.get("set-secrets", "")
        assert has_key == function.needs_key
        assert variables == d.variables


def test_the_set_up_knows_what_is_scheduled(printed):
    """It deletes all other schedules of a function."""
    d = configuration.of(WHOLE)
    created = [
        words for words in printed if words[1:4] == ["scheduler", "jobs", "create"]
    ]
    scheduled = {words[5] for words in created}

    assert {name for name in scheduled if "by-hand" not in name} == set(d.schedules)


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
        cloud.rules.append(("scheduler jobs list", "propensity-compact-features", 0))
        result = cloud.run("deploy/teardown.sh", stdin="my-project\n")
        values = (cloud.work / "terraform.tfvars").read_text()
        [gone] = [
            call for call in cloud.calls() if re.search(r" (destroy|delete) ", call)
        ]

        assert result.returncode == 0, result.stderr
        assert "keep_only_data = true" in values
        assert "delete_data" not in values
        assert "jobs delete propensity-compact-features" in gone

    def test_the_teardown_deletes_data_where_told(self, cloud):
        """Their protection is lifted before."""
        result = cloud.run("deploy/teardown.sh", "--delete-data", "--yes")
        calls = [call for call in cloud.calls() if "-chdir=deploy/terraform " in call]
        done = [call.split()[2] for call in calls if "init" not in call]

        assert result.returncode == 0, result.stderr
        assert done == ["state", "plan", "apply", "destroy"]


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
    "Error acquiring the state lock",
    "already exists",
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
