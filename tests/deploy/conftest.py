"""
Settings to deploy from, and a machine where gcloud, bq and terraform are stood in for.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pytest

from deploy import configuration
from deploy.__main__ import main
from deploy.functions import ROOT
from deploy.shell import Shell
from tests.support.gcloud import SDK
from tests.support.programs import execute

SETTINGS = {
    "GOOGLE_CLOUD_PROJECT": "my-project",
    "PROPENSITY_BUCKET": "my-bucket",
    "PROPENSITY_GA4_DATASET": "analytics_1",
    "DEPLOY_REGION": "us-central1",
    "DEPLOY_ALERT_EMAIL": "team@example.com",
}
FEW = {**SETTINGS, "DEPLOY_FUNCTIONS": "get_proba compact_features"}
KEY = "projects/keys/locations/us-central1/keyRings/data/cryptoKeys/propensity"
# Who is let in by another provider of identities, without a key.
POOL = "principalSet://iam.googleapis.com/projects/1/locations/global"
POOL += "/workloadIdentityPools/ci"
# This configuration sets all that can be set.
WHOLE = {
    **SETTINGS,
    "PROPENSITY_LOCATION": "us-central1",
    "DEPLOY_USE_CASES": "ga4_purchase first_day_churn card_fraud",
    "DEPLOY_CALLERS": "group:website@example.com user:ana@example.com",
    "DEPLOY_PRODUCERS": "serviceAccount:shop@other.iam.gserviceaccount.com",
    "DEPLOY_SUPPRESSION_SECRET": "propensity-suppression-key",
    "DEPLOY_INGRESS": "internal-and-gclb",
    "DEPLOY_KMS_KEY": KEY,
    "DEPLOY_FUNCTIONS_KMS_KEY": KEY,
    "DEPLOY_REPOSITORY": "images",
    "DEPLOY_VPC_CONNECTOR": "to-the-office",
    "DEPLOY_VPC_EGRESS": "all",
    "DEPLOY_WORKER_POOL": "projects/p/locations/us-central1/workerPools/builds",
    "DEPLOY_PACKAGE_INDEX": "https://us-central1-python.pkg.dev/p/pypi/simple/",
}


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Whichever deployment a test enters here, the next one has the environment."""
    with patch.dict(os.environ):
        yield


def settings_file(folder: Path, settings: dict[str, str]) -> Path:
    """Write the folder of a deployment; return its file."""
    (folder / "usecases").mkdir(exist_ok=True)
    file = folder / "settings.env"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))
    return file


# Stands in for gcloud, bq and terraform, and for commands: keeps what it is asked, and
# answers by rules.
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
for word in "$@"; do [[ "$word" != -out=* ]] || echo planned >"${word#-out=}"; done
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
    # Those that are stood in for.
    programs: tuple[str, ...] = ("gcloud", "bq", "terraform", "propensity")
    # For how long a script has waited in this process.
    pauses: list[float] = field(default_factory=list)
    # What a workflow's job has told people.
    said: str = ""

    def install(self) -> dict[str, str]:
        """Forget what was asked; return the environment that leads to the programs."""
        shutil.rmtree(self.folder / "bin", ignore_errors=True)
        (self.folder / "bin").mkdir()
        for program in self.programs:
            file = self.folder / "bin" / program
            file.write_text(SHIM)
            file.chmod(0o755)
        rules = [shlex.join(["rule", *map(str, rule)]) for rule in self.rules]
        (self.folder / "rules").write_text("\n".join(rules))
        (self.folder / "calls").unlink(missing_ok=True)
        path = [self.folder / "bin", SDK / "bin", "/usr/bin", "/bin"]
        return {"PATH": os.pathsep.join(map(str, path)), "HOME": str(self.folder)}

    def run(
        self, script: str, *words: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the project, with these programs on PATH alone."""
        environment = self.install()
        file = settings_file(self.folder, self.settings)
        return execute(
            [self.project / script, *words],
            input=stdin,
            cwd=self.folder,
            env={"PROPENSITY_DEPLOYMENT": str(file), **environment},
            status=None,
        )

    def do(self, script: str, *words: str) -> int:
        """Run a script in this process, with these programs on PATH alone."""
        file = settings_file(self.folder, self.settings)
        with patch.dict(os.environ, self.install()):
            return main([script, "--deployment", str(file), *words])

    def shell(self) -> Shell:
        """What runs commands of these settings in this process."""
        file = settings_file(self.folder, self.settings)
        return Shell(configuration.read(file), file, is_dry=False)

    def variable(self, name: str) -> object:
        """What the last set-up had Terraform read."""
        file = self.project / "deploy" / "terraform" / "settings.tf.json"
        return json.loads(file.read_text())["variable"][name]["default"]

    def calls(self) -> list[str]:
        """What the programs were asked, each call with its words."""
        file = self.folder / "calls"
        return file.read_text().split(RECORD)[:-1] if file.exists() else []

    def count(self, part: str) -> int:
        """How many calls hold a part."""
        return sum(part in call for call in self.calls())

    def changes(self) -> list[str]:
        """The calls that make, change or remove something."""
        verbs = (" apply", " create", " delete", " destroy", " enable")
        return [call for call in self.calls() if any(verb in call for verb in verbs)]


def planned(table: str, actions: list[str], before: object, after: object) -> str:
    """Return a plan of Terraform that changes a table, as ``show -json`` has it."""
    change: dict[str, object] = {"actions": actions}
    for name, columns in (("before", before), ("after", after)):
        change[name] = columns and {"schema": json.dumps(columns)}
    kind = {"type": "google_bigquery_table", "name": "table", "index": table}
    return json.dumps({"resource_changes": [{**kind, "change": change}]})


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Path:
    """A copy of what is deployed, and of what deploys it."""
    copy = tmp_path_factory.mktemp("clone") / "project"
    ignored = shutil.ignore_patterns(".terraform*")
    parts = {"deploy", "docs", "propensity", "offline", "commands", "local"}
    for part in parts.union(folder.name for folder in ROOT.glob("0*")):
        shutil.copytree(ROOT / part, copy / part, ignore=ignored)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, copy)
    (copy / ".venv").symlink_to(sys.prefix)
    stand_in = (
        'import os, sys\nos.execvp("propensity", ["propensity", *sys.argv[1:]])\n'
    )
    (copy / "commands" / "__main__.py").write_text(stand_in)
    return copy


def cloud_of(folder: Path, project: Path) -> Cloud:
    """A cloud that has nothing yet, and a project that has left nothing."""
    shutil.rmtree(project / ".local", ignore_errors=True)
    rules = [
        ("state list", "google_bigquery_dataset.this", 0),
        ("show -json", json.dumps({"resource_changes": []}), 0),
        # No function is deployed.
        ("--format=json --project=", "not there", 1),
        ("bq ", "", 1),
    ]
    return Cloud(folder, project, dict(FEW), rules)


@pytest.fixture
def cloud(tmp_path, project) -> Cloud:
    return cloud_of(tmp_path, project)


@pytest.fixture
def inside(cloud, monkeypatch) -> Cloud:
    """A cloud for scripts that run in this process, where no pause takes time."""
    monkeypatch.chdir(cloud.folder)
    monkeypatch.setattr(time, "sleep", cloud.pauses.append)
    return cloud
