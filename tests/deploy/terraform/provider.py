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
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SOURCE = "registry.terraform.io/hashicorp/google"

STRING, BYTES, INT, BOOL = 9, 12, 3, 8
# Of each message its fields: number, type, and whether it is repeated.
MESSAGES: dict[str, dict[str, tuple[Any, ...]]] = {
    "Attribute": {
        "name": (1, STRING), "type": (2, BYTES), "required": (4, BOOL),
        "optional": (5, BOOL), "computed": (6, BOOL),
    },
    "NestedBlock": {
        "type_name": (1, STRING), "block": (2, "Block"), "nesting": (3, INT),
        "min_items": (4, INT), "max_items": (5, INT),
    },
    "Block": {
        "version": (1, INT), "attributes": (2, "Attribute", True),
        "block_types": (3, "NestedBlock", True),
    },
    "Schema": {"version": (1, INT), "block": (2, "Block")},
    "Entry": {"key": (1, STRING), "value": (2, "Schema")},
    "Schemas": {
        "provider": (1, "Schema"), "resources": (2, "Entry", True),
        "data": (3, "Entry", True),
    },
    "Empty": {},
}  # fmt: skip
NESTING = {"single": 1, "list": 2, "set": 3}
PROVIDER = {
    name: {"type": "string", "required": False, "optional": True, "computed": False}
    for name in ("project", "region", "billing_project", "user_project_override")
}


def _messages() -> dict[str, Any]:
    """Return the protocol's messages as classes."""
    file = descriptor_pb2.FileDescriptorProto(name="tf.proto", package="tf")
    file.syntax = "proto3"
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, *repeated) in fields.items():
            added = message.field.add(name=field, number=number)
            added.label = 3 if repeated else 1
            if isinstance(kind, str):
                added.type, added.type_name = 11, f".tf.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tf.{name}"))
        for name in MESSAGES
    }


M = _messages()


def block_of(schema: dict[str, Any]) -> Any:
    """Return a block of the schema as the protocol has it."""
    block = M["Block"]()
    for name, each in schema["attributes"].items():
        kind = json.dumps(each["type"]).encode()
        block.attributes.add(**{**each, "name": name, "type": kind})
    for name, each in schema["blocks"].items():
        block.block_types.add(
            type_name=name,
            block=block_of(each["block"]),
            nesting=NESTING[each["nesting"]],
            min_items=each["min"],
            max_items=each["max"],
        )
    return block


def schemas(schema: dict[str, Any]) -> Any:
    """Return the answer to GetSchema."""
    answer = M["Schemas"]()
    provider = block_of({"attributes": PROVIDER, "blocks": {}})
    answer.provider.block.CopyFrom(provider)
    for place in ("resources", "data"):
        for name, block in schema[place].items():
            entry = getattr(answer, place).add(key=name)
            entry.value.block.CopyFrom(block_of(block))
    return answer


def main() -> None:
    schema = json.loads(Path(sys.argv[1]).read_text())
    answers = {
        "GetSchema": schemas(schema),
        "ValidateResourceTypeConfig": M["Empty"](),
        "ValidateDataSourceConfig": M["Empty"](),
        "Stop": M["Empty"](),
    }
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            lambda _, __, answer=answer: answer.SerializeToString()
        )
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
