"""
The settings of a function: read once, whole, and frozen.

No other module reads settings; ``folders`` reads where your own use cases are. An
unknown or malformed ``PROPENSITY_`` variable stops the function before it does any
work, so that a misspelt setting is found at the deploy and not in the bill.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, get_type_hints

from msgspec import Meta, ValidationError, convert

from propensity.budget import Budget
from propensity.errors import SettingsError
from propensity.ids import NAME, is_event_name
from propensity.suggestions import nearest

PREFIX = "PROPENSITY_"

# For the tests, commands and deploys alone; functions ignore them: the folder of real
# data, a deployment's settings file, local mode's memory and first port, the folder of
# your own use cases.
FOREIGN = re.compile(r"PROPENSITY_(DATA|DEPLOYMENT|LOCAL_MEMORY|PORT_BASE|USE_CASES)")

GIB = 1024**3

# The consent that an event of the export must have to be read; true is
# analytics_storage.
CONSENTS = ("false", "true", "analytics_storage", "ads_storage", "both")

# The topics of the stream. ``Settings.prefixed`` has their names in a deployment, and
# ``deploy/functions.py`` their subscriptions.
EVENTS = "events"
ENRICHED = "enriched"
SCORES = "scores"
DEAD_LETTERS = "dead-letters"
MODEL_UPDATES = "model-updates"

TOPICS = (EVENTS, ENRICHED, SCORES, DEAD_LETTERS, MODEL_UPDATES)

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
BUCKET_RULE = "a name of 3 or more lower-case letters, digits, '.', '_' and '-'"


def _like(pattern: str, what: str, example: str) -> Meta:
    """Return what a text must look like: a pattern, its name, and an example."""
    return Meta(pattern=rf"^(?:{pattern})\Z", title=what, examples=[example])


def _from(minimum: float, maximum: float, kind: str = "whole number") -> Meta:
    title = f"a {kind} from {minimum:.15g} to {maximum:.15g}"
    return Meta(ge=minimum, le=maximum, title=title)


_NAME = _like(r"[A-Za-z0-9_]{1,1024}", "a dataset name", "propensity")
# An export's dataset, with its project where that is another one.
EXPORT = r"([a-z0-9.:-]{1,63}\.)?[A-Za-z0-9_]{1,1024}"
_WEEKDAY = "(MON|TUE|WED|THU|FRI|SAT|SUN)"
PREDICTION_DAYS = rf"daily|{_WEEKDAY}(,{_WEEKDAY})*"
_URL = _like(r"https?://[^/\s@?#]+", "an address", "http://127.0.0.1:8090")
_PORT = _like(r"[^/\s]+:[0-9]{1,5}", "a host with a port", "127.0.0.1:8085")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    The settings of a deployment; ``docs/settings.md`` describes each.

    The variable of a setting is ``PROPENSITY_`` and its name in capitals, except for
    those of Google's clients and emulators.
    """

    project: Annotated[str, _like(r"[a-z0-9.:-]{1,63}", "a project id", "my-project")]
    bucket: Annotated[str, _like(BUCKET.pattern, BUCKET_RULE, "my-bucket")] = ""
    dataset: Annotated[str, _NAME] = "propensity"
    ga4_dataset: Annotated[
        str, _like(EXPORT, "a dataset name", "my-project.analytics_123456")
    ] = ""
    # Cloud Scheduler calls again for longer.
    export_wait_minutes: Annotated[int, _from(0, 120)] = 120
    property_utc_offset_hours: Annotated[int, _from(-12, 14)] = 0
    location: Annotated[str, _like(r"[A-Za-z0-9-]{2,40}", "a location", "EU")] = "US"
    use_case: Annotated[str, _like(NAME.pattern, "a use case", "ga4_purchase")] = (
        "ga4_purchase"
    )
    user_column: Annotated[
        str,
        _like(
            "user_pseudo_id|user_id|person",
            "one of user_pseudo_id, user_id, person",
            "user_id",
        ),
    ] = ""
    label_event: str = ""
    # A deployment sets it, by the days of its schedules.
    prediction_days: Annotated[
        str, _like(PREDICTION_DAYS, "daily or days of the week", "MON,THU")
    ] = "MON"
    maximum_training_rows: Annotated[int, _from(1_000, 50_000_000)] = 500_000
    budget: str = ""
    maximum_bytes_billed: Annotated[int, _from(10 * 1024**2, 1024**5)] = 1024 * GIB
    deadline_s: Annotated[int, _from(1, 3600)] = 20
    query_timeout_s: Annotated[int, _from(1, 82_800)] = 1500
    refresh_s: Annotated[int, _from(1, 24 * 3600)] = 60
    topic_prefix: Annotated[
        str, _like(r"[a-z][a-z0-9]{0,11}", "a letter and up to 11 more", "test")
    ] = ""
    maximum_lateness_days: Annotated[int, _from(1, 36_500)] = 30
    maximum_score_delay_days: Annotated[int, _from(1, 36_500)] = 2
    alert_review_cost: Annotated[float, _from(0, 1e6, "number")] = 5.0
    suppression_key: Annotated[
        str, Meta(min_length=32, title="a key of 32 characters or more")
    ] = field(default="", repr=False)
    require_consent: Annotated[
        str, _like("|".join(CONSENTS), f"one of {', '.join(CONSENTS)}", "both")
    ] = "false"
    sends: Annotated[str, _like("yes|no", "yes or no", "no")] = "yes"
    message_secret: Annotated[
        str, _like(r"[A-Za-z0-9_-]{1,200}", "a secret's name", "monday-webhook")
    ] = ""
    # The set-up checks the names of the tables, which ``tables.every`` knows.
    retention_days: Annotated[
        str,
        _like(r"([a-z_]+=[0-9]{1,5}([ ,]+|$))*", "days by table", "stream_events=400"),
    ] = ""
    pubsub_endpoint: Annotated[str, _PORT] = ""
    bigquery_endpoint: Annotated[str, _URL] = ""
    bigquery_storage_endpoint: Annotated[str, _PORT] = ""
    storage_endpoint: Annotated[str, _URL] = ""
    secrets_endpoint: Annotated[str, _URL] = ""

    # Constants: no deployment has had a reason to set them.
    seed = 42
    # Days after a window's end until late tables of the export are all there.
    settle_days = 3
    training_snapshots = 65
    minimum_training_rows = 200
    # A metric says nothing about fewer rows of a class.
    minimum_conversions = 20
    # A mean probability may differ from the last publication's by this share of it.
    maximum_score_shift = 0.75

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """
        Read the settings.

        Args:
            environment: Variables by name; the process's own when None.
        """
        given = os.environ if environment is None else environment
        by_variable = {variable_of(setting.name): setting for setting in fields(cls)}
        unknown = sorted(set(filter(is_setting, given)) - by_variable.keys())
        if unknown:
            which = "; ".join(unknown_setting(name, by_variable) for name in unknown)
            raise SettingsError(
                which, hint="docs/settings.md has all settings", field=unknown[0]
            )
        values = {}
        for variable, setting in by_variable.items():
            text = given.get(variable, "").strip()
            if text:
                values[setting.name] = _value(variable, setting.name, text)
        if "project" not in values:
            raise SettingsError(
                "GOOGLE_CLOUD_PROJECT is not set",
                hint="On this machine, run `make up`, then "
                'eval "$(.venv/bin/propensity up --env)". For a deployment: '
                "export PROPENSITY_DEPLOYMENT=FOLDER/production.env",
                field="GOOGLE_CLOUD_PROJECT",
            )
        return cls(**values)

    @property
    def export(self) -> str:
        """Project and dataset of the GA4 export, ``project.dataset``; empty if none."""
        is_complete = "." in self.ga4_dataset or not self.ga4_dataset
        return self.ga4_dataset if is_complete else f"{self.project}.{self.ga4_dataset}"

    @property
    def export_suffix(self) -> str:
        """What the names of the export's view and digest end with."""
        return ""

    def of_property(self, ga4_dataset: str, *, utc_offset_hours: int) -> Settings:
        """Return the settings of runs that read another property's export."""
        return PropertySettings(
            **{
                **vars(self),
                "ga4_dataset": ga4_dataset,
                "property_utc_offset_hours": utc_offset_hours,
                "deployment_export": getattr(self, "deployment_export", self.export),
            }
        )

    def prefixed(self, name: str) -> str:
        """Return the name of a topic, subscription or secret in this deployment."""
        return f"{self.topic_prefix}-{name}" if self.topic_prefix else name

    def required(self, name: str) -> str:
        """Return the setting ``name``, or raise SettingsError if it is empty."""
        value = str(getattr(self, name))
        if not value:
            raise SettingsError(
                f"{variable_of(name)} is not set, and this needs it",
                hint=f"docs/settings.md#{variable_of(name).lower()} says what to set",
                field=variable_of(name),
            )
        return value


@dataclass(frozen=True, kw_only=True)
class PropertySettings(Settings):
    """
    The settings of runs that read the export of a property of their own.

    Attributes:
        deployment_export: ``export`` of the deployment's settings, whose view and
            digest have the plain names.
    """

    deployment_export: str

    @property
    def export_suffix(self) -> str:
        if self.export == self.deployment_export:
            return ""
        return f"_{self.export.rpartition('.')[2]}"


# Variables of Google's clients and emulators; others have the prefix.
_VARIABLES = {
    "project": "GOOGLE_CLOUD_PROJECT",
    "pubsub_endpoint": "PUBSUB_EMULATOR_HOST",
    "bigquery_endpoint": "BIGQUERY_EMULATOR_HOST",
    "bigquery_storage_endpoint": "BIGQUERY_STORAGE_EMULATOR_HOST",
    "storage_endpoint": "STORAGE_EMULATOR_HOST",
    "secrets_endpoint": "SECRET_MANAGER_EMULATOR_HOST",
}
_KINDS = get_type_hints(Settings, include_extras=True)


def _value(variable: str, name: str, text: str) -> Any:
    kind = _KINDS[name]
    try:
        if name == "budget":
            return str(Budget.parse(text))
        if name == "label_event" and not is_event_name(text):
            raise ValueError(
                "is not the name of an event: a letter, then letters, digits, "
                "underscores, hyphens and blanks, 40 characters in all"
            )
        return convert(text, kind, strict=False)
    except ValidationError as error:
        [meta] = kind.__metadata__
        is_secret = name == "suppression_key"
        state = "is set" if is_secret else f"is {text!r}"
        raise SettingsError(
            f"{variable} {state}, which is not {meta.title}",
            hint=f"For example, {variable}={meta.examples[0]}" if meta.examples else "",
            field=variable,
        ) from error
    except ValueError as error:
        message = f"{variable} is {text!r}: it {error}"
        raise SettingsError(message, field=variable) from error


def variable_of(name: str) -> str:
    """Return the environment variable that holds the setting ``name``."""
    return _VARIABLES.get(name, PREFIX + name.upper())


def is_setting(name: str) -> bool:
    """Return whether a variable is a setting of the functions, or is meant as one."""
    return name.startswith(PREFIX) and not FOREIGN.fullmatch(name)


def unknown_setting(name: str, names: Iterable[str]) -> str:
    """Return that a setting is unknown, and which setting has almost its name."""
    # Names of settings begin alike, so that all are a bit like each other.
    near = nearest(name, names, cutoff=0.75)
    return f"unknown setting {name}" + (f". Did you mean {near}?" if near else "")


def target_here() -> str:
    """Return the function that this process runs, by the framework's variable."""
    return os.environ.get("FUNCTION_TARGET", "")
