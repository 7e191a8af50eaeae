"""
A parsed request for scores: of instances with their features, or of a user. Pure.

Every error names the field at fault.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import UNSET, UnsetType

from propensity.errors import RequestError, TooLarge
from propensity.events.values import (
    MAXIMUM_TEXT_CHARACTERS,
    Refused,
    numeral_of,
    sensible_instant,
)
from propensity.ids import INEXACT, is_encodable, problem_of
from propensity.usecases import NUMBER, UseCase

# A body has one of these, or else the features themselves.
WAYS = ("features", "instances", "user_id")
INGESTED = "ingest_ts"
EVENT_ID = "event_id"
MAXIMUM_INSTANCES = 1_000

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_LARGEST = 2**63 - 1


class Instance(msgspec.Struct, frozen=True):
    """
    The features of one event or user.

    Attributes:
        features: Floats, texts or None by name, in the order of the use case.
        prefix: Of its field names in the request.
        event_id: From the request; None without one.
        ingested_at: ``ingest_ts`` in UTC; UNSET without one, None if it makes no sense.
    """

    features: Mapping[str, float | str | None]
    prefix: str = ""
    event_id: str | None = None
    ingested_at: datetime | None | UnsetType = UNSET


class Question(msgspec.Struct, frozen=True):
    """
    A parsed request: for scores of instances, or of a user.

    Attributes:
        layout: Of the use case whose model scores.
        version: The version that scores; None for the champion.
        instances: In the order of the request; for a user one without features.
        user_id: None for instances.
        is_single: Whether the answer is one object, not a list.
    """

    layout: Layout
    version: int | None
    instances: Sequence[Instance]
    user_id: str | None = None
    is_single: bool = True


class Layout:
    """The features of a use case, and how instances have them."""

    def __init__(self, use_case: UseCase) -> None:
        self.use_case = use_case
        self.features = use_case.features
        self._identities = [use_case.entity] if use_case.scores_events else []

    def instance(
        self,
        fields: Mapping[str, Any],
        *,
        prefix: str,
        latest: datetime,
        envelope: Mapping[str, Any],
    ) -> Instance:
        """
        Read an instance, or raise RequestError.

        Args:
            fields: Its features by name; other fields are ignored.
            prefix: Of its field names, for errors.
            latest: A later ``ingest_ts`` makes no sense.
            envelope: The object around it, whose identity and ``ingest_ts`` go first.
        """
        features = {
            name: (_number if kind == NUMBER else _text)(fields, name, prefix)
            for name, kind in self.features.items()
        }
        inner = self.named(fields, prefix=prefix, latest=latest)
        outer = self.named(envelope, prefix="", latest=latest)
        return Instance(
            features,
            prefix,
            outer.event_id or inner.event_id,
            inner.ingested_at if outer.ingested_at is UNSET else outer.ingested_at,
        )

    def named(
        self, fields: Mapping[str, Any], *, prefix: str, latest: datetime
    ) -> Instance:
        """Return an instance without features: its identity and ``ingest_ts``."""
        event_id = None
        for name in (*self._identities, EVENT_ID):
            if event_id is None and fields.get(name) is not None:
                event_id = identity(fields[name], prefix + name)
        moment: datetime | None | UnsetType = UNSET
        if INGESTED in fields:
            moment = sensible_instant(fields[INGESTED], latest=latest)
        return Instance({}, prefix, event_id, moment)

    def rows(self, instances: Sequence[Instance]) -> pa.RecordBatch:
        """Return instances as the input of a model."""
        return pa.RecordBatch.from_pydict(
            {
                name: pa.array(
                    [instance.features[name] for instance in instances],
                    pa.float64() if kind == NUMBER else pa.string(),
                )
                for name, kind in self.features.items()
            }
        )


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

    def question(self, fields: Mapping[str, Any], *, latest: datetime) -> Question:
        """
        Read the body of a request.

        Args:
            fields: Its JSON object.
            latest: A later ``ingest_ts`` makes no sense.

        Raises:
            RequestError: The body is wrong; the error names the field.
            TooLarge: It has too many instances.
        """
        version = _version(fields.get("version"))
        ways = [way for way in WAYS if way in fields]
        if len(ways) > 1:
            raise RequestError(f"give {ways[0]} or {ways[1]}, not both", field=ways[1])
        way = ways[0] if ways else ""
        if way == "user_id":
            layout = self._layout(fields, {})
            user_id = identity(fields[way], way)
            instance = layout.named(fields, prefix="", latest=latest)
            return Question(layout, version, [instance], user_id=user_id)
        if way == "instances":
            items = _instances(fields[way])
        else:
            items = {f"{way}." if way else "": fields[way] if way else fields}
        for prefix, item in items.items():
            if type(item) is not dict:
                field = prefix.removesuffix(".")
                raise RequestError(f"{field} must be a JSON object", field=field)
        layout = self._layout(fields, next(iter(items.values())))
        if not (way or fields.keys() & layout.features.keys()):
            raise RequestError(
                f"nothing to score: give one of {', '.join(WAYS)}, or the features "
                f"themselves: {', '.join(layout.features)}",
                field="features",
            )
        envelope = fields if way == "features" else {}
        instances = [
            layout.instance(item, prefix=prefix, latest=latest, envelope=envelope)
            for prefix, item in items.items()
        ]
        return Question(layout, version, instances, is_single=way != "instances")

    def _layout(self, fields: Mapping[str, Any], features: Mapping[str, Any]) -> Layout:
        """
        Return the layout of the request's use case.

        Without ``use_case`` that is the one all of whose features are in the request,
        if there is one; else the default.
        """
        name = fields.get("use_case")
        if name is None:
            sent = features.keys()
            whole = [each for each in self.layouts.values() if sent >= {*each.features}]
            return whole[0] if len(whole) == 1 else self.layouts[self._default]
        if not isinstance(name, str) or name not in self.layouts:
            raise RequestError(
                f"there is no use case {str(name)[:64]!r}; this deploy has "
                f"{', '.join(self.layouts)}",
                field="use_case",
            )
        return self.layouts[name]


def _instances(items: Any) -> dict[str, Any]:
    """Return instances by the prefix of their field names."""
    if type(items) is not list or not items:
        raise RequestError(
            "instances must be a list of objects, one at least", field="instances"
        )
    if len(items) > MAXIMUM_INSTANCES:
        raise TooLarge(
            f"{len(items)} instances, and {MAXIMUM_INSTANCES} are allowed",
            field="instances",
        )
    return {f"instances[{position}].": item for position, item in enumerate(items)}


def _version(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        raise RequestError("version must be a whole number", field="version")
    return max(-1, min(value, _LARGEST))


def _number(fields: Mapping[str, Any], name: str, prefix: str) -> float | None:
    """Return the value of a number feature, which may be written as a text."""
    value = _value(fields, name, prefix)
    if value is None or (type(value) is float and math.isfinite(value)):
        return value
    field = prefix + name
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
    value = _value(fields, name, prefix)
    if value is None:
        return None
    is_text = isinstance(value, str) and is_encodable(value)
    if not is_text or len(value) > MAXIMUM_TEXT_CHARACTERS:
        raise RequestError(
            f"{prefix}{name} must be null or a text of {MAXIMUM_TEXT_CHARACTERS} "
            "characters at most",
            field=prefix + name,
        )
    return str(value)


def _value(fields: Mapping[str, Any], name: str, prefix: str) -> Any:
    if name not in fields:
        raise RequestError(f"feature {prefix}{name} is missing", field=prefix + name)
    return fields[name]


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
