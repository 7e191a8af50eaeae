"""
A place on Google Cloud, for an hour or two: all that is made has a scratch prefix.

The scripts of ``deploy/`` make everything, call the functions and take it away. What
they leave in place is made and removed here: Terraform's bucket, the export, and the
secret. The bucket goes last, so that a second rehearsal finds by its label what a
killed one has left.
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
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import google.auth

from deploy import configuration
from deploy.functions import ROOT
from local.demos.calls import DOES
from local.errors import LocalError, NotTried
from local.place import DONE, Called, checked
from local.stack.stack import SECRET
from propensity import folders
from propensity.cli.progress import say
from propensity.registry.leases import ANY_DATE, name_of
from propensity.runs.late import KINDS
from propensity.settings import is_setting
from propensity.streaming.features import compact

Result = TypeVar("Result")
Done = subprocess.CompletedProcess[str]

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
SHOWN_LINES = 12
# What was enabled or granted is known in two minutes, says Google, at times in seven.
PAUSES_S: tuple[float, ...] = (10.0, 20.0, 30.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0)
LATE = r"has not been used|is disabled|PERMISSION_DENIED|\b403\b"
# So gcloud and bq refuse to remove what is not there.
GONE = "NOT_FOUND|HTTPError 404|[Nn]ot found|matched no objects"


def settings_of(
    project: str, *, region: str, prefix: str, email: str, given: Mapping[str, str]
) -> dict[str, str]:
    """Return the settings of a scratch deployment."""
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
    with contextlib.suppress(FileNotFoundError):
        account = run(["gcloud", "config", "get-value", "account"]).stdout.strip()
    # A login of CI is no caller: gcloud has no identity token for it.
    if "@" in account and not account.startswith("principal"):
        is_service = account.endswith("gserviceaccount.com")
        kind = "serviceAccount" if is_service else "user"
        settings["DEPLOY_CALLERS"] = f"{kind}:{account}"
    return {name: value for name, value in settings.items() if value}


def declare(use_cases: Path) -> None:
    """Write the audience into a folder of use cases."""
    file = use_cases / SHOP / "audiences" / f"{AUDIENCE}.toml"
    file.parent.mkdir(parents=True)
    file.write_text(DECLARED)


def check() -> None:
    """Raise LocalError where a program or a login is missing."""
    for names in (("gcloud",), ("bq",), ("terraform", "tofu")):
        if not any(map(shutil.which, names)):
            problem = f"there is no {' or '.join(names)} on PATH"
            raise LocalError(problem, hint="docs/deploy.md, What you need")
    if "beta" not in run(["gcloud", "version"]).stdout:
        hint = "gcloud components install beta"
        raise LocalError("gcloud has no beta commands", hint=hint)
    try:
        google.auth.default()
    except google.auth.exceptions.DefaultCredentialsError as error:
        hint = "gcloud auth application-default login"
        raise LocalError("Terraform and commands lack a login", hint=hint) from error


class GoogleCloud:
    """A project; a ``Place`` once it is set up."""

    def __init__(
        self,
        settings: Mapping[str, str],
        folder: Path,
        *,
        runner: Callable[[Sequence[str], str], Done],
    ) -> None:
        self.use_cases = folder / folders.OWN
        declare(self.use_cases)
        self.file = folder / "production.env"
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
        self.file.write_text("".join(lines))
        self.deployment = configuration.read(self.file)
        self.runner = runner
        self.began = datetime.now(UTC)
        self.region = self.deployment.own["region"]
        self.key = secrets.token_urlsafe(48)
        self._state = f"{self.deployment.settings.bucket}-state"

    def enter(self) -> None:
        """Have these settings in this program and those that it runs, and no others."""
        for name in list(os.environ):
            if is_setting(name) or name.endswith("_EMULATOR_HOST"):
                del os.environ[name]
        os.environ.update(self.deployment.variables)
        os.environ["PROPENSITY_DEPLOYMENT"] = str(self.file)
        os.environ["PROPENSITY_USE_CASES"] = str(self.use_cases)
        os.environ[SECRET] = self.key

    # -- before and after --------------------------------------------------------------

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
        """Deploy all; ``fill`` loads the export."""
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
        with contextlib.suppress(LocalError):
            place = f"--location={self.region}"
            self.gcloud("logging buckets undelete", prefix, place)
        self.gcloud(
            "secrets create",
            own["suppression_secret"],
            "--data-file=-",
            "--replication-policy=user-managed",
            f"--locations={self.region}",
            given=self.key,
        )
        self._ran(self._bq("mk", "--force", "--dataset"))
        fill()
        done = self.script("deploy_all.sh", "--yes")
        if done.returncode:
            raise LocalError(f"deploy/deploy_all.sh failed: {last_of(done)}")

    def take_away(self) -> list[str]:
        """Remove everything, each thing by itself; return what stays, and why."""
        secret = self.deployment.own["suppression_secret"]
        bucket = f"gs://{self._state}"
        tear_down = _script("teardown.sh", "--delete-data", "--yes")
        # How each is refused where it was never made.
        removals = [
            ("what deploy/deploy_all.sh made", tear_down, "has nothing of"),
            ("the export", self._bq("rm", "-r", "-f", "--dataset"), GONE),
            ("the secret", self._gcloud("secrets delete", secret), GONE),
            (
                "Terraform's bucket",
                self._gcloud("storage rm --recursive", bucket),
                GONE,
            ),
        ]
        left: list[str] = []
        for name, command, gone in removals:
            if left and bucket in command:
                left.append(f"{name}: another rehearsal looks for its label")
                break
            done = self.runner(command, "")
            said = done.stdout + done.stderr
            if done.returncode and not re.search(gone, said):
                left.append(f"{name}: {last_of(done)}")
        return left

    # -- a place -----------------------------------------------------------------------

    def command(self, *words: str, codes: Collection[int] = DONE) -> Done:
        done = self.runner([sys.executable, "-m", "commands"] + list(words), "")
        return checked(done, words, codes)

    def call(self, target: str, body: Mapping[str, Any]) -> Called:
        """Call a function by deploy/call.sh; the lease of its run has its answer."""
        done = patiently(
            lambda: self.script("call.sh", target, json.dumps(body)),
            # Cloud Scheduler was not let in.
            lambda done: not re.search(r"\t40[13]\t", done.stdout),
        )
        fields = done.stdout.strip("\n").rpartition("\n")[2].split("\t")
        if len(fields) < 5:
            raise LocalError(f"deploy/call.sh failed: {last_of(done)}")
        _, outcome, said, status, debug = fields
        if not outcome:
            got = int(status) if status else 500
            return Called(status=got, answer={"error": "no_line", "message": debug})
        if outcome != "ok":
            return Called(status=200, answer={"error": outcome, "message": said})
        lease = f"gs://{self.deployment.settings.bucket}/{lease_of(target, body)}"
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
        try:
            token = self.gcloud("auth print-identity-token", *words)
        except LocalError as error:
            if "No identity token" not in str(error):
                raise
            raise NotTried("gcloud has no identity token for this login") from error
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

        def entries() -> list[dict[str, Any]]:
            text = self.gcloud("logging read", wanted, "--limit=1000", "--format=json")
            return json.loads(text) if text else []

        return patiently(entries, lambda found: len(found) >= at_least)

    def schedule(self, url: str, body: Mapping[str, Any]) -> None:
        """Have a function called each minute, and once more if it fails."""
        self.gcloud(
            "scheduler jobs create http",
            # deploy/teardown.sh removes what has such a name.
            f"{self.deployment.prefix}-by-hand-0-0",
            "--schedule=* * * * *",
            f"--uri={url}/",
            f"--message-body={json.dumps(body)}",
            "--headers=Content-Type=application/json",
            f"--oidc-service-account-email={self.deployment.account('scheduler')}",
            f"--oidc-token-audience={url}",
            "--max-retry-attempts=1",
            f"--location={self.region}",
        )

    # -- programs ----------------------------------------------------------------------

    def script(self, name: str, *words: str) -> Done:
        """Run a script of ``deploy/``."""
        return self.runner(_script(name, *words), "")

    def gcloud(self, command: str, *words: str, given: str = "") -> str:
        """Run a command of gcloud with these words; return what it printed."""
        return self._ran(self._gcloud(command, *words), given)

    def _gcloud(self, command: str, *words: str) -> list[str]:
        project = f"--project={self.deployment.project}"
        return ["gcloud"] + command.split() + list(words) + [project, "--quiet"]

    def _bq(self, *words: str) -> list[str]:
        location = f"--location={self.deployment.settings.location}"
        project = f"--project_id={self.deployment.project}"
        export = self.deployment.settings.ga4_dataset
        return ["bq", project, location] + list(words) + [export]

    def _ran(self, command: Sequence[str], given: str = "") -> str:
        """Run a program, for minutes again if Google may not know yet what it needs."""

        def is_known(done: Done) -> bool:
            return not done.returncode or not re.search(LATE, done.stdout + done.stderr)

        done = patiently(lambda: self.runner(command, given), is_known)
        if done.returncode:
            failed = shlex.join(command[:4])
            raise LocalError(f"{failed} failed: {last_of(done)}")
        return done.stdout.strip()


def planned(settings: Mapping[str, str], folder: Path) -> list[str]:
    """Return every command that makes, calls or removes something; run none."""
    lines: list[str] = []

    def record(command: Sequence[str], given: str) -> Done:
        if not command[0].endswith(".sh"):
            lines.append(shlex.join(command))
            return Done(command, 0, "", "")
        done = run(list(command) + ["--dry-run"], given)
        lines.extend(done.stdout.splitlines())
        return done

    place = GoogleCloud(settings, folder, runner=record)
    place.enter()
    place.begin()
    place.set_up(lambda: None)
    for target in DOES:
        place.script("call.sh", target)
    # This script takes its options first.
    lines += run(_script("operate.sh", "--dry-run", "versions")).stdout.splitlines()
    place.schedule("https://ADDRESS", {})
    place.take_away()
    return lines


def lease_of(target: str, body: Mapping[str, Any]) -> str:
    """Return the name of the object that keeps the answer of a run."""
    if target == "overview":
        return name_of("overview", "overview", ANY_DATE)
    if target == "compact_features":
        return name_of(compact.SCOPE, compact.KIND, ANY_DATE)
    as_of = datetime.now(UTC).date()
    if "as_of" in body:
        as_of = date.fromisoformat(body["as_of"])
    return name_of(body["use_case"], KINDS[target], as_of)


def patiently(ask: Callable[[], Result], is_known: Callable[[Result], bool]) -> Result:
    """Ask until Google knows, for some minutes; return what it said last."""
    for pause_s in PAUSES_S:
        answer = ask()
        if is_known(answer):
            return answer
        time.sleep(pause_s)
    return ask()


def run(command: Sequence[str], given: str = "") -> Done:
    """
    Run a program to its end.

    Where this is broken off, the program and what it has started may end by themselves:
    Terraform releases its lock. They are told by SIGTERM, since what a shell starts in
    the background ignores SIGINT, and so does all that it starts.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C of the terminal does not reach it.
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(given)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
        raise
    return Done(command, process.returncode, stdout, stderr)


def last_of(done: Done) -> str:
    """Return the last lines of what a program said."""
    lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
    return "\n".join(lines[-SHOWN_LINES:])


def _script(name: str, *words: str) -> list[str]:
    return [str(ROOT / "deploy" / name)] + list(words)
