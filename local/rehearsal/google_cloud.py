"""
A place on Google Cloud, for an hour or two: all that is made has a scratch prefix.

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
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.auth
import requests

from deploy import configuration, new
from deploy.functions import ROOT
from local.errors import LocalError
from local.place import Called
from local.progress import say
from local.stack.stack import SECRET
from propensity import folders
from propensity.registry.leases import ANY_DATE, name_of
from propensity.runs import compact

LABEL = "rehearsal"
# All that is called before Terraform enables APIs, or by no function.
APIS = """
bigquery cloudresourcemanager cloudscheduler iam iamcredentials logging run
secretmanager storage
"""
# What a company wants of every deployment; a rehearsal takes it from one.
KEPT = """
PROPENSITY_LOCATION DEPLOY_REGION DEPLOY_INGRESS DEPLOY_KMS_KEY DEPLOY_FUNCTIONS_KMS_KEY
DEPLOY_VPC_CONNECTOR DEPLOY_VPC_EGRESS DEPLOY_WORKER_POOL DEPLOY_PACKAGE_INDEX
"""
AUDIENCE = "rehearsal"
SHOP = "ga4_purchase"
# Files of users in the bucket: nobody is contacted.
DECLARED = """\
destination = "bucket"
deciles = 3
control = "50%"
days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
"""
# The lease that keeps a run's answer, by function: its folder, if not the use case's.
LEASES = {
    "model_training": ("", "train"),
    "predictions": ("", "predict"),
    "model_evaluation": ("", "evaluate"),
    "audiences": ("", "audiences"),
    "compact_features": (compact.SCOPE, compact.KIND),
    "overview": ("overview", "overview"),
}
# deploy/setup.sh ends with it if only alerts are missing.
WITHOUT_ALERTS = 3
SHOWN_LINES = 12
# Google takes minutes until everybody knows what was enabled and granted.
LATE = re.compile("has not been used|is disabled|PERMISSION_DENIED|403")
PAUSES_S: tuple[float, ...] = (10.0, 20.0, 30.0, 60.0, 60.0, 60.0)
GONE = re.compile("NOT_FOUND|404|[Nn]ot found|matched no objects")


def settings_of(
    project: str, *, region: str, prefix: str, email: str, given: Mapping[str, str]
) -> dict[str, str]:
    """
    Return the settings of a scratch deployment.

    Args:
        given: Settings of a deployment, of which it takes what is about the place.
    """
    settings = {name: given[name] for name in KEPT.split() if name in given}
    settings["DEPLOY_REGION"] = region
    # A region is a location of BigQuery, too.
    settings.setdefault("PROPENSITY_LOCATION", region)
    settings |= {
        "GOOGLE_CLOUD_PROJECT": project,
        "PROPENSITY_BUCKET": f"{project}-{prefix}",
        "PROPENSITY_GA4_DATASET": f"{prefix}_export",
        # The generated events happened long ago.
        "PROPENSITY_MAXIMUM_LATENESS_DAYS": "36500",
        "PROPENSITY_MAXIMUM_SCORE_DELAY_DAYS": "36500",
        "DEPLOY_PREFIX": prefix,
        "DEPLOY_USE_CASES": f"{SHOP} first_day_churn card_fraud",
        "DEPLOY_SUPPRESSION_SECRET": f"{prefix}-suppression-key",
        "DEPLOY_ALERT_EMAIL": email,
    }
    account = ""
    with contextlib.suppress(LocalError):
        account = run(["gcloud", "config", "get-value", "account"]).stdout.strip()
    if "@" in account:
        is_service = account.endswith("gserviceaccount.com")
        kind = "serviceAccount" if is_service else "user"
        settings["DEPLOY_CALLERS"] = f"{kind}:{account}"
    return {name: value for name, value in settings.items() if value}


def declare(use_cases: Path) -> None:
    """Write the audience into a folder of use cases."""
    file = use_cases / SHOP / "audiences" / f"{AUDIENCE}.toml"
    file.parent.mkdir(parents=True)
    file.write_text(DECLARED)


class GoogleCloud:
    """A project; a ``Place`` once it is set up. ``folder`` gets the deployment's."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        new.write(folder)
        file = folder / "production.env"
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
        file.write_text("".join(lines))
        declare(folder / folders.OWN)
        self.deployment = configuration.read(file)
        self.key = secrets.token_urlsafe(48)
        self.environment = {
            **self.deployment.variables,
            "PROPENSITY_DEPLOYMENT": str(file),
            "PROPENSITY_USE_CASES": str(folder / folders.OWN),
            SECRET: self.key,
        }
        self.has_alerts = False
        self.began = datetime.now(UTC)
        self.region = self.deployment.own["region"]
        self._state = f"{self.deployment.settings.bucket}-state"
        self._pauses_s = PAUSES_S
        # Commands, instead of what they do; None to run them.
        self._recorded: list[str] | None = None

    # -- before and after --------------------------------------------------------------

    def check(self) -> None:
        """Raise LocalError where a program or a login is missing."""
        for names in (("gcloud",), ("bq",), ("terraform", "tofu")):
            if not any(map(shutil.which, names)):
                problem = f"there is no {' or '.join(names)} on PATH"
                raise LocalError(problem, hint="docs/deploy.md, What you need")
        if "beta" not in self.gcloud("version"):
            hint = "gcloud components install beta"
            raise LocalError("gcloud has no beta commands", hint=hint)
        self.gcloud("auth print-access-token")
        try:
            google.auth.default()
        except google.auth.exceptions.DefaultCredentialsError as error:
            hint = "gcloud auth application-default login"
            raise LocalError(
                "Terraform and commands lack a login", hint=hint
            ) from error

    def begin(self) -> None:
        """
        Enable what is called, and take away what a killed rehearsal has left.

        Raises:
            LocalError: There is a deployment with this prefix that is no rehearsal, or
                an earlier one could not be taken away.
        """
        prefix = self.deployment.prefix
        apis = [f"{api}.googleapis.com" for api in APIS.split()]
        self.gcloud("services enable", *apis)
        found = self.gcloud(
            "storage buckets list",
            f"--filter=name={self._state}",
            f"--format=value(name,labels.{LABEL})",
        )
        if found.split() == [self._state, prefix]:
            say(f"An earlier rehearsal was killed: its {prefix} is taken away first")
            left = self.take_away()
            if left:
                problem = f"what an earlier rehearsal left stays: {'; '.join(left)}"
                raise LocalError(problem, hint="Remove it, or use --prefix rehearse2")
            self._pauses_s = PAUSES_S
            return
        services = self.gcloud(
            "run services list",
            f"--region={self.region}",
            f"--filter=metadata.name~^{prefix}-",
            "--format=value(metadata.name)",
        )
        if services or found:
            raise LocalError(
                f"the project has a deployment with the prefix {prefix}. It was left "
                "as it is",
                hint="Rehearse with another one: --prefix rehearse2",
            )

    def set_up(self, fill: Callable[[], None]) -> None:
        """Deploy everything; ``fill`` loads the export."""
        prefix = self.deployment.prefix
        own = self.deployment.own
        flags = [
            f"--location={self.deployment.settings.location}",
            "--uniform-bucket-level-access",
            "--public-access-prevention",
        ]
        if own["kms_key"]:
            flags.append(f"--default-encryption-key={own['kms_key']}")
        self.gcloud("storage buckets create", f"gs://{self._state}", *flags)
        label = f"--update-labels={LABEL}={prefix}"
        self.gcloud("storage buckets update", f"gs://{self._state}", label)
        # Google keeps a deleted log bucket for a week; most often there is none.
        self._pauses_s = ()
        with contextlib.suppress(LocalError):
            place = f"--location={self.region}"
            self.gcloud("logging buckets undelete", prefix, place)
        self._pauses_s = PAUSES_S
        self.gcloud(
            "secrets create",
            own["suppression_secret"],
            "--data-file=-",
            "--replication-policy=user-managed",
            f"--locations={self.region}",
            f"--labels={LABEL}={prefix}",
            given=self.key,
        )
        label = f"--label={LABEL}:{prefix}"
        export = self.deployment.settings.ga4_dataset
        self._bq("mk", "--force", "--dataset", label, export)
        fill()
        done = self.script("deploy_all.sh", "--yes")
        if done.returncode not in (0, WITHOUT_ALERTS):
            raise LocalError(f"deploy/deploy_all.sh failed: {last_of(done)}")
        self.has_alerts = done.returncode == 0
        # To ask what the account of a function may; it goes with the account. A dry run
        # may be without a login.
        if own["callers"]:
            self.gcloud(
                "iam service-accounts add-iam-policy-binding",
                self.deployment.account("get_proba"),
                f"--member={own['callers']}",
                "--role=roles/iam.serviceAccountTokenCreator",
            )

    def take_away(self) -> list[str]:
        """Remove everything, each thing by itself; return what stays, and why."""
        self._pauses_s = ()
        export = self.deployment.settings.ga4_dataset
        secret = self.deployment.own["suppression_secret"]
        removals: dict[str, Callable[[], object]] = {
            "what deploy/deploy_all.sh made": self._tear_down,
            "the export": lambda: self._bq("rm", "-r", "-f", "--dataset", export),
            "the secret": lambda: self._remove("secrets delete", secret),
            # The last, and only after all else: another rehearsal looks for its label.
            "Terraform's bucket": lambda: self._remove(
                "storage rm --recursive", f"gs://{self._state}"
            ),
        }
        left: list[str] = []
        for name, remove in removals.items():
            if left and name == "Terraform's bucket":
                break
            try:
                remove()
            except LocalError as why:
                left.append(f"{name}: {why.problem}")
        return left

    def _remove(self, command: str, *words: str) -> None:
        """Remove something, unless it has gone."""
        try:
            self.gcloud(command, *words)
        except LocalError as why:
            if not GONE.search(why.problem):
                raise

    def _tear_down(self) -> None:
        done = self.script("teardown.sh", "--delete-data", "--yes")
        if done.returncode and "has nothing of" not in done.stderr:
            raise LocalError(f"deploy/teardown.sh failed: {last_of(done)}")

    # -- a place -----------------------------------------------------------------------

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "propensity"] + list(words)
        return run(command, **self.environment)

    def call(self, target: str, body: Mapping[str, Any]) -> Called:
        called = self._call(target, body)
        # A binding takes minutes to be known.
        for pause_s in self._pauses_s:
            if called.status not in (401, 403):
                break
            time.sleep(pause_s)
            called = self._call(target, body)
        return called

    def _call(self, target: str, body: Mapping[str, Any]) -> Called:
        done = self.script("call.sh", target, json.dumps(body))
        fields = done.stdout.strip("\n").rpartition("\n")[2].split("\t")
        if len(fields) < 5:
            raise LocalError(f"deploy/call.sh failed: {last_of(done)}")
        _, outcome, said, status, debug = fields
        if not outcome:
            got = int(status) if status else 500
            return Called(status=got, answer={"error": "no_line", "message": debug})
        if outcome != "ok":
            return Called(status=200, answer={"error": outcome, "message": said})
        scope, kind = LEASES[target]
        as_of = ANY_DATE
        if not scope:
            scope = body["use_case"]
            today = f"{datetime.now(UTC).date()}"
            as_of = datetime.fromisoformat(body.get("as_of", today)).date()
        lease = f"gs://{self.deployment.settings.bucket}/{name_of(scope, kind, as_of)}"
        kept = json.loads(self.gcloud("storage cat", lease))
        return Called(status=200, answer=kept["answer"])

    def url(self, target: str) -> str:
        return self.gcloud(
            "run services describe",
            self.deployment.name(target),
            f"--region={self.region}",
            "--format=value(status.url)",
        )

    def token(self, target: str) -> Mapping[str, str]:
        words = []
        if self.deployment.own["callers"].startswith("serviceAccount:"):
            words.append(f"--audiences={self.url(target)}")
        token = self.gcloud("auth print-identity-token", *words)
        return {"Authorization": f"Bearer {token}"}

    def log_of(self, target: str) -> str:
        name = self.deployment.name(target)
        return f"gcloud run services logs read {name} --region={self.region}"

    # -- what questions ask ------------------------------------------------------------

    def logged(
        self, wanted: str, *, since: datetime | None = None, at_least: int = 1
    ) -> list[dict[str, Any]]:
        """Return entries of the log, the newest first; wait minutes for some."""
        if since is None:
            since = self.began
        wanted += f' AND timestamp>="{since:%Y-%m-%dT%H:%M:%SZ}"'
        entries: list[dict[str, Any]] = []
        for pause_s in (0.0,) + PAUSES_S:
            time.sleep(pause_s)
            text = self.gcloud("logging read", wanted, "--limit=1000", "--format=json")
            entries = json.loads(text) if text else []
            if len(entries) >= at_least:
                break
        return entries

    def held(
        self, resource: str, permissions: Sequence[str], *, account: str = ""
    ) -> list[str]:
        """Return which permissions an account has on a resource; yours without one."""
        words = [f"--impersonate-service-account={account}"] if account else []
        token = self.gcloud("auth print-access-token", *words)
        answer = requests.post(
            f"https://{resource}:testIamPermissions",
            json={"permissions": permissions},
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        )
        answer.raise_for_status()
        held: list[str] = answer.json().get("permissions", [])
        return held

    @property
    def job(self) -> str:
        """A schedule, which deploy/teardown.sh removes where a kill has left it."""
        return f"{self.deployment.prefix}-by-hand-0-0"

    def schedule(self, url: str, body: Mapping[str, Any]) -> None:
        """Have a function called each minute, and once more if it fails."""
        self.gcloud(
            "scheduler jobs create http",
            self.job,
            "--schedule=* * * * *",
            f"--uri={url}/",
            f"--message-body={json.dumps(body)}",
            "--headers=Content-Type=application/json",
            f"--oidc-service-account-email={self.deployment.account('scheduler')}",
            f"--oidc-token-audience={url}",
            "--max-retry-attempts=1",
            f"--location={self.region}",
        )

    # -- what would be done ------------------------------------------------------------

    def planned(self) -> list[str]:
        """Return every command that makes, calls or removes something; run none."""
        self._recorded = list[str]()
        self.begin()
        self.set_up(lambda: None)
        for target in LEASES:
            self.script("call.sh", target)
        self.script("operate.sh", words_last=("versions",))
        self.schedule("https://ADDRESS", {})
        self.take_away()
        return self._recorded

    # -- programs ----------------------------------------------------------------------

    def script(
        self, name: str, *words: str, words_last: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of ``deploy/``; of some, a command follows the options."""
        command = [str(ROOT / "deploy" / name)] + list(words)
        if self._recorded is not None:
            command.append("--dry-run")
        done = run(command + list(words_last), **self.environment)
        if self._recorded is not None:
            self._recorded += done.stdout.splitlines()
        return done

    def gcloud(self, command: str, *words: str, given: str = "") -> str:
        """Run a command of gcloud with these words; return what it printed."""
        named = ["gcloud"] + command.split() + list(words)
        project = f"--project={self.deployment.project}"
        return self._run(named + [project, "--quiet"], given=given)

    def _bq(self, *words: str) -> None:
        location = f"--location={self.deployment.settings.location}"
        project = f"--project_id={self.deployment.project}"
        self._run(["bq", project, location] + list(words))

    def _run(self, command: Sequence[str], *, given: str = "") -> str:
        """Run a program, or record it; what Google does not know yet, once more."""
        if self._recorded is not None:
            self._recorded.append(shlex.join(command))
            return ""
        done = run(command, given=given)
        for pause_s in self._pauses_s:
            if not done.returncode or not LATE.search(done.stdout + done.stderr):
                break
            time.sleep(pause_s)
            done = run(command, given=given)
        if done.returncode:
            failed = shlex.join(command[:4])
            raise LocalError(f"{failed} failed: {last_of(done)}")
        return done.stdout.strip()


def run(
    command: Sequence[str], *, given: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """
    Run a program to its end.

    Where this is broken off, the program and what it has started may end by themselves:
    Terraform releases its lock. They are told by SIGTERM, since what a shell starts in
    the background ignores SIGINT, and so does all that it starts.
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
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def last_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last lines of what a program said, or those that are errors."""
    lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
    errors = [line for line in lines if re.search("(?i)error|denied", line)]
    return "\n".join((errors + lines[-3:])[-SHOWN_LINES:])
