"""Which policies of Cloud Monitoring an entry of the log raises."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from typing import Any

from deploy import alerts, configuration
from deploy.alerts import Condition
from deploy.configuration import DeploymentSettings
from tests.deploy.conftest import SETTINGS

COMPARED = {">": operator.gt, ">=": operator.ge, "<": operator.lt}


def raised(line: Mapping[str, Any], d: DeploymentSettings | None = None) -> set[str]:
    """Return the policies that a function's line raises, of a deployment of
    ``ga4_purchase`` or another."""
    if d is None:
        d = configuration.of(SETTINGS)
    names = set()
    for policy in alerts.policies(d):
        ways = (policy.lines,) + policy.given_up
        if policy.lines and any(are_met(conditions, line) for conditions in ways):
            names.add(policy.name)
    return names


def are_met(conditions: Iterable[Condition], entry: Mapping[str, Any]) -> bool:
    """Return whether an entry meets all of these; its fields have their whole names."""
    return all(is_met(condition, entry) for condition in conditions)


def is_met(condition: Condition, entry: Mapping[str, Any]) -> bool:
    name, compared, wanted = condition
    negation, _, compared = compared.rpartition(" ")
    value = entry.get(name)
    if value is None:
        is_so = False
    elif compared in COMPARED:
        is_so = COMPARED[compared](value, wanted)
    elif compared == "=":
        is_so = value in wanted if isinstance(wanted, tuple) else value == wanted
    else:
        is_so = compared == ":" or re.search(wanted, value) is not None
    return is_so != bool(negation)
