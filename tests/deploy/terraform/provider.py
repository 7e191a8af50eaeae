"""
The Google provider's schema, served to Terraform; nothing else of it is there.

Terraform asks for it by its plugin protocol (tfplugin5.5.proto), and makes up
itself what a provider would do. The schema is read from ``@cdktf/provider-google`` or
its successor, whose classes are made from the one that the provider publishes: they
write every attribute down with its type in the functions that render it, and declare
which are required.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

SOURCE = "registry.terraform.io/hashicorp/google"
NESTING = {"single": 1, "list": 2, "set": 3}
PROVIDER = ("project", "region", "billing_project", "user_project_override")
TYPES: dict[str, Any] = {
    "string": "string",
    "boolean": "bool",
    "number": "number",
    "stringList": ["list", "string"],
    "numberList": ["list", "number"],
    "stringMap": ["map", "string"],
}
# An attribute that Google fills in has a getter alone.
GETTER = re.compile(r"this\.get(String|Boolean|Number)Attribute\('(\w+)'\)")
ATTRIBUTE = re.compile(
    r"^ {8,12}(\w+): \{\n\s+value: (.*),\n\s+isBlock: (true|false),\n"
    r'\s+type: "(\w+)",\n\s+storageClassType: "(\w+)",\n',
    re.M,
)
# Attributes, and blocks within, as messages of the protocol by their names.
Parts = tuple[dict[str, bytes], dict[str, bytes]]


@contextmanager
def serving(
    package: Path, resources: Iterable[str], data: Iterable[str]
) -> Iterator[str]:
    """Serve the schema of some types, from a package; yield the value of
    TF_REATTACH_PROVIDERS."""
    own = {name: attribute(name, "string", optional=True) for name in PROVIDER}
    entries = [(1, message((2, block_of((own, {})))))]
    for number, names, prefix in ((2, resources, ""), (3, data, "data-google-")):
        for name in names:
            folder = prefix + name.removeprefix("google_").replace("_", "-")
            block = Module(package / "lib" / folder).whole()
            entries.append((number, message((1, name), (2, message((2, block))))))
    answers = {
        "GetSchema": message(*entries),
        "ValidateResourceTypeConfig": b"",
        "ValidateDataSourceConfig": b"",
        "Stop": b"",
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(lambda _, __, answer=answer: answer)
        for name, answer in answers.items()
    }
    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)]
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers)]
    )
    with tempfile.TemporaryDirectory() as folder:
        server.add_insecure_port(f"unix:{folder}/provider")
        server.start()
        address = {"Network": "unix", "String": f"{folder}/provider"}
        handshake = {"Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid()}
        yield json.dumps({SOURCE: {**handshake, "Test": True, "Addr": address}})
        server.stop(0).wait()


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """Return a protobuf message of fields by their numbers, some of them messages."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | 2) + varint(len(data)) + data)
    return b"".join(parts)


def varint(number: int) -> bytes:
    low = number & 127
    rest = number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def attribute(
    name: str,
    kind: Any,
    *,
    required: bool = False,
    optional: bool = False,
    computed: bool = False,
) -> bytes:
    flags = (4, required), (5, optional), (6, computed)
    return message((1, name), (2, json.dumps(kind)), *flags)


def block_of(parts: Parts) -> bytes:
    attributes, blocks = (part.values() for part in parts)
    return message(*((2, one) for one in attributes), *((3, one) for one in blocks))


class Module:
    """One resource or data source: its classes and their declarations."""

    def __init__(self, folder: Path) -> None:
        self.code = (folder / "index.js").read_text()
        self.declared = (folder / "index.d.ts").read_text()

    def whole(self) -> bytes:
        """Return the module's own block."""
        [name] = re.findall(
            r"^class (\w+) extends cdkt[fn]\.Terraform", self.code, re.M
        )
        text = self._part(rf"class {name} extends ")
        body = text[text.index("synthesizeHclAttributes()") :]
        attributes, blocks = self._parts_of(f"{name}Config", body)
        computed: dict[str, Any] = {
            one: kind.lower() for kind, one in GETTER.findall(text)
        }
        lists = re.findall(r"new (\w+)List\(this, \"(\w+)\", (?:true|false)\)", text)
        for kind, one in lists:
            part = self._part(rf"class {kind}OutputReference ")
            fields = {name: kind.lower() for kind, name in GETTER.findall(part)}
            computed[one] = ["list", ["object", fields]]
        for one in computed.keys() - attributes.keys() - blocks.keys():
            kind = "bool" if computed[one] == "boolean" else computed[one]
            attributes[one] = attribute(one, kind, computed=True)
        return block_of((attributes, blocks))

    def _parts_of(self, interface: str, body: str) -> Parts:
        attributes = dict[str, bytes]()
        blocks = dict[str, bytes]()
        declared = re.search(
            rf"interface {interface} [^{{]*\{{(.*?)^\}}", self.declared, re.M | re.S
        )
        assert declared, f"{interface} is not declared"
        declared_required = set(re.findall(r"readonly (\w+):", declared[1]))
        for name, value, is_block, kind, storage in ATTRIBUTE.findall(body):
            first, *rest = name.split("_")
            camel = first + "".join(part[:1].upper() + part[1:] for part in rest)
            required = camel in declared_required
            if is_block == "false":
                attributes[name] = attribute(
                    name,
                    ["set", TYPES[storage][1]] if kind == "set" else TYPES[storage],
                    required=required,
                    optional=not required,
                    computed=name == "id" and not required,
                )
                continue
            renders = re.findall(r"(\w+)ToHclTerraform", value)
            [function] = {*renders} - {"string", "number", "boolean"}
            is_single = kind == "struct"
            within = self._parts_of(
                function[:1].upper() + function[1:],
                self._part(rf"function {function}ToHclTerraform\("),
            )
            blocks[name] = message(
                (1, name),
                (2, block_of(within)),
                (3, NESTING["single" if is_single else kind]),
                (4, required and not is_single),
                (5, not (is_single or "listMapperHcl" in value)),
            )
        return attributes, blocks

    def _part(self, start: str) -> str:
        """Return a function or class of the code, to the brace that ends it."""
        match = re.search(rf"^{start}.*?^\}}", self.code, re.M | re.S)
        assert match, start
        return match[0]
