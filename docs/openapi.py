"""
Write the OpenAPI description of all HTTP functions, from the code that serves them.

    python -m docs.openapi > docs/openapi.yaml

Limits, fields, use cases and errors are those of the package; what an answer means is
in the README of its function. ``tests/hostile`` sends the functions thousands of
requests and holds their answers against this.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from propensity import errors, ids, tables, usecases
from propensity.errors import PropensityError
from propensity.events import messages, values
from propensity.online import instances, question, score
from propensity.runs.run import MAXIMUM_BODY
from propensity.schema import Column
from propensity.settings import Settings
from propensity.usecases import NUMBER, UseCase

Schema = dict[str, Any]

OPENING = """\
# Written by `python -m docs.openapi > docs/openapi.yaml`; edit docs/openapi.py.
"""
ABOUT = (
    "Every function answers JSON, an error too: `error` is a word of docs/errors.md, "
    "`message` says what was wanted and what was found, `retryable` whether the same "
    "request may succeed later, `field` what is at fault in the request. "
    "All functions are private: a caller needs the invoker role and an identity token. "
    "On its own address (Cloud Run's, or local mode's) a function is served at `/`."
)
JSON = "application/json"
CLOUD_EVENT = "application/cloudevents+json"

# What a body may hold at most; of scheduled functions where none is named.
MAXIMUM_BODIES = {
    "get_proba": question.MAXIMUM_BODY_BYTES,
    "score": score.MAXIMUM_BODY_BYTES,
    "stream_features": messages.MAXIMUM_BODY_BYTES,
    "score_stream": messages.MAXIMUM_BODY_BYTES,
    "archive_events": messages.MAXIMUM_BODY_BYTES,
}

# Errors of every request, of what is behind a function, and of every run.
REQUEST = (errors.RequestError, errors.MethodNotAllowed, errors.TooLarge)
BEHIND = (
    errors.PropensityError,
    errors.SettingsError,
    errors.AccessDenied,
    errors.UseCaseError,
    errors.QueryTooExpensive,
)
RUN = (errors.RunInProgress, errors.Conflict, errors.SchemaError, errors.MissingTable)

# What each function can fail with, as its README says.
FAILURES: Mapping[str, tuple[type[PropensityError], ...]] = {
    "model_training": (
        *REQUEST, *BEHIND, *RUN, errors.NotEnoughData, errors.ArtifactError,
        errors.ExportLate, errors.Unavailable,
    ),
    "predictions": (
        *REQUEST, *BEHIND, *RUN, errors.NoChampion, errors.ScoreShift,
        errors.NotEnoughData, errors.ArtifactError, errors.ExportLate,
        errors.Unavailable,
    ),
    "model_evaluation": (
        *REQUEST, *BEHIND, *RUN, errors.ExportLate, errors.Unavailable,
    ),
    "compact_features": (
        *REQUEST, *BEHIND, *RUN, errors.Unfinished, errors.Unavailable,
    ),
    "get_proba": (
        *REQUEST, errors.PropensityError, errors.SettingsError,
        errors.QueryTooExpensive, errors.MissingTable, errors.NoSuchPath,
        errors.UnsupportedType, errors.Unavailable,
    ),
    "score": (
        *REQUEST, errors.PropensityError, errors.SettingsError, errors.ArtifactError,
        errors.SchemaError, errors.NoChampion, errors.UnknownVersion,
        errors.MissingTable, errors.NoSuchPath, errors.UnsupportedType,
        errors.Unavailable,
    ),
}  # fmt: skip
CONSUMERS = ("stream_features", "score_stream", "archive_events")
# A consumer tells Pub/Sub to come again, whatever is wrong behind it.
AGAIN = (
    errors.PropensityError,
    errors.SettingsError,
    errors.AccessDenied,
    errors.ArtifactError,
    errors.SchemaError,
    errors.MissingTable,
)

TITLES = {
    "model_training": "Train, and perhaps promote, a model as of one day",
    "predictions": "Score every user of the lookback as of one day",
    "model_evaluation": "Say what the probabilities of past weeks were worth",
    "compact_features": "Bring tiles and exports of the stream up to date",
    "stream_features": "Take an event of Pub/Sub's topic events",
    "score_stream": "Score an enriched event",
    "archive_events": "Archive an enriched event",
}

_NUMBERS: Mapping[str, Schema] = {
    "STRING": {"type": ["string", "null"]},
    "INT64": {"type": ["integer", "null"]},
    "FLOAT64": {"type": ["number", "null"]},
    "NUMERIC": {"type": ["number", "null"]},
    "BOOL": {"type": ["boolean", "null"]},
    "DATE": {"type": ["string", "null"], "format": "date"},
    "TIMESTAMP": {"type": ["string", "null"], "format": "date-time"},
}


def page() -> str:
    """Return the description as YAML."""
    text = yaml.dump(
        description(), Dumper=_Whole, sort_keys=False, width=88, allow_unicode=True
    )
    return OPENING + text


class _Whole(yaml.SafeDumper):
    """Writes equal parts in full, without YAML aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write no alias."""
        return True


def description() -> Schema:
    """Return the description: one path for every function."""
    paths = {path_of(target): path(target) for target in targets()}
    responses = _shared(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Propensity",
            "description": ABOUT,
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {
                "url": "https://{region}-{project}.cloudfunctions.net",
                "variables": {
                    "region": {"default": "us-central1"},
                    "project": {"default": "my-project"},
                },
            }
        ],
        "security": [{"identity": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "identity": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Identity token of an account with the invoker role",
                }
            },
            "schemas": schemas(),
            "responses": responses,
        },
    }


def _shared(paths: Schema) -> Schema:
    """
    Put a reference in the place of every answer that several operations give.

    Returns:
        Those answers by name: their status and, where a status has several, the
        operation that gives it first.
    """
    places: dict[str, list[tuple[Schema, str, str]]] = {}
    for operations in paths.values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                place = (operation["responses"], status, operation["operationId"])
                places.setdefault(json.dumps([status, answer]), []).append(place)
    shared: Schema = {}
    for uses in places.values():
        if len(uses) == 1:
            continue
        responses, status, first = uses[0]
        name = f"Status{status}"
        if name in shared:
            name = f"{name}Of{_camel(first)}"
        shared[name] = responses[status]
        for operation, of_status, _ in uses:
            operation[of_status] = {"$ref": f"#/components/responses/{name}"}
    return shared


def targets() -> tuple[str, ...]:
    """Return the functions, by target."""
    return (*FAILURES, *CONSUMERS)


def path_of(target: str) -> str:
    """Return the path of a function, as it is deployed under the default prefix."""
    return f"/propensity-{target.replace('_', '-')}"


def path(target: str) -> Schema:
    """Return the operations of a function."""
    if target == "get_proba":
        return _lookups()
    if target == "score":
        return {"post": _scoring()}
    if target in CONSUMERS:
        return {"post": _push(target)}
    return {"post": _scheduled(target)}


def _limit(target: str) -> Schema:
    return {"x-maximum-body-bytes": MAXIMUM_BODIES.get(target, MAXIMUM_BODY)}


# -- operations ------------------------------------------------------------------------


def _scheduled(target: str) -> Schema:
    answer = {
        "model_training": "Training",
        "predictions": "Publication",
        "model_evaluation": "Evaluation",
        "compact_features": "Compaction",
    }[target]
    # Only this one can be asked for all days of the export.
    asked = "PredictionRun" if target == "predictions" else "Run"
    return {
        "operationId": target,
        "summary": TITLES[target],
        **_limit(target),
        "requestBody": {
            "required": False,
            "content": {JSON: {"schema": _ref(asked)}},
        },
        "responses": {
            "200": _json("Done, now or before", _ref(answer)),
            **_failures(FAILURES[target]),
        },
    }


def _lookups() -> Schema:
    failures = FAILURES["get_proba"]
    unknown = _json(
        "No probability has been published for the user, or the path is not /",
        {"anyOf": [_ref("UnknownUser"), _error([errors.NoSuchPath])]},
    )
    parameters = [
        {
            "name": "user_id",
            "in": "query",
            "required": True,
            "schema": _ref("UserId"),
        },
        {"name": "use_case", "in": "query", "schema": _ref("UseCaseName")},
    ]
    # The body that makes a request too large or of another type is none of a GET's.
    of_get = [
        error
        for error in failures
        if error not in (errors.UnsupportedType, errors.TooLarge)
    ]
    get = {
        "operationId": "get_proba",
        "summary": "The newest probability of a user, and its date",
        "parameters": parameters,
        "responses": {
            "200": _json("The prediction", _ref("Prediction")),
            **_failures(of_get),
            "404": unknown,
        },
    }
    head_answers = {
        status: {"description": answer["description"]}
        for status, answer in get["responses"].items()
    }
    head = {
        **get,
        "operationId": "get_proba_head",
        "summary": "As GET, without the body",
        "responses": head_answers,
    }
    post = {
        "operationId": "get_proba_of_many",
        "summary": f"The newest probabilities of up to {question.MAXIMUM_USERS} users",
        **_limit("get_proba"),
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": _ref("Lookup")}},
        },
        "responses": {
            "200": _json("In the order asked", _ref("Predictions")),
            **_failures(failures),
        },
    }
    return {"get": get, "head": head, "post": post}


def _scoring() -> Schema:
    failures = FAILURES["score"]
    not_found = [errors.UnknownVersion, errors.NoSuchPath]
    return {
        "operationId": "score",
        "summary": "Score features, users or lists of instances, here and now",
        **_limit("score"),
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": _ref("Question")}},
        },
        "responses": {
            "200": _json(
                "The score, or those of all instances",
                {"anyOf": [_ref("Score"), _ref("Scores")]},
            ),
            **_failures(failures),
            "404": _json(
                "No such version, or the stream has no features of the user now",
                {"anyOf": [_ref("UnfeaturedUser"), _error(not_found)]},
            ),
        },
    }


def _push(target: str) -> Schema:
    return {
        "operationId": target,
        "summary": TITLES[target],
        "description": "Called by Pub/Sub. Whatever is not answered by 200 is "
        "delivered again.",
        **_limit(target),
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": _ref("Push")},
                CLOUD_EVENT: {"schema": _ref("CloudEvent")},
            },
        },
        "responses": {
            "200": _json("Stored, or a dead letter", _ref("Taken")),
            **_failures((*REQUEST, errors.Unavailable)),
            "500": _json("To be delivered again", _error(AGAIN)),
        },
    }


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _failures(classes: Iterable[type[PropensityError]]) -> Schema:
    """Return answers of errors by status."""
    by_status: dict[int, list[type[PropensityError]]] = {}
    for error in classes:
        by_status.setdefault(error.status, []).append(error)
    answers: Schema = {}
    for status, of_status in sorted(by_status.items()):
        descriptions = "; ".join(_first_line(error) for error in of_status)
        answer = _json(descriptions, _error(of_status))
        if status == 405:
            answer["headers"] = {"Allow": {"schema": {"type": "string"}}}
        if any(issubclass(error, errors.ExportLate) for error in of_status):
            answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        answers[str(status)] = answer
    return answers


def _first_line(error: type[PropensityError]) -> str:
    return (error.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _error(classes: Iterable[type[PropensityError]]) -> Schema:
    """Return the schema of an error that is one of some."""
    return {
        "allOf": [
            _ref("Error"),
            {"properties": {"error": {"enum": [error.code for error in classes]}}},
        ]
    }


# -- schemas ---------------------------------------------------------------------------


def _object(
    properties: Mapping[str, Schema],
    *,
    required: Iterable[str] | None = None,
    is_open: bool = False,
) -> Schema:
    required_names = list(properties if required is None else required)
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if required_names:
        schema["required"] = required_names
    if not is_open:
        schema["additionalProperties"] = False
    return schema


_DATE: Schema = {"type": "string", "format": "date"}
_WHOLE: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}
_TEXT: Schema = {"type": "string"}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_NO_SHARE: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_NOTHING: Schema = {"type": "null"}


def schemas() -> Schema:
    """Return every schema, by its name."""
    return {
        "Error": _object(
            {
                "error": _TEXT,
                "message": _TEXT,
                "retryable": _FLAG,
                "field": _TEXT,
                "detail": {},
            },
            required=("error", "message", "retryable"),
        ),
        **_of_runs(),
        **_of_lookups(),
        **_of_scores(),
        **_of_pushes(),
    }


def _of_runs() -> Schema:
    around: Schema = {
        "use_case": _TEXT,
        "as_of": _DATE,
        "bytes_billed": _WHOLE,
        "repeated": _FLAG,
    }
    listed: Schema = {"type": "array", "items": _DATE}
    # Of the export, where the use case reads it.
    of_export: Schema = {
        "data_until": _DATE,
        "late_days": listed,
        "missing_days": listed,
        "streamed_days": listed,
    }
    counts: Schema = {"type": "object", "additionalProperties": _NUMBER}
    days: Schema = {
        "type": "object",
        "additionalProperties": {"type": "array", "items": _DATE},
    }
    figures: Schema = {
        "type": "object",
        "properties": {"budget": {"type": ["string", "null"]}},
        "additionalProperties": {"type": ["number", "null"]},
    }
    texts: Schema = {"type": "object", "additionalProperties": _TEXT}
    training: Schema = {
        "model_version": {"type": "integer", "minimum": 0},
        "promoted": _FLAG,
        "verdict": _TEXT,
        "algorithm": _TEXT,
        "calibration": _TEXT,
        "rows": counts,
        "split": days,
        "holdout": figures,
        "objects": texts,
    }
    publication: Schema = {
        "model_version": _WHOLE,
        "users": _WHOLE,
        "mean_probability": _NO_SHARE,
        "log_odds_shift": {"type": ["number", "null"]},
        "score_shift": {"type": ["number", "null"]},
        "evaluation_missing": _FLAG,
    }
    run: Schema = {
        "use_case": {
            "enum": usecases.names(),
            "description": "PROPENSITY_USE_CASE without it",
        },
        "as_of": {
            **_DATE,
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            "description": "UTC, from 1971 to today; today without it",
        },
        "force": {"type": "boolean", "default": False},
    }
    full: Schema = {
        "type": "boolean",
        "default": False,
        "description": "Sum up all days of the export anew",
    }
    # Of a use case whose rows are events.
    of_events: Schema = {"is_warm": _FLAG, "alerts": {}, "cost": {}, "outcomes": {}}
    return {
        "Run": _object(run, required=()),
        "PredictionRun": _object({**run, "full": full}, required=()),
        "Training": _object(
            {**around, **training, **of_events, **of_export},
            required=[*around, *training],
        ),
        "Publication": _object(
            {**around, **publication, **of_export, "export_days_read": _WHOLE},
            required=[*around, *publication],
        ),
        "Evaluation": _object(
            {
                **around,
                "weeks": {"type": "array", "items": _ref("EvaluatedWeek")},
                **of_export,
            },
            required=[*around, "weeks"],
        ),
        "EvaluatedWeek": _object(
            {
                column.name: _column(column)
                for column in tables.EVALUATION.columns
                # Long, and in the table.
                if column.name != "thresholds"
            },
            required=("use_case", "week", "week_end", "status", "outcome"),
        ),
        "Compaction": _object(
            {
                **around,
                "days": {"type": "array", "items": _DATE},
                "tiles": _WHOLE,
                "exported_days": counts,
                "watermark": {"type": "string", "format": "date-time"},
            }
        ),
    }


def _column(column: Column) -> Schema:
    """Return the schema of a column's value, as an answer has it."""
    if column.fields:
        parts = {field.name: _column(field) for field in column.fields}
        schema = _object(parts, required=())
    else:
        schema = dict(_NUMBERS[column.type])
    if column.repeated:
        return {"type": ["array", "null"], "items": schema}
    return schema


def _of_lookups() -> Schema:
    nulls = ("probability", "prediction_date", "model_version", "percentile", "stale")
    known: Schema = {
        "user_id": _TEXT,
        "probability": _SHARE,
        "prediction_date": _DATE,
        "model_version": _WHOLE,
        "percentile": {"type": ["integer", "null"], "minimum": 1, "maximum": 100},
        "stale": _FLAG,
    }
    unknown: Schema = {"user_id": _TEXT, **dict.fromkeys(nulls, _NOTHING)}
    return {
        "UserId": {
            "type": "string",
            "minLength": 1,
            "maxLength": ids.MAXIMUM_ID_CHARACTERS,
            "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$",
        },
        "UseCaseName": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
        "Lookup": _object(
            {
                "user_ids": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": question.MAXIMUM_USERS,
                    "items": _ref("UserId"),
                },
                "use_case": _ref("UseCaseName"),
            },
            required=("user_ids",),
        ),
        "Prediction": _object(known),
        "UnpredictedUser": _object(unknown),
        "UnknownUser": _object(
            {
                **unknown,
                "error": {"const": "unknown_user"},
                "message": _TEXT,
                "retryable": {"const": False},
            }
        ),
        "Predictions": _object(
            {
                "predictions": {
                    "type": "array",
                    "maxItems": question.MAXIMUM_USERS,
                    "items": {"anyOf": [_ref("Prediction"), _ref("UnpredictedUser")]},
                }
            }
        ),
    }


def _features(use_case: UseCase) -> Schema:
    number: Schema = {
        "anyOf": [
            {"type": ["number", "null"]},
            {"type": "string", "pattern": "^[+-]?[0-9]{1,12}([.][0-9]{1,6})?$"},
        ]
    }
    text: Schema = {
        "type": ["string", "null"],
        "maxLength": values.MAXIMUM_TEXT_CHARACTERS,
    }
    return _object(
        {
            name: number if kind == NUMBER else text
            for name, kind in use_case.features.items()
        },
        is_open=True,
    )


def _camel(name: str) -> str:
    return "".join(part.title() for part in name.split("_"))


def _of_scores() -> Schema:
    layouts = {
        f"{_camel(name)}Features": _features(usecases.load(name))
        for name in usecases.names()
    }
    any_of: Schema = {"anyOf": [_ref(name) for name in layouts]}
    beside: Schema = {
        "use_case": {"enum": usecases.names()},
        "version": {
            "anyOf": [
                {"type": ["integer", "null"]},
                {"type": "string", "pattern": "^-?[0-9]{1,18}$"},
            ]
        },
        instances.EVENT_ID: {"anyOf": [_ref("UserId"), _NOTHING]},
        instances.INGESTED: {
            "description": "ISO 8601, or (milli)seconds since 1970; if it is anything "
            "else, latency_ms is null",
        },
    }
    result: Schema = {
        "probability": _NO_SHARE,
        "anomaly_score": _NO_SHARE,
        "event_id": _TEXT,
        "inference_id": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "latency_ms": {"type": ["number", "null"]},
    }
    model: Schema = {
        "use_case": _TEXT,
        "model_version": _WHOLE,
        "is_warm": _FLAG,
        "request_ms": _NUMBER,
    }
    maximum = Settings(project="p").maximum_instances
    ways: Mapping[str, Schema] = {
        "features": any_of,
        "instances": {
            "type": "array",
            "minItems": 1,
            "maxItems": maximum,
            "items": any_of,
            "description": "PROPENSITY_MAXIMUM_INSTANCES at most",
        },
        "user_id": _ref("UserId"),
    }
    return {
        **layouts,
        "Question": {
            "anyOf": [
                *(
                    _object({way: schema, **beside}, required=(way,), is_open=False)
                    for way, schema in ways.items()
                ),
                {"allOf": [any_of, {"type": "object", "properties": beside}]},
            ]
        },
        "Score": _object(
            {**model, "user_id": _TEXT, **result}, required=[*model, *result]
        ),
        "Scores": _object(
            {
                **model,
                "predictions": {"type": "array", "items": _object(result)},
            }
        ),
        "UnfeaturedUser": _object(
            {
                "use_case": _TEXT,
                "user_id": _TEXT,
                **dict.fromkeys(
                    (
                        "model_version",
                        "is_warm",
                        "probability",
                        "anomaly_score",
                        "event_id",
                        "inference_id",
                    ),
                    _NOTHING,
                ),
                "error": {"const": "unknown_user"},
                "message": _TEXT,
                "retryable": {"const": False},
            }
        ),
    }


def _of_pushes() -> Schema:
    text: Schema = {"type": ["string", "null"]}
    message: Schema = {
        "data": {**text, "contentEncoding": "base64"},
        "messageId": {"type": "string", "minLength": 1},
        "publishTime": text,
        "attributes": {"type": ["object", "null"], "additionalProperties": _TEXT},
    }
    return {
        "Push": _object(
            {
                "message": _object(message, required=("messageId",), is_open=True),
                "subscription": _TEXT,
            },
            required=("message",),
            is_open=True,
        ),
        "CloudEvent": _object(
            {
                "specversion": _TEXT,
                "id": _TEXT,
                "type": _TEXT,
                "source": _TEXT,
                "data": _ref("Push"),
            },
            required=("data",),
            is_open=True,
        ),
        "Taken": _object(
            {
                "outcome": {"enum": ["stored", "scored", "dead_letter"]},
                "reason": _TEXT,
                "field": text,
                "message": text,
            },
            required=("outcome",),
        ),
    }


if __name__ == "__main__":
    sys.stdout.write(page())
