"""
Imported ONNX models: CREATE MODEL from a bucket, and ML.PREDICT by ONNX Runtime.

What BigQuery refuses is refused here: a path outside Cloud Storage, 450 MB, an opset
that ONNX Runtime 1.12 does not know, operators of other domains. A NULL is refused too,
since a tensor has none. Of ONNX models in general this knows those with one column for
each input, and one output.

Source:
    https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-onnx
"""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

LARGEST_BYTES = 450 * 10**6
# Of ONNX Runtime 1.12.0, which BigQuery runs.
_NEWEST_OPSETS = {"": 17, "ai.onnx": 17, "ai.onnx.ml": 3}
_NEWEST_IR = 8

# By the type of a tensor: BigQuery's, and DuckDB's.
_TYPES = {
    **dict.fromkeys(("DOUBLE", "FLOAT", "FLOAT16"), ("FLOAT64", "DOUBLE")),
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64"), ("INT64", "BIGINT")),
    "BOOL": ("BOOL", "BOOLEAN"),
    "STRING": ("STRING", "VARCHAR"),
}


def import_models(  # noqa: PLR0915
    database: Any, data_dir: Path, storage: str | None
) -> None:
    """
    Let CREATE MODEL import ONNX models, and ML.PREDICT run them.

    Args:
        database: The emulator's.
        data_dir: Folder where the models are kept.
        storage: URL of the Cloud Storage emulator.
    """
    from local_bigquery.catalog import metadata, models, names
    from local_bigquery.errors import BigQueryError, not_found
    from local_bigquery.models import Model
    from local_bigquery.sql import rules
    from local_bigquery.sql.dialect import BigQueryDialect
    from sqlglot import exp

    folder = data_dir / "models"
    apply_other, is_model_call = models.apply, BigQueryDialect.Parser._model_call
    functions: dict[tuple[str, ...], tuple[str, str, Any]] = {}

    def invalid(message: str) -> Exception:
        error: Exception = BigQueryError("invalidQuery", message)
        return error

    def file_of(keys: tuple[str, ...]) -> Path:
        return folder / f"{'.'.join(keys)}.onnx"

    def option(tree: Any, name: str) -> str:
        for property_ in tree.find_all(exp.Property):
            if property_.name.casefold() == name:
                return str(property_.args["value"].name)
        return ""

    def apply(tree: Any, project: str, dataset: str | None, *rest: Any) -> None:
        """Import an ONNX model, or leave the statement to the emulator."""
        keys = names.reference(tree.find(exp.Table), project, dataset)
        if option(tree, "model_type").upper() != "ONNX":
            apply_other(tree, project, dataset, *rest)
            if isinstance(tree, exp.Drop) and not rest[-1]:
                file_of(keys).unlink(missing_ok=True)
            return
        before = metadata.load(Model, *keys)
        if tree.expression is not None:
            raise invalid("An imported model is created without a query.")
        dry_run = rest[-1]
        skips = before is not None and tree.args.get("exists")
        data = b"" if skips else _read(option(tree, "model_path"), storage, invalid)
        model = None if skips else _checked(data, invalid)
        apply_other(tree, project, dataset, *rest)
        if dry_run or model is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        file_of(keys).write_bytes(data)
        functions.pop(keys, None)
        stored = metadata.load(Model, *keys)
        resource = stored.replace(
            featureColumns=_fields(model.graph.input, invalid),
            labelColumns=_fields(model.graph.output, invalid),
        )
        metadata.save(resource, *keys)

    def is_other_model_call(parser: Any) -> bool:
        is_predict = parser._curr.text.upper() == "PREDICT"
        return not is_predict and bool(is_model_call(parser))

    def predict(tree: Any, context: Any) -> Any:
        """Put a query with a function of the model in the place of ML.PREDICT."""
        for table in list(tree.find_all(exp.Table)):
            if not isinstance(table.this, exp.Predict):
                continue
            call = table.this
            keys = names.reference(call.this, context.project_id, context.dataset_id)
            if metadata.load(Model, *keys) is None or not file_of(keys).is_file():
                raise not_found("Model", names.label(*keys))
            name, output, inputs = function_of(keys)
            context.is_rememberable = False
            rows = exp.to_identifier("_rows")
            source = call.expression
            if isinstance(source, exp.Subquery):
                source.set("alias", exp.TableAlias(this=rows))
            else:
                source.set("alias", exp.TableAlias(this=rows.copy()))
            columns = [exp.column(each, table="_rows", quoted=True) for each in inputs]
            row = exp.Anonymous(this="ROW", expressions=columns)
            value = exp.Anonymous(this=name, expressions=[row])
            star = exp.Column(this=exp.Star(), table=rows.copy())
            query = exp.select(star, exp.alias_(value, output, quoted=True)).from_(
                source
            )
            alias = table.args.get("alias") or exp.TableAlias(
                this=exp.to_identifier("_predictions")
            )
            table.replace(exp.Subquery(this=query, alias=alias))
        return tree

    def function_of(keys: tuple[str, ...]) -> tuple[str, str, Any]:
        """Return the function that runs a model, its output's name and its inputs."""
        if keys not in functions:
            functions[keys] = _defined(database, file_of(keys).read_bytes())
        return functions[keys]

    models.apply = apply
    BigQueryDialect.Parser._model_call = is_other_model_call
    rules.STATEMENT_RULES.insert(0, predict)


def _read(path: str, storage: str | None, invalid: Any) -> bytes:
    """Return an object's bytes."""
    bucket, _, name = path.removeprefix("gs://").partition("/")
    if not path.startswith("gs://") or not name:
        raise invalid(f"MODEL_PATH must be a URI of Cloud Storage, not {path!r}.")
    host = storage if "://" in (storage or "") else f"http://{storage}"
    quoted = urllib.parse.quote(name, safe="")
    url = f"{host}/storage/v1/b/{bucket}/o/{quoted}?alt=media"
    try:
        with urllib.request.urlopen(url) as answer:
            data: bytes = answer.read(LARGEST_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            raise invalid(f"Not found: URI {path}") from error
    if len(data) > LARGEST_BYTES:
        raise invalid(f"{path} is larger than 450 MB, the limit of imported models.")
    return data


def _checked(data: bytes, invalid: Any) -> Any:
    """Return a model that ONNX Runtime 1.12 can run."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise invalid(f"The model is not a valid ONNX model: {error}") from error
    for opset in model.opset_import:
        newest = _NEWEST_OPSETS.get(opset.domain)
        if newest is None or opset.version > newest or model.ir_version > _NEWEST_IR:
            raise invalid(
                "ONNX Runtime 1.12.0 cannot run the model: opset "
                f"{opset.domain or 'ai.onnx'} {opset.version}, IR {model.ir_version}."
            )
    _fields(model.graph.input, invalid)
    if len(_fields(model.graph.output, invalid)) != 1:
        raise invalid("The stand-in for ML.PREDICT knows models of one output.")
    return model


def _fields(values: Any, invalid: Any) -> list[dict[str, Any]]:
    """Return inputs or outputs as BigQuery names columns and types."""
    return [
        {"name": value.name, "type": {"typeKind": _type(value, invalid)[0]}}
        for value in values
    ]


def _type(value: Any, invalid: Any) -> tuple[str, str]:
    from onnx import TensorProto

    tensor = value.type.tensor_type
    known = _TYPES.get(TensorProto.DataType.Name(tensor.elem_type))
    sizes = [dimension.dim_value for dimension in tensor.shape.dim]
    if known is None or sizes not in ([0], [0, 1]):
        raise invalid(f"{value.name} is no column of a type that ML.PREDICT has here.")
    return known


def _defined(database: Any, data: bytes) -> tuple[str, str, list[str]]:
    """Define the function of a model; return its name, and those of its columns."""
    import duckdb
    import numpy as np
    import onnxruntime
    import pyarrow as pa

    model = _checked(data, ValueError)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    inputs = list(model.graph.input)
    [output] = model.graph.output
    shapes = [
        (-1, *(d.dim_value for d in i.type.tensor_type.shape.dim[1:])) for i in inputs
    ]

    def run(rows: Any) -> Any:
        tensors = {}
        whole_rows = rows.combine_chunks() if hasattr(rows, "chunks") else rows
        for value, shape, whole in zip(
            inputs, shapes, whole_rows.flatten(), strict=True
        ):
            if whole.null_count:
                raise ValueError(f"{value.name} is NULL, and a tensor has no NULL")
            dtype = _DTYPES[value.type.tensor_type.elem_type]
            array = whole.to_numpy(zero_copy_only=False)
            tensors[value.name] = array.astype(dtype).reshape(shape)
        [result] = session.run([output.name], tensors)
        return pa.array(np.asarray(result).ravel())

    from onnx import helper

    _DTYPES = {
        value.type.tensor_type.elem_type: np.dtype(
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        )
        for value in inputs
    }
    name = f"onnx_{re.sub('[^0-9a-f]', '', hashlib.sha256(data).hexdigest())[:16]}"
    types = {value.name: _type(value, ValueError)[1] for value in inputs}
    known = database.fetch(
        "SELECT 1 FROM duckdb_functions() WHERE function_name = ?", [name]
    )
    if not known:
        database.connection().create_function(
            name,
            run,
            [duckdb.struct_type(types)],
            _type(output, ValueError)[1],
            type="arrow",
            null_handling="special",
        )
    return name, output.name, [value.name for value in inputs]
