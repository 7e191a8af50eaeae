"""
The settings of a deployment: one file, checked whole before anything is created.

``GOOGLE_CLOUD_PROJECT`` and ``PROPENSITY_*`` go to every function as they are and are
checked by ``propensity.settings``, so that what a function would refuse is refused
here. ``DEPLOY_*`` are for the deployment alone.
"""

from __future__ import annotations

import difflib
import re
import shlex
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from deploy import functions
from deploy.functions import Function
from deploy.volumes import Size
from propensity import topics, usecases
from propensity.errors import PropensityError
from propensity.settings import FOREIGN, PREFIX, Settings

FILE = Path(__file__).with_name("settings.env")
EXAMPLE = Path(__file__).with_name("settings.env.example")

_MEMBER = re.compile(r"(user|group|serviceAccount|domain):[A-Za-z0-9._%+@-]+")

_REGION = r"[a-z]+-[a-z]+[0-9]+"
_KEY = (
    r"projects/[a-z0-9.:-]+/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]{1,63}"
    r"/cryptoKeys/[A-Za-z0-9_-]{1,63}"
)
_CONNECTOR = (
    r"[a-z][a-z0-9-]{0,23}|projects/[a-z0-9.:-]+/locations/[a-z0-9-]+"
    r"/connectors/[a-z][a-z0-9-]{0,23}"
)

# Where BigQuery has data: in several regions, or in one.
_LOCATION = re.compile(r"us|eu|[a-z]+-[a-z]+[0-9]+", re.IGNORECASE)

KNOWN = frozenset(
    {
        "DEPLOY_REGION",
        "DEPLOY_TIME_ZONE",
        "DEPLOY_PREFIX",
        "DEPLOY_FUNCTIONS",
        "DEPLOY_USE_CASES",
        "DEPLOY_CALLERS",
        "DEPLOY_PRODUCERS",
        "DEPLOY_SUPPRESSION_SECRET",
        "DEPLOY_INGRESS",
        "DEPLOY_KMS_KEY",
        "DEPLOY_FUNCTIONS_KMS_KEY",
        "DEPLOY_REPOSITORY",
        "DEPLOY_VPC_CONNECTOR",
        "DEPLOY_VPC_EGRESS",
        "DEPLOY_ALERT_EMAIL",
        "DEPLOY_ALERT_ROC_AUC",
        "DEPLOY_ALERT_CHAMPION_DAYS",
        "DEPLOY_ALERT_RUN_BYTES",
        "DEPLOY_ALERT_DAY_BYTES",
        "DEPLOY_ALERT_LAG_S",
        "DEPLOY_USERS",
        "DEPLOY_EVENTS_A_DAY",
        "DEPLOY_STREAM_EVENTS_A_DAY",
        "DEPLOY_DAYS_KEPT",
        "GOOGLE_CLOUD_PROJECT",
        *(
            f"{PREFIX}{one.name.upper()}"
            for one in fields(Settings)
            if one.name != "project" and not one.name.endswith("_endpoint")
        ),
    }
)

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
class Network:
    """How functions are reached, and how they reach what is not Google's."""

    # Of those that people and other systems call.
    ingress: str = "all"
    connector: str = ""
    egress: str = "private-ranges-only"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The customer's keys in Cloud KMS, by their whole names; empty for Google's."""

    # Of dataset, bucket and topics.
    data: str = ""
    # Of the sources, images and instances of functions, and of their repository.
    functions: str = ""


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
    # What limits on bytes are compared with; None where nobody has said.
    size: Size | None = None
    network: Network = field(default_factory=Network)
    keys: Keys = field(default_factory=Keys)
    # In Artifact Registry: where images of functions are; empty for Google's own.
    repository: str = ""

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
        return topics.topic_name(self.settings, name)

    def subscription(self, one: topics.Subscription) -> str:
        """Return what a subscription of ``topics.py`` is called here."""
        return topics.subscription_name(self.settings, one)


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
    if unknown := sorted(
        name for name in variables if name not in KNOWN and not FOREIGN.fullmatch(name)
    ):
        # Those that reach emulators, too, have no place on Google Cloud.
        raise DeploymentError("; ".join(_unknown(name) for name in unknown))
    ours = {name: value for name, value in variables.items() if value}
    own = {name: ours.pop(name) for name in list(ours) if name.startswith("DEPLOY_")}
    try:
        settings = Settings.from_environment(ours)
    except PropensityError as error:
        raise DeploymentError(error.message) from error
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
    if not _LOCATION.fullmatch(settings.location):
        raise DeploymentError(
            f"PROPENSITY_LOCATION is {settings.location!r}, but it must be US, EU or a "
            "region such as europe-west2"
        )
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

    def count(name: str, default: int) -> int:
        return int(take(name, f"{default}", "[0-9]{1,15}"))

    def whole(name: str, default: int) -> int:
        value = int(take(name, f"{default}", "[0-9]+"))
        if not value:
            raise DeploymentError(f"{name} is 0, but it must be 1 or more")
        return value

    def share(name: str, default: float) -> float:
        value = float(take(name, f"{default}", r"[0-9]+(\.[0-9]+)?"))
        if value > 1:
            raise DeploymentError(f"{name} is {value:g}, but it must be from 0 to 1")
        return value

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
    size = None
    if users := count("DEPLOY_USERS", 0):
        size = Size(
            users=users,
            events_a_day=count("DEPLOY_EVENTS_A_DAY", 0),
            stream_events_a_day=count("DEPLOY_STREAM_EVENTS_A_DAY", 0),
            days_kept=whole("DEPLOY_DAYS_KEPT", 365),
            use_cases=len([one for one in use_cases if _reads_export(one)]) or 1,
            scores_users=any(
                usecases.load(one).has_statement("stream_rows") for one in use_cases
            ),
            # Enough to say that they are there: a limit is of one query.
            lookups=int("get_proba" in wanted),
            scorings=int("score" in wanted),
        )
    region = take("DEPLOY_REGION", "", _REGION)
    prefix = take("DEPLOY_PREFIX", "propensity", r"[a-z][a-z0-9]{0,11}")
    variables = {**variables, **_prefixed(prefix, variables)}
    settings = Settings.from_environment(variables)
    made = Deployment(
        settings=settings,
        variables=variables,
        region=region,
        prefix=prefix,
        time_zone=_time_zone(
            take("DEPLOY_TIME_ZONE", "Etc/UTC", r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
        ),
        functions=tuple(one for name, one in every.items() if name in wanted),
        use_cases=use_cases,
        callers=members("DEPLOY_CALLERS"),
        producers=members("DEPLOY_PRODUCERS"),
        suppression_secret=take(
            "DEPLOY_SUPPRESSION_SECRET", "", r"|[A-Za-z0-9_-]{1,255}"
        ),
        network=Network(
            ingress=take("DEPLOY_INGRESS", "all", "all|internal-and-gclb"),
            connector=take("DEPLOY_VPC_CONNECTOR", "", f"|{_CONNECTOR}"),
            egress=take(
                "DEPLOY_VPC_EGRESS", "private-ranges-only", "private-ranges-only|all"
            ),
        ),
        keys=Keys(
            data=take("DEPLOY_KMS_KEY", "", f"|{_KEY}"),
            functions=take("DEPLOY_FUNCTIONS_KMS_KEY", "", f"|{_KEY}"),
        ),
        repository=take("DEPLOY_REPOSITORY", "", r"|[a-z]([a-z0-9-]{0,61}[a-z0-9])?"),
        alerts=Alerts(
            email=take("DEPLOY_ALERT_EMAIL", "", r"|[^@\s]+@[^@\s,|]+"),
            roc_auc=share("DEPLOY_ALERT_ROC_AUC", bounds.roc_auc),
            champion_days=whole("DEPLOY_ALERT_CHAMPION_DAYS", bounds.champion_days),
            run_bytes=whole("DEPLOY_ALERT_RUN_BYTES", bounds.run_bytes),
            day_bytes=whole("DEPLOY_ALERT_DAY_BYTES", bounds.day_bytes),
            lag_s=whole("DEPLOY_ALERT_LAG_S", bounds.lag_s),
        ),
        size=size,
    )
    _require_what_is_read(made)
    _require_places(made)
    _require_patience(made)
    return made


def _reads_export(use_case: str) -> bool:
    return usecases.load(use_case).reads_export


def _prefixed(prefix: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that have the deployment's prefix where nothing is set."""
    named = {
        "DATASET": prefix,
        "TOPIC_PREFIX": prefix,
        **{
            f"{name.upper().replace('-', '_')}_TOPIC": topics.prefixed(prefix, name)
            for name in (topics.ENRICHED, topics.SCORES, topics.MODEL_UPDATES)
        },
    }
    wanted = {f"{PREFIX}{name}": value for name, value in named.items()}
    if variables.get(f"{PREFIX}TOPIC_PREFIX", prefix) != prefix:
        raise DeploymentError(
            f"{PREFIX}TOPIC_PREFIX is {variables[f'{PREFIX}TOPIC_PREFIX']!r}, but in a "
            f"deployment it is DEPLOY_PREFIX, {prefix!r}: leave it out"
        )
    return {name: value for name, value in wanted.items() if name not in variables}


def _require_places(d: Deployment) -> None:
    """Raise DeploymentError where a key or a connector is elsewhere than its use."""
    for name, key, wanted in (
        ("DEPLOY_KMS_KEY", d.keys.data, d.settings.location),
        ("DEPLOY_FUNCTIONS_KMS_KEY", d.keys.functions, d.region),
    ):
        there = key and key.split("/")[3]
        # The key of a dataset in EU is in the multi-region europe.
        meant = {"eu": "europe"}.get(wanted.lower(), wanted.lower())
        if key and there != meant:
            raise DeploymentError(
                f"{name} is a key in {there}, but what it is for is in {wanted}: it "
                f"must be one of projects/.../locations/{meant}/..."
            )
    if d.keys.functions and not d.repository:
        raise DeploymentError(
            "DEPLOY_FUNCTIONS_KMS_KEY needs DEPLOY_REPOSITORY: images that are "
            "encrypted with a key of yours are in a repository of yours"
        )
    connector = d.network.connector
    if "/" in connector and connector.split("/")[3] != d.region:
        raise DeploymentError(
            f"DEPLOY_VPC_CONNECTOR is in {connector.split('/')[3]}, but functions are "
            f"in {d.region}: a connector serves its own region"
        )
    if d.network.egress != Network.egress and not connector:
        raise DeploymentError("DEPLOY_VPC_EGRESS needs DEPLOY_VPC_CONNECTOR")


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.75)
    return f"unknown setting {name}" + (f": is it {near[0]}?" if near else "")


def _time_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        # Where this machine knows no time zone at all, its form has to do.
        if zoneinfo.available_timezones():
            raise DeploymentError(
                f"DEPLOY_TIME_ZONE is {name!r}, which is no time zone; such as "
                "Europe/London"
            ) from error
    return name


def _require_patience(d: Deployment) -> None:
    """Raise DeploymentError where a run would still wait at its last attempt."""
    for one in d.functions:
        if not (one.reads_export and one.schedule and d.settings.ga4_dataset):
            continue
        minutes = one.schedule.patience_s // 60
        if d.settings.export_wait_minutes >= minutes:
            raise DeploymentError(
                "PROPENSITY_EXPORT_WAIT_MINUTES is "
                f"{d.settings.export_wait_minutes}, but it must be less than "
                f"{minutes}: for so long Cloud Scheduler calls {one.target} again "
                "(deploy/functions.toml), and its last call must not wait any more"
            )


def _require_what_is_read(d: Deployment) -> None:
    """Raise DeploymentError where the clock would call what can only answer 424."""
    if d.settings.ga4_dataset:
        return
    called = [
        one.target for one in d.functions if one.schedule and one.schedule.per_use_case
    ]
    without = [name for name in d.use_cases if usecases.load(name).reads_export]
    if called and without:
        stream = [one.target for one in functions.load() if one.target not in called]
        others = [
            name for name in usecases.names() if not usecases.load(name).reads_export
        ]
        raise DeploymentError(
            f"{', '.join(called)} would be called for {', '.join(without)}, which "
            "reads the export of GA4, and there is none: set PROPENSITY_GA4_DATASET; "
            "or, for the stream only, "
            f'DEPLOY_USE_CASES="{" ".join(others)}" (or one of them) or '
            f'DEPLOY_FUNCTIONS="{" ".join(stream)}"'
        )


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
