"""
The OpenAPI description of all HTTP functions, written from the code that serves them.

Limits, features, use cases and errors are those of the package. Tests send the
functions what this describes, and hold every answer against it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from propensity import ids, tables, usecases
from propensity.errors import PropensityError
from propensity.events import messages, values
from propensity.online import question, score
from propensity.online.score_request import INGESTED, MAXIMUM_INSTANCES, Layout
from propensity.runs.request import MAXIMUM_BODY
from propensity.schema import Column, Table

Schema = dict[str, Any]

ABOUT = (
    "Every function answers JSON, an error too: `error` is a word of docs/operate.md, "
    "`message` says what was expected and what was found, `retryable` whether the same "
    "request may succeed later, `field` what is at fault in the request. "
    "All functions are private: a caller needs the invoker role and an identity token. "
    "On its own address (Cloud Run's, or local mode's) a function is served at `/`."
)
JSON = "application/json"
CONTROL = r"^[^\x00-\x1f\x7f-\x9f]*$"
NUMERAL = "^[+-]?([0-9]{1,40}[.]?[0-9]{0,40}|[.][0-9]{1,40})([eE][+-]?[0-9]{1,2})?$"
USER_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": ids.MAXIMUM_ID_CHARACTERS,
    "pattern": CONTROL,
}
# A larger number may have lost digits.
WHOLE_ID = {
    "type": "integer",
    "exclusiveMinimum": -ids.INEXACT,
    "exclusiveMaximum": ids.INEXACT,
}
NULL = {"type": "null"}

# -- shapes of objects -----------------------------------------------------------------

KINDS: Mapping[str, Schema] = {
    "any": {},
    "null": NULL,
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "count": {"type": "integer", "minimum": 0},
    "rank": {"type": "integer", "minimum": 1, "maximum": 100},
    "float": {"type": "number"},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "bool": {"type": "boolean"},
    "false": {"const": False},
    "date": {"type": "string", "format": "date"},
    "moment": {"type": "string", "format": "date-time"},
    "object": {"type": "object"},
    "unknown_user": {"const": "unknown_user"},
    "outcome": {"enum": ["stored", "scored", "dead_letter"]},
    "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "base64": {"type": "string", "contentEncoding": "base64"},
    "texts": {"type": "object", "additionalProperties": {"type": "string"}},
    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
    "id": {"type": "string", "minLength": 1},
}
RUN = "use_case:str as_of:date bytes_billed:int repeated:bool "
EXPORT = RUN + (
    "data_until?:date late_days?:date[] missing_days?:date[] streamed_days?:date[] "
)
PREDICTION = (
    "user_id:str probability:share prediction_date:date model_version:int "
    "percentile:rank|null stale:bool "
)
NO_PREDICTION = (
    "user_id:str probability:null prediction_date:null model_version:null "
    "percentile:null stale:null "
)
UNKNOWN = "error:unknown_user message:str retryable:false "
SCORED = (
    "probability:share|null anomaly_score:share|null event_id:str inference_id:hash "
    "latency_ms:float|null "
)
BY_VERSION = "use_case:str model_version:int is_warm:bool request_ms:float "

# ``name:kind`` is a field of every such object, ``name?:kind`` of some.
SHAPES = {
    "Error": "error:str message:str retryable:bool field?:str detail?:any",
    "Training": EXPORT + "model_version:count promoted:bool verdict:str algorithm:str "
    "calibration:str rows:object split:object holdout:object objects:object "
    "value:object|null is_warm?:bool alerts?:any cost?:any outcomes?:any",
    "DriftAlarm": "cause:str name:str message:str",
    "Drift": "alarms:DriftAlarm[]",
    "ExpectedValue": "sum:float",
    "Publication": EXPORT + "model_version:int users:int mean_probability:share|null "
    "expected_value:ExpectedValue|null log_odds_shift:float|null "
    "score_shift:float|null evaluation_missing:bool drift:Drift index_users:count",
    "Evaluation": EXPORT + "weeks:EvaluatedWeek[] drift:Drift "
    "audiences?:AudienceLift[] reports?:str[]",
    "Compaction": RUN + "days:date[] tiles:int exported_days:object watermark:moment",
    "Prediction": PREDICTION + "expected_value?:float|null",
    "UnpredictedUser": NO_PREDICTION,
    "UnknownUser": NO_PREDICTION + UNKNOWN,
    "Predictions": "predictions:Prediction|UnpredictedUser[]",
    "Scored": SCORED,
    "Score": BY_VERSION + SCORED + "user_id?:str",
    "Scores": BY_VERSION + "predictions:Scored[]",
    "UnfeaturedUser": "use_case:str user_id:str model_version:null is_warm:null "
    "probability:null anomaly_score:null event_id:null inference_id:null " + UNKNOWN,
    "Taken": "outcome:outcome reason?:str field?:str|null message?:str|null",
    "Lookup": "user_ids:UserId[] use_case?:name",
}
# Pub/Sub may add fields to these.
PUSHES = {
    "Push": "message:Message subscription?:str",
    "Message": "messageId:id data?:base64|null publishTime?:str|null "
    "attributes?:texts|null",
}


def shape(text: str, *, is_closed: bool = True) -> Schema:
    """Return the schema of an object, by a text of ``SHAPES``."""
    fields = [field.split(":") for field in text.split()]
    made: Schema = {
        "type": "object",
        "properties": {name.rstrip("?"): kind(of) for name, of in fields},
        "required": [name for name, _ in fields if not name.endswith("?")],
    }
    return {**made, "additionalProperties": False} if is_closed else made


def kind(text: str) -> Schema:
    """Return the schema of a kind: ``date[]`` is a list, ``str|null`` one of two."""
    if text.endswith("[]"):
        return {"type": "array", "items": kind(text.removesuffix("[]"))}
    if "|" in text:
        return {"anyOf": [kind(one) for one in text.split("|")]}
    return KINDS[text] if text in KINDS else ref(text)


def ref(name: str) -> Schema:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


# -- schemas ---------------------------------------------------------------------------

_COLUMNS = {"STRING": "str", "INT64": "int", "FLOAT64": "float", "NUMERIC": "float",
            "BOOL": "bool", "DATE": "date", "TIMESTAMP": "moment"}  # fmt: skip


# Columns of a run's row that its answer has once, or not at all.
_OF_THE_RUN = ("run_id", "as_of")


def _of_table(table: Table, required: Sequence[str], *without: str) -> Schema:
    """Return the schema of a row of a table, as an answer has it."""
    columns = {c.name: _of_column(c) for c in table.columns if c.name not in without}
    return {
        "type": "object",
        "properties": columns,
        "required": [*required],
        "additionalProperties": False,
    }


def _of_column(column: Column) -> Schema:
    parts = {part.name: _of_column(part) for part in column.fields}
    made: Schema = kind(_COLUMNS[column.type]) if not parts else {}
    if parts:
        made = {"type": "object", "properties": parts, "additionalProperties": False}
    if column.repeated:
        made = {"type": "array", "items": made}
    return made if column.required else {"anyOf": [made, NULL]}


def _run(names: Iterable[str]) -> Schema:
    date = {
        **KINDS["date"],
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        "description": "UTC, from 1971 to today; today without it",
    }
    properties = {
        "use_case": {"enum": [*names], "description": "or PROPENSITY_USE_CASE"},
        "as_of": {"anyOf": [date, NULL]},
        "force": {"type": "boolean", "default": False},
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _features(use_case: usecases.UseCase) -> Schema:
    """Return the schema of features, where a number may be a text."""
    number = [{"type": "string", "pattern": NUMERAL}, KINDS["float"], NULL]
    text = [{"type": "string", "maxLength": values.MAXIMUM_TEXT_CHARACTERS}, NULL]
    kinds = use_case.features.items()
    return {
        "type": "object",
        "properties": {
            name: {"anyOf": number if of == usecases.NUMBER else text}
            for name, of in kinds
        },
        "required": [name for name, _ in kinds],
    }


def _question(loaded: Sequence[usecases.UseCase]) -> Schema:
    """Return the schema of a request to ``score``: one of its four ways."""
    features = {"anyOf": [ref(f"Features_{use_case.name}") for use_case in loaded]}
    version = {"type": "string", "pattern": "^-?[0-9]{1,18}$"}
    identity = {"anyOf": [USER_ID, WHOLE_ID, NULL]}
    beside = {
        "use_case": {"enum": [*usecases.names(), None]},
        "version": {"anyOf": [version, KINDS["int"], NULL]},
        **{
            name: identity
            for use_case in loaded
            for name in Layout(use_case).identities
        },
        INGESTED: {
            "description": "ISO 8601, or (milli)seconds since 1970; with anything else "
            "latency_ms is null"
        },
    }
    several = {"minItems": 1, "maxItems": MAXIMUM_INSTANCES}
    ways = {
        "features": features,
        "instances": {"type": "array", "items": features, **several},
        "user_id": USER_ID,
    }
    named = [
        {
            "type": "object",
            "properties": {way: schema, **beside},
            "required": [way],
            "additionalProperties": False,
        }
        for way, schema in ways.items()
    ]
    flat = {"allOf": [features, {"type": "object", "properties": beside}]}
    return {"anyOf": [*named, flat]}


def schemas() -> Schema:
    """Return every schema, by its name."""
    loaded = [usecases.load(name) for name in usecases.names()]
    made = {name: shape(text) for name, text in SHAPES.items()}
    made |= {name: shape(text, is_closed=False) for name, text in PUSHES.items()}
    users = made["Lookup"]["properties"]["user_ids"]
    users |= {"minItems": 1, "maxItems": question.MAXIMUM_USERS}
    week = ("use_case", "week", "week_end", "status", "outcome")
    lift = ("use_case", "audience", "week", "week_end", "status")
    return {
        **made,
        "UserId": USER_ID,
        "Run": _run(usecases.names()),
        # Other use cases score events as they happen, and no users by day.
        "PredictionRun": _run(one.name for one in loaded if not one.scores_events),
        "EvaluatedWeek": _of_table(tables.EVALUATION, week, *_OF_THE_RUN, "thresholds"),
        "AudienceLift": _of_table(tables.AUDIENCE_LIFT, lift, *_OF_THE_RUN, "sums"),
        **{f"Features_{one.name}": _features(one) for one in loaded},
        "Question": _question(loaded),
    }


# -- operations ------------------------------------------------------------------------

REQUEST = "bad_request method_not_allowed too_large "
BEHIND = "internal settings access_denied use_case query_too_expensive unavailable "
RUNS = REQUEST + BEHIND + "run_in_progress conflict schema missing_table "
ONLINE = REQUEST + "internal settings missing_table no_such_path unsupported_type "

# Of each function: what it does, its request, its answers and its errors.
OPERATIONS = {
    "model_training": (
        "Train, and perhaps promote, a model as of one day", "Run", "Training",
        RUNS + "not_enough_data artifact export_late",
    ),
    "predictions": (
        "Score every user of the lookback as of one day", "PredictionRun",
        "Publication",
        RUNS + "no_champion score_shift not_enough_data artifact export_late",
    ),
    "model_evaluation": (
        "Compare the probabilities of past weeks with what happened", "Run",
        "Evaluation", RUNS + "export_late",
    ),
    "compact_features": (
        "Bring sums and exports of the stream up to date", "Run", "Compaction",
        RUNS,
    ),
    "get_proba": (
        f"The newest probabilities of up to {question.MAXIMUM_USERS} users", "Lookup",
        "Predictions", ONLINE + "query_too_expensive unavailable",
    ),
    "score": (
        "Score features, a user or a list of instances", "Question", "Score|Scores",
        ONLINE + "artifact schema no_champion unknown_version unavailable",
    ),
    "stream_features": (
        "Take an event of Pub/Sub's topic events", "Push", "Taken",
        REQUEST + "internal settings access_denied artifact schema missing_table "
        "unavailable",
    ),
}  # fmt: skip
OPERATIONS["score_stream"] = (
    "Score an enriched event",
    *OPERATIONS["stream_features"][1:],
)
# Pub/Sub is told to come again, whatever is wrong behind these.
CONSUMERS = ("stream_features", "score_stream")
MAXIMUM_BODIES = {
    "get_proba": question.MAXIMUM_BODY_BYTES,
    "score": score.MAXIMUM_BODY_BYTES,
    **dict.fromkeys(CONSUMERS, messages.MAXIMUM_BODY_BYTES),
}
# What else a status may say than an error.
UNKNOWN_USERS = {"get_proba": "UnknownUser", "score": "UnfeaturedUser"}


def _errors(of: type[PropensityError]) -> dict[str, type[PropensityError]]:
    """Return an error and those below it, by their codes."""
    below = (_errors(one) for one in of.__subclasses__())
    return {of.code: of} | {code: one for found in below for code, one in found.items()}


ERRORS = _errors(PropensityError)


def _failures(target: str, codes: Iterable[str], unknown: str = "") -> Schema:
    """Return the answers of errors, by status."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        status = ERRORS[code].status
        if target in CONSUMERS and code not in REQUEST.split():
            status = max(status, 500)
        by_status.setdefault(status, []).append(code)
    answers: Schema = {}
    for status, of_status in sorted(by_status.items()):
        named = {"properties": {"error": {"enum": of_status}}}
        schema: Schema = {"allOf": [ref("Error"), named]}
        if status == 404 and unknown:
            schema = {"anyOf": [ref(unknown), schema]}
        answers[str(status)] = _json(", ".join(of_status), schema)
    if "405" in answers:
        answers["405"]["headers"] = {"Allow": {"schema": KINDS["str"]}}
    if "export_late" in codes:
        answers["503"]["headers"] = {"Retry-After": {"schema": KINDS["int"]}}
    return answers


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def path_of(target: str) -> str:
    """Return the path of a function, as it is deployed under the default prefix."""
    return f"/propensity-{target.replace('_', '-')}"


def path(target: str) -> Schema:
    """Return the operations of a function."""
    summary, request, answer, codes = OPERATIONS[target]
    is_run = request in ("Run", "PredictionRun")
    unknown = UNKNOWN_USERS.get(target, "") if target == "score" else ""
    post = {
        "operationId": target,
        "summary": summary,
        "x-maximum-body-bytes": MAXIMUM_BODIES.get(target, MAXIMUM_BODY),
        "requestBody": {
            "required": not is_run,
            "content": {JSON: {"schema": ref(request)}},
        },
        "responses": {
            "200": _json("Done", kind(answer)),
            **_failures(target, codes.split(), unknown),
        },
    }
    return (
        {**_lookups(codes), "post": post} if target == "get_proba" else {"post": post}
    )


def _lookups(codes: str) -> Schema:
    """Return GET and HEAD of a single user."""
    text = {"type": "string", "enum": ["0", "1"]}
    parameters = [
        {"name": "user_id", "in": "query", "required": True, "schema": ref("UserId")},
        {"name": "use_case", "in": "query", "schema": KINDS["name"]},
        {"name": "value", "in": "query", "schema": text},
    ]
    # A GET has no body that could be too large or of another type.
    found = [c for c in codes.split() if c not in ("too_large", "unsupported_type")]
    answers = {
        "200": _json("The newest prediction", ref("Prediction")),
        **_failures("get_proba", found, UNKNOWN_USERS["get_proba"]),
    }
    bare = {
        status: {"description": one["description"]} for status, one in answers.items()
    }
    get = {
        "operationId": "get_proba_of_one",
        "summary": "The newest probability of a user, and its date",
        "parameters": parameters,
        "responses": answers,
    }
    head = {**get, "operationId": "get_proba_head", "responses": bare}
    return {"get": get, "head": head}


def description() -> Schema:
    """Return the description: one path for every function."""
    host = "https://us-central1-my-project.cloudfunctions.net"
    identity = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Propensity",
            "description": ABOUT,
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": host}],
        "security": [{"identity": []}],
        "paths": {path_of(target): path(target) for target in OPERATIONS},
        "components": {
            "securitySchemes": {"identity": identity},
            "schemas": schemas(),
        },
    }


def page() -> str:
    """Return the description as YAML."""
    # Read back, no two parts are one object, of which YAML would write an alias.
    parts = json.loads(json.dumps(description()))
    text = yaml.safe_dump(parts, sort_keys=False, allow_unicode=True)
    return "# Written by `python -m docs`; edit docs/openapi.py.\n" + text
