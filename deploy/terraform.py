"""
``deploy/terraform``, applied with Terraform, or OpenTofu where that is what there is.
Its state is in a bucket of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deploy import DeploymentError, plans
from deploy.configuration import EXAMPLE
from deploy.shell import Shell, shown, tell

# As Google's APIs say of accounts, roles, APIs, rights to use a key, and a metric of
# the log that they were made a moment ago.
NOT_KNOWN_YET = (
    "(Service account|Role) .*does not exist|has not been used in project|CryptoKey|"
    "cloudkms|find metric"
)
LOCKED = "Error acquiring the state lock"
# A metric of the log takes ten minutes until it is known everywhere.
PAUSES_S = (60, 180, 360)


class Terraform:
    """
    Plans and applies.

    A dry run compares with what there is. Without a login, or before the first set-up,
    it can only print the commands: what is there is ``unseen``.

    Attributes:
        folder: Of the plan: that of a ``kept`` one, or the deployment's own.
        as_planned: Whether a kept plan is done as it is.
    """

    def __init__(self, shell: Shell, *, begins: str, kept: Path | None = None) -> None:
        self.shell = shell
        self.program = "terraform" if shutil.which("terraform") else "tofu"
        missing = self.missing_bucket() if shell.is_dry else ""
        self.unseen = bool(missing)
        if missing and kept:
            raise DeploymentError(f"no plan can be kept: {missing}")
        if missing:
            tell(f"# This cannot compare with what exists: {missing}")
            tell(f"# {begins} would run these commands:")
        elif not shutil.which(self.program):
            raise DeploymentError(
                "there is no terraform or tofu on PATH: docs/deploy.md"
            )
        self.folder = kept if kept else shell.work.resolve()
        self.as_planned = bool(kept) and not shell.is_dry
        self.file = self.folder / "plan"
        if self.as_planned and not self.file.is_file():
            raise DeploymentError(
                f"{self.folder} has no plan: deploy/setup.sh --dry-run --plan=FOLDER "
                "keeps one"
            )
        for folder in (self.folder, shell.work):
            folder.mkdir(parents=True, exist_ok=True)
        os.environ |= {"TF_INPUT": "0", "TF_IN_AUTOMATION": "1"}

    def missing_bucket(self) -> str:
        """Return why the bucket of the state cannot be seen; "" where it can."""
        if self.shell.file == EXAMPLE:
            return "the template's project is nobody's"
        try:
            self.shell.ask("state")
        except subprocess.CalledProcessError as error:
            return f"{error.stdout}{error.stderr}".strip() or f"{error}"
        except DeploymentError as error:
            return f"{error}"
        return ""

    def make_bucket(self) -> None:
        key = self.shell.names["kms_key"]
        words = [f"--default-encryption-key={key}"] if key else []
        self.shell.run("make_state", key=words)
        self.shell.run("version_state")

    def words(self, *words: str) -> list[str]:
        data = self.shell.work.resolve() / "terraform"
        command = ["env", f"TF_DATA_DIR={data}", self.program]
        return command + ["-chdir=deploy/terraform"] + list(words)

    def run(self, *words: str) -> None:
        """Run a command; only print it where nothing is known."""
        if self.unseen:
            self.shell.run("$words", words=self.words(*words))
            return
        done = shown(self.words(*words))
        if LOCKED in done.stderr:
            names = self.shell.names
            lock = f"gs://{names['state_bucket']}/{names['prefix']}/default.tflock"
            raise DeploymentError(
                "another deploy is at work; if it was killed, run: gcloud storage rm "
                f"{lock}"
            )
        if done.returncode and self.as_planned and "apply" in words:
            run_id = os.environ.get("GITHUB_RUN_ID", "ID")
            raise DeploymentError(
                "the plan was not done whole, and can't be any more. Plan again and "
                f"approve the new plan; on GitHub: gh run rerun {run_id}"
            )
        if done.returncode:
            raise subprocess.CalledProcessError(
                done.returncode, done.args, output=done.stderr
            )

    def ask(self, *words: str) -> str:
        return self.shell.ask("$words", words=self.words(*words))

    def begin(self) -> None:
        """Begin with the state of this deployment."""
        # The lock has the provider of Terraform's registry. OpenTofu has another one.
        lock = ["-lockfile=readonly"] if self.program == "terraform" else []
        bucket = f"-backend-config=bucket={self.shell.names['state_bucket']}"
        prefix = f"-backend-config=prefix={self.shell.d.prefix}"
        self.run("init", *lock, "-reconfigure", bucket, prefix)

    def require_state(self) -> None:
        """Stop where nothing was set up: what follows would make or find nothing."""
        missing = "" if self.unseen else self.missing_bucket()
        if missing and "404" not in missing:
            raise DeploymentError(missing)
        if not missing:
            self.begin()
            with contextlib.suppress(subprocess.CalledProcessError):
                if self.unseen or self.ask("state", "list"):
                    return
        names = self.shell.names
        raise DeploymentError(
            f"gs://{names['state_bucket']} has nothing of '{names['prefix']}' in "
            f"project {names['project']}: nothing has been set up, or "
            "GOOGLE_CLOUD_PROJECT, PROPENSITY_BUCKET, DEPLOY_STATE_BUCKET or "
            "DEPLOY_PREFIX is another"
        )

    def plan(self, *variables: str, may: Sequence[str] | None) -> None:
        """
        Plan, show the plan and keep it; stop where it would take too much away.

        Args:
            variables: ``-var=name=value``.
            may: As ``plans.check``; None if all may go.
        """
        # A dry run only reads, the lock as well; a plan that is old by then is not
        # applied.
        reads = ["-lock=false"] if self.shell.is_dry else []
        self.run("plan", f"-out={self.file}", *reads, *variables)
        if not self.unseen and may is not None:
            text = self.ask("show", "-json", f"{self.file}")
            (self.folder / "plan.json").write_text(text)
            project = self.shell.d.project
            folder = self.shell.file.parent
            plans.check(json.loads(text), project=project, may=may, folder=folder)

    def apply(self, *variables: str, may: Sequence[str] | None, asks: bool) -> None:
        """Change what differs: what the plan shows, if somebody agrees to it."""
        if not self.as_planned:
            self.plan(*variables, may=may)
            if asks and answer("Type yes to do what this plan says: ") != "yes":
                raise DeploymentError("nothing was changed")
        self.run("apply", f"{self.file}")

    def apply_patiently(self, *, may: Sequence[str] | None, asks: bool) -> None:
        """
        Apply, and again where something that was just made is not known everywhere.

        Of a kept plan the rest is not applied, which ends with what to do then.
        """
        for pause_s in PAUSES_S:
            try:
                self.apply(may=may, asks=asks)
            except subprocess.CalledProcessError as error:
                if not re.search(NOT_KNOWN_YET, error.output or ""):
                    raise
                made = "something that was just made is not known everywhere yet"
                tell(f"deploy: {made}; once more in {pause_s} s")
                time.sleep(pause_s)
            else:
                return
        self.apply(may=may, asks=asks)


def answer(question: str) -> str:
    """Return what somebody types, "" where nobody does."""
    print(question, end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
