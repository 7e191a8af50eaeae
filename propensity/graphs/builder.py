"""
A graph under construction: inputs, constants and nodes, in double precision.

Every node is one that ONNX Runtime 1.12 knows for float64: BigQuery runs that version.

Sources:
    https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-onnx;
    https://onnx.ai/onnx/operators/, the operators of opset 15 and of ai.onnx.ml 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from propensity.models.encoding import Kind

# Of ONNX Runtime 1.12, which knows opsets up to 17, ai.onnx.ml 3 and IR version 8.
_OPSET, _ML_OPSET, _IR_VERSION = 15, 3, 8
ML = "ai.onnx.ml"

# BigQuery's limit for an imported model, in the smaller unit of that name.
LARGEST_BYTES = 450 * 10**6

OUTPUT = "probability"


class Unsupported(ValueError):
    """What a graph cannot hold; the message is for the record of the version."""


def check_size(size: float) -> None:
    """
    Check the bytes of a graph, or of a part of one.

    Raises:
        Unsupported: It is larger than BigQuery imports.
    """
    if size > LARGEST_BYTES:
        raise Unsupported(
            f"the graph has {size / 1e6:,.0f} MB, and BigQuery imports models of "
            f"{LARGEST_BYTES / 1e6:,.0f} MB at most"
        )


class Graph:
    """Nodes in the order of their computation; every tensor has a name."""

    def __init__(self, *, nudge: float = 0.0) -> None:
        """Add ``nudge`` to what a calibration of steps reads; for a check alone."""
        self.nudge = nudge
        self._inputs: list[Any] = []
        self._constants: list[Any] = []
        self._nodes: list[Any] = []
        self._names = 0

    def input(self, name: str, kind: Kind) -> str:
        """Declare a feature: a column of float64 or of texts, (n, 1)."""
        from onnx import TensorProto, helper

        element = TensorProto.DOUBLE if kind == "number" else TensorProto.STRING
        self._inputs.append(helper.make_tensor_value_info(name, element, [None, 1]))
        return name

    def constant(self, values: Any) -> str:
        """Return the name of a constant; numbers are float64, counts are int64."""
        from onnx import numpy_helper

        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float64)
        name = self._named("constant")
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **options: Any) -> str:
        """Add a node of one output, and return the output's name."""
        from onnx import helper

        name = self._named(operator.lower())
        node = helper.make_node(operator, inputs, [name], domain=domain, **options)
        self._nodes.append(node)
        return name

    def flat(self, tensor: str) -> str:
        """Return a column (n, 1) as (n,)."""
        return self.add("Reshape", tensor, self.constant([-1]))

    def cast(self, tensor: str) -> str:
        """Return a tensor as float64."""
        from onnx import TensorProto

        return self.add("Cast", tensor, to=TensorProto.DOUBLE)

    def scaled(self, tensor: str, factor: float) -> str:
        """Return a tensor times a number."""
        # ONNX Runtime leaves a factor out that is 1 as a float32.
        if factor != 1.0 and np.float32(factor) == 1.0:
            rest = self.add("Mul", tensor, self.constant(factor - 1.0))
            return self.add("Add", tensor, rest)
        return self.add("Mul", tensor, self.constant(factor))

    def total(self, tensor: str) -> str:
        """Return the sums of rows (n, w), as (n,)."""
        return self.add("ReduceSum", tensor, self.constant([1]), keepdims=0)

    def serialized(self, output: str) -> bytes:
        """
        Return the bytes of the model whose one output, (n,), is named ``OUTPUT``.

        Raises:
            Unsupported: The graph is larger than BigQuery imports.
        """
        from onnx import TensorProto, checker, helper

        self._nodes.append(helper.make_node("Identity", [output], [OUTPUT]))
        declared = helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, [None])
        graph = helper.make_graph(
            self._nodes, "propensity", self._inputs, [declared], self._constants
        )
        model = helper.make_model(
            graph,
            producer_name="propensity",
            ir_version=_IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", _OPSET),
                helper.make_opsetid(ML, _ML_OPSET),
            ],
        )
        check_size(model.ByteSize())
        checker.check_model(model)
        return bytes(model.SerializeToString())

    def _named(self, stem: str) -> str:
        # A dot, which no feature has in its name.
        self._names += 1
        return f"{stem}.{self._names}"
