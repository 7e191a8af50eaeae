"""
Cloud Monitoring's policies about the log, in the process: which lines match a filter,
and which mails are sent.

Of the filters' language it has what ours use, with brackets around each OR: there it
binds closer than AND.

Sources: cloud.google.com/logging/docs/view/logging-query-language;
cloud.google.com/monitoring/alerts/log-based-incidents ("Another log entry").
"""

from __future__ import annotations

import operator as operators
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import CodeType
from typing import Any

from deploy import alerts, configuration
from tests.deploy.conftest import SETTINGS

SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL")
# A comparison, with one value or with several between brackets; or a word between two.
TOKEN = re.compile(
    r'([\w.]+)(=~|>=|=|<|>|:)(\([^()]*\)|"[^"]*"|[\w.*]+)|\b(?:AND|OR|NOT)\b'
)
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Mail:
    """What a channel gets."""

    at: datetime
    policy: str
    subject: str
    text: str


def entry(line: Mapping[str, Any]) -> Entry:
    """Return the log's entry of a line that a function of Cloud Run wrote."""
    words = re.sub("[A-Z]", lambda capital: f"-{capital[0].lower()}", line["function"])
    labels = {"service_name": f"propensity-{words}"}
    return {
        "resource": {"type": "cloud_run_revision", "labels": labels},
        "severity": line.get("severity", "DEFAULT"),
        "jsonPayload": line,
    }


def raised(*lines: Mapping[str, Any]) -> set[str]:
    """Return the policies of a deployment of ``ga4_purchase`` that lines raise."""
    made = alerts.in_terraform(configuration.of(SETTINGS))["policies"]
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return {mail.policy for mail in mails(made, [(at, entry(line)) for line in lines])}


def mails(
    policies: Mapping[str, Mapping[str, Any]],
    entries: Iterable[tuple[datetime, Entry]],
) -> list[Mail]:
    """Return the mails of some entries: of a policy one within its pause."""
    sent = list[Mail]()
    newest = dict[str, datetime]()
    for at, logged in entries:
        for name, policy in policies.items():
            if "log" not in policy or not matches(policy["log"], logged):
                continue
            pause = timedelta(seconds=int(policy["pause"].removesuffix("s")))
            if name in newest and at - newest[name] < pause:
                continue
            newest[name] = at
            text = policy["text"]
            for label in policy["quoted"]:
                quoted = str(logged.get("jsonPayload", {}).get(label, ""))
                text = text.replace(f"${{log.extracted_label.{label}}}", quoted)
            sent.append(Mail(at, name, policy["subject"], text))
    return sent


def matches(filter_text: str, logged: Entry) -> bool:
    """Return whether an entry matches a filter."""

    def is_met(field: str, operator: str, wanted: str) -> bool:
        value = value_of(logged, field)
        values = wanted.strip("()").split(" OR ")
        return any(is_so(value, operator, one.strip('"')) for one in values)

    def log_id(name: str) -> bool:
        return logged.get("log_id") == name

    names = {"is_met": is_met, "log_id": log_id, "__builtins__": {}}
    return bool(eval(in_python(filter_text), names))


@cache
def in_python(filter_text: str) -> CodeType:
    """Return a filter as an expression of Python, of calls of ``is_met``."""

    def written(found: re.Match[str]) -> str:
        return f"is_met{found.groups()!r}" if found[1] else found[0].lower()

    return compile(TOKEN.sub(written, filter_text), filter_text, "eval")


def value_of(logged: Entry, field: str) -> Any:
    """Return a field of an entry; None where it is missing."""
    value: Any = logged
    for name in field.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def is_so(value: Any, operator: str, wanted: str) -> bool:
    """Compare a field with a value; one that is missing compares with none."""
    if value is None or operator == ":":
        return value is not None
    if operator == "=~":
        return bool(re.search(wanted, str(value)))
    if wanted in SEVERITIES:
        value = SEVERITIES.index(str(value))
        wanted_number = float(SEVERITIES.index(wanted))
    elif operator == "=":
        return str(value).lower() == wanted.lower()
    else:
        wanted_number = float(wanted)
    compare: dict[str, Callable[[Any, Any], bool]] = {
        ">": operators.gt,
        ">=": operators.ge,
        "<": operators.lt,
        "=": operators.eq,
    }
    return compare[operator](value, wanted_number)
