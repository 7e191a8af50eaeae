"""Rehearse: play every step, ask every question, and take everything away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy import DeploymentError, deployed
from local.errors import LocalError, NotTried
from local.generators.shop import Shop
from local.processes import deferred_signals, ending_on_signals
from local.rehearsal import google_cloud
from local.rehearsal.google_cloud import GoogleCloud
from propensity import folders
from propensity.cli.progress import announced, say
from propensity.errors import PropensityError
from propensity.gcp.clients import RAISED
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings

YES = "yes"
NO = "no"
NOT_TRIED = "not tried"
# What may stand between a question and its answer, also an answer of another form.
OF_ANSWERS = (LookupError, ValueError)
FAILURES = (LocalError, DeploymentError, PropensityError) + RAISED + OF_ANSWERS
# Accounts, addresses of functions, and numbers that only a project or a user has.
IDS = {
    r"[\w.%+'-]+@[\w.-]+\w": "ACCOUNT",
    r"https?://[\w.:-]+": "ADDRESS",
    r"\b\d{9,}\b": "NUMBER",
}


class No(LocalError):
    """It is not so here; the problem is what was seen."""


@dataclass(kw_only=True)
class Rehearsal:
    """
    What steps and questions share.

    Attributes:
        weeks: Dates of predictions.
        user: A user with a prediction; empty before there is one.
    """

    place: GoogleCloud
    weeks: list[date] = field(default_factory=list)
    user: str = ""

    @cached_property
    def shop(self) -> Shop:
        """
        What the export has: as many days as a training needs, and two weeks after it.

        With half as many users no version would be better than the baseline.
        """
        return Shop(users=2_000, days=118)

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse.open(Settings.from_environment())


# Says what it saw, or raises No or NotTried.
Ask = Callable[[Rehearsal], str]


def asked(name: str, ask: Ask, rehearsal: Rehearsal, *, failure: str) -> dict[str, str]:
    """Ask a question; return its answer, which is ``failure`` where it fails."""
    answer = YES
    try:
        seen = ask(rehearsal)
    except NotTried as why:
        answer = NOT_TRIED
        seen = str(why)
    except No as why:
        answer = NO
        seen = str(why)
    except FAILURES as why:
        answer = failure
        seen = str(why)
    seen = without_names(seen, rehearsal)
    return {"question": name, "answer": answer, "seen": seen}


def rehearse(
    rehearsal: Rehearsal, *, steps: Mapping[str, Ask], questions: Mapping[str, Ask]
) -> dict[str, Any]:
    """
    Ask everything, and take everything away, also if it is broken off.

    Args:
        steps: A step that fails does not hold. The first one sets up; if it fails,
            nothing else is asked.
        questions: A question that fails could not be asked.

    Returns:
        An answer to each question, and what could not be taken away; without names.

    Raises:
        LocalError: Something is missing, or the project has a deployment.
    """
    place = rehearsal.place
    google_cloud.check()
    asks = [(name, ask, NO) for name, ask in steps.items()]
    asks += [(name, ask, NOT_TRIED) for name, ask in questions.items()]
    findings: list[dict[str, str]] = []
    left: list[str] = []
    place.enter()
    with ending_on_signals():
        place.begin()
        try:
            for name, ask, failure in asks:
                with announced(name):
                    findings.append(asked(name, ask, rehearsal, failure=failure))
                if findings[0]["answer"] != YES:
                    break
        finally:
            with deferred_signals(), announced("taking everything away"):
                left += place.take_away()
            for text in left:
                say(f"This stays: {text}")
    minutes = (datetime.now(UTC) - place.began).total_seconds() / 60
    return {
        "release": deployed.commit_of(folders.ROOT),
        "minutes": round(minutes),
        "findings": findings,
        "not_asked": [name for name, _, _ in asks[len(findings) :]],
        "left": [without_names(text, rehearsal) for text in left],
    }


def without_names(text: str, rehearsal: Rehearsal) -> str:
    """Return a text of which nobody learns whose it is."""
    settings = rehearsal.place.deployment.settings
    # The bucket's name begins with the project's.
    names = {settings.bucket: "BUCKET", settings.project: "PROJECT"}
    names[str(Path.home())] = "HOME"
    if rehearsal.user:
        names[rehearsal.user] = "USER"
    for name, word in names.items():
        text = text.replace(name, word)
    for pattern, word in IDS.items():
        text = re.sub(pattern, word, text)
    return text
