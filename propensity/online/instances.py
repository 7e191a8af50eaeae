"""
From the JSON of a request to rows of features, and from scores to rows of the log.

Pure: a request asks for the scores of instances, whose features it has, or of a user,
whose features are known. Each way to ask is read into one ``Question``. Whatever is
wrong with it names its field.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from propensity.errors import RequestError, TooLarge
from propensity.events.types import (
    MAXIMUM_ID_CHARACTERS,
    MAXIMUM_TEXT_CHARACTERS,
    Refused,
    numeral_of,
    sensible_instant,
)
from propensity.models.encoding import Rows
from propensity.registry.inference_log import ONLINE, Events, Row, columns
from propensity.usecases import NUMBER, UseCase

if TYPE_CHECKING:
    from propensity.registry.serving import Serving, Standing

# One of them says what is to be scored; without any the features are the body's own.
WAYS = ("features", "instances", "user_id")
INGESTED = "ingest_ts"
EVENT_ID = "event_id"

# Control characters, and halves of surrogate pairs, which are not text.
_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HALF = re.compile(r"[\ud800-\udfff]")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_PLAIN = frozenset({float, int})
_LARGEST = 2**63 - 1
# Python refuses whole numbers of more digits.
_MOST_DIGITS = 4_300
_MILLISECOND = timedelta(milliseconds=1)

_decode = msgspec.json.Decoder().decode
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
        ingested_at: When it came into being for us, in UTC; UNSET where that is not
            told, None where what is told makes no sense.
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
            UNSET where it is not told since when, None where that makes no sense.
        """
        since = self.ingested_at
        if not isinstance(since, datetime):
            return since
        return None if since > at else (at - since) / _MILLISECOND


@dataclass(frozen=True, slots=True)
class Question:
    """
    What a request asks for: scores of instances, or of a user, whichever is there.

    Attributes:
        use_case: Whose model is asked.
        version: The version that is asked; None for what serves.
        instances: In the order of the request; none where a user is asked for.
        prefixes: Of the fields of each instance, for errors.
        user_id: None where instances are asked for.
        is_single: Whether the answer is one object and no list.
        event_id, ingested_at: Of the request for a user.
    """

    use_case: UseCase
    version: int | None
    instances: Sequence[Instance] = ()
    prefixes: Sequence[str] = ()
    user_id: str | None = None
    is_single: bool = True
    event_id: str | None = None
    ingested_at: datetime | None | UnsetType = UNSET


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
        ingested_at = _ingested_at(given, latest)
        if beside is not None:
            event_id = self.event_id(beside, "") or event_id
            outer = _ingested_at(beside, latest)
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


class Reader:
    """Reads the questions of requests to a deploy with some use cases."""

    def __init__(
        self, use_cases: Iterable[UseCase], *, default: str, maximum_instances: int
    ) -> None:
        """
        Args:
            use_cases: Of this deploy.
            default: Name of the use case where a request tells of none.
            maximum_instances: Most instances of a request.
        """
        self.layouts = {one.name: Layout(one) for one in use_cases}
        self._default = default
        self._maximum = maximum_instances

    def question(self, body: bytes, *, latest: datetime) -> Question:
        """
        Read the body of a request.

        Args:
            body: JSON.
            latest: The last moment that ``ingest_ts`` makes sense for.

        Raises:
            RequestError: It is no question; the field at fault is named.
            TooLarge: It has too many instances.
        """
        given = _object(body)
        version = _version(given.get("version"))
        ways = [name for name in WAYS if name in given]
        if len(ways) > 1:
            raise RequestError(
                f"give one of {', '.join(WAYS)}; {' and '.join(ways)} are there",
                field=ways[1],
            )
        if not ways:
            layout = self._layout(given, given)
            if not given.keys() & layout.names:
                raise RequestError(
                    f"nothing to score: give one of {', '.join(WAYS)}, or the features "
                    f"themselves: {', '.join(layout.use_case.features)}",
                    field="features",
                )
            one = layout.instance(given, prefix="", latest=latest)
            return Question(layout.use_case, version, (one,), ("",))
        [way] = ways
        asked = given[way]
        if way == "user_id":
            layout = self._layout(given, {})
            user_id = identity(asked, way)
            return Question(
                layout.use_case,
                version,
                user_id=user_id,
                event_id=layout.event_id(given, ""),
                ingested_at=_ingested_at(given, latest),
            )
        if way == "features":
            if type(asked) is not dict:
                raise RequestError("features must be an object", field=way)
            layout, prefix = self._layout(given, asked), "features."
            one = layout.instance(asked, prefix=prefix, latest=latest, beside=given)
            return Question(layout.use_case, version, (one,), (prefix,))
        return self._several(given, asked, version, latest)

    def _several(
        self,
        given: Mapping[str, Any],
        asked: Any,
        version: int | None,
        latest: datetime,
    ) -> Question:
        if type(asked) is not list or not asked:
            raise RequestError(
                "instances must be a list of objects, one at least", field="instances"
            )
        if len(asked) > self._maximum:
            raise TooLarge(
                f"{len(asked)} instances, and {self._maximum} are allowed",
                field="instances",
            )
        prefixes = [f"instances[{place}]." for place in range(len(asked))]
        for one, prefix in zip(asked, prefixes, strict=True):
            if type(one) is not dict:
                raise RequestError("an instance is an object", field=prefix[:-1])
        layout = self._layout(given, asked[0])
        instances = [
            layout.instance(one, prefix=prefix, latest=latest)
            for one, prefix in zip(asked, prefixes, strict=True)
        ]
        return Question(layout.use_case, version, instances, prefixes, is_single=False)

    def _layout(self, given: Mapping[str, Any], features: Mapping[str, Any]) -> Layout:
        """Return the layout of the use case that is named, or whose features these are.

        The use case of which most features are there, and more than half, so that one
        that is missing is named; the default where several are alike.
        """
        name = given.get("use_case")
        if name is None:
            keys = features.keys()
            if len(keys) > 1:
                shares = {
                    one.use_case.name: len(one.names & keys) / len(one.names)
                    for one in self.layouts.values()
                }
                most = max(0.5, *shares.values())
                likely = [one for one, share in shares.items() if share == most > 0.5]
                if len(likely) == 1:
                    return self.layouts[likely[0]]
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
    """Return the object that a body holds."""
    try:
        given = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # What Python reads beyond JSON, such as NaN, is refused where it stands, by
        # its name.
        try:
            given = json.loads(body.decode(), parse_int=_integer)
        except (ValueError, RecursionError):
            raise RequestError("the body is not JSON in UTF-8", field="body") from None
    if type(given) is not dict:
        raise RequestError("the body must be a JSON object", field="body")
    return given


def _integer(digits: str) -> int | float:
    """Return a whole number; one with more digits than Python reads is infinite."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _version(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        raise RequestError("version must be a whole number", field="version")
    return max(-1, min(value, _LARGEST))


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
    if not isinstance(value, str):
        raise RequestError(f"{field} must be a text", field=field)
    if not 0 < len(value) <= MAXIMUM_ID_CHARACTERS or _NOT_TEXT.search(value):
        raise RequestError(
            f"{field} has 1 to {MAXIMUM_ID_CHARACTERS} characters, none of them a "
            "control character",
            field=field,
        )
    return value


def _ingested_at(
    given: Mapping[str, Any], latest: datetime
) -> datetime | None | UnsetType:
    """Return when an instance came into being; whatever it says, it is scored."""
    if INGESTED not in given:
        return UNSET
    return sensible_instant(given[INGESTED], latest=latest)


def _missing(name: str, prefix: str) -> RequestError:
    field = prefix + name
    return RequestError(f"feature {field} is missing", field=field)


# -- what is answered and logged -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scored:
    """
    Scores of a question, all of one version.

    Attributes:
        standing: What served: its champion gave ``values``, its shadow ``shadow``.
        values: A score for each instance; NaN while the model is not warm.
        shadow: Likewise; None where nothing scores beside.
        at: When they were scored, in UTC.
    """

    standing: Standing
    values: Sequence[float]
    shadow: Sequence[float] | None
    at: datetime


def score_of(serving: Serving, value: float) -> dict[str, float | None]:
    """Return a score under the name of its kind; the other, and NaN, are null."""
    known = None if math.isnan(value) else value
    if serving.is_anomaly:
        return {"probability": None, "anomaly_score": known}
    return {"probability": known, "anomaly_score": None}


def events_of(
    question: Question,
    layout: Layout,
    instances: Sequence[Instance],
    *,
    event_ids: Sequence[str],
    latencies_ms: Sequence[float | None],
    at: datetime,
) -> Events:
    """
    Return what was scored as events of the log.

    Args:
        question: That they were scored for.
        layout: Of its use case.
        instances: What was scored.
        event_ids: Of each.
        latencies_ms: Of each, to the score; None where it is unknown.
        at: When they were scored, in UTC: the time of those without ``ingest_ts``.
    """
    user_id = question.user_id
    return Events(
        source=ONLINE,
        event_ids=event_ids,
        user_ids=event_ids if user_id is None else [user_id] * len(event_ids),
        times=[
            one.ingested_at if isinstance(one.ingested_at, datetime) else at
            for one in instances
        ],
        features=[layout.written(one) for one in instances],
        latencies_ms=latencies_ms,
        has_users=user_id is not None,
    )


def logged(
    use_case: UseCase, events: Events, scored: Scored, *, ids: Sequence[str]
) -> list[Row]:
    """
    Return rows of ``inference_log``: the champion's scores, then the shadow's.

    Args:
        use_case: Of the events.
        events: What was scored.
        scored: What came of them.
        ids: Inference ids of the champion's scores.
    """
    standing, at = scored.standing, scored.at
    champion, shadow = standing.champion, standing.shadow
    rows: list[Row] = [
        *zip(
            *columns(
                use_case, standing, champion, events, scored.values, ids=ids, at=at
            ),
            strict=True,
        )
    ]
    if shadow is not None and scored.shadow is not None:
        ids = events.inference_ids(use_case, shadow.version)
        rows += zip(
            *columns(use_case, standing, shadow, events, scored.shadow, ids=ids, at=at),
            strict=True,
        )
    return rows
