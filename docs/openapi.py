"""
The OpenAPI description of lookups and scores: ``http.yaml``, and what the code has.

From the code come limits, use cases and their features, and the statuses of errors.
Tests send the functions what this describes, and hold every answer against it.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from propensity import folders, usecases
from propensity.errors import PropensityError

Schema = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Reads ``!code module:name`` as the constant of this name."""


_Loader.add_constructor("!code", lambda _, node: pkgutil.resolve_name(node.value))
_TEXT = Path(__file__).with_name("http.yaml").read_text()
SOURCE: Schema = yaml.load(_TEXT, _Loader)
NULL = {"type": "null"}


def kind(spec: str | list[str]) -> Schema:
    """Return the schema of a kind of ``http.yaml``."""
    if isinstance(spec, list):
        return {"anyOf": [kind(option) for option in spec]}
    if spec.endswith("[]"):
        return {"type": "array", "items": kind(spec.removesuffix("[]"))}
    return SOURCE["kinds"].get(spec, {"$ref": f"#/components/schemas/{spec}"})


def _object(fields: Mapping[str, Any], *, is_closed: bool = True) -> Schema:
    made: Schema = {
        "type": "object",
        "properties": {name.rstrip("?"): kind(spec) for name, spec in fields.items()},
        "required": [name for name in fields if not name.endswith("?")],
    }
    return {**made, "additionalProperties": False} if is_closed else made


def _features(use_case: usecases.UseCase) -> Schema:
    """Return the schema of features."""
    kinds = {usecases.NUMBER: "NumberFeature", usecases.CATEGORY: "CategoryFeature"}
    features = use_case.features
    return {
        "type": "object",
        "properties": {
            name: kind(kinds[feature_kind]) for name, feature_kind in features.items()
        },
        "required": list(features),
    }


def schemas() -> Schema:
    """Return every schema, by its name."""
    # Pages are of what ships.
    shipped = folders.shipped()
    loaded = [usecases.load(name) for name in shipped]
    requests = ["FeaturesRequest", "InstancesRequest", "UserRequest"]
    flat = {"allOf": [kind("Features"), kind("Beside")]}
    return {
        **{name: _object(fields) for name, fields in SOURCE["objects"].items()},
        **{
            name: _object(fields, is_closed=False)
            for name, fields in SOURCE["open"].items()
        },
        "UserId": kind("user_id"),
        "UserIds": kind("user_ids"),
        "UseCase": {"enum": shipped, "description": "or PROPENSITY_USE_CASE"},
        "PredictionOrNone": kind(["Prediction", "UnpredictedUser"]),
        # A number may be a text.
        "NumberFeature": kind(["numeral", "float", "null"]),
        "CategoryFeature": kind(["text", "null"]),
        **{f"Features_{use_case.name}": _features(use_case) for use_case in loaded},
        "Features": kind([f"Features_{use_case.name}" for use_case in loaded]),
        "Instances": kind("instances"),
        "Question": {"anyOf": kind(requests)["anyOf"] + [flat]},
    }


def _errors(error: type[PropensityError]) -> dict[str, type[PropensityError]]:
    """Return an error and those below it, by their codes."""
    errors = {error.code: error}
    for below in error.__subclasses__():
        errors |= _errors(below)
    return errors


ERRORS = _errors(PropensityError)


def _failures(source: Schema) -> Schema:
    """Return a function's answers of errors, by status."""
    codes = source["errors"].split()
    by_status: dict[int, list[str]] = {}
    for code in codes:
        status = ERRORS[code].status
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
    return answers


def _json(description: str, schema: Schema) -> Schema:
    content = {"application/json": {"schema": schema}}
    return {"description": description, "content": content}


def _operation(method: str, source: Schema) -> Schema:
    handled = ("request", "maximum_body", "answer", "unknown_user", "errors")
    request = source.get("request")
    made = {name: value for name, value in source.items() if name not in handled}
    responses = {"200": _json("Done", kind(source["answer"])), **_failures(source)}
    if method == "head":
        responses = {
            status: {"description": response["description"]}
            for status, response in responses.items()
        }
    if request:
        content = _json("", kind(request))["content"]
        made["x-maximum-body-bytes"] = source["maximum_body"]
        made["requestBody"] = {"required": True, "content": content}
    return {**made, "responses": responses}


def description() -> Schema:
    """Return the description: one path for each function."""
    kept = ("openapi", "info", "servers", "security")
    identity = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return {
        **{name: SOURCE[name] for name in kept},
        "paths": {
            path: {
                method: _operation(method, operation)
                for method, operation in methods.items()
            }
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
