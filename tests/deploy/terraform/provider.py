"""
The Google provider's schema, served to Terraform; nothing else of it is there.

    python provider.py SCHEMA

Terraform asks for it by its plugin protocol, version 5, and makes up itself what a
provider would do: ``mock_provider`` in ``main.tftest.hcl``. SCHEMA is a JSON file of
``schema.read``. Prints the value of TF_REATTACH_PROVIDERS and serves until its standard
input is closed.

Source:
    https://github.com/hashicorp/terraform/blob/main/docs/plugin-protocol/tfplugin5.5.proto
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

SOURCE = "registry.terraform.io/hashicorp/google"
NESTING = {"single": 1, "list": 2, "set": 3}
PROVIDER = {
    name: {"type": "string", "required": False, "optional": True, "computed": False}
    for name in ("project", "region", "billing_project", "user_project_override")
}


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
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def block_of(schema: dict[str, Any]) -> bytes:
    """Return a Block of the protocol: its attributes, and the blocks within it."""
    attributes = [
        message(
            (1, name),
            (2, json.dumps(each["type"])),
            (4, each["required"]),
            (5, each["optional"]),
            (6, each["computed"]),
        )
        for name, each in schema["attributes"].items()
    ]
    blocks = [
        message(
            (1, name),
            (2, block_of(each["block"])),
            (3, NESTING[each["nesting"]]),
            (4, each["min"]),
            (5, each["max"]),
        )
        for name, each in schema["blocks"].items()
    ]
    return message(*((2, one) for one in attributes), *((3, one) for one in blocks))


def schemas(schema: dict[str, Any]) -> bytes:
    """Return the answer to GetSchema."""
    provider = block_of({"attributes": PROVIDER, "blocks": {}})
    entries = [
        (number, message((1, name), (2, message((2, block_of(block))))))
        for number, place in ((2, "resources"), (3, "data"))
        for name, block in schema[place].items()
    ]
    return message((1, message((2, provider))), *entries)


def main() -> None:
    answers = {
        "GetSchema": schemas(json.loads(Path(sys.argv[1]).read_text())),
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
        print(json.dumps({SOURCE: {**handshake, "Test": True, "Addr": address}}))
        sys.stdout.flush()
        sys.stdin.read()
        server.stop(0)


if __name__ == "__main__":
    main()
