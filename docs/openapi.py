"""
Write the OpenAPI description of all HTTP functions, from the code that serves them.

    python -m docs

Limits, fields, use cases and errors are those of the package; what an answer means is
in the README of its function. ``tests/hostile`` sends the functions thousands of
requests and holds their answers against this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from docs import schemas
from docs.fields import Schema
from docs.schemas import camel
from propensity import errors
from propensity.errors import PropensityError
from propensity.events import messages
from propensity.online import question, score
from propensity.runs.request import MAXIMUM_BODY

OPENING = """\
# Written by `python -m docs`; edit docs/openapi.py.
"""
ABOUT = (
    "Every function answers JSON, an error too: `error` is a word of docs/operate.md, "
    "`message` says what was wanted and what was found, `retryable` whether the same "
    "request may succeed later, `field` what is at fault in the request. "
    "All functions are private: a caller needs the invoker role and an identity token. "
    "On its own address (Cloud Run's, or local mode's) a function is served at `/`."
)
JSON = "application/json"

# What a body may hold at most; of scheduled functions where none is named.
MAXIMUM_BODIES = {
    "get_proba": question.MAXIMUM_BODY_BYTES,
    "score": score.MAXIMUM_BODY_BYTES,
    "stream_features": messages.MAXIMUM_BODY_BYTES,
    "score_stream": messages.MAXIMUM_BODY_BYTES,
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
        *REQUEST, *BEHIND, *RUN, errors.Unavailable,
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
CONSUMERS = ("stream_features", "score_stream")
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
            "schemas": schemas.schemas(),
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
            name = f"{name}Of{camel(first)}"
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
    # Only predictions can sum up all days of the export anew.
    request = "PredictionRun" if target == "predictions" else "Run"
    return {
        "operationId": target,
        "summary": TITLES[target],
        **_limit(target),
        "requestBody": {
            "required": False,
            "content": {JSON: {"schema": _ref(request)}},
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
        {"name": "user_id", "in": "query", "required": True, "schema": _ref("UserId")},
        {"name": "use_case", "in": "query", "schema": _ref("UseCaseName")},
        {
            "name": "value",
            "in": "query",
            "description": "1 for the expected value beside the probability",
            "schema": {"type": "string", "enum": ["0", "1"]},
        },
    ]
    # A GET has no body that could be too large or of another type.
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
            "200": _json(
                "The prediction, with its value if that is asked for",
                # Generated clients take the first that has its fields.
                {"anyOf": [_ref("ValuedPrediction"), _ref("Prediction")]},
            ),
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
            "content": {JSON: {"schema": _ref("Push")}},
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
