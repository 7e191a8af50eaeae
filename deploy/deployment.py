"""
The settings of a deployment: one file, checked whole before anything is created.

``GOOGLE_CLOUD_PROJECT`` and ``PROPENSITY_*`` go to every function as they are and are
checked by ``propensity.settings``, so that what a function would refuse is refused
here. ``DEPLOY_*`` are for the deployment alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy import functions
from deploy.functions import Function
from propensity import usecases
from propensity.errors import PropensityError
from propensity.settings import Settings

FILE = Path(__file__).with_name("settings.env")
EXAMPLE = Path(__file__).with_name("settings.env.example")

_MEMBER = re.compile(r"(user|group|serviceAccount|domain):[A-Za-z0-9._%+@-]+")

# gcloud takes no value apart that is joined by this, and no setting may hold it.
SEPARATOR = "|"


class DeploymentError(Exception):
    """The settings file is not one to deploy from; the message says what to change."""


@dataclass(frozen=True, kw_only=True)
class Alerts:
    """The bounds beyond which somebody is told."""

    email: str = ""
    roc_auc: float = 0.6
    champion_days: int = 45
    run_bytes: int = 100 * 1024**3
    day_bytes: int = 1024**4
    lag_s: int = 300


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is deployed where."""

    settings: Settings
    variables: Mapping[str, str]
    region: str
    prefix: str = "propensity"
    time_zone: str = "Etc/UTC"
    functions: tuple[Function, ...] = field(default_factory=functions.load)
    use_cases: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()
    producers: tuple[str, ...] = ()
    alerts: Alerts = field(default_factory=Alerts)
    # In Secret Manager: what PROPENSITY_SUPPRESSION_KEY is read from.
    suppression_secret: str = ""

    @property
    def project(self) -> str:
        return self.settings.project

    def name(self, target: str) -> str:
        """Return what a function, its account and its jobs are called."""
        return f"{self.prefix}-{target.replace('_', '-')}"

    def account(self, target: str) -> str:
        """Return the service account of a function, or of another part."""
        return f"{self.name(target)}@{self.project}.iam.gserviceaccount.com"

    def topic(self, name: str) -> str:
        """Return what a topic of ``topics.py`` is called here."""
        chosen = {
            "enriched": self.settings.enriched_topic,
            "scores": self.settings.scores_topic,
            "model-updates": self.settings.model_updates_topic,
        }
        return chosen.get(name, name)


def read(file: Path) -> Deployment:
    """
    Read a settings file.

    Raises:
        DeploymentError: It is missing, or a line is no setting, unknown or malformed.
    """
    if not file.is_file():
        raise DeploymentError(
            f"there is no {file}: copy {EXAMPLE.name} to it and fill it in"
        )
    return of(_variables(file.read_text(), name=file.name))


def of(variables: Mapping[str, str]) -> Deployment:
    """
    Check variables and return the deployment that they describe.

    Raises:
        DeploymentError: One is unknown, malformed or missing.
    """
    ours = {name: value for name, value in variables.items() if value}
    own = {name: ours.pop(name) for name in list(ours) if name.startswith("DEPLOY_")}
    try:
        settings = Settings.from_environment(ours)
    except PropensityError as error:
        raise DeploymentError(error.message) from error
    if strays := sorted(
        name
        for name in ours
        if not name.startswith("PROPENSITY_") and name != "GOOGLE_CLOUD_PROJECT"
    ):
        # Those that reach emulators, too, have no place on Google Cloud.
        raise DeploymentError(f"unknown setting {', '.join(strays)}")
    for name, value in ours.items():
        if SEPARATOR in value:
            raise DeploymentError(f"{name} must not contain {SEPARATOR!r}")
    if settings.suppression_key:
        raise DeploymentError(
            "PROPENSITY_SUPPRESSION_KEY would be readable in every function's "
            "configuration: keep it in Secret Manager, and set "
            "DEPLOY_SUPPRESSION_SECRET to the secret's name"
        )
    if not settings.bucket:
        raise DeploymentError("PROPENSITY_BUCKET is not set: the bucket to create")
    return _described(settings, ours, own)


def _described(
    settings: Settings, variables: Mapping[str, str], own: dict[str, str]
) -> Deployment:
    def take(name: str, default: str, pattern: str) -> str:
        value = own.pop(name, default)
        if not re.fullmatch(pattern, value):
            raise DeploymentError(
                f"{name} is {value!r}, but it must match {pattern}"
                if value
                else f"{name} is not set"
            )
        return value

    def number(name: str, default: float, kind: Callable[[str], float]) -> float:
        text = take(name, f"{default}", r"[0-9]+(\.[0-9]+)?")
        try:
            return kind(text)
        except ValueError as error:
            raise DeploymentError(f"{name} must be a whole number") from error

    def members(name: str) -> tuple[str, ...]:
        found = tuple(own.pop(name, "").replace(",", " ").split())
        for member in found:
            if not _MEMBER.fullmatch(member):
                raise DeploymentError(
                    f"{name} has {member!r}, which is no user:, group:, domain: or "
                    "serviceAccount:; nothing is ever open to everybody"
                )
        return found

    every = {one.target: one for one in functions.load()}
    wanted = own.pop("DEPLOY_FUNCTIONS", " ".join(every)).replace(",", " ").split()
    if strangers := [name for name in wanted if name not in every]:
        raise DeploymentError(
            f"DEPLOY_FUNCTIONS names {', '.join(strangers)}; there are "
            f"{', '.join(every)}"
        )
    use_cases = tuple(
        own.pop("DEPLOY_USE_CASES", settings.use_case).replace(",", " ").split()
    )
    if strangers := [name for name in use_cases if name not in usecases.names()]:
        raise DeploymentError(
            f"DEPLOY_USE_CASES names {', '.join(strangers)}; there are "
            f"{', '.join(usecases.names())}"
        )
    bounds = Alerts()
    made = Deployment(
        settings=settings,
        variables=dict(variables),
        region=take("DEPLOY_REGION", "", r"[a-z]+-[a-z]+[0-9]"),
        prefix=take("DEPLOY_PREFIX", "propensity", r"[a-z][a-z0-9]{0,11}"),
        time_zone=take("DEPLOY_TIME_ZONE", "Etc/UTC", r"[A-Za-z0-9_+-]+(/[A-Za-z_]+)*"),
        functions=tuple(one for name, one in every.items() if name in wanted),
        use_cases=use_cases,
        callers=members("DEPLOY_CALLERS"),
        producers=members("DEPLOY_PRODUCERS"),
        suppression_secret=take(
            "DEPLOY_SUPPRESSION_SECRET", "", r"|[A-Za-z0-9_-]{1,255}"
        ),
        alerts=Alerts(
            email=take("DEPLOY_ALERT_EMAIL", "", r"|[^@\s]+@[^@\s,|]+"),
            roc_auc=number("DEPLOY_ALERT_ROC_AUC", bounds.roc_auc, float),
            champion_days=int(
                number("DEPLOY_ALERT_CHAMPION_DAYS", bounds.champion_days, int)
            ),
            run_bytes=int(number("DEPLOY_ALERT_RUN_BYTES", bounds.run_bytes, int)),
            day_bytes=int(number("DEPLOY_ALERT_DAY_BYTES", bounds.day_bytes, int)),
            lag_s=int(number("DEPLOY_ALERT_LAG_S", bounds.lag_s, int)),
        ),
    )
    if own:
        raise DeploymentError(f"unknown setting {', '.join(sorted(own))}")
    return made


def _variables(text: str, *, name: str) -> dict[str, str]:
    """Read ``NAME=value`` lines, as a shell would; comments and blanks are left out."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        variable, is_set, value = stripped.removeprefix("export ").partition("=")
        try:
            words = shlex.split(value, comments=True)
        except ValueError:
            words = ["", ""]
        if not is_set or not re.fullmatch(r"[A-Z][A-Z0-9_]*", variable) or words[1:]:
            raise DeploymentError(f"{name}, line {number}: not NAME=value: {stripped}")
        if variable in found:
            raise DeploymentError(f"{name}, line {number}: {variable} is set twice")
        found[variable] = words[0] if words else ""
    return found
