"""
The scripts, specified: what they run, as gcloud's own parser takes it.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest

from deploy import configuration, functions
from deploy.__main__ import main
from deploy.functions import ROOT
from deploy.shell import COMMANDS
from tests.deploy.conftest import KEY, WHOLE, cloud_of, settings_file
from tests.support.gcloud import flags, listed, problems, words_of
from tests.support.programs import execute

# Each script that a folder of a function has, and what it runs.
FOLDERS = {}
for file in sorted(ROOT.glob("0*/*.sh")):
    [called] = re.findall(
        r'/\.\./deploy/(\w+)\.sh" (\w+) "\$@"$', file.read_text(), re.M
    )
    FOLDERS[str(file.relative_to(ROOT))] = called
RUN = [
    *FOLDERS.values(),
    ("schedule", "model_training", "--job"),
    ("schedule", "predictions", "--job"),
    ("roles", "user:ana@example.com"),
    ("roles", "user:ana@example.com", "--operator"),
    ("call", "predictions", '{"force": true}'),
    # gcloud's lists refuse the same word twice.
    ("operate", "audience", "send", "a", "--use-case", "a"),
]


@pytest.fixture(scope="module")
def printed(tmp_path_factory, project) -> list[list[str]]:
    """Every command that scripts print in a dry run, with all settings, where nobody is
    logged in."""
    cloud = cloud_of(tmp_path_factory.mktemp("dry"), project)
    cloud.settings = WHOLE
    cloud.rules.insert(0, ("buckets describe", "not logged in", 1))
    text = cloud.run("deploy/setup.sh", "--dry-run").stdout
    for script, *words in RUN:
        with redirect_stdout(io.StringIO()) as output:
            assert cloud.do(script, "--dry-run", *words) == 0
        text += output.getvalue()
    assert cloud.changes() == []
    return words_of(text)


def test_a_folders_scripts_print_what_they_run(cloud):
    """From any folder, for a deployment that is named from there; each folder has a
    script for each of its functions, and for each that the clock calls."""
    cloud.settings["DEPLOY_FUNCTIONS"] = "get_proba"
    settings_file(cloud.folder, cloud.settings)
    words = ("--dry-run", "--deployment", "settings.env")
    done = cloud.run("02-GetProba/deploy.sh", *words)
    every = functions.load()

    assert "gcloud run deploy propensity-get-proba " in done.stdout
    # What is set no more is taken away.
    for kept in ("key", "vpc-connector", "build-worker-pool", "build-env-vars"):
        assert f"--clear-{kept}" in done.stdout
    assert sorted(FOLDERS.values()) == sorted(
        [("function", one.target) for one in every]
        + [("schedule", one.target) for one in every if one.schedule]
    )


def test_a_dry_run_of_all_prints_what_each_script_does(inside, capsys):
    """In one process. Of no deployment it asks Google nothing, as the template's
    project may be somebody's."""
    inside.rules.insert(0, ("buckets describe", "not logged in", 1))
    assert inside.do("deploy_all", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert inside.do("setup", "--dry-run") == 0
    for script, target in sorted(FOLDERS.values()):
        assert inside.do(script, target, "--dry-run") == 0

    assert sorted(shown.splitlines()) == sorted(capsys.readouterr().out.splitlines())
    with patch.dict(os.environ, inside.install()):
        os.environ.pop("PROPENSITY_DEPLOYMENT", None)
        assert main(["deploy_all", "--dry-run"]) == 0
    assert inside.calls() == []


@pytest.mark.parametrize("words", [("setup",), ("function", "get_proba")])
def test_a_deploy_needs_msgspec_alone(words, cloud):
    """Which `make setup-deploy` installs. A dry run needs no gcloud either: it says so,
    and prints its commands."""
    packages = cloud.folder / "packages"
    packages.mkdir()
    (packages / "msgspec").symlink_to(Path(msgspec.__file__).parent)
    file = settings_file(cloud.folder, WHOLE)
    done = execute(
        [sys.executable, "-S", "-m", "deploy", *words, "--dry-run"],
        cwd=cloud.project,
        env={"PYTHONPATH": packages, "PATH": "", "PROPENSITY_DEPLOYMENT": file},
    )

    assert " --project=my-project" in done.stdout
    assert ("there is no gcloud on PATH" in done.stderr) == (words == ("setup",))


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
    """And who calls one, and over which network, is what the settings say. The set-up
    deletes schedules that it does not know."""
    d = configuration.of(WHOLE)
    deployed = {words[3]: flags(words) for words in printed if "deploy" in words[2:3]}

    for function in d.functions:
        given = deployed[d.name(function.target)]
        variables = dict(one.split("=", 1) for one in listed(given["set-env-vars"]))
        variables.pop("THREADS", None)
        ingress = "internal-and-cloud-load-balancing"
        if not function.is_public:
            ingress = "internal"
        assert given["service-account"] == d.account(function.target)
        assert given["ingress"] == ingress
        assert given["vpc-egress"] == "all-traffic"
        assert given["build-service-account"].endswith(d.account("build"))
        assert given["build-worker-pool"] == d.own["worker_pool"]
        assert d.own["package_index"] in given["set-build-env-vars"]
        assert "allow-unencrypted-build" in given
        assert given["function"] == function.target
        # 03-ModelEvaluation recognises suppressed users by it.
        has_key = "PROPENSITY_SUPPRESSION_KEY" in given.get("set-secrets", "")
        assert has_key == function.needs_key
        assert variables == {**d.variables, **function.variables}
    scheduled = {
        words[5] for words in printed if words[1:4] == ["scheduler", "jobs", "create"]
    }
    assert {name for name in scheduled if "by-hand" not in name} == set(d.schedules)


def test_a_job_is_started_as_a_buildpack_does(printed):
    """Only after ``--`` its launcher takes words as they are; else bash evaluates each
    between double quotes, which takes a request's own quotes away.

    Source: buildpacks/lifecycle, launch/process.go (``userProvidedProcess``).
    """
    jobs = [
        flags(words) for words in printed if words[1:4] == ["run", "jobs", "deploy"]
    ]
    started = {}
    for job in jobs:
        assert job["command"] == "/cnb/lifecycle/launcher"
        launcher, python, program, _, request = listed(job["args"])
        assert (launcher, python) == ("--", "python3")
        started[program] = json.loads(request)
    assert started["operate.py"] == ["versions"]
    assert set(started["job.py"]) == {"use_case"}


# What makes something that can have a key, and the flag that gives it one.
KEYED = {
    "run deploy": "key",
    "run jobs deploy": "key",
    "storage buckets create": "default-encryption-key",
}


def test_policies_of_an_organisation_are_kept(printed):
    """What a script makes has a key, stays in the region and is open to nobody; and no
    account gets a key. Those of what Terraform makes are rules over its plan."""
    for words in printed:
        given = flags(words)
        for command, flag in KEYED.items():
            if " ".join(words[1:]).startswith(f"{command} "):
                assert given[flag] == KEY, words
        assert words[1:3] != ["run", "deploy"] or "no-allow-unauthenticated" in given
        assert "allUsers" not in words
        assert given.get("region", "us-central1") == "us-central1"
        assert given.get("location", "us-central1") == "us-central1"
        assert not ("keys" in words and "create" in words)


def test_an_operator_is_let_into_some_folders_of_the_bucket(printed):
    """And not into others, such as the one with the key of control groups."""
    command = "gcloud storage buckets add-iam-policy-binding gs://my-bucket "
    granted = [words for words in printed if " ".join(words).startswith(command)]

    assert len(granted) == 3
    for words in granted:
        condition = flags(words)["condition"]
        assert re.fullmatch(r'\^\|\^title=(\w+)\|.*/objects/\1/"\)', condition)


# Cloud Run begins a job that died anew three times, unless it is told not to.
KEPT = """
deploy_job --max-retries=0 --tasks=1 --task-timeout=82800
call --max-retry-attempts=0
make_state --uniform-bucket-level-access --public-access-prevention
version_state --versioning
use_latest --to-latest
operate --async
grant --condition=None
"""


@pytest.mark.parametrize("line", KEPT.split("\n")[1:-1])
def test_no_flag_is_lost(line):
    """Without one, a failed job of an operator would be run three times more, or a
    bucket be open; and gcloud's parser takes the command all the same."""
    command, *needed = line.split()

    assert set(needed) <= set(COMMANDS[command].split())


def test_a_script_is_about_a_deployment_that_is_named(cloud):
    """None is assumed, and a file that is not there is named."""
    script = cloud.project / "02-GetProba/deploy.sh"
    missing = execute([script, "--deployment", "prod.env"], status=1).stderr
    environment = {"PATH": "/usr/bin:/bin", "PROPENSITY_DEPLOYMENT": ""}
    refused = execute([script], env=environment, status=2).stderr

    assert "prod.env" in missing
    assert "propensity deployment new" in missing
    assert "propensity deployment new" in refused
