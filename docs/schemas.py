"""
Shapes of requests and answers: structs, of which msgspec writes the JSON schemas.

A field that an answer may lack is ``UNSET``; one that may be null says None.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from docs.fields import (
    REFERENCE,
    AlwaysFalse,
    AnyUseCase,
    Closed,
    Count,
    Moment,
    Number,
    Schema,
    Share,
    Text,
    UseCaseName,
    UserId,
    UserUseCase,
    Version,
    WholeId,
)
from propensity import tables, usecases
from propensity.online import instances, question
from propensity.online.score import MAXIMUM_INSTANCES
from propensity.schema import Column, Table
from propensity.usecases import NUMBER, UseCase


class Error(Closed, kw_only=True):
    error: str
    message: str
    retryable: bool
    field: str | UnsetType = UNSET
    detail: Any = UNSET


# -- runs ------------------------------------------------------------------------------


class Run(Closed, kw_only=True):
    use_case: AnyUseCase | UnsetType = UNSET
    as_of: (
        Annotated[
            str,
            Meta(
                pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
                description="UTC, from 1971 to today; today without it",
                extra_json_schema={"format": "date"},
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    force: bool = False


class PredictionRun(Run, kw_only=True):
    use_case: UserUseCase | UnsetType = UNSET


class RunAnswer(Closed, kw_only=True):
    use_case: str
    as_of: date
    bytes_billed: int
    repeated: bool


class ExportRunAnswer(RunAnswer, kw_only=True):
    """A run that reads the export where its use case does."""

    data_until: date | UnsetType = UNSET
    late_days: list[date] | UnsetType = UNSET
    missing_days: list[date] | UnsetType = UNSET
    streamed_days: list[date] | UnsetType = UNSET


class Training(ExportRunAnswer, kw_only=True):
    model_version: Count
    promoted: bool
    verdict: str
    algorithm: str
    calibration: str
    rows: dict[str, float]
    split: dict[str, list[date]]
    holdout: dict[str, float | str | None]
    objects: dict[str, str]
    value: dict[str, Any] | None
    # Of a use case whose rows are events.
    is_warm: bool | UnsetType = UNSET
    alerts: Any = UNSET
    cost: Any = UNSET
    outcomes: Any = UNSET


class DriftAlarm(Closed, kw_only=True):
    cause: str
    name: str
    message: str


class Drift(Closed, kw_only=True):
    """Alarms of a publication or of evaluated weeks."""

    alarms: list[DriftAlarm]


class ExpectedValue(Closed, kw_only=True):
    """The sum of all users'."""

    sum: float


class Publication(ExportRunAnswer, kw_only=True):
    model_version: int
    users: int
    mean_probability: Share | None
    expected_value: ExpectedValue | None
    log_odds_shift: float | None
    score_shift: float | None
    evaluation_missing: bool
    drift: Drift
    index_users: Count | None


class Compaction(RunAnswer, kw_only=True):
    days: list[date]
    tiles: int
    exported_days: dict[str, float]
    watermark: Moment


# -- lookups ---------------------------------------------------------------------------


class Lookup(Closed, kw_only=True):
    user_ids: Annotated[
        list[UserId], Meta(min_length=1, max_length=question.MAXIMUM_USERS)
    ]
    use_case: UseCaseName | UnsetType = UNSET


class Prediction(Closed, kw_only=True):
    user_id: str
    probability: Share
    prediction_date: date
    model_version: int
    percentile: Annotated[int, Meta(ge=1, le=100)] | None
    stale: bool


class ValuedPrediction(Prediction, kw_only=True):
    """The expected value is null where outcomes have no amounts."""

    expected_value: float | None


class UnpredictedUser(Closed, kw_only=True):
    user_id: str
    probability: None
    prediction_date: None
    model_version: None
    percentile: None
    stale: None


class UnknownUser(UnpredictedUser, kw_only=True):
    error: Literal["unknown_user"]
    message: str
    retryable: AlwaysFalse


# msgspec knows no union of structs without tags.
_KNOWN_OR_NOT = {
    "anyOf": [
        {"$ref": REFERENCE.format(name=struct.__name__)}
        for struct in (Prediction, UnpredictedUser)
    ]
}


class Predictions(Closed, kw_only=True):
    predictions: Annotated[
        list[Annotated[Any, Meta(extra_json_schema=_KNOWN_OR_NOT)]],
        Meta(max_length=question.MAXIMUM_USERS),
    ]


# -- scores ----------------------------------------------------------------------------


class Scored(Closed, kw_only=True):
    probability: Share | None
    anomaly_score: Share | None
    event_id: str
    inference_id: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    latency_ms: float | None


class Score(Scored, kw_only=True):
    use_case: str
    model_version: int
    is_warm: bool
    request_ms: float
    user_id: str | UnsetType = UNSET


class Scores(Closed, kw_only=True):
    use_case: str
    model_version: int
    is_warm: bool
    request_ms: float
    predictions: list[Scored]


class UnfeaturedUser(Closed, kw_only=True):
    use_case: str
    user_id: str
    model_version: None
    is_warm: None
    probability: None
    anomaly_score: None
    event_id: None
    inference_id: None
    error: Literal["unknown_user"]
    message: str
    retryable: AlwaysFalse


# -- pushes ----------------------------------------------------------------------------


class Message(Struct, kw_only=True, rename="camel"):
    message_id: Annotated[str, Meta(min_length=1)]
    data: (
        Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]
        | UnsetType
        | None
    ) = UNSET
    publish_time: str | UnsetType | None = UNSET
    attributes: dict[str, str] | UnsetType | None = UNSET


class Push(Struct, kw_only=True):
    message: Message
    subscription: str | UnsetType = UNSET


class Taken(Closed, kw_only=True):
    outcome: Literal["stored", "scored", "dead_letter"]
    reason: str | UnsetType = UNSET
    field: str | UnsetType | None = UNSET
    message: str | UnsetType | None = UNSET


# -- of the code's own lists -----------------------------------------------------------

_COLUMN_TYPES: Mapping[str, Any] = {
    "STRING": str,
    "INT64": int,
    "FLOAT64": float,
    "NUMERIC": float,
    "BOOL": bool,
    "DATE": date,
    "TIMESTAMP": Moment,
}
_OF_A_WEEK = ("use_case", "week", "week_end", "status", "outcome")
_OF_A_LIFT = ("use_case", "audience", "week", "week_end", "status")


def closed(name: str, fields: Mapping[str, Any], *, required: tuple[str, ...]) -> Any:
    """Return a struct of these fields and no other."""
    return msgspec.defstruct(
        name,
        [
            (field, kind) if field in required else (field, kind | UnsetType, UNSET)
            for field, kind in fields.items()
        ],
        bases=(Closed,),
        kw_only=True,
    )


def _of_column(column: Column) -> Any:
    """Return the type of a column's value, as an answer has it."""
    kind = _COLUMN_TYPES.get(column.type)
    if column.fields:
        parts = {field.name: _of_column(field) for field in column.fields}
        kind = closed(camel(column.name), parts, required=())
    if column.repeated:
        return list[kind] | None  # type: ignore[valid-type]
    return kind if column.required else kind | None


def _of_table(
    name: str, table: Table, *, without: str, required: tuple[str, ...]
) -> Any:
    fields = {
        column.name: _of_column(column)
        for column in table.columns
        if column.name != without
    }
    return closed(name, fields, required=required)


def evaluation() -> Any:
    """Return the struct of 03's answer; a week has the columns of its table."""
    # What is left out is long, and in the table.
    week = _of_table(
        "EvaluatedWeek", tables.EVALUATION, without="thresholds", required=_OF_A_WEEK
    )
    lift = _of_table(
        "AudienceLift", tables.AUDIENCE_LIFT, without="sums", required=_OF_A_LIFT
    )
    return msgspec.defstruct(
        "Evaluation",
        [
            ("weeks", list[week]),
            ("drift", Drift),
            ("audiences", list[lift] | UnsetType, UNSET),
            ("reports", list[str] | UnsetType, UNSET),
        ],
        bases=(ExportRunAnswer,),
        kw_only=True,
    )


def camel(name: str) -> str:
    """Return a name with underscores as the name of a schema."""
    return "".join(part.title() for part in name.split("_"))


def _features(use_case: UseCase) -> Any:
    return msgspec.defstruct(
        f"{camel(use_case.name)}Features",
        [
            (name, Number if kind == NUMBER else Text)
            for name, kind in use_case.features.items()
        ],
        kw_only=True,
    )


def _question(layouts: list[Schema]) -> Schema:
    """Return the schema of a request to ``score``: one of its ways, or flat fields."""
    any_of: Schema = {"anyOf": layouts}
    beside: Schema = {
        "use_case": {"enum": [*usecases.names(), None]},
        "version": msgspec.json.schema(Version),
        **{
            name: msgspec.json.schema(UserId | WholeId | None)
            for use_case in map(usecases.load, usecases.names())
            for name in instances.Layout(use_case).identities
        },
        instances.INGESTED: {
            "description": "ISO 8601, or (milli)seconds since 1970; if it is anything "
            "else, latency_ms is null"
        },
    }
    ways: Schema = {
        "features": any_of,
        "instances": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAXIMUM_INSTANCES,
            "items": any_of,
            "description": "1,000 at most",
        },
        "user_id": msgspec.json.schema(UserId),
    }
    return {
        "anyOf": [
            *(
                {
                    "type": "object",
                    "properties": {way: schema, **beside},
                    "required": [way],
                    "additionalProperties": False,
                }
                for way, schema in ways.items()
            ),
            {"allOf": [any_of, {"type": "object", "properties": beside}]},
        ]
    }


def schemas() -> Schema:
    """Return every schema, by its name."""
    layouts = [_features(usecases.load(name)) for name in usecases.names()]
    structs = [
        Error, Run, PredictionRun, Training, Publication, evaluation(), Compaction,
        Lookup, Prediction, ValuedPrediction, UnpredictedUser,
        UnknownUser, Predictions, *layouts, Score, Scores, UnfeaturedUser, Push,
        Taken,
    ]  # fmt: skip
    references, components = msgspec.json.schema_components(
        structs, ref_template=REFERENCE
    )
    by_name = dict(
        zip((struct.__name__ for struct in structs), references, strict=True)
    )
    return {
        **components,
        "UserId": msgspec.json.schema(UserId),
        "UseCaseName": msgspec.json.schema(UseCaseName),
        "Question": _question([by_name[layout.__name__] for layout in layouts]),
    }
