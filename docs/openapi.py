"""
The OpenAPI description of all HTTP functions: ``http.yaml``, and what the code has.

From the code come limits, use cases and their features, columns of rows, and the
statuses of errors. Tests send the functions what this describes, and hold every answer
against it.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from propensity import folders, usecases
from propensity.errors import PropensityError
from propensity.runs.run import MAXIMUM_BODY
from propensity.schema import Column
from propensity.tables.audiences import AUDIENCE_LIFT
from propensity.tables.models import EVALUATION

Schema = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Reads ``!code module:name`` as the constant of this name."""


_Loader.add_constructor("!code", lambda _, node: pkgutil.resolve_name(node.value))
_TEXT = Path(__file__).with_name("http.yaml").read_text()
SOURCE: Schema = yaml.load(_TEXT, _Loader)
NULL = {"type": "null"}
_COLUMNS = {"STRING": "str", "INT64": "int", "FLOAT64": "float", "NUMERIC": "float",
            "BOOL": "bool", "DATE": "date", "TIMESTAMP": "moment"}  # fmt: skip
_OF_A_WEEK = ("use_case", "week", "week_end", "status")
# Columns of a run's row that its answer has once, or not at all.
_OF_THE_RUN = ("run_id", "as_of", "thresholds", "metrics", "sums")


def kind(of: str | list[str]) -> Schema:
    """Return the schema of a kind of ``http.yaml``."""
    if isinstance(of, list):
        return {"anyOf": [kind(one) for one in of]}
    if of.endswith("[]"):
        return {"type": "array", "items": kind(of.removesuffix("[]"))}
    return SOURCE["kinds"].get(of, {"$ref": f"#/components/schemas/{of}"})


def _object(fields: Mapping[str, Any], *, is_closed: bool = True) -> Schema:
    made: Schema = {
        "type": "object",
        "properties": {name.rstrip("?"): kind(of) for name, of in fields.items()},
        "required": [name for name in fields if not name.endswith("?")],
    }
    return {**made, "additionalProperties": False} if is_closed else made


def _row(columns: Iterable[Column], *required: str) -> Schema:
    """Return the schema of a row, as an answer has it."""
    return {
        "type": "object",
        "properties": {
            column.name: _of_column(column)
            for column in columns
            if column.name not in _OF_THE_RUN
        },
        "required": list(required),
        "additionalProperties": False,
    }


def _of_column(column: Column) -> Schema:
    made = _row(column.fields) if column.fields else kind(_COLUMNS[column.type])
    if column.repeated:
        made = {"type": "array", "items": made}
    return made if column.required else {"anyOf": [made, NULL]}


def _features(use_case: usecases.UseCase) -> Schema:
    """Return the schema of features, where a number may be a text."""
    text = kind(["text", "null"])
    number = kind(["numeral", "float", "null"])
    return {
        "type": "object",
        "properties": {
            name: number if of == usecases.NUMBER else text
            for name, of in use_case.features.items()
        },
        "required": list(use_case.features),
    }


def schemas() -> Schema:
    """Return every schema, by its name."""
    # Pages are of what ships.
    shipped = folders.shipped()
    loaded = [usecases.load(name) for name in shipped]
    requests = ["FeaturesRequest", "InstancesRequest", "UserRequest"]
    flat = {"allOf": [kind("Features"), kind("Beside")]}
    # Other use cases score events as they happen, and no users by day.
    of_users = [one.name for one in loaded if not one.scores_events]
    week = (*EVALUATION.columns, *EVALUATION.in_json)
    lift = AUDIENCE_LIFT.columns
    return {
        **{name: _object(fields) for name, fields in SOURCE["objects"].items()},
        **{
            name: _object(fields, is_closed=False)
            for name, fields in SOURCE["open"].items()
        },
        "UserId": kind("user_id"),
        "UserIds": kind("user_ids"),
        "UseCase": {"enum": shipped, "description": "or PROPENSITY_USE_CASE"},
        "UseCaseOfUsers": {"enum": of_users, "description": "or PROPENSITY_USE_CASE"},
        "PredictionOrNone": kind(["Prediction", "UnpredictedUser"]),
        **{f"Features_{one.name}": _features(one) for one in loaded},
        "Features": kind([f"Features_{one.name}" for one in loaded]),
        "Instances": kind("instances"),
        "Question": {"anyOf": [*kind(requests)["anyOf"], flat]},
        "EvaluatedWeek": _row(week, *_OF_A_WEEK, "outcome"),
        "AudienceLift": _row(lift, *_OF_A_WEEK, "audience"),
    }


def _errors(of: type[PropensityError]) -> dict[str, type[PropensityError]]:
    """Return an error and those below it, by their codes."""
    found = {of.code: of}
    for below in of.__subclasses__():
        found |= _errors(below)
    return found


ERRORS = _errors(PropensityError)


def _failures(source: Schema) -> Schema:
    """Return a function's answers of errors, by status."""
    codes = source["errors"].split()
    by_status: dict[int, list[str]] = {}
    for code in codes:
        status = ERRORS[code].status
        # Pub/Sub delivers again after any error of a function that takes its messages.
        if source.get("request") == "Push" and status not in (400, 405, 413):
            status = max(status, 500)
        by_status.setdefault(status, []).append(code)
    answers: Schema = {}
    for status, of_status in sorted(by_status.items()):
        named = {"properties": {"error": {"enum": of_status}}}
        schema: Schema = {"allOf": [kind("Error"), named]}
        if status == 404 and (unknown := source.get("unknown_user")):
            schema = {"anyOf": [kind(unknown), schema]}
        answers[str(status)] = _json(", ".join(of_status), schema)
    if "405" in answers:
        answers["405"]["headers"] = {"Allow": {"schema": kind("str")}}
    if "export_late" in codes:
        answers["503"]["headers"] = {"Retry-After": {"schema": kind("int")}}
    return answers


def _json(description: str, schema: Schema) -> Schema:
    content = {"application/json": {"schema": schema}}
    return {"description": description, "content": content}


def _operation(method: str, source: Schema) -> Schema:
    own = ("request", "maximum_body", "answer", "unknown_user", "errors")
    request = source.get("request")
    answer = source["answer"]
    made = {name: of for name, of in source.items() if name not in own}
    is_run = str(request).endswith("Run")
    done = _json("Done", kind(answer))
    if is_run:
        schema = {"anyOf": [kind(answer), kind("Error")]}
        done = _json("Done; to Cloud Scheduler also an error that cannot pass", schema)
        made["parameters"] = [SOURCE["by_the_clock"]]
    responses = {"200": done, **_failures(source)}
    if method == "head":
        responses = {
            status: {"description": one["description"]}
            for status, one in responses.items()
        }
    if request:
        content = _json("", kind(request))["content"]
        made["x-maximum-body-bytes"] = source.get("maximum_body", MAXIMUM_BODY)
        made["requestBody"] = {"required": not is_run, "content": content}
    return {**made, "responses": responses}


def description() -> Schema:
    """Return the description: one path for every function."""
    kept = ("openapi", "info", "servers", "security")
    identity = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return {
        **{name: SOURCE[name] for name in kept},
        "paths": {
            path: {method: _operation(method, one) for method, one in methods.items()}
            for path, methods in SOURCE["paths"].items()
        },
        "components": {"securitySchemes": {"identity": identity}, "schemas": schemas()},
    }


def page() -> str:
    """Return the description as YAML."""
    # Read back, no two parts are one object, of which YAML would write an alias.
    parts = json.loads(json.dumps(description()))
    text = yaml.safe_dump(parts, sort_keys=False, allow_unicode=True)
    return "# Written by `python -m docs`; edit docs/http.yaml or the code.\n" + text
