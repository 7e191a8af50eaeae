"""
Hold every argument of HCL against a provider's schema, without Terraform.

The text is parsed by HashiCorp's own parser (npm ``@cdktf/hcl2json``), which gives each
file as JSON: a literal as it is, an expression as ``"${...}"``. Names, literals' types,
what is required, how often a block may be, and what expressions refer to are held; what
an expression comes to only Terraform knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.programs import execute

# What Terraform itself takes in every resource, and no schema has.
OWN = {"for_each", "count", "depends_on", "lifecycle", "provider"}
PARSE = """
const { parse } = require("@cdktf/hcl2json");
const fs = require("fs");
(async () => {
  const contents = {};
  for (const file of process.argv.slice(1))
    contents[file] = await parse(file, fs.readFileSync(file, "utf8"));
  fs.writeSync(1, JSON.stringify(contents));
  process.exit(0);
})();
"""


def parsed(npm: Path, files: list[Path]) -> dict[str, Any]:
    """
    Return files of HCL as JSON has them, by name.

    Args:
        npm: Where ``@cdktf/hcl2json`` is installed.
        files: They may be of one folder: names are those of the files alone.

    Raises:
        ValueError: One is no HCL; the message is the parser's.
    """
    done = execute(["node", "-e", PARSE, *files], cwd=npm, status=None)
    if done.returncode:
        raise ValueError(done.stderr)
    return {
        Path(name).name: content for name, content in json.loads(done.stdout).items()
    }


def wrong(files: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """
    Return what the schema has otherwise, a line each, with where it is.

    Args:
        files: Of one root, as ``parsed`` returns them.
        schema: As ``schema.read`` returns it.
    """
    problems = [
        problem
        for file, kind, type_name, name, body in blocks(files)
        for problem in _body(
            f"{file}: {type_name}.{name}",
            {key: value for key, value in body.items() if key not in OWN},
            schema["resources" if kind == "resource" else "data"].get(type_name),
        )
    ]
    return problems + list(_references(files, schema))


def blocks(files: dict[str, Any]) -> Iterator[tuple[str, str, str, str, Any]]:
    """Yield the provider's resources and data: file, kind, type, name, body."""
    for file, text in files.items():
        for kind in ("resource", "data"):
            for type_name, named in text.get(kind, {}).items():
                if type_name.startswith("google_"):
                    for name, [body] in named.items():
                        yield file, kind, type_name, name, body


def _body(where: str, body: dict[str, Any], block: Any) -> Iterator[str]:
    if block is None:
        yield f"{where}: the provider has no such type"
        return
    attributes, blocks = block["attributes"], block["blocks"]
    dynamic = {
        name: [content for part in parts for content in part["content"]]
        for name, parts in body.get("dynamic", {}).items()
    }
    plain = {name: value for name, value in body.items() if name != "dynamic"}
    for name, value in (*plain.items(), *dynamic.items()):
        if name in blocks:
            nested = value if isinstance(value, list) else [value]
            most = blocks[name]["max"]
            if most and name not in dynamic and len(nested) > most:
                yield f"{where}: {len(nested)} of {name}, at most {most}"
            for part in nested:
                yield from _body(f"{where}.{name}", part, blocks[name]["block"])
        elif name in dynamic or name not in attributes:
            yield f"{where}: there is no {name}"
        elif not (attributes[name]["required"] or attributes[name]["optional"]):
            yield f"{where}: {name} is computed"
        elif not _fits(value, attributes[name]["type"]):
            yield f"{where}: {name} is {value!r}, not {attributes[name]['type']}"
    required = [name for name, each in attributes.items() if each["required"]]
    required += [name for name, each in blocks.items() if each["min"]]
    for name in required:
        if name not in plain and name not in dynamic:
            yield f"{where}: {name} is required"


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a literal is of a type; of an expression nobody knows."""
    if value is None or (isinstance(value, str) and "${" in value):
        return True
    if isinstance(kind, str):
        if kind == "bool":
            return value in (True, False, "true", "false")
        if kind == "number":
            # Terraform makes a number of a text, and the other way round.
            return not isinstance(value, bool) and bool(
                re.fullmatch(r"-?\d+(\.\d+)?", str(value))
            )
        return isinstance(value, (str, int, float))
    shape, inner = kind
    if shape == "map":
        return isinstance(value, dict) and all(_fits(v, inner) for v in value.values())
    return isinstance(value, list) and all(_fits(part, inner) for part in value)


def _references(files: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Yield what expressions name that there is not."""
    variables = {name for text in files.values() for name in text.get("variable", {})}
    known = {
        name
        for text in files.values()
        for block in text.get("locals", [])
        for name in block
    }
    there = {(kind, type_name, name) for _, kind, type_name, name, _ in blocks(files)}
    for file, text in files.items():
        whole = json.dumps(text)
        for name in sorted(set(re.findall(r"\bvar\.(\w+)", whole)) - variables):
            yield f"{file}: there is no variable {name}"
        for name in sorted(set(re.findall(r"\blocal\.(\w+)", whole)) - known):
            yield f"{file}: there is no local {name}"
        for data, type_name, name, attribute in sorted(
            set(
                re.findall(
                    r"(data\.)?\b(google_\w+)\.(\w+)(?:\[[^]]*\])?(?:\.(\w+))?", whole
                )
            )
        ):
            kind = "data" if data else "resource"
            if (kind, type_name, name) not in there:
                yield f"{file}: there is no {data}{type_name}.{name}"
                continue
            block = schema[f"{kind}s" if kind == "resource" else kind][type_name]
            if attribute and attribute not in {
                **block["attributes"],
                **block["blocks"],
            }:
                yield f"{file}: {data}{type_name} has no {attribute}"
