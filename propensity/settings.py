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
from dataclasses import dataclass, field, fields
from typing import Any

from propensity import tables
from propensity.budget import Budget
from propensity.errors import SettingsError
from propensity.ids import NAME, is_encodable, is_event_name

PREFIX = "PROPENSITY_"

# For the tests and local mode alone; functions ignore them:
# the folder of real data, how long local services may take, and their ports.
FOREIGN = re.compile(r"PROPENSITY_(DATA|LOCAL_READY_S|PORT_[A-Z0-9_]+)")

GIB = 1024**3

MINIMUM_KEY_CHARACTERS = 32

# The consent that an event of the export must have to be read; true is
# analytics_storage.
CONSENTS = ("false", "true", "analytics_storage", "ads_storage", "both")

# Settings whose values appear in no message.
_SECRETS = frozenset({"suppression_key"})

_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_PROJECT = re.compile(r"[a-z0-9.:-]{1,63}")
_EXPORT = re.compile(rf"({_PROJECT.pattern}\.)?{_DATASET.pattern}")
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_URL = re.compile(rf"https?://{_HOST}(?::([0-9]{{1,5}}))?(?:/[^\s?#@]*)?")
_ADDRESS = re.compile(rf"{_HOST}:([0-9]{{1,5}})")
_LAST_PORT = 65_535


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"must match {pattern.pattern}")
        return text

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= (number := int(text)) <= most:
                return number
        raise ValueError(f"must be a whole number from {least} to {most}")

    return parse


def _real(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= (number := float(text)) <= most:
                return number
        raise ValueError(f"must be a number from {least:g} to {most:g}")

    return parse


def _endpoint(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    """Return the parser of an emulator's address, whose one group is the port."""

    def parse(text: str) -> str:
        match = pattern.fullmatch(text)
        if match is None or not 0 < int(match[1] or _LAST_PORT) <= _LAST_PORT:
            raise ValueError(f"must be {what}")
        # Paths are put behind it.
        return text.rstrip("/")

    return parse


_url = _endpoint(_URL, "a URL, such as http://127.0.0.1:8090")
_address = _endpoint(_ADDRESS, "a host and a port, such as 127.0.0.1:8091")


def _key(text: str) -> str:
    if not is_encodable(text):
        raise ValueError("must be written in UTF-8")
    if len(text) < MINIMUM_KEY_CHARACTERS:
        raise ValueError(f"must have {MINIMUM_KEY_CHARACTERS} characters or more")
    return text


def _event(text: str) -> str:
    if not is_event_name(text):
        raise ValueError(
            "must be an event's name, as the export has it: a letter, then letters, "
            "digits, underscores, hyphens and blanks, 40 characters in all"
        )
    return text


def _retention(text: str) -> str:
    tables.retention(text)
    return text


def _budget(text: str) -> str:
    return str(Budget.parse(text))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    The settings of a deployment; ``docs/settings.md`` describes each.

    Defaults are here and nowhere else. The variable of a setting is ``PROPENSITY_``
    and its name in capitals, except for those of Google's clients and emulators.
    """

    project: str
    bucket: str = ""
    dataset: str = "propensity"
    ga4_dataset: str = ""
    export_wait_minutes: int = 120
    property_utc_offset_hours: int = 0
    location: str = "US"
    use_case: str = "ga4_purchase"
    user_column: str = ""
    label_event: str = ""
    maximum_training_rows: int = 500_000
    budget: str = ""
    maximum_bytes_billed: int = 8192 * GIB
    deadline_s: int = 20
    refresh_s: int = 60
    topic_prefix: str = ""
    maximum_lateness_days: int = 30
    alert_review_cost: float = 5.0
    suppression_key: str = field(default="", repr=False)
    require_consent: str = "false"
    retention_days: str = ""
    pubsub_endpoint: str = ""
    bigquery_endpoint: str = ""
    bigquery_storage_endpoint: str = ""
    storage_endpoint: str = ""

    # Constants: no deployment has had a reason to set them.
    seed = 42
    # Days after a window's end until late tables of the export are all there.
    settle_days = 3
    training_snapshots = 65
    minimum_training_rows = 200
    # With fewer of a class, a metric says nothing.
    minimum_conversions = 20
    # Of the mean log-odds from a publication to the next; a multiple of the base rate.
    maximum_score_shift = 0.75
    query_timeout_s = 600
    maximum_event_bytes = 256 * 1024

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """
        Read the settings.

        Args:
            environment: Variables by name; the process's own when None.

        Raises:
            SettingsError: A variable is unknown, malformed or missing.
        """
        variables = os.environ if environment is None else environment
        known = {_variable(field.name): field.name for field in fields(cls)}
        unknown = sorted(
            name for name in variables if is_setting(name) and name not in known
        )
        if unknown:
            which = "; ".join(unknown_setting(name, known) for name in unknown)
            raise SettingsError(
                f"{which} (docs/settings.md has all settings)", field=unknown[0]
            )
        values: dict[str, Any] = {}
        for variable, name in known.items():
            text = variables.get(variable, "").strip()
            if not text:
                continue
            try:
                values[name] = _PARSERS[name](text)
            except ValueError as error:
                state = "is set" if name in _SECRETS else f"is {text!r}"
                raise SettingsError(
                    f"{variable} {state}, but it {error}", field=variable
                ) from error
        if "project" not in values:
            raise SettingsError(
                "GOOGLE_CLOUD_PROJECT is not set: the project to run in",
                field="GOOGLE_CLOUD_PROJECT",
                is_missing=True,
            )
        return cls(**values)

    @property
    def export(self) -> str:
        """Project and dataset of the GA4 export, ``project.dataset``; empty if none."""
        is_complete = "." in self.ga4_dataset or not self.ga4_dataset
        return self.ga4_dataset if is_complete else f"{self.project}.{self.ga4_dataset}"

    def emulator(self, name: str) -> str:
        """
        Return an emulator's address with its variable, for a message.

        Args:
            name: Setting of the address, such as ``bigquery_endpoint``.

        Returns:
            Such as ``http://127.0.0.1:8090 (BIGQUERY_EMULATOR_HOST)``; empty where the
            setting is, and Google is asked.
        """
        address = str(getattr(self, name))
        return address and f"{address} ({_variable(name)})"

    def required(self, name: str) -> str:
        """Return the setting ``name``, or raise SettingsError if it is empty."""
        value = str(getattr(self, name))
        if not value:
            raise SettingsError(
                f"{_variable(name)} is not set, and this function needs it",
                field=_variable(name),
                is_missing=True,
            )
        return value


_VARIABLES = {
    "project": "GOOGLE_CLOUD_PROJECT",
    "pubsub_endpoint": "PUBSUB_EMULATOR_HOST",
    "bigquery_endpoint": "BIGQUERY_EMULATOR_HOST",
    "bigquery_storage_endpoint": "BIGQUERY_STORAGE_EMULATOR_HOST",
    "storage_endpoint": "STORAGE_EMULATOR_HOST",
}

_PARSERS: dict[str, Callable[[str], Any]] = {
    "project": _matching(_PROJECT),
    "bucket": _matching(BUCKET),
    "dataset": _matching(_DATASET),
    "ga4_dataset": _matching(_EXPORT),
    "export_wait_minutes": _whole(0, 7 * 24 * 60),
    "property_utc_offset_hours": _whole(-12, 14),
    "location": _matching(re.compile(r"[A-Za-z0-9-]{2,40}")),
    "use_case": _matching(NAME),
    "user_column": _one_of("user_pseudo_id", "user_id"),
    "label_event": _event,
    "maximum_training_rows": _whole(1_000, 50_000_000),
    "budget": _budget,
    "deadline_s": _whole(1, 3600),
    "maximum_bytes_billed": _whole(10 * 1024**2, 1024**5),
    "refresh_s": _whole(1, 24 * 3600),
    "topic_prefix": _matching(re.compile(r"[a-z][a-z0-9]{0,11}")),
    "maximum_lateness_days": _whole(1, 36_500),
    "alert_review_cost": _real(0.0, 1e6),
    "suppression_key": _key,
    "require_consent": _one_of(*CONSENTS),
    "retention_days": _retention,
    "pubsub_endpoint": _address,
    "bigquery_endpoint": _url,
    "bigquery_storage_endpoint": _address,
    "storage_endpoint": _url,
}


def is_setting(name: str) -> bool:
    """Tell whether a variable is a setting of the functions, or is meant as one."""
    return name.startswith(PREFIX) and not FOREIGN.fullmatch(name)


def unknown_setting(name: str, known: Iterable[str]) -> str:
    """Say that a variable is no setting, and which setting has almost its name."""
    import difflib  # only a refusal needs it

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"unknown setting {name}" + (f": is it {near[0]}?" if near else "")


def project_here() -> str:
    """
    Return the project of this process, empty where none is set.

    For log lines, which are written even if the settings are wrong.
    """
    return os.environ.get(_VARIABLES["project"], "")


def target_here() -> str:
    """Return the function that this process serves, by the framework's variable."""
    return os.environ.get("FUNCTION_TARGET", "")


def _variable(name: str) -> str:
    """Return the environment variable that holds the setting ``name``."""
    return _VARIABLES.get(name, PREFIX + name.upper())
