"""
A provider for Terraform with the Google provider's schema, and nothing behind it.

    python provider.py SCHEMA ANSWERS

Terraform talks to it as to any provider, by its plugin protocol, version 5: it checks
types, names and what is required, evaluates every expression, plans and applies. What
is created lives in Terraform's state only, and what Google would fill in is made up.
ANSWERS is a JSON file: what data sources return, by type. Prints the value of
TF_REATTACH_PROVIDERS and serves until its standard input is closed.

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
import msgpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SOURCE = "registry.terraform.io/hashicorp/google"

STRING, BYTES, INT, BOOL = 9, 12, 3, 8
# Of each message its fields: number, type, and whether it is repeated.
MESSAGES: dict[str, dict[str, tuple[Any, ...]]] = {
    "DynamicValue": {"msgpack": (1, BYTES), "json": (2, BYTES)},
    "Diagnostic": {"severity": (1, INT), "summary": (2, STRING), "detail": (3, STRING)},
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
    "RawState": {"json": (1, BYTES)},
    "Upgrade": {"type_name": (1, STRING), "raw_state": (3, "RawState")},
    "Named": {"type_name": (1, STRING), "config": (2, "DynamicValue")},
    "Change": {
        "type_name": (1, STRING), "prior": (2, "DynamicValue"),
        "next": (3, "DynamicValue"), "config": (4, "DynamicValue"),
    },
    "Answer": {"value": (1, "DynamicValue"), "diagnostics": (2, "Diagnostic", True)},
    "Planned": {"value": (1, "DynamicValue")},
    "Checked": {"diagnostics": (1, "Diagnostic", True)},
}  # fmt: skip
NESTING = {"single": 1, "list": 2, "set": 3}


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
UNKNOWN = msgpack.ExtType(0, b"\x00")


def unpacked(value: Any) -> Any:
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, strict_map_key=False, raw=False)
    return json.loads(value.json or b"null")


def packed(value: Any) -> Any:
    return M["DynamicValue"](msgpack=msgpack.packb(value, use_bin_type=True))


def block_of(schema: dict[str, Any]) -> Any:
    """Return a block of the schema as the protocol has it."""
    block = M["Block"]()
    for name, each in schema["attributes"].items():
        block.attributes.add(
            name=name,
            type=json.dumps(each["type"]).encode(),
            required=each["required"],
            optional=each["optional"],
            computed=each["computed"],
        )
    for name, each in schema["blocks"].items():
        block.block_types.add(
            type_name=name,
            block=block_of(each["block"]),
            nesting=NESTING[each["nesting"]],
            min_items=each["min"] if each["nesting"] != "single" else 0,
            max_items=each["max"],
        )
    return block


class Provider:
    """Answers Terraform; every method is one call of the protocol."""

    def __init__(self, schema: dict[str, Any], answers: dict[str, Any]) -> None:
        self.schema, self.answers = schema, answers
        self.count = 0

    def computed(self, kind: str) -> list[str]:
        attributes = self.schema["resources"][kind]["attributes"]
        return [name for name, attribute in attributes.items() if attribute["computed"]]

    def filled(self, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        """Return a resource with what Google would fill in, made up."""
        self.count += 1
        project = value.get("project") or "my-project"
        name = next(
            (value[n] for n in ("name", "topic", "table_id", "dataset_id", "role_id",
             "account_id", "bucket_id", "repository_id")
             if isinstance(value.get(n), str) and value[n]),
            f"{self.count}",
        )  # fmt: skip
        known = {
            "id": f"projects/{project}/{kind.removeprefix('google_')}/{name}",
            "name": f"projects/{project}/{kind.removeprefix('google_')}/{name}",
        }
        if kind == "google_service_account":
            known["email"] = f"{name}@{project}.iam.gserviceaccount.com"
        if kind == "google_project_iam_custom_role":
            known["id"] = f"projects/{project}/roles/{name}"
        types = self.schema["resources"][kind]["attributes"]
        empty = {"string": "", "bool": False, "number": 0}
        for attribute in self.computed(kind):
            if isinstance(value.get(attribute), msgpack.ExtType):
                declared = types[attribute]["type"]
                plain = empty.get(declared) if isinstance(declared, str) else None
                value[attribute] = known.get(attribute, plain)
        return value

    def get_schema(self, _: Any) -> Any:
        schemas = M["Schemas"]()
        provider = {
            name: {"type": kind, "required": False, "optional": True,
                   "computed": False}
            for name, kind in {
                "project": "string", "region": "string", "billing_project": "string",
                "user_project_override": "bool",
            }.items()
        }  # fmt: skip
        schemas.provider.block.CopyFrom(
            block_of({"attributes": provider, "blocks": {}})
        )
        for place, blocks in (
            (schemas.resources, self.schema["resources"]),
            (schemas.data, self.schema["data"]),
        ):
            for name, block in blocks.items():
                entry = place.add(key=name)
                entry.value.block.CopyFrom(block_of(block))
        return schemas

    def upgrade(self, request: Any) -> Any:
        return M["Answer"](value=packed(json.loads(request.raw_state.json)))

    def read(self, request: Any) -> Any:
        return M["Planned"](value=request.config)

    def plan(self, request: Any) -> Any:
        wanted, before = unpacked(request.next), unpacked(request.prior)
        if wanted is not None:
            for name in self.computed(request.type_name):
                if wanted.get(name) is None:
                    wanted[name] = before.get(name) if before else UNKNOWN
        return M["Planned"](value=packed(wanted))

    def apply(self, request: Any) -> Any:
        planned = unpacked(request.next)
        if planned is not None:
            planned = self.filled(request.type_name, planned)
        return M["Planned"](value=packed(planned))

    def read_data(self, request: Any) -> Any:
        state = unpacked(request.config)
        types = self.schema["data"][request.type_name]["attributes"]
        answers = self.answers.get(request.type_name, {})
        for name, attribute in types.items():
            if attribute["computed"] and state.get(name) is None:
                state[name] = answers.get(
                    name, "x" if attribute["type"] == "string" else None
                )
        return M["Answer"](value=packed(state | answers))

    def configured(self, request: Any) -> Any:
        return M["Planned"](value=request.value)


def serve(provider: Provider) -> grpc.Server:
    """Return a server of the protocol."""
    nothing = M["Checked"]
    calls = {
        "GetSchema": (M["Checked"], provider.get_schema),
        "PrepareProviderConfig": (M["Planned"], provider.configured),
        "ValidateResourceTypeConfig": (M["Named"], lambda _: nothing()),
        "ValidateDataSourceConfig": (M["Named"], lambda _: nothing()),
        "UpgradeResourceState": (M["Upgrade"], provider.upgrade),
        "Configure": (M["Named"], lambda _: nothing()),
        "ReadResource": (M["Named"], provider.read),
        "PlanResourceChange": (M["Change"], provider.plan),
        "ApplyResourceChange": (M["Change"], provider.apply),
        "ReadDataSource": (M["Named"], provider.read_data),
        "Stop": (M["Checked"], lambda _: nothing()),
    }

    def handler(kind: Any, answer: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, _: answer(request),
            request_deserializer=kind.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1)]
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "tfplugin5.Provider",
                {name: handler(*call) for name, call in calls.items()},
            )
        ]
    )
    return server


def main() -> None:
    schema, answers = (json.loads(Path(file).read_text()) for file in sys.argv[1:3])
    server = serve(Provider(schema, answers))
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/provider"
        server.add_insecure_port(f"unix:{address}")
        server.start()
        handshake = {
            "Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True,
            "Addr": {"Network": "unix", "String": address},
        }  # fmt: skip
        print(json.dumps({SOURCE: handshake}), flush=True)
        sys.stdin.read()
        server.stop(0)


if __name__ == "__main__":
    main()
