"""What an earlier set-up has made, and no function or use case has any more."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from deploy import functions
from deploy.configuration import DeploymentSettings
from deploy.shell import Shell

# How each kind is listed: where, which, and what is printed.
LISTS = {
    "scheduler jobs": "--location=$region --filter=name~/jobs/$prefix-"
    " --format=value(name.basename())",
    "run services": "--region=$region --filter=metadata.name~^$prefix-"
    " --format=value(metadata.name)",
    "run jobs": "--region=$region"
    " --filter=metadata.name~^$prefix-((training|predictions)-job-.*|operator)$$"
    " --format=value(metadata.name)",
}


def prune(shell: Shell, *, whole: bool = False) -> None:
    """Delete schedules, services and jobs that nothing has any more; or all of them."""
    for kind, words in LISTS.items():
        names = shell.ask(f"gcloud {kind} list --project=$project {words}").split()
        place = words.split()[0]
        deleting = f"gcloud {kind} delete $name --project=$project {place} --quiet"
        for name in old(kind, names, shell.d, now_s=time.time(), whole=whole):
            shell.run(deleting, name=name)


def old(
    kind: str,
    names: Iterable[str],
    d: DeploymentSettings,
    *,
    now_s: float,
    whole: bool = False,
) -> list[str]:
    """
    Return which of the names are called as ours, and no function or use case has.

    Others have some, too. A schedule that deploy/call.sh made over an hour ago was left
    when it was killed.

    Args:
        whole: Whether nothing is to stay.
    """
    ours = [d.name(function.target) for function in functions.load()]
    kept = set[str]() if whole else _kept(kind, d)
    chosen = list[str]()
    for name in names:
        by_hand = re.fullmatch(rf"{d.prefix}-by-hand-([0-9]+)-[0-9]+", name)
        is_ours = kind == "run jobs" or name in ours
        if kind == "scheduler jobs":
            is_ours = any(f"{name}-".startswith(f"{one}-") for one in ours)
        if by_hand:
            is_ours = int(by_hand[1]) < now_s - 3600
        if is_ours and name not in kept:
            chosen.append(name)
    return chosen


def _kept(kind: str, d: DeploymentSettings) -> set[str]:
    """Return the names of what functions and use cases have."""
    if kind == "scheduler jobs":
        return set(d.schedules)
    if kind == "run services":
        return {d.name(function.target) for function in d.functions}
    jobs = set[str]()
    for function in d.functions:
        if function.target in functions.JOBS:
            jobs |= {d.job(function, one) for one in d.called_for(function)}
        if function.target == "model_training":
            jobs.add(d.name(functions.OPERATOR))
    return jobs
