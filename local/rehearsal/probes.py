"""
A probe: what a page says, what is done to see it, and what was seen.

What it asks returns a sentence if the page is right. It raises ``No`` if the page is
wrong, and ``NotTried`` if nobody can tell; so does every other failure on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from deploy import DeploymentError
from local.errors import LocalError
from propensity.errors import NoChampion, PropensityError
from propensity.gcp.clients import RAISED

if TYPE_CHECKING:
    from local.rehearsal.ground import Call, Ground

YES = "yes"
NO = "no"
NOT_TRIED = "not tried"

# What may stand between a question and its answer.
FAILURES = (LocalError, DeploymentError, PropensityError) + RAISED


class No(Exception):
    """The sentence is wrong here; the message says what was seen."""


class NotTried(Exception):
    """Nobody can tell; the message says why."""


@dataclass(kw_only=True)
class Rehearsal:
    """
    What probes share: the ground, and what was done on it so far.

    Attributes:
        is_set_up: Whether everything was made.
        weeks: Dates of predictions, the last whose outcomes the shop has.
        user: A user with a prediction; empty before there is one.
        calls: Of functions, in order.
        answered: Services of whose work something arrived.
        waits: Seconds of each lookup.
    """

    ground: Ground
    began: datetime
    is_set_up: bool = False
    weeks: list[date] = field(default_factory=list)
    user: str = ""
    calls: list[Call] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    waits: list[float] = field(default_factory=list)

    def call(self, target: str, **body: object) -> Call:
        """Have the scheduler call a function, and remember it."""
        answer = self.ground.call(target, body)
        self.calls.append(answer)
        if answer.outcome == "ok":
            self.answered.add(target)
        return answer

    def run(self, target: str, **body: object) -> Call:
        """
        Call a function, whose run must succeed.

        Raises:
            NotTried: It may not do something, which is its permissions' fault.
            No: It failed for another reason.
        """
        answer = self.call(target, **body)
        if answer.is_refused:
            raise NotTried(f"{target} was refused: see its permissions")
        if answer.is_kept_out:
            raise NotTried(
                f"{target} kept the scheduler out: see the scheduler's token"
            )
        if answer.outcome == NoChampion.code:
            raise NotTried("no version is live: see train")
        if answer.outcome != "ok":
            raise No(f"{target} ended with {answer.outcome}: {answer.message}")
        return answer


Ask = Callable[[Rehearsal], str]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """
    One assumption.

    Attributes:
        about: What it is about: a function, or a part of Google Cloud.
        page, sentence: What a page says, word by word.
        remedy: What to do if it is wrong.
        ask: Sees whether it is right, and says what it saw.
        is_googles: Whether no emulator can tell.
        is_early: Whether it is asked also where nothing could be set up.
    """

    name: str
    about: str
    page: str
    sentence: str
    remedy: str
    ask: Ask
    is_googles: bool
    is_early: bool = False


Decorator = Callable[[Ask], Probe]


def question(name: str, *, is_googles: bool = True, **words: Any) -> Decorator:
    """Make a probe of the function that asks it, with these words."""

    def probe_of(ask: Ask) -> Probe:
        return Probe(name=name, ask=ask, is_googles=is_googles, **words)

    return probe_of


def step(
    name: str,
    *,
    remedy: str = "docs/operate.md, Errors, explains the word.",
    **words: Any,
) -> Decorator:
    """Make a probe of the function that plays it; an emulator can, too."""
    return question(name, remedy=remedy, is_googles=False, **words)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer of a probe: ``yes``, ``no`` or ``not tried``, and what was seen."""

    probe: Probe
    answer: str
    seen: str


def answered(probe: Probe, rehearsal: Rehearsal) -> Finding:
    """Ask a probe."""
    answer = NOT_TRIED
    if probe.is_googles and not rehearsal.ground.is_google:
        seen = "only Google can answer this"
        return Finding(probe=probe, answer=answer, seen=seen)
    if not rehearsal.is_set_up and not probe.is_early:
        seen = "nothing could be set up"
        return Finding(probe=probe, answer=answer, seen=seen)
    try:
        seen = probe.ask(rehearsal)
        answer = YES
    except No as why:
        seen = str(why)
        answer = NO
    except NotTried as why:
        seen = str(why)
    except FAILURES as why:
        seen = f"it could not be asked: {why}"
    return Finding(probe=probe, answer=answer, seen=seen)
