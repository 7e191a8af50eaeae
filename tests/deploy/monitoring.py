"""
Cloud Monitoring's policies about the log, in the process: which lines match a filter,
and which mails are sent.

Of the filters' language it has what ours use; OR binds closer than AND there.

Sources: cloud.google.com/logging/docs/view/logging-query-language;
cloud.google.com/monitoring/alerts/log-based-incidents ("Another log entry").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from deploy import alerts, configuration
from tests.deploy.conftest import SETTINGS

SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL")
TOKEN = re.compile(
    r'\s*(log_id|AND\b|OR\b|NOT\b|"(?:[^"\\]|\\.)*"|[\w.]+|=~|>=|<=|!=|[()=<>:*])'
)
Entry = Mapping[str, Any]
Test = Callable[[Entry], bool]


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
    return parsed(filter_text)(logged)


@cache
def parsed(filter_text: str) -> Test:
    """Return what a filter asks."""
    tokens = list[str]()
    end = len(filter_text.rstrip())
    place = 0
    while place < end:
        token = TOKEN.match(filter_text, place)
        assert token, filter_text[place:]
        tokens.append(token[1])
        place = token.end()
    parser = Parser(tokens)
    test = parser.conjunction()
    assert not parser.tokens, parser.tokens
    return test


class Parser:
    """Reads tokens from the first to the last."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)

    def takes(self, *expected: str) -> bool:
        """Take the next token if it is one of these."""
        is_next = bool(self.tokens) and self.tokens[0] in expected
        if is_next:
            self.tokens.pop(0)
        return is_next

    def conjunction(self) -> Test:
        tests = [self.disjunction()]
        while self.takes("AND"):
            tests.append(self.disjunction())
        return lambda logged: all(test(logged) for test in tests)

    def disjunction(self) -> Test:
        tests = [self.negation()]
        while self.takes("OR"):
            tests.append(self.negation())
        return lambda logged: any(test(logged) for test in tests)

    def negation(self) -> Test:
        if self.takes("NOT"):
            test = self.negation()
            return lambda logged: not test(logged)
        if self.takes("("):
            test = self.conjunction()
            assert self.takes(")"), self.tokens
            return test
        return self.comparison()

    def comparison(self) -> Test:
        field = self.tokens.pop(0)
        if field == "log_id":
            self.tokens.pop(0)
            log = self.literal()
            self.tokens.pop(0)
            return lambda logged: logged.get("log_id") == log
        operator = self.tokens.pop(0)
        if self.takes("*"):
            return lambda logged: value_of(logged, field) is not None
        wanted = list[str]()
        if self.takes("("):
            wanted.append(self.literal())
            while self.takes("OR"):
                wanted.append(self.literal())
            assert self.takes(")"), self.tokens
        else:
            wanted.append(self.literal())
        return lambda logged: any(
            is_so(value_of(logged, field), operator, value) for value in wanted
        )

    def literal(self) -> str:
        return self.tokens.pop(0).strip('"')


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
    if value is None:
        return False
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
        ">": lambda left, right: left > right,
        ">=": lambda left, right: left >= right,
        "<": lambda left, right: left < right,
        "=": lambda left, right: left == right,
    }
    return compare[operator](value, wanted_number)
