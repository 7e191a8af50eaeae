"""
The settings of a deployment: one file of its folder, checked whole before anything is
created.

The folder is its users' own, and may have a file for each environment; ``usecases/``
beside the file has their use cases, and audiences of those that ship.

``GOOGLE_CLOUD_PROJECT`` and ``PROPENSITY_*`` go to every function as they are, and are
checked by ``propensity.settings``. ``DEPLOY_*`` are for the deployment alone; the
variables of ``terraform/`` check what is left.
"""

from __future__ import annotations

import os
import re
import shlex
import zoneinfo
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path
from string import Template

from deploy import DeploymentError, functions
from deploy.functions import JOBS, Function
from propensity import folders, usecases
from propensity.errors import PropensityError
from propensity.settings import (
    PREDICTION_DAYS,
    Settings,
    unknown_setting,
    variable_of,
)
from propensity.tables import every
from propensity.timeframe import SCHEDULED, first_of_week, weekdays_of
from propensity.usecases import UseCase

# The locks of functions that load a model; models are trained in the first.
WITH_MODELS = (
    "00-ModelTraining/requirements.txt",
    "01-Predictions/requirements.txt",
    "02-GetProba/requirements-score.txt",
    "04-StreamFeatures/requirements-score_stream.txt",
)
# What a new deployment's folder begins with.
TEMPLATE = Path(__file__).with_name("template")
EXAMPLE = TEMPLATE / "production.env"

_FEDERATED = (
    r"principal(Set)?://iam\.googleapis\.com/projects/[0-9]+/locations/global/"
    r"workloadIdentityPools/[a-z0-9-]+/(subject|group|attribute\.\w+)/[\w./:@-]+"
)
_MEMBER = rf"((user|group|serviceAccount|domain):[A-Za-z0-9._%+'@-]+|{_FEDERATED})"
_MEMBERS = rf"{_MEMBER}([ ,]+{_MEMBER})*"
_COUNT = r"0*[1-9][0-9]*"
_KEY = "projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+"
_CHANNEL = "projects/[a-z0-9.:-]+/notificationChannels/[0-9]+"
_CONNECTOR = r"(projects/[a-z0-9.:-]+/locations/[a-z0-9-]+/connectors/)?"
# Default and pattern of each setting. A pattern is here if the setting is used before
# Terraform plans, or could open something; Terraform checks the others.
OWN = {
    "DEPLOY_REGION": ("", r"[a-z]+-[a-z]+[0-9]+"),
    "DEPLOY_TIME_ZONE": ("Etc/UTC", ".*"),
    "DEPLOY_PREDICTION_DAYS": ("MON", PREDICTION_DAYS),
    "DEPLOY_PREFIX": ("propensity", r"(?!goog)[a-z][a-z0-9]{0,11}"),
    "DEPLOY_FUNCTIONS": ("", ".*"),
    "DEPLOY_USE_CASES": ("", ".*"),
    "DEPLOY_CALLERS": ("", _MEMBERS),
    "DEPLOY_PRODUCERS": ("", _MEMBERS),
    "DEPLOY_SUPPRESSION_SECRET": ("", r"[A-Za-z0-9_-]{1,255}"),
    "DEPLOY_INGRESS": ("all", "all|internal|internal-and-gclb"),
    "DEPLOY_KMS_KEY": ("", _KEY),
    "DEPLOY_FUNCTIONS_KMS_KEY": ("", _KEY),
    "DEPLOY_REPOSITORY": ("", r"([a-z0-9-]+[.]pkg[.]dev/[^/]+/)?[a-z][a-z0-9-]*"),
    "DEPLOY_VPC_CONNECTOR": ("", _CONNECTOR + "[a-z][a-z0-9-]{0,23}"),
    "DEPLOY_VPC_EGRESS": ("private-ranges-only", "private-ranges-only|all"),
    "DEPLOY_WORKER_POOL": ("", "projects/[^/ ]+/locations/[^/ ]+/workerPools/[^/ ]+"),
    # Without a user or a key, which everyone who sees a build could read.
    "DEPLOY_PACKAGE_INDEX": ("", r"https://[^\s,?#@]+"),
    "DEPLOY_LOG_DAYS": ("400", _COUNT),
    "DEPLOY_TIME_TRAVEL_HOURS": ("168", "48|72|96|120|144|168"),
    "DEPLOY_ALERT_EMAIL": ("", r"[\w.%+'-]+@[\w.-]+"),
    "DEPLOY_ALERT_CHANNELS": ("", rf"{_CHANNEL}([ ,]+{_CHANNEL})*"),
    "DEPLOY_ALERT_ROC_AUC": ("0.6", r"0(\.[0-9]+)?|1(\.0+)?"),
    "DEPLOY_ALERT_CHAMPION_DAYS": ("45", _COUNT),
    "DEPLOY_ALERT_RUN_BYTES": (f"{100 * 1024**3}", _COUNT),
    "DEPLOY_ALERT_DAY_BYTES": (f"{1024**4}", _COUNT),
    "DEPLOY_ALERT_LAG_S": ("300", _COUNT),
    "DEPLOY_BILLING_ACCOUNT": ("", r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}"),
    "DEPLOY_BUDGET": ("100", _COUNT),
    "DEPLOY_STATE_BUCKET": ("", r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"),
}
FORMS = {name: form for name, (_, form) in OWN.items()} | {
    "GOOGLE_CLOUD_PROJECT": r"[a-z][a-z0-9-]{0,29}",
    # Google keeps names that begin with its own for itself.
    "PROPENSITY_BUCKET": (
        r"(?!goog)(?!.*\.\.)(?![0-9.]+$)[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
    ),
    "PROPENSITY_LOCATION": r"(?i:us|eu|[a-z]+-[a-z]+[0-9]+)",
}
REQUIRED = ("GOOGLE_CLOUD_PROJECT", "PROPENSITY_BUCKET", "DEPLOY_REGION")
# The addresses of emulators are not settings of a deployment.
KNOWN = {variable_of(setting.name) for setting in fields(Settings)} | set(OWN)
KNOWN = {name for name in KNOWN if not name.endswith("_EMULATOR_HOST")}
# A deployment sets these itself.
KNOWN -= {"PROPENSITY_PREDICTION_DAYS", "PROPENSITY_TOPIC_PREFIX"}

# gcloud takes no value apart that is joined by this, and no setting may hold it.
SEPARATOR = "|"


@dataclass(frozen=True, kw_only=True)
class DeploymentSettings:
    """
    The names of a deployment: project, region, data set, bucket.

    ``variables`` are the settings as functions have them; ``own`` those of the
    deployment, defaults and all, as scripts and Terraform call them: ``region``;
    ``use_cases`` are what the clock calls functions for; ``given`` are all settings
    that the file sets.
    """

    settings: Settings
    given: Mapping[str, str]
    variables: Mapping[str, str]
    own: Mapping[str, str]
    functions: tuple[Function, ...]
    use_cases: tuple[str, ...]

    @property
    def project(self) -> str:
        return self.settings.project

    @property
    def prefix(self) -> str:
        return self.own["prefix"]

    def name(self, target: str) -> str:
        """Return what a function, its account and its jobs are called."""
        return f"{self.prefix}-{dashed(target)}"

    def account(self, target: str) -> str:
        """Return the service account of a function, or of another part."""
        return f"{self.name(target)}@{self.project}.iam.gserviceaccount.com"

    @property
    def hours(self) -> dict[str, int]:
        """
        Return the hours of the schedules, in UTC, by function.

        A run's date is the day in UTC. So the runs of a day are called by one clock
        without summer time, on one day of it, at the hours that are next to 08:00,
        12:00 and 17:00 in the zone's winter, and early enough to wait for an export.
        """
        zone = zoneinfo.ZoneInfo(self.own["time_zone"])
        offsets = list[timedelta]()
        for month in range(1, 13):
            offset = datetime(2026, month, 1, tzinfo=zone).utcoffset()
            assert offset is not None
            offsets.append(offset)
        offset = min(offsets)
        ahead = offset // timedelta(hours=1)
        predictions = min(max(17 - ahead, 5), 21)
        return {
            "model_training": min(max(8 - ahead, 0), 21),
            "model_evaluation": predictions - 5,
            "predictions": predictions,
            "audiences": predictions + 1,
            "overview": min(predictions + 5, 23),
        }

    def cron(self, function: Function, use_case: str = "") -> str:
        """
        Return when the clock calls a function, in UTC, as Cloud Scheduler has it.

        Outcomes are evaluated once a week, on its first day with predictions.

        Args:
            use_case: For which it is called; empty for all of them at once.
        """
        assert function.schedule
        named = list[str]()
        for one in self.loaded:
            if use_case in ("", one.name):
                named += weekdays_of(one.chosen_prediction_days(self.settings))
        days = ",".join(dict.fromkeys(named))
        if set(named) == set(SCHEDULED):
            days = "*"
        if function.target == "model_evaluation":
            days = first_of_week(named)
        hour = self.hours.get(function.target, "")
        return Template(function.schedule.cron).substitute(hour=hour, days=days)

    @property
    def loaded(self) -> list[UseCase]:
        """The use cases that the clock calls functions for."""
        return [usecases.load(name) for name in self.use_cases]

    def called_for(self, function: Function) -> list[str]:
        """Return the use cases that the clock calls a function for."""
        return function.schedule.called_for(self.loaded) if function.schedule else []

    def calls(self, function: Function) -> dict[str, str]:
        """Return the use case that each schedule of a function calls it for, by the
        schedule's name; "" where it calls once."""
        name = self.name(function.target)
        if not function.schedule:
            return {}
        if not function.schedule.per_use_case:
            return {name: ""}
        return {f"{name}-{dashed(one)}": one for one in self.called_for(function)}

    def job(self, function: Function, use_case: str) -> str:
        """Return the name of the job that runs a function for a use case."""
        return self.name(f"{JOBS[function.target]}-job-{dashed(use_case)}")

    @property
    def schedules(self) -> list[str]:
        """Return the names of the jobs of Cloud Scheduler."""
        return [name for function in self.functions for name in self.calls(function)]


def dashed(name: str) -> str:
    """Return a name as Google's names have it, which take no underscore."""
    return name.replace("_", "-")


def read(file: Path) -> DeploymentSettings:
    """
    Read a settings file, and have this process use the use cases beside it.

    Raises:
        DeploymentError: The file is missing or wrong.
    """
    if not file.is_file():
        raise DeploymentError(
            f"there is no file {file}. `propensity deployment new FOLDER` creates a "
            "deployment's folder"
        )
    try:
        variables = _variables(file.read_text("utf-8"))
        # Functions need not know where use cases are from: their source has them.
        os.environ["PROPENSITY_USE_CASES"] = str(file.resolve().parent / folders.OWN)
        return of(variables)
    except UnicodeDecodeError as error:
        raise DeploymentError(f"{file.name} is not UTF-8; convert it") from error
    except DeploymentError as error:
        raise DeploymentError(f"{file.name}: {error}") from error
    except PropensityError as error:
        # The folder of the use cases is wrong, not the file.
        raise DeploymentError(error.message) from error


def of(variables: Mapping[str, str]) -> DeploymentSettings:
    """Return what variables describe; raise DeploymentError where one is wrong."""
    _check_names(variables)
    given = {name: value for name, value in variables.items() if value}
    prefix = given.get("DEPLOY_PREFIX", OWN["DEPLOY_PREFIX"][0])
    named = {"PROPENSITY_DATASET": prefix, "PROPENSITY_TOPIC_PREFIX": prefix}
    # What runs, or looks for runs, knows when they are late.
    if "DEPLOY_PREDICTION_DAYS" in given:
        named["PROPENSITY_PREDICTION_DAYS"] = given["DEPLOY_PREDICTION_DAYS"]
    values = named | given
    _check_values(values)
    own = {
        name.removeprefix("DEPLOY_").lower(): values.pop(name, default)
        for name, (default, _) in OWN.items()
    }
    if own["time_zone"] not in zoneinfo.available_timezones():
        raise DeploymentError(
            f"DEPLOY_TIME_ZONE is {own['time_zone']!r}, which this machine does not "
            "know. If it does not know Europe/London either, install tzdata"
        )
    try:
        settings = Settings.from_environment(values)
        every.retention(settings.retention_days)
    except PropensityError as error:
        raise DeploymentError(error.message) from error
    every_function = {function.target: function for function in functions.load()}
    targets = list(every_function)
    if own["functions"]:
        targets = words(own["functions"])
    use_cases = [settings.use_case]
    if own["use_cases"]:
        use_cases = words(own["use_cases"])
    _require_known("DEPLOY_FUNCTIONS", targets, choices=every_function)
    _require_known("DEPLOY_USE_CASES", use_cases, choices=usecases.names())
    for use_case in use_cases:
        _check_locked(use_case)
    return DeploymentSettings(
        settings=settings,
        given=given,
        variables=values,
        own=own,
        functions=tuple(
            function for name, function in every_function.items() if name in targets
        ),
        use_cases=tuple(dict.fromkeys(use_cases)),
    )


def _check_names(variables: Mapping[str, str]) -> None:
    """Refuse names that are no setting, and secrets."""
    for name in sorted(variables):
        if name not in KNOWN:
            raise DeploymentError(unknown_setting(name, KNOWN))
    if variables.get("PROPENSITY_SUPPRESSION_KEY"):
        raise DeploymentError(
            "PROPENSITY_SUPPRESSION_KEY is set here, where everyone who sees a "
            "function's configuration could read it. Keep it in Secret Manager and set "
            "DEPLOY_SUPPRESSION_SECRET to the secret's name"
        )


def _check_values(values: Mapping[str, str]) -> None:
    """Refuse a value that is missing, or of another form."""
    for name in REQUIRED:
        if name not in values:
            raise DeploymentError(f"{name} is not set. {_example(name)}")
    for name, value in values.items():
        if SEPARATOR in value:
            raise DeploymentError(
                f"{name} contains {SEPARATOR!r}, which no setting may; remove it"
            )
        if not re.fullmatch(FORMS.get(name, ".*"), value):
            raise DeploymentError(
                f"{name} is {value!r}, which is not valid. {_example(name)}"
            )


def _example(name: str) -> str:
    """Return a sentence with a value of a setting, from the file of the example."""
    text = EXAMPLE.read_text("utf-8")
    [value] = re.findall(rf"^#?({name}=.+)$", text, re.M)
    return f"Example: {value}"


def words(text: str) -> list[str]:
    """Return the words of a setting that holds several."""
    return text.replace(",", " ").split()


def _check_locked(use_case: str) -> None:
    """Refuse a candidate of a package that a function's lock lacks."""
    for candidate in usecases.load(use_case).candidates:
        module, _, _ = candidate.algorithm.partition(".")
        if module == candidate.algorithm:
            continue
        packages = metadata.packages_distributions().get(module, [module])
        for lock in WITH_MODELS:
            text = (functions.ROOT / "deploy" / "locks" / lock).read_text("utf-8")
            if not any(f"\n{package}==" in f"\n{text}" for package in packages):
                raise DeploymentError(
                    f"candidate {candidate.name} of {use_case} needs {packages[0]}, "
                    f"which deploy/locks/{lock} lacks. Add it to {lock}, and run "
                    "deploy/lock.sh"
                )


def _require_known(name: str, names: list[str], *, choices: Collection[str]) -> None:
    strangers = [word for word in names if word not in choices]
    if strangers or not names:
        wrong = ", ".join(strangers) if strangers else "nothing"
        raise DeploymentError(
            f"{name} names {wrong}. Use some of {', '.join(sorted(choices))}"
        )


def _variables(text: str) -> dict[str, str]:
    """Read ``NAME=value`` words, quoted as for a shell; ``#`` begins a comment."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise DeploymentError(
            "a quotation mark has no counterpart; add it or remove it"
        ) from error
    variables = {}
    for word in words:
        name, is_set, value = word.partition("=")
        if not is_set or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            raise DeploymentError(
                f"{word[:64]!r} is not NAME=value. Write one setting a line"
            )
        if name in variables:
            raise DeploymentError(f"{name} is set twice; keep one of the lines")
        variables[name] = value
    return variables
