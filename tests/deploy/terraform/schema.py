"""
The Google provider's schema: names, types and what is required, of resources and data.

Read from ``@cdktf/provider-google`` or its successor, whose classes are made from the
schema that the provider publishes: they write every attribute down with its type in the
functions that render it, and declare which are required.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_TYPES: dict[str, Any] = {
    "string": "string",
    "boolean": "bool",
    "number": "number",
    "stringList": ["list", "string"],
    "numberList": ["list", "number"],
    "stringMap": ["map", "string"],
}
# What Google fills in has a getter alone.
_GETTER = re.compile(r"this\.get(String|Boolean|Number)Attribute\('(\w+)'\)")
_ATTRIBUTE = re.compile(
    r"^ {8,12}(\w+): \{\n\s+value: (.*),\n\s+isBlock: (true|false),\n"
    r'\s+type: "(\w+)",\n\s+storageClassType: "(\w+)",\n',
    re.M,
)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


class _Module:
    """One resource or data source: its classes and their declarations."""

    def __init__(self, folder: Path) -> None:
        self.code = (folder / "index.js").read_text()
        self.declared = (folder / "index.d.ts").read_text()

    def whole(self) -> dict[str, Any]:
        """Return the module's own block."""
        [name] = re.findall(
            r"^class (\w+) extends cdkt[fn]\.Terraform", self.code, re.M
        )
        text = self._part(rf"class {name} extends ")
        body = text[text.index("synthesizeHclAttributes()") :]
        schema = self.block(f"{name}Config", body)
        known = schema["attributes"] | schema["blocks"]
        computed = {one: kind.lower() for kind, one in _GETTER.findall(text)}
        lists = re.findall(r"new (\w+)List\(this, \"(\w+)\", (?:true|false)\)", text)
        for kind, one in lists:
            part = self._part(rf"class {kind}OutputReference ")
            fields = {name: kind.lower() for kind, name in _GETTER.findall(part)}
            computed[one] = ["list", ["object", fields]]
        for one in computed.keys() - known.keys():
            kind = "bool" if computed[one] == "boolean" else computed[one]
            flags = {"required": False, "optional": False, "computed": True}
            schema["attributes"][one] = {"type": kind, **flags}
        return schema

    def block(self, interface: str, body: str) -> dict[str, Any]:
        """Return a block's attributes and the blocks within it."""
        schema: dict[str, Any] = {"attributes": {}, "blocks": {}}
        declared = re.search(
            rf"interface {interface} [^{{]*\{{(.*?)^\}}", self.declared, re.M | re.S
        )
        assert declared, f"{interface} is not declared"
        required = set(re.findall(r"readonly (\w+):", declared[1]))
        for name, value, is_block, kind, storage in _ATTRIBUTE.findall(body):
            is_required = _camel(name) in required
            if is_block == "false":
                of = ["set", _TYPES[storage][1]] if kind == "set" else _TYPES[storage]
                schema["attributes"][name] = {
                    "type": of,
                    "required": is_required,
                    "optional": not is_required,
                    "computed": name == "id" and not is_required,
                }
                continue
            renders = re.findall(r"(\w+)ToHclTerraform", value)
            [function] = {*renders} - {"string", "number", "boolean"}
            is_many = "listMapperHcl" in value or kind == "struct"
            schema["blocks"][name] = {
                "nesting": "single" if kind == "struct" else kind,
                "min": int(is_required and kind != "struct"),
                "max": 0 if is_many else 1,
                "block": self.block(
                    function[:1].upper() + function[1:],
                    self._part(rf"function {function}ToHclTerraform\("),
                ),
            }
        return schema

    def _part(self, start: str) -> str:
        """Return a function or class of the code, to the brace that ends it."""
        match = re.search(rf"^{start}.*?^\}}", self.code, re.M | re.S)
        assert match, start
        return match[0]


def read(
    package: Path, resources: Iterable[str], data: Iterable[str]
) -> dict[str, Any]:
    """
    Return the schema of some types.

    Args:
        package: The installed ``@cdktf/provider-google``.
        resources: Such as ``google_pubsub_topic``.
        data: Data sources, by the names that they have in HCL.

    Returns:
        ``resources`` and ``data``: of each type ``attributes`` and ``blocks`` by name.
    """

    def block_of(name: str, prefix: str) -> dict[str, Any]:
        folder = prefix + name.removeprefix("google_").replace("_", "-")
        return _Module(package / "lib" / folder).whole()

    return {
        "resources": {name: block_of(name, "") for name in resources},
        "data": {name: block_of(name, "data-google-") for name in data},
    }
