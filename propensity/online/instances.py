"""
Instances to be scored: features read from JSON or from a row, as a model takes them.

Pure. Whatever is wrong with an instance names its field.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from propensity.errors import RequestError
from propensity.events.values import (
    MAXIMUM_TEXT_CHARACTERS,
    Refused,
    numeral_of,
    sensible_instant,
)
from propensity.ids import problem_of
from propensity.models.encoding import Rows
from propensity.usecases import NUMBER, UseCase

if TYPE_CHECKING:
    pass

# Name of the function, in its log lines.
FUNCTION = "score"

INGESTED = "ingest_ts"
EVENT_ID = "event_id"

_HALF = re.compile(r"[\ud800-\udfff]")
_PLAIN = frozenset({float, int})
_MILLISECOND = timedelta(milliseconds=1)

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Instance:
    """
    What is to be scored, once.

    Attributes:
        numbers: Values of the numbers, in the order of the features; NaN for null.
        texts: Values of the categories, likewise.
        nulls: Names of the numbers that are null.
        event_id: The identity that it was given; None for none.
        ingested_at: When it came into being for us, in UTC; UNSET where nothing
            says so, None where what does makes no sense.
    """

    numbers: Sequence[float]
    texts: Sequence[str | None]
    nulls: Sequence[str] = ()
    event_id: str | None = None
    ingested_at: datetime | None | UnsetType = UNSET

    def latency_ms(self, at: datetime) -> float | None | UnsetType:
        """
        Return the milliseconds from ``ingested_at`` to a score.

        Args:
            at: When it was scored, in UTC.

        Returns:
            UNSET where nothing says since when, None where that makes no sense.
        """
        since = self.ingested_at
        if not isinstance(since, datetime):
            return since
        return None if since > at else (at - since) / _MILLISECOND


class Layout:
    """Where the features of a use case lie, in requests and in rows."""

    def __init__(self, use_case: UseCase) -> None:
        features = use_case.features
        self.use_case = use_case
        self.numbers = tuple(name for name in features if features[name] == NUMBER)
        self.texts = tuple(name for name in features if features[name] != NUMBER)
        self.names = frozenset(features)
        self.identities = (
            (use_case.entity, EVENT_ID) if use_case.scores_events else (EVENT_ID,)
        )
        self._places = {name: place for place, name in enumerate(self.numbers)}
        self._order = (
            None if tuple(features) == self.numbers + self.texts else tuple(features)
        )
        # Of a single name it would give the value itself, so the last is there twice.
        self._pick = operator.itemgetter(*self.numbers, self.numbers[-1])

    def instance(
        self,
        given: Mapping[str, Any],
        *,
        prefix: str,
        latest: datetime,
        beside: Mapping[str, Any] | None = None,
    ) -> Instance:
        """
        Read an instance.

        Args:
            given: Its features by name; others are ignored.
            prefix: Of its fields, for errors.
            latest: The last moment that ``ingest_ts`` makes sense for.
            beside: Where identity and ``ingest_ts`` are looked for first.

        Raises:
            RequestError: A feature is missing or of a kind that it cannot be.
        """
        try:
            values = self._pick(given)[:-1]
        except KeyError as error:
            raise _missing(error.args[0], prefix) from None
        nulls: list[str] = []
        kinds = {*map(type, values)}
        if not kinds <= _PLAIN:
            values, nulls = self._each(values, prefix)
        elif int in kinds:
            try:
                values = [*map(float, values)]
            except OverflowError:
                values, nulls = self._each(values, prefix)
        # Infinity is in no JSON but in what Python reads of it.
        if not math.isfinite(sum(values)) and not nulls:
            values, nulls = self._each(values, prefix)
        texts = [_text(given, name, prefix) for name in self.texts]
        event_id = self.event_id(given, prefix)
        ingested_at = ingested_at_of(given, latest)
        if beside is not None:
            event_id = self.event_id(beside, "") or event_id
            outer = ingested_at_of(beside, latest)
            ingested_at = ingested_at if outer is UNSET else outer
        return Instance(values, texts, nulls, event_id, ingested_at)

    def _each(
        self, values: Sequence[Any], prefix: str
    ) -> tuple[Sequence[float], list[str]]:
        """Return numbers that are not all plain, and the names of those without one."""
        found, nulls = [], []
        for name, value in zip(self.numbers, values, strict=True):
            if value is None:
                found.append(math.nan)
                nulls.append(name)
            else:
                found.append(_number(value, prefix + name))
        return found, nulls

    def event_id(self, given: Mapping[str, Any], prefix: str) -> str | None:
        """Return the identity that an instance was given, None if it has none."""
        for name in self.identities:
            if (value := given.get(name)) is not None:
                return identity(value, prefix + name)
        return None

    def rows(self, instances: Sequence[Instance]) -> Rows:
        """Return instances as a model reads them."""
        numbers = np.array([one.numbers for one in instances], dtype=np.float64)
        texts = {
            name: [one.texts[place] for one in instances]
            for place, name in enumerate(self.texts)
        }
        return Rows(numbers, self._places, texts)

    def written(self, instance: Instance) -> str:
        """Return the features of an instance as JSON, for the log."""
        values = dict(zip(self.numbers, instance.numbers, strict=True))
        if self.texts:
            whole: dict[str, Any] = values | dict(
                zip(self.texts, instance.texts, strict=True)
            )
            if self._order is not None:
                whole = {name: whole[name] for name in self._order}
            return _encode(whole).decode()
        return _encode(values).decode()

    def of_user(self, row: Mapping[str, Any]) -> Instance:
        """Return the instance in a row of a use case's features; null stays null."""
        numbers = [
            math.nan if row[name] is None else float(row[name]) for name in self.numbers
        ]
        nulls = [
            name
            for name, value in zip(self.numbers, numbers, strict=True)
            if math.isnan(value)
        ]
        return Instance(numbers, [row[name] for name in self.texts], nulls)


def _number(value: Any, field: str) -> float:
    """Return a number, or the one that a text holds."""
    if type(value) not in {float, int, str}:
        raise RequestError(
            f"{field} must be a number, or a text that holds one", field=field
        )
    try:
        return float(numeral_of(value, field=field))
    except Refused as error:
        raise RequestError(f"{field}: {error.detail}", field=field) from None
    except OverflowError:
        raise RequestError(
            f"{field}: the number is out of range", field=field
        ) from None


def _text(given: Mapping[str, Any], name: str, prefix: str) -> str | None:
    """Return a category."""
    if name not in given:
        raise _missing(name, prefix)
    value = given[name]
    if value is None:
        return None
    field = prefix + name
    if not isinstance(value, str):
        raise RequestError(f"{field} must be a text or null", field=field)
    if len(value) > MAXIMUM_TEXT_CHARACTERS or _HALF.search(value):
        raise RequestError(
            f"{field} must be a text of {MAXIMUM_TEXT_CHARACTERS} characters at most",
            field=field,
        )
    return value


def identity(value: Any, field: str) -> str:
    """
    Return an identity: a text, or a whole number as one.

    Raises:
        RequestError: It is neither, empty, or too long.
    """
    if type(value) is int:
        value = str(value)
    if problem := problem_of(value):
        raise RequestError(f"{field} {problem}", field=field)
    return str(value)


def ingested_at_of(
    given: Mapping[str, Any], latest: datetime
) -> datetime | None | UnsetType:
    """Return when an instance came into being; whatever it says, it is scored."""
    if INGESTED not in given:
        return UNSET
    return sensible_instant(given[INGESTED], latest=latest)


def _missing(name: str, prefix: str) -> RequestError:
    field = prefix + name
    return RequestError(f"feature {field} is missing", field=field)
