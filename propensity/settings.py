"""
The settings of a function: read once, whole, and frozen.

The only module that reads the environment. An unknown or malformed ``PROPENSITY_``
variable stops the function before it does any work, so that a misspelt setting is
found at the deploy and not in the bill.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from propensity.budget import Budget
from propensity.errors import SettingsError
from propensity.ids import NAME, is_event_name

PREFIX = "PROPENSITY_"

# For the tests, commands and deploys alone; functions ignore them:
# the folder of real data, the first port, and the folder of your own use cases.
FOREIGN = re.compile(r"PROPENSITY_(DATA|PORT_BASE|USE_CASES)")

GIB = 1024**3

# The consent that an event of the export must have to be read; true is
# analytics_storage.
CONSENTS = ("false", "true", "analytics_storage", "ads_storage", "both")

BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


_URL = r"https?://[^/\s@?#]+"
# Which tables there are, ``tables.every`` knows, for who sets them up.
_DAYS_BY_TABLE = r"([a-z_]+=[0-9]{1,5}([ ,]+|$))*"
_HOST_AND_PORT = r"[^/\s]+:[0-9]{1,5}"

# -- parsers: the setting of a text, or a ValueError that goes on after "but it" ------


def _that(holds: Callable[[str], object], message: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not holds(text):
            raise ValueError(message)
        return text

    return parse


def _matching(pattern: str | re.Pattern[str]) -> Callable[[str], str]:
    whole = re.compile(pattern)
    return _that(whole.fullmatch, f"must match {whole.pattern}")


def _number(kind: type[int | float], least: float, most: float) -> Callable[[str], Any]:
    def parse(text: str) -> int | float:
        with contextlib.suppress(ValueError):
            if least <= (number := kind(text)) <= most:
                return number
        name = "whole number" if kind is int else "number"
        raise ValueError(f"must be a {name} from {least:.15g} to {most:.15g}")

    return parse


_key = _that(lambda text: len(text) >= 32, "must have 32 characters or more")
_event = _that(
    is_event_name,
    "must be an event's name, as the export has it: a letter, then letters, digits, "
    "underscores, hyphens and blanks, 40 characters in all",
)


def _setting(
    default: Any,
    parse: Callable[[str], Any],
    *,
    variable: str = "",
    secret: bool = False,
) -> Any:
    """Declare a setting: its default and its parser; a secret is in no message."""
    metadata = {"parse": parse, "variable": variable, "is_secret": secret}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    The settings of a deployment; ``docs/settings.md`` describes each.

    The variable of a setting is ``PROPENSITY_`` and its name in capitals, except for
    those of Google's clients and emulators.
    """

    project: str = _setting(
        MISSING, _matching(r"[a-z0-9.:-]{1,63}"), variable="GOOGLE_CLOUD_PROJECT"
    )
    bucket: str = _setting("", _matching(BUCKET))
    dataset: str = _setting("propensity", _matching(r"[A-Za-z0-9_]{1,1024}"))
    ga4_dataset: str = _setting(
        "", _matching(r"([a-z0-9.:-]{1,63}\.)?[A-Za-z0-9_]{1,1024}")
    )
    # Cloud Scheduler calls again for longer.
    export_wait_minutes: int = _setting(120, _number(int, 0, 120))
    property_utc_offset_hours: int = _setting(0, _number(int, -12, 14))
    location: str = _setting("US", _matching(r"[A-Za-z0-9-]{2,40}"))
    use_case: str = _setting("ga4_purchase", _matching(NAME))
    user_column: str = _setting("", _matching("user_pseudo_id|user_id|person"))
    label_event: str = _setting("", _event)
    maximum_training_rows: int = _setting(500_000, _number(int, 1_000, 50_000_000))
    budget: str = _setting("", lambda text: str(Budget.parse(text)))
    maximum_bytes_billed: int = _setting(
        16 * 1024 * GIB, _number(int, 10 * 1024**2, 1024**5)
    )
    deadline_s: int = _setting(20, _number(int, 1, 3600))
    query_timeout_s: int = _setting(1500, _number(int, 1, 82_800))
    refresh_s: int = _setting(60, _number(int, 1, 24 * 3600))
    topic_prefix: str = _setting("", _matching(r"[a-z][a-z0-9]{0,11}"))
    maximum_lateness_days: int = _setting(30, _number(int, 1, 36_500))
    maximum_score_delay_days: int = _setting(2, _number(int, 1, 36_500))
    alert_review_cost: float = _setting(5.0, _number(float, 0, 1e6))
    suppression_key: str = _setting("", _key, secret=True)
    require_consent: str = _setting("false", _matching("|".join(CONSENTS)))
    retention_days: str = _setting("", _matching(_DAYS_BY_TABLE))
    pubsub_endpoint: str = _setting(
        "", _matching(_HOST_AND_PORT), variable="PUBSUB_EMULATOR_HOST"
    )
    bigquery_endpoint: str = _setting(
        "", _matching(_URL), variable="BIGQUERY_EMULATOR_HOST"
    )
    bigquery_storage_endpoint: str = _setting(
        "", _matching(_HOST_AND_PORT), variable="BIGQUERY_STORAGE_EMULATOR_HOST"
    )
    storage_endpoint: str = _setting(
        "", _matching(_URL), variable="STORAGE_EMULATOR_HOST"
    )

    # Constants: no deployment has had a reason to set them.
    seed = 42
    # Days after a window's end until late tables of the export are all there.
    settle_days = 3
    training_snapshots = 65
    minimum_training_rows = 200
    # With fewer of a class, a metric says nothing.
    minimum_conversions = 20
    # From a publication to the next, as a share of the earlier mean probability.
    maximum_score_shift = 0.75

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """
        Read the settings.

        Args:
            environment: Variables by name; the process's own when None.

        Raises:
            SettingsError: A variable is unknown, malformed or missing.
        """
        given = os.environ if environment is None else environment
        known = {variable_of(one.name): one for one in fields(cls)}
        unknown = sorted(
            name for name in given if is_setting(name) and name not in known
        )
        if unknown:
            which = "; ".join(unknown_setting(name, known) for name in unknown)
            raise SettingsError(
                f"{which} (docs/settings.md has all settings)", field=unknown[0]
            )
        values: dict[str, Any] = {}
        for variable, setting in known.items():
            text = given.get(variable, "").strip()
            if not text:
                continue
            try:
                values[setting.name] = setting.metadata["parse"](text)
            except ValueError as error:
                is_secret = setting.metadata["is_secret"]
                state = "is set" if is_secret else f"is {text!r}"
                raise SettingsError(
                    f"{variable} {state}, but it {error}", field=variable
                ) from error
        if "project" not in values:
            raise SettingsError(
                "GOOGLE_CLOUD_PROJECT is not set",
                hint="On this machine, run `make up` and paste the export lines that "
                "it prints. For a deployment: "
                'eval "$(.venv/bin/python -m deploy environment)"',
                field="GOOGLE_CLOUD_PROJECT",
            )
        return cls(**values)

    @property
    def export(self) -> str:
        """Project and dataset of the GA4 export, ``project.dataset``; empty if none."""
        is_complete = "." in self.ga4_dataset or not self.ga4_dataset
        return self.ga4_dataset if is_complete else f"{self.project}.{self.ga4_dataset}"

    def required(self, name: str) -> str:
        """Return the setting ``name``, or raise SettingsError if it is empty."""
        value = str(getattr(self, name))
        if not value:
            raise SettingsError(
                f"{variable_of(name)} is not set, and this function needs it",
                field=variable_of(name),
            )
        return value


_VARIABLES = {
    one.name: one.metadata["variable"] or PREFIX + one.name.upper()
    for one in fields(Settings)
}


def variable_of(name: str) -> str:
    """Return the environment variable that holds the setting ``name``."""
    return str(_VARIABLES[name])


def is_setting(name: str) -> bool:
    """Tell whether a variable is a setting of the functions, or is meant as one."""
    return name.startswith(PREFIX) and not FOREIGN.fullmatch(name)


def unknown_setting(name: str, known: Iterable[str]) -> str:
    """Say that a variable is no setting, and which setting has almost its name."""
    import difflib  # only a refusal needs it

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"unknown setting {name}" + (f": is it {near[0]}?" if near else "")


def own_use_cases() -> str:
    """Return the folder of your own use cases, if a setting names one."""
    return os.environ.get("PROPENSITY_USE_CASES", "").strip()


def target_here() -> str:
    """Return the function that this process serves, by the framework's variable."""
    return os.environ.get("FUNCTION_TARGET", "")
