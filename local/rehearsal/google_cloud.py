"""
A project on Google Cloud, for half an hour: all that is made has a scratch prefix.

The scripts of ``deploy/`` make everything, call the functions and take it away. What
they leave in place is made here, with a label, and removed here: Terraform's bucket,
the export, and the secret. The bucket goes last, so that a second rehearsal finds by
its label what a killed one has left.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.auth
from google.auth import impersonated_credentials
from google.cloud import bigquery

from deploy import configuration, new
from deploy.functions import ROOT
from local.errors import LocalError
from local.progress import say
from local.rehearsal.ground import CARDS, SHOP, Call, Ground, declare
from local.stack.stack import SECRET
from propensity import folders

# On what a rehearsal has made, beside Terraform's label `deployment`.
LABEL = "rehearsal"
# The APIs that are called before deploy/setup.sh enables them.
APIS = (
    "bigquery",
    "cloudresourcemanager",
    "iamcredentials",
    "secretmanager",
    "storage",
)
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
# What a company wants of every deployment; a rehearsal takes it from one.
KEPT = (
    "PROPENSITY_LOCATION",
    "DEPLOY_REGION",
    "DEPLOY_INGRESS",
    "DEPLOY_KMS_KEY",
    "DEPLOY_FUNCTIONS_KMS_KEY",
    "DEPLOY_VPC_CONNECTOR",
    "DEPLOY_VPC_EGRESS",
    "DEPLOY_WORKER_POOL",
    "DEPLOY_PACKAGE_INDEX",
)
# deploy/setup.sh ends with it if only alerts are missing.
WITHOUT_ALERTS = 3
_BUILD_REFUSED = re.compile(
    r".*\bbuild.*(?:denied|does not have|forbidden).*", re.IGNORECASE
)
SHOWN_LINES = 12
# A line of the log can be read so much later.
LOGGED_S = 15.0
LINES_AT_MOST = "1000"


def settings_of(
    project: str,
    *,
    region: str,
    prefix: str,
    email: str,
    caller: str,
    given: Mapping[str, str],
) -> dict[str, str]:
    """
    Return the settings of a scratch deployment.

    Args:
        caller: The account that looks users up.
        given: Settings of a deployment, of which it takes what is about the place.
    """
    settings = {name: given[name] for name in KEPT if name in given}
    settings["DEPLOY_REGION"] = region
    # A region is a location of BigQuery, too.
    settings.setdefault("PROPENSITY_LOCATION", region)
    settings |= {
        "GOOGLE_CLOUD_PROJECT": project,
        "PROPENSITY_BUCKET": f"{project}-{prefix}",
        "PROPENSITY_GA4_DATASET": f"{prefix}_export",
        "DEPLOY_PREFIX": prefix,
        "DEPLOY_USE_CASES": f"{SHOP} {CARDS}",
        "DEPLOY_SUPPRESSION_SECRET": f"{prefix}-suppression-key",
        "DEPLOY_ALERT_EMAIL": email,
    }
    if "@" in caller:
        is_service = caller.endswith("gserviceaccount.com")
        kind = "serviceAccount" if is_service else "user"
        settings["DEPLOY_CALLERS"] = f"{kind}:{caller}"
    return {name: value for name, value in settings.items() if value}


class GoogleCloud(Ground):
    """
    A project.

    Args:
        settings: Of ``settings_of``.
        folder: Gets the deployment's folder.
    """

    name = "Google Cloud"
    is_google = True
    pause_s = 1.0

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        super().__init__()
        new.write(folder)
        self._file = folder / "production.env"
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
        self._file.write_text("".join(lines))
        declare(folder / folders.OWN)
        self.deployment = configuration.read(self._file)
        self.environment = {
            **self.deployment.variables,
            "PROPENSITY_DEPLOYMENT": str(self._file),
            "PROPENSITY_USE_CASES": str(folder / folders.OWN),
            SECRET: self.key,
        }
        self.kms_key = self.deployment.own["kms_key"]
        self._began = datetime.now(UTC)
        bucket = self.deployment.settings.bucket
        self._state = f"gs://{bucket}-state"
        self._project = f"--project={self.deployment.project}"
        self._region = self.deployment.own["region"]
        self._place = f"--location={self._region}"
        self._export = self.deployment.settings.ga4_dataset
        # Commands, instead of what they do; None to run them.
        self._recorded: list[str] | None = None

    # -- before and after --------------------------------------------------------------

    def begin(self) -> None:
        """
        Take away what a killed rehearsal has left.

        Raises:
            LocalError: There is a deployment with this prefix, and it is no rehearsal.
        """
        prefix = self.deployment.prefix
        if self._left():
            say(f"An earlier rehearsal was killed: its {prefix} is taken away first")
            self.take_away()
            return
        services = self._gcloud(
            "run services list",
            f"--region={self._region}",
            f"--filter=metadata.name~^{prefix}-",
            "--format=value(metadata.name)",
        )
        if services or self._has_bucket():
            raise LocalError(
                f"the project has a deployment with the prefix {prefix}, and nothing "
                "was changed",
                hint="Rehearse with another one: --prefix rehearse2",
            )

    def _left(self) -> str:
        """Return the bucket of an earlier rehearsal; empty if there is none."""
        return self._gcloud(
            "storage buckets list",
            f"--filter=labels.{LABEL}={self.deployment.prefix}",
            "--format=value(name)",
        )

    def _has_bucket(self) -> bool:
        if self._recorded is not None:
            return True
        words = ["gcloud", "storage", "buckets", "describe", self._state, self._project]
        return run(words).returncode == 0

    def set_up(self, fill: Callable[[], None]) -> None:
        prefix = self.deployment.prefix
        apis = [f"{api}.googleapis.com" for api in APIS]
        self._gcloud("services enable", *apis)
        flags = [
            f"--location={self.deployment.settings.location}",
            "--uniform-bucket-level-access",
            "--public-access-prevention",
        ]
        if self.kms_key:
            flags.append(f"--default-encryption-key={self.kms_key}")
        self._gcloud("storage buckets create", self._state, *flags)
        label = f"--update-labels={LABEL}={prefix}"
        self._gcloud("storage buckets update", self._state, label)
        # Google keeps a deleted log bucket for a week.
        with contextlib.suppress(LocalError):
            self._gcloud("logging buckets undelete", prefix, self._place)
        self._gcloud(
            "secrets create",
            self.deployment.own["suppression_secret"],
            "--data-file=-",
            "--replication-policy=user-managed",
            f"--locations={self._region}",
            f"--labels={LABEL}={prefix}",
            given=self.key,
        )
        self._bq(
            "mk", "--force", "--dataset", f"--label={LABEL}:{prefix}", self._export
        )
        fill()
        done = self._script("deploy_all.sh", "--yes")
        said = done.stdout + done.stderr
        if done.returncode not in (0, WITHOUT_ALERTS):
            self.refused_builds = _BUILD_REFUSED.findall(said)
            raise LocalError(f"deploy/deploy_all.sh failed: {last_of(said)}")
        # To ask what the account of a function may; it goes with the account.
        caller = self.deployment.own["callers"]
        # A dry run may be without a login.
        if not caller:
            return
        with contextlib.suppress(LocalError):
            self._gcloud(
                "iam service-accounts add-iam-policy-binding",
                self.deployment.account("get_proba"),
                f"--member={caller}",
                "--role=roles/iam.serviceAccountTokenCreator",
            )

    def take_away(self) -> None:
        """
        Remove everything; go on where something is gone.

        Raises:
            LocalError: Something stays. Another rehearsal removes it first.
        """
        teardown = self._script("teardown.sh", "--delete-data", "--yes")
        said = teardown.stdout + teardown.stderr
        if teardown.returncode and "has nothing of" not in said:
            raise LocalError(
                f"deploy/teardown.sh failed: {last_of(said)}",
                hint="Run the same command again: it removes what is left first",
            )
        for job in self._by_hand():
            with contextlib.suppress(LocalError):
                self._gcloud("scheduler jobs delete", job, self._place)
        self._bq("rm", "--recursive", "--force", "--dataset", self._export)
        with contextlib.suppress(LocalError):
            secret = self.deployment.own["suppression_secret"]
            self._gcloud("secrets delete", secret)
        # The last, because another rehearsal looks for its label.
        if self._has_bucket():
            self._gcloud("storage rm", "--recursive", self._state)

    def _by_hand(self) -> list[str]:
        """Return the schedules of deploy/call.sh that a kill has left."""
        listed = self._gcloud(
            "scheduler jobs list",
            self._place,
            f"--filter=name~/jobs/{self.deployment.prefix}-by-hand-",
            "--format=value(name.basename())",
        )
        return listed.split()

    # -- while it is there -------------------------------------------------------------

    def run_command(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return run(
            [sys.executable, "-m", "propensity"] + list(words), **self.environment
        )

    def call(
        self, target: str, body: Mapping[str, object], *, hangs_up: bool = False
    ) -> Call:
        began = time.monotonic()
        since = datetime.now(UTC)
        words = [target, json.dumps(body)]
        if hangs_up:
            words.append("--hang-up")
        done = self._script("call.sh", *words)
        seconds = time.monotonic() - began
        fields = done.stdout.strip("\n").rpartition("\n")[2].split("\t")
        if len(fields) < 5 and "has no line" in done.stdout:
            fields = ["", "", done.stdout.strip(), "", ""]
        if len(fields) < 5:
            raise LocalError(f"deploy/call.sh failed: {last_of(done.stderr)}")
        _, outcome, said, status, debug = fields
        if outcome and outcome != "ok" and not hangs_up:
            # A failure's own line comes before the scheduler's, which has the status.
            status = self._status(since)
        return Call(
            target=target,
            outcome=outcome,
            message=said if said else debug,
            status=int(status) if status else 200,
            seconds=seconds,
        )

    def _status(self, since: datetime) -> str:
        """Return the status that the scheduler did not like; empty without any."""
        time.sleep(LOGGED_S)
        prefix = self.deployment.prefix
        wanted = (
            'resource.type="cloud_scheduler_job" AND severity>=ERROR AND '
            f'resource.labels.job_id=~"^{prefix}-by-hand-" AND '
            f'timestamp>="{since:%Y-%m-%dT%H:%M:%SZ}"'
        )
        shown = "--format=value(httpRequest.status)"
        return self._gcloud("logging read", wanted, "--limit=1", shown)

    def url(self, target: str) -> str:
        return self._gcloud(
            "run services describe",
            self.deployment.name(target),
            f"--region={self._region}",
            "--format=value(status.url)",
        )

    def token(self, target: str) -> Mapping[str, str]:
        words = list[str]()
        if self.deployment.own["callers"].startswith("serviceAccount:"):
            words.append(f"--audiences={self.url(target)}")
        token = self._gcloud("auth print-identity-token", *words)
        return {"Authorization": f"Bearer {token}"}

    def acting_as(self, target: str) -> bigquery.Client:
        person, _ = google.auth.default(scopes=[SCOPE])
        account = impersonated_credentials.Credentials(
            source_credentials=person,
            target_principal=self.deployment.account(target),
            target_scopes=[SCOPE],
        )
        return bigquery.Client(project=self.deployment.project, credentials=account)

    def lines(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        prefix = self.deployment.prefix
        wanted = (
            f'resource.labels.service_name=~"^{prefix}-" AND jsonPayload.outcome:* AND '
            f'timestamp>="{self._began:%Y-%m-%dT%H:%M:%SZ}"'
        )
        limit = f"--limit={LINES_AT_MOST}"
        text = self._gcloud("logging read", wanted, limit, "--format=json")
        lines = dict[str, list[Mapping[str, Any]]]()
        for entry in json.loads(text if text else "[]"):
            service = entry["resource"]["labels"]["service_name"]
            target = service.removeprefix(f"{prefix}-").replace("-", "_")
            lines.setdefault(target, []).append(entry["jsonPayload"])
        return lines

    def versions(self) -> Mapping[str, str]:
        gcloud = run(["gcloud", "version", '--format=value("Google Cloud SDK")'])
        return {"gcloud": gcloud.stdout.strip()}

    # -- what would be done ------------------------------------------------------------

    def planned(self) -> list[str]:
        """Return every command that makes something or takes it away; run none."""
        self._recorded = list[str]()
        self.set_up(lambda: None)
        self.take_away()
        lines = self._recorded
        self._recorded = None
        return lines

    # -- programs ----------------------------------------------------------------------

    def _script(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        script = str(ROOT / "deploy" / name)
        options = [f"--deployment={self._file}"]
        if self._recorded is None:
            return run([script] + list(words) + options)
        self._recorded.append(f"# deploy/{name} {shlex.join(words)}")
        done = run([script, "--dry-run"] + list(words) + options)
        self._recorded += done.stdout.splitlines()
        return done

    def _gcloud(self, command: str, *words: str, given: str = "") -> str:
        """Run a command of gcloud with these words; return what it printed."""
        named = ["gcloud"] + command.split() + list(words)
        return self._run(named + [self._project, "--quiet"], given=given)

    def _bq(self, *words: str) -> None:
        location = f"--location={self.deployment.settings.location}"
        project = f"--project_id={self.deployment.project}"
        self._run(["bq", project, location] + list(words))

    def _run(self, command: Sequence[str], *, given: str = "") -> str:
        """Run a program, or record it; return what it printed."""
        if self._recorded is not None:
            self._recorded.append(shlex.join(command))
            return ""
        done = run(command, given=given)
        if done.returncode:
            failed = shlex.join(command[:4])
            raise LocalError(f"{failed} failed: {last_of(done.stderr)}")
        return done.stdout.strip()


def run(
    command: Sequence[str], *, given: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """
    Run a program to its end.

    Where this is broken off, the program and what it has started may end by themselves:
    Terraform releases its lock.
    """
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C of the terminal does not reach it.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        problem = f"there is no {command[0]} on PATH"
        raise LocalError(problem, hint="docs/deploy.md, What you need") from error
    try:
        stdout, stderr = process.communicate(given)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def last_of(text: str) -> str:
    """Return the last lines of what a program said."""
    return "\n".join(text.strip().splitlines()[-SHOWN_LINES:])


@contextlib.contextmanager
def opened(settings: Mapping[str, str]) -> Iterator[GoogleCloud]:
    """Write the deployment's folder, for a while."""
    folder = Path(tempfile.mkdtemp(prefix="propensity-rehearsal-"))
    try:
        yield GoogleCloud(settings, folder / "deployment")
    finally:
        shutil.rmtree(folder)


def account() -> str:
    """Return the account that gcloud has logged in; empty without one."""
    with contextlib.suppress(LocalError):
        return run(["gcloud", "config", "get-value", "account"]).stdout.strip()
    return ""
