"""
A parsed request for scores: of instances with their features, or of a user. Pure.

Every error names the field at fault.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import UNSET, UnsetType

from propensity.errors import RequestError, TooLarge
from propensity.events.values import (
    MAXIMUM_TEXT_CHARACTERS,
    Refused,
    numeral_of,
    sensible_instant,
)
from propensity.gcp.http import each_once
from propensity.ids import INEXACT, is_encodable, problem_of
from propensity.usecases import NUMBER, UseCase

# Python refuses whole numbers of more digits.
_MOST_DIGITS = 4_300

# A body has one of these, or else the features themselves.
WAYS = ("features", "instances", "user_id")
INGESTED = "ingest_ts"
EVENT_ID = "event_id"
MAXIMUM_INSTANCES = 1_000

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_LARGEST = 2**63 - 1

_encode = msgspec.json.Encoder().encode


class Instance(msgspec.Struct, frozen=True):
    """
    The features of one event or user.

    Attributes:
        numbers: Values of the number features, in their order; NaN for null.
        texts: Values of the category features, likewise.
        prefix: Of its field names in the request.
        event_id: From the request; None without one.
        ingested_at: ``ingest_ts`` in UTC; UNSET without one, None if it makes no sense.
    """

    numbers: Sequence[float]
    texts: Sequence[str | None]
    prefix: str = ""
    event_id: str | None = None
    ingested_at: datetime | None | UnsetType = UNSET


class Question(msgspec.Struct, frozen=True):
    """
    A parsed request: for scores of instances, or of a user.

    Attributes:
        layout: Of the use case whose model scores.
        version: The version that scores; None for the champion.
        instances: In the order of the request; empty for a user.
        user_id: None for instances.
        is_single: Whether the answer is one object, not a list.
        event_id, ingested_at: Of a request for a user.
    """

    layout: Layout
    version: int | None
    instances: Sequence[Instance] = ()
    user_id: str | None = None
    is_single: bool = True
    event_id: str | None = None
    ingested_at: datetime | None | UnsetType = UNSET


class Layout:
    """The features of a use case, and how instances have them."""

    def __init__(self, use_case: UseCase) -> None:
        features = use_case.features
        self.use_case = use_case
        self.numbers = tuple(name for name in features if features[name] == NUMBER)
        self.texts = tuple(name for name in features if features[name] != NUMBER)
        self.names = frozenset(features)
        self.identities = (
            (use_case.entity, EVENT_ID) if use_case.scores_events else (EVENT_ID,)
        )

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
        event_id = self.event_id(fields, prefix)
        ingested_at = ingested_at_of(fields, latest)
        if envelope is not None:
            event_id = self.event_id(envelope, "") or event_id
            outer = ingested_at_of(envelope, latest)
            ingested_at = ingested_at if outer is UNSET else outer
        return Instance(
            [_number(fields, name, prefix) for name in self.numbers],
            [_text(fields, name, prefix) for name in self.texts],
            prefix,
            event_id,
            ingested_at,
        )

    def event_id(self, fields: Mapping[str, Any], prefix: str) -> str | None:
        """Return the identity among the fields of an instance, None without one."""
        for name in self.identities:
            if (value := fields.get(name)) is not None:
                return identity(value, prefix + name)
        return None

    def of_user(self, row: Mapping[str, Any]) -> Instance:
        """Return the instance in a row of a use case's features; null stays null."""
        numbers = [
            math.nan if row[name] is None else float(row[name]) for name in self.numbers
        ]
        return Instance(numbers, [row[name] for name in self.texts])

    def rows(self, instances: Sequence[Instance]) -> pa.RecordBatch:
        """Return instances as the input of a model."""
        numbers = np.array([instance.numbers for instance in instances], np.float64)
        columns = dict(zip(self.numbers, map(pa.array, numbers.T), strict=True))
        for position, name in enumerate(self.texts):
            texts = [instance.texts[position] for instance in instances]
            columns[name] = pa.array(texts, pa.string())
        return pa.RecordBatch.from_pydict(columns)

    def features_json(self, instance: Instance) -> str:
        """Return the features of an instance as JSON, for the log."""
        names, values = self.numbers + self.texts, [*instance.numbers, *instance.texts]
        features = dict(zip(names, values, strict=True))
        return _encode(
            {name: features[name] for name in self.use_case.features}
        ).decode()


class Reader:
    """Parses requests for the use cases of a deploy."""

    def __init__(self, use_cases: Iterable[UseCase], *, default: str) -> None:
        """
        Args:
            use_cases: Of this deploy.
            default: Name of the use case of a request that says none.
        """
        self.layouts = {use_case.name: Layout(use_case) for use_case in use_cases}
        self._default = default

    def question(self, body: bytes, *, latest: datetime) -> Question:
        """
        Read the body of a request.

        Args:
            body: JSON.
            latest: A later ``ingest_ts`` makes no sense.

        Raises:
            RequestError: The body is wrong; the error names the field.
            TooLarge: It has too many instances.
        """
        fields = _object(body)
        version = _version(fields.get("version"))
        ways = [name for name in WAYS if name in fields]
        if len(ways) > 1:
            raise RequestError(
                f"give one of {', '.join(WAYS)}; {' and '.join(ways)} are there",
                field=ways[1],
            )
        way = ways[0] if ways else ""
        value = fields[way] if way else fields
        if way == "user_id":
            layout = self._layout(fields, {})
            return Question(
                layout,
                version,
                user_id=identity(value, way),
                event_id=layout.event_id(fields, ""),
                ingested_at=ingested_at_of(fields, latest),
            )
        if way == "instances":
            return self._several(fields, value, version, latest)
        if type(value) is not dict:
            raise RequestError("features must be an object", field=way)
        layout = self._layout(fields, value)
        if not (way or fields.keys() & layout.names):
            raise RequestError(
                f"nothing to score: give one of {', '.join(WAYS)}, or the features "
                f"themselves: {', '.join(layout.use_case.features)}",
                field="features",
            )
        instance = layout.instance(
            value,
            prefix=f"{way}." if way else "",
            latest=latest,
            envelope=fields if way else None,
        )
        return Question(layout, version, (instance,))

    def _several(
        self,
        fields: Mapping[str, Any],
        items: Any,
        version: int | None,
        latest: datetime,
    ) -> Question:
        if type(items) is not list or not items:
            raise RequestError(
                "instances must be a list of objects, one at least", field="instances"
            )
        if len(items) > MAXIMUM_INSTANCES:
            raise TooLarge(
                f"{len(items)} instances, and {MAXIMUM_INSTANCES} are allowed",
                field="instances",
            )
        for place, item in enumerate(items):
            if type(item) is not dict:
                raise RequestError(
                    "each of instances must be a JSON object",
                    field=f"instances[{place}]",
                )
        layout = self._layout(fields, items[0])
        instances = [
            layout.instance(item, prefix=f"instances[{place}].", latest=latest)
            for place, item in enumerate(items)
        ]
        return Question(layout, version, instances, is_single=False)

    def _layout(self, fields: Mapping[str, Any], features: Mapping[str, Any]) -> Layout:
        """
        Return the layout of the request's use case.

        Without ``use_case`` that is the one all of whose features are in the request,
        if there is one; else the default.
        """
        name = fields.get("use_case")
        if name is None:
            names = features.keys()
            whole = [each for each in self.layouts.values() if names >= each.names]
            if len(whole) == 1:
                return whole[0]
            name = self._default
        if not isinstance(name, str):
            raise RequestError("use_case must be a text", field="use_case")
        if name not in self.layouts:
            raise RequestError(
                f"there is no use case {name[:64]!r}; this deploy has "
                f"{', '.join(self.layouts)}",
                field="use_case",
            )
        return self.layouts[name]


def _object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; later checks refuse NaN, and name the field."""
    try:
        fields = json.loads(
            body.decode(), parse_int=_integer, object_pairs_hook=each_once
        )
    except (ValueError, RecursionError):
        raise RequestError("the body is not JSON in UTF-8", field="body") from None
    if type(fields) is not dict:
        raise RequestError("the body must be a JSON object", field="body")
    return fields


def _integer(digits: str) -> int | float:
    """Return a whole number; infinity if it has more digits than Python reads."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _version(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        raise RequestError("version must be a whole number", field="version")
    return max(-1, min(value, _LARGEST))


def _number(fields: Mapping[str, Any], name: str, prefix: str) -> float:
    """Return the value of a number feature, which may be written as a text."""
    value = fields.get(name)
    if type(value) is float and math.isfinite(value):
        return value
    field = prefix + name
    if value is None:
        if name not in fields:
            raise _missing(field)
        return math.nan
    if type(value) not in {float, int, str}:
        raise RequestError(
            f"{field} must be a number, or a text that holds one", field=field
        )
    try:
        return float(numeral_of(value, field=field))
    except (Refused, OverflowError) as error:
        reason = getattr(error, "detail", "the number is out of range")
        raise RequestError(f"{field}: {reason}", field=field) from None


def _text(fields: Mapping[str, Any], name: str, prefix: str) -> str | None:
    """Return the value of a category feature."""
    field = prefix + name
    if name not in fields:
        raise _missing(field)
    value = fields[name]
    if value is None:
        return None
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


def _missing(field: str) -> RequestError:
    return RequestError(f"feature {field} is missing", field=field)
