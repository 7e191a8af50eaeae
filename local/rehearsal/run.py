"""Rehearse: play every step, ask every question, and take everything away."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy import DeploymentError, deployed
from local.errors import LocalError
from local.generators.shop import Shop
from local.processes import deferred_signals, ending_on_signals
from local.progress import announced, say
from local.rehearsal.google_cloud import GoogleCloud
from propensity import folders
from propensity.errors import PropensityError
from propensity.gcp.clients import RAISED
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings, is_setting

YES = "yes"
NO = "no"
NOT_TRIED = "not tried"
# What may stand between a question and its answer, also an answer of another form.
OF_ANSWERS = (LookupError, ValueError)
FAILURES = (LocalError, DeploymentError, PropensityError) + RAISED + OF_ANSWERS
# Accounts, addresses of functions, and numbers that only a project or a user has.
IDS = {
    re.compile(r"[\w.%+'-]+@[\w.-]+\w"): "ACCOUNT",
    re.compile(r"https?://[\w.:-]+"): "ADDRESS",
    re.compile(r"\b\d{9,}\b"): "NUMBER",
}


class No(Exception):
    """It is not so here; the message says what was seen."""


class NotTried(Exception):
    """Nobody can tell; the message says why."""


@dataclass(kw_only=True)
class Rehearsal:
    """
    What steps and questions share.

    Attributes:
        person: Answers a question; None if nobody knows.
        destinations: Files of the named deployment for Google's Data Manager.
        export: The named deployment's export; empty without one.
        weeks: Dates of predictions.
        user: A user with a prediction; empty before there is one.
    """

    place: GoogleCloud
    person: Callable[[str], bool | None] = lambda _: None
    destinations: list[Path] = field(default_factory=list)
    export: str = ""
    weeks: list[date] = field(default_factory=list)
    user: str = ""
    is_set_up: bool = False

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


@dataclass(frozen=True, kw_only=True)
class Question:
    """Something that may hold; ``ask`` says what it saw, or raises No or NotTried."""

    name: str
    ask: Callable[[Rehearsal], str]
    remedy: str
    is_step: bool = False


def question(name: str, remedy: str) -> Callable[[Any], Question]:
    return lambda ask: Question(name=name, ask=ask, remedy=remedy)


def step(name: str, remedy: str) -> Callable[[Any], Question]:
    """Make a question of what must succeed: its failure is an answer."""
    return lambda ask: Question(name=name, ask=ask, remedy=remedy, is_step=True)


def asked(one: Question, rehearsal: Rehearsal) -> dict[str, str]:
    """Ask a question; return its answer and what was seen."""
    answer = NOT_TRIED
    try:
        seen = one.ask(rehearsal)
        answer = YES
    except NotTried as why:
        seen = str(why)
    except No as why:
        seen = str(why)
        answer = NO
    except FAILURES as why:
        seen = str(why)
        answer = NO if one.is_step else NOT_TRIED
    remedy = one.remedy if answer == NO else ""
    return {"question": one.name, "answer": answer, "seen": seen, "remedy": remedy}


@contextlib.contextmanager
def entered(environment: Mapping[str, str]) -> Iterator[None]:
    """Have these settings in the block, and no others."""
    before = dict(os.environ)
    for name in before:
        if is_setting(name) or name.endswith("_EMULATOR_HOST"):
            del os.environ[name]
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def rehearse(rehearsal: Rehearsal, questions: tuple[Question, ...]) -> dict[str, Any]:
    """
    Ask everything, and take everything away, also if it is broken off.

    Returns:
        An answer to each question, and what could not be taken away; without names.

    Raises:
        LocalError: Something is missing, or the project has a deployment.
    """
    place = rehearsal.place
    place.check()
    findings = []
    left: list[str] = []
    with ending_on_signals(), entered(place.environment):
        place.begin()
        try:
            for one in questions:
                with announced(one.name):
                    findings.append(asked(one, rehearsal))
                if not rehearsal.is_set_up:
                    break
        finally:
            with deferred_signals(), announced("taking everything away"):
                left += place.take_away()
            for text in left:
                say(f"This stays: {text}")
    for finding in findings:
        finding["seen"] = without_names(finding["seen"], rehearsal)
    minutes = (datetime.now(UTC) - place.began).total_seconds() / 60
    return {
        "release": deployed.commit_of(folders.ROOT),
        "minutes": round(minutes),
        "findings": findings,
        "not_asked": [one.name for one in questions[len(findings) :]],
        "left": [without_names(text, rehearsal) for text in left],
    }


def without_names(text: str, rehearsal: Rehearsal) -> str:
    """Return a text of which nobody learns whose it is."""
    settings = rehearsal.place.deployment.settings
    names = {
        settings.bucket: "BUCKET",
        settings.project: "PROJECT",
        rehearsal.export: "EXPORT",
        rehearsal.user: "USER",
        str(Path.home()): "HOME",
    }
    names.pop("", None)
    # A longer name may begin with a shorter one.
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    for pattern, word in IDS.items():
        text = pattern.sub(word, text)
    return text
