"""
Use cases: a folder each, holding all that is particular to one.

``usecase.toml`` says what a row is and which features it has, ``features.sql`` and
``labels.sql`` say how BigQuery computes them, ``model.py`` is optional. A fourth use
case is a fourth folder: nothing elsewhere names one.

- ``declaration``: what a ``usecase.toml`` may say, and at which line it is wrong
- ``export``: the view ``ga_events``, with the columns that use cases name
"""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from importlib import resources
from types import ModuleType
from typing import TYPE_CHECKING, Any

from propensity import tables
from propensity.errors import RequestError, UseCaseError
from propensity.statements import statement
from propensity.timeframe import Timeframe, first_suffix
from propensity.usecases import declaration, export
from propensity.usecases.declaration import CATEGORY, NUMBER, Problem
from propensity.usecases.export import Value

if TYPE_CHECKING:
    from propensity.settings import Settings

__all__ = ["CATEGORY", "NUMBER", "Baseline", "Candidate", "Problem", "UseCase", "Value"]

EXPORT_VIEW = export.VIEW

# Holds a folder for each use case.
FOLDER = resources.files(__name__)

# Statements that a use case of users has; one of events has none of its own.
STATEMENTS = ("features", "labels", "first_day")

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Candidate:
    """One algorithm with its parameters, to be tried in training."""

    name: str
    algorithm: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The one feature that a candidate must beat to be worth its trouble."""

    feature: str
    ascending: bool


@dataclass(frozen=True, kw_only=True)
class UseCase:
    """
    One use case as its folder describes it.

    ``features`` maps each column of ``features.sql`` that the model reads to "number"
    or "category", in the order of the model's input. ``events`` names the types of
    events that it takes from the stream, ``event_types`` declares those of its own.
    Of those, ``scored`` have the features as their own fields, so that a row is one
    event and no user, and ``truths`` say what came of an earlier event. ``amount`` is
    the feature that a missed one costs, where there is one.
    ``span`` says what the outcome is foreseen from, where it is not the lookback.
    ``export_values`` are the event parameters and user properties of the GA4 export
    that its statements read, beyond the columns that ``ga_events`` has for all.
    """

    name: str
    title: str
    outcome: str
    entity: str
    lookback_days: int
    horizon_days: int
    threshold: float
    parameters: Mapping[str, str | int]
    features: Mapping[str, str]
    baseline: Baseline
    candidates: Sequence[Candidate]
    events: Sequence[str] = ()
    event_types: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    scored: Sequence[str] = ()
    truths: Sequence[str] = ()
    amount: str = ""
    span: str = ""
    export_values: Sequence[Value] = ()

    @property
    def scores_events(self) -> bool:
        """Whether a row is one event, whose own fields are the features."""
        return bool(self.scored)

    def timeframe(self, settings: Settings) -> Timeframe:
        """
        Return the spans that this use case measures time with.

        Where a label is known only some days later, figures are not final before.
        """
        if self.scores_events:
            return Timeframe(
                lookback_days=self.lookback_days,
                horizon_days=self.horizon_days,
                settle_days=settings.truth_delay_days,
            )
        known = int(self.chosen(settings).get("label_known_days", 0))
        return Timeframe(
            lookback_days=self.lookback_days,
            horizon_days=self.horizon_days,
            settle_days=max(settings.settle_days, known - self.horizon_days),
        )

    @property
    def reads_export(self) -> bool:
        """Whether its features are made of the GA4 export."""
        return not self.scores_events and EXPORT_VIEW in self.statement("features")

    def statement(self, name: str) -> str:
        """
        Return ``name.sql``: the use case's own, or the shared one.

        What a statement includes is taken from the use case in the same way.

        Raises:
            UseCaseError: There is neither.
        """
        try:
            return statement(name, own=FOLDER / self.name)
        except FileNotFoundError as error:
            raise UseCaseError(f"there is no statement {name}.sql") from error

    def has_statement(self, name: str) -> bool:
        """Tell whether the use case has a statement ``name`` of its own."""
        return (FOLDER / self.name / f"{name}.sql").is_file()

    def window(
        self, settings: Settings, as_ofs: Sequence[date], *, today: date | None = None
    ) -> dict[str, Any]:
        """
        Return the parameters of the use case's statements.

        Args:
            settings: A setting of a parameter's name overrides its default.
            as_ofs: As-of dates to compute rows for; one or more.
            today: The run's as-of date, on which a label is known or not; the last of
                ``as_ofs`` where None.

        Returns:
            Values by name. Features and labels each have suffix bounds of their own, so
            that each reads the days it needs and pays for no more.
        """
        return {
            **self.chosen(settings),
            "as_ofs": sorted(as_ofs),
            "today": today or max(as_ofs),
            "earliest": min(as_ofs) - timedelta(days=self.lookback_days + 2),
            "lookback_days": self.lookback_days,
            "horizon_days": self.horizon_days,
            "first_suffix": first_suffix(min(as_ofs), days=self.lookback_days),
            "last_suffix": first_suffix(max(as_ofs), days=-1),
            "first_label_suffix": first_suffix(min(as_ofs), days=0),
            "last_label_suffix": first_suffix(max(as_ofs), days=-self.horizon_days - 1),
        }

    def chosen(self, settings: Settings) -> dict[str, str | int]:
        """Return the use case's own parameters, as a deployment has set them."""
        return {
            name: type(default)(getattr(settings, name, "") or default)
            for name, default in self.parameters.items()
        }

    def serving(
        self, settings: Settings, user_ids: Collection[str], *, first_event_day: date
    ) -> dict[str, Any]:
        """
        Return the parameters of the use case's ``stream_rows``.

        Args:
            settings: As in ``window``.
            user_ids: Whose features are read; one or more.
            first_event_day: Of the oldest event to be scored.
        """
        return {
            **self.chosen(settings),
            "use_case": self.name,
            "user_ids": sorted(user_ids),
            # Constants, without which BigQuery would read the rows of all users.
            "user_buckets": sorted({tables.user_bucket(one) for one in user_ids}),
            "first_event_day": first_event_day,
        }

    @property
    def model(self) -> ModuleType | None:
        """The use case's ``model.py``, or None where it has none."""
        if not (FOLDER / self.name / "model.py").is_file():
            return None
        return importlib.import_module(f"{__name__}.{self.name}.model")


def names() -> list[str]:
    """Return the names of the use cases that this deploy holds."""
    return sorted(
        entry.name
        for entry in FOLDER.iterdir()
        if entry.is_dir() and (entry / "usecase.toml").is_file()
    )


@cache
def load(name: str) -> UseCase:
    """
    Return the use case ``name``.

    Raises:
        RequestError: There is none of that name.
        UseCaseError: Its folder is wrong; the message says where, by file and line.
    """
    if not NAME.fullmatch(name) or name not in names():
        raise RequestError(
            f"there is no use case {name[:64]!r}; this deploy has {', '.join(names())}",
            field="use_case",
        )
    text = (FOLDER / name / declaration.FILE).read_text("utf-8")
    found = parse(name, text)
    if missing := missing_statements(found):
        raise UseCaseError("\n".join(one.located(name) for one in missing))
    return found


def missing_statements(use_case: UseCase) -> list[Problem]:
    """Return the statements that a use case needs and has not."""
    if use_case.scores_events:
        return []
    return [
        Problem(f"{one}.sql", 1, f"is missing: every use case of users has a {one}.sql")
        for one in STATEMENTS
        if not use_case.has_statement(one)
    ]


def parse(name: str, text: str) -> UseCase:
    """
    Return the use case that a ``usecase.toml`` describes.

    Raises:
        UseCaseError: The text is none; the message has every problem and its line.
    """
    if wrong := declaration.problems(text):
        raise UseCaseError("\n".join(one.located(name) for one in wrong))
    read = tomllib.loads(text)
    stream = read.get("stream", {})
    return UseCase(
        name=name,
        title=read["title"],
        outcome=read["outcome"],
        entity=read["entity"],
        lookback_days=read["lookback_days"],
        horizon_days=read["horizon_days"],
        threshold=float(read["threshold"]),
        parameters=dict(read.get("parameters", {})),
        features=dict(read["features"]),
        baseline=Baseline(**read["baseline"]),
        candidates=[Candidate(**entry) for entry in read["candidates"]],
        events=tuple(stream.get("events", ())),
        event_types=dict(read.get("events", {})),
        scored=tuple(stream.get("scored", ())),
        truths=tuple(stream.get("truths", ())),
        amount=str(stream.get("amount", "")),
        span=str(read.get("span", "")),
        export_values=tuple(
            Value(record, key, kind)
            for record in declaration.VALUES
            for key, kind in read.get(record, {}).items()
        ),
    )


def export_values() -> tuple[Value, ...]:
    """
    Return the values of the export that the use cases of this deploy name.

    Raises:
        UseCaseError: A use case is wrong, or two want one column in two types.
    """
    return export.merged({name: load(name).export_values for name in names()})
