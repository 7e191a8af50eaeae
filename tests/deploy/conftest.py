"""
A Cloud SDK that remembers, on PATH, and a settings file to deploy from.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FAKE = Path(__file__).with_name("fake_cloud.py")

SETTINGS = {
    "GOOGLE_CLOUD_PROJECT": "my-project",
    "PROPENSITY_BUCKET": "my-bucket",
    "PROPENSITY_GA4_DATASET": "analytics_1",
    "DEPLOY_REGION": "us-central1",
    "DEPLOY_ALERT_EMAIL": "team@example.com",
}
KEY = "projects/keys/locations/us-central1/keyRings/data/cryptoKeys/propensity"
LOOKS = {
    "describe", "list", "show", "get-iam-policy", "print-access-token",
}  # fmt: skip


@dataclass(frozen=True)
class Cloud:
    """A project on the remembered cloud, and the scripts that deploy to it."""

    folder: Path
    project: Path
    settings: dict[str, str]

    def run(
        self, script: str, *words: str, told: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the project, with the settings as they are now."""
        file = self.folder / "settings.env"
        lines = [f'{name}="{value}"' for name, value in self.settings.items()]
        file.write_text("\n".join(lines))
        return subprocess.run(
            [self.project / script, *words, f"--settings={file}"],
            check=False,
            capture_output=True,
            text=True,
            input=told,
            cwd=self.folder,
            env={
                "PATH": os.pathsep.join(
                    [
                        str(self.folder / "bin"),
                        str(Path(sys.executable).parent),
                        os.environ["PATH"],
                    ]
                ),
                "HOME": str(self.folder),
                "FAKE_CLOUD": str(self.folder / "home"),
                # Nobody answers there: what who deploys may do is not known.
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": (
                    "http://127.0.0.1:9/"
                ),
                **environment,
            },
        )

    def calls(self) -> list[list[str]]:
        """Every command line that gcloud and bq got so far, and forget them."""
        file = self.folder / "home" / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def state(self) -> dict:
        """What there is."""
        return json.loads((self.folder / "home" / "state.json").read_text())

    def put(self, state: dict) -> None:
        """Let there be this, and forget the calls so far."""
        (self.folder / "home" / "state.json").write_text(json.dumps(state))
        self.calls()


def changes(calls: list[list[str]]) -> list[list[str]]:
    """Those calls that do not only look."""
    return [call for call in calls if not LOOKS & {*call}]


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Path:
    """A copy of what is deployed, and of what deploys it."""
    copy = tmp_path_factory.mktemp("clone") / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("deploy", "propensity", *(path.name for path in ROOT.glob("0*"))):
        shutil.copytree(ROOT / part, copy / part, ignore=ignored)
    return copy


def new_cloud(folder: Path, project: Path, **settings: str) -> Cloud:
    """An empty project on the cloud, and settings for a deployment to it."""
    (folder / "bin").mkdir()
    (folder / "home").mkdir()
    for program in ("gcloud", "bq"):
        file = folder / "bin" / program
        file.write_text(f"#!{sys.executable} -SI\n{FAKE.read_text()}")
        file.chmod(0o755)
    return Cloud(folder, project, {**SETTINGS, **settings})


@pytest.fixture
def cloud(tmp_path, project) -> Cloud:
    """An empty project, to which two small functions are deployed."""
    return new_cloud(tmp_path, project, DEPLOY_FUNCTIONS="get_proba archive_events")


@pytest.fixture(scope="session")
def after_a_deploy(tmp_path_factory, project) -> str:
    """What there is once the two small functions are deployed."""
    folder = tmp_path_factory.mktemp("deployed")
    cloud = new_cloud(folder, project, DEPLOY_FUNCTIONS="get_proba archive_events")
    done = cloud.run("deploy/deploy_all.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "home" / "state.json").read_text()


@pytest.fixture
def deployed(cloud, after_a_deploy) -> Cloud:
    """A project to which the two small functions are deployed."""
    (cloud.folder / "home" / "state.json").write_text(after_a_deploy)
    return cloud


@pytest.fixture(scope="module")
def whole(tmp_path_factory, project) -> Cloud:
    """An empty project, to which everything is deployed."""
    return new_cloud(
        tmp_path_factory.mktemp("whole"),
        project,
        DEPLOY_USE_CASES="ga4_purchase first_day_churn card_fraud",
        DEPLOY_CALLERS="group:website@example.com",
        DEPLOY_PRODUCERS="serviceAccount:shop@other.iam.gserviceaccount.com",
        PROPENSITY_LOCATION="us-central1",
        DEPLOY_INGRESS="internal-and-gclb",
        DEPLOY_KMS_KEY=KEY,
        DEPLOY_FUNCTIONS_KMS_KEY=KEY,
        DEPLOY_REPOSITORY="propensity",
        DEPLOY_VPC_CONNECTOR="to-the-office",
        DEPLOY_VPC_EGRESS="all",
    )
