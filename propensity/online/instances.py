"""
Instances: features from JSON or from a row, as the input of a model.

Pure. Every error names the field at fault.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

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
from propensity.ids import INEXACT, is_encodable, problem_of
from propensity.models.encoding import Rows
from propensity.registry.inference_log import latency_ms
from propensity.usecases import NUMBER, UseCase

# Name of the function, in its log lines.
FUNCTION = "score"

INGESTED = "ingest_ts"
EVENT_ID = "event_id"

_PLAIN = frozenset({float, int})

_encode = msgspec.json.Encoder().encode


# A frozen dataclass takes ten times as long to make, and there is one a request.
class Instance(msgspec.Struct, frozen=True):
    """
    The features of one event or user.

    Attributes:
        numbers: Values of the number features, in their order; NaN for null.
        texts: Values of the category features, likewise.
        nulls: Names of the number features that are null.
        event_id: From the request; None without one.
        ingested_at: ``ingest_ts`` in UTC; UNSET without one, None if it makes no sense.
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
            at: Time of scoring, in UTC.

        Returns:
            UNSET without ``ingest_ts``, None if it makes no sense.
        """
        since = self.ingested_at
        return UNSET if since is UNSET else latency_ms(since, at)


class Layout:
    """The order of a use case's features, in requests and in the input of a model."""

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
        # With a single name itemgetter returns no tuple, so the last name is repeated.
        self._pick = operator.itemgetter(*self.numbers, self.numbers[-1])

    def instance(
        self,
        fields: Mapping[str, Any],
        *,
        prefix: str,
        latest: datetime,
        envelope: Mapping[str, Any] | None = None,
    ) -> Instance:
        """
        Read an instance.

        Args:
            fields: Its features by name; other fields are ignored.
            prefix: Of its field names, for errors.
            latest: A later ``ingest_ts`` makes no sense.
            envelope: The object around it, whose identity and ``ingest_ts`` go first.

        Raises:
            RequestError: A feature is missing or has the wrong type.
        """
        try:
            values = self._pick(fields)[:-1]
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
        # JSON has no infinity, but Python reads 1e999 as one.
        if not math.isfinite(sum(values)) and not nulls:
            values, nulls = self._each(values, prefix)
        texts = [_text(fields, name, prefix) for name in self.texts]
        event_id = self.event_id(fields, prefix)
        ingested_at = ingested_at_of(fields, latest)
        if envelope is not None:
            event_id = self.event_id(envelope, "") or event_id
            outer = ingested_at_of(envelope, latest)
            ingested_at = ingested_at if outer is UNSET else outer
        return Instance(values, texts, nulls, event_id, ingested_at)

    def _each(
        self, values: Sequence[Any], prefix: str
    ) -> tuple[Sequence[float], list[str]]:
        """Read numbers one by one; return them and the names of null ones."""
        numbers, nulls = [], []
        for name, value in zip(self.numbers, values, strict=True):
            if value is None:
                numbers.append(math.nan)
                nulls.append(name)
            else:
                numbers.append(_number(value, prefix + name))
        return numbers, nulls

    def event_id(self, fields: Mapping[str, Any], prefix: str) -> str | None:
        """Return the identity among the fields of an instance, None without one."""
        for name in self.identities:
            if (value := fields.get(name)) is not None:
                return identity(value, prefix + name)
        return None

    def rows(self, instances: Sequence[Instance]) -> Rows:
        """Return instances as the input of a model."""
        numbers = np.array(
            [instance.numbers for instance in instances], dtype=np.float64
        )
        texts = {
            name: [instance.texts[place] for instance in instances]
            for place, name in enumerate(self.texts)
        }
        return Rows(numbers, self._places, texts)

    def features_json(self, instance: Instance) -> str:
        """Return the features of an instance as JSON, for the log."""
        values = dict(zip(self.numbers, instance.numbers, strict=True))
        if self.texts:
            features: dict[str, Any] = values | dict(
                zip(self.texts, instance.texts, strict=True)
            )
            if self._order is not None:
                features = {name: features[name] for name in self._order}
            return _encode(features).decode()
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
    """Return a number, which may be written as a text."""
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


def _text(fields: Mapping[str, Any], name: str, prefix: str) -> str | None:
    """Return the value of a category feature."""
    if name not in fields:
        raise _missing(name, prefix)
    value = fields[name]
    if value is None:
        return None
    field = prefix + name
    if not isinstance(value, str):
        raise RequestError(f"{field} must be a text or null", field=field)
    if len(value) > MAXIMUM_TEXT_CHARACTERS or not is_encodable(value):
        raise RequestError(
            f"{field} must be a text of {MAXIMUM_TEXT_CHARACTERS} characters at most",
            field=field,
        )
    return value


def identity(value: Any, field: str) -> str:
    """
    Return an identity: a text, or a whole number as a text.

    Raises:
        RequestError: It is neither, empty, too long, or a number of 2^53 or more.
    """
    if type(value) is int and abs(value) < INEXACT:
        value = str(value)
    if problem := problem_of(value):
        raise RequestError(f"{field} {problem}", field=field)
    return str(value)


def ingested_at_of(
    fields: Mapping[str, Any], latest: datetime
) -> datetime | None | UnsetType:
    """Return ``ingest_ts``: UNSET without one, None if it makes no sense."""
    if INGESTED not in fields:
        return UNSET
    return sensible_instant(fields[INGESTED], latest=latest)


def _missing(name: str, prefix: str) -> RequestError:
    field = prefix + name
    return RequestError(f"feature {field} is missing", field=field)
