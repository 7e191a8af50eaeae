"""
The Google provider's schema: names, types and what is required, of resources and data.

Read from the npm package ``@cdktf/provider-google`` or its successor, whose classes are
made from the schema that the provider publishes. The package writes every attribute
down with its type in the functions that render it, and says in its declarations which
are required. Only those types that are asked for are read.
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
_GETTERS: dict[str, Any] = {
    "getStringAttribute": "string",
    "getBooleanAttribute": "bool",
    "getNumberAttribute": "number",
    "getListAttribute": ["list", "string"],
    "getStringMapAttribute": ["map", "string"],
}
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

    def block(self, interface: str, body: str, *, class_text: str) -> dict[str, Any]:
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
                base = _TYPES[storage]
                if kind == "set":
                    base = ["set", base[1]]
                schema["attributes"][name] = {
                    "type": base,
                    "required": is_required,
                    "optional": not is_required,
                    "computed": name == "id" and not is_required,
                }
                continue
            names = [
                match
                for match in re.findall(r"(\w+)ToHclTerraform", value)
                if match not in ("string", "number", "boolean")
            ]
            assert names, value
            function = names[0]
            text = self._function(f"{function}ToHclTerraform")
            nested = self.block(
                function[:1].upper() + function[1:], text, class_text=""
            )
            is_many = "listMapperHcl" in value
            schema["blocks"][name] = {
                "nesting": "single" if kind == "struct" else kind,
                "min": int(is_required),
                "max": 0 if is_many or kind == "struct" else 1,
                "block": nested,
            }
        for getter, name in re.findall(
            r"this\.(get\w+Attribute)\('(\w+)'\)", class_text
        ):
            if name not in schema["attributes"] and getter in _GETTERS:
                schema["attributes"][name] = {
                    "type": _GETTERS[getter], "computed": True,
                    "required": False, "optional": False,
                }  # fmt: skip
        for kind, name in re.findall(
            r"new (\w+)List\(this, \"(\w+)\", (?:true|false)\)", class_text
        ):
            if name not in schema["blocks"]:
                schema["attributes"][name] = {
                    "type": ["list", ["object", self._object(kind)]],
                    "computed": True, "required": False, "optional": False,
                }  # fmt: skip
        return schema

    def _function(self, name: str) -> str:
        match = re.search(rf"^function {name}\(.*?^\}}", self.code, re.M | re.S)
        assert match, name
        return match[0]

    def _object(self, kind: str) -> dict[str, Any]:
        """Return the attributes of a computed object."""
        match = re.search(
            rf"^class {kind}OutputReference .*?^\}}", self.code, re.M | re.S
        )
        assert match, kind
        return {
            name: _GETTERS[getter]
            for getter, name in re.findall(
                r"this\.(get\w+Attribute)\('(\w+)'\)", match[0]
            )
            if getter in _GETTERS
        }

    def whole(self) -> dict[str, Any]:
        """Return the module's own block."""
        [(name, base)] = re.findall(
            r"^class (\w+) extends cdkt[fn]\.Terraform(Resource|DataSource) ",
            self.code,
            re.M,
        )
        del base
        match = re.search(rf"^class {name} extends .*?^\}}", self.code, re.M | re.S)
        assert match
        text = match[0]
        body = text[text.index("synthesizeHclAttributes()") :]
        return self.block(f"{name}Config", body, class_text=text)


def read(
    package: Path, resources: Iterable[str], data: Iterable[str] = ()
) -> dict[str, Any]:
    """
    Return the schema of some types.

    Args:
        package: The installed ``@cdktf/provider-google``.
        resources: Such as ``google_pubsub_topic``.
        data: Data sources, by the names that they have in HCL.

    Returns:
        ``resources`` and ``data``: of each type ``attributes`` and ``blocks`` by name.

    Raises:
        KeyError: The provider has no such type.
    """

    def block_of(name: str, prefix: str) -> dict[str, Any]:
        folder = (
            package / "lib" / (prefix + name.removeprefix("google_").replace("_", "-"))
        )
        if not folder.is_dir():
            raise KeyError(f"the provider has no {name}")
        return _Module(folder).whole()

    return {
        "resources": {name: block_of(name, "") for name in resources},
        "data": {name: block_of(name, "data-google-") for name in data},
    }
