"""
Imported models in the BigQuery emulator: what is imported, run and refused.
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from onnx import TensorProto, helper


def doubled(*, opset=15, element=TensorProto.DOUBLE, shape=(None, 1), domain=""):
    """A model that doubles the column ``x`` as ``y``, and reads a text ``t``."""
    inputs = [
        helper.make_tensor_value_info("x", element, list(shape)),
        helper.make_tensor_value_info("t", TensorProto.STRING, [None, 1]),
    ]
    output = helper.make_tensor_value_info("y", element, [None])
    size = helper.make_tensor("size", TensorProto.INT64, [1], [-1])
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("Reshape", ["twice", "size"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "doubled", inputs, [output], [size])
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.fixture(scope="module")
def stored(module_workplace):
    """Store bytes in the bucket, and return their URI."""

    def store(name, data):
        with module_workplace.storage.client() as objects:
            objects.bucket(module_workplace.bucket).blob(name).upload_from_string(data)
        return f"gs://{module_workplace.bucket}/{name}"

    return store


@pytest.fixture(scope="module")
def model(shared, stored):
    """The name of an imported model."""
    shared.rows(create("m", stored("a/m.onnx", doubled().SerializeToString())))
    return "m"


def create(name, uri, verb="CREATE MODEL"):
    return f"{verb} `{name}` OPTIONS (model_type = 'ONNX', model_path = '{uri}')"


class TestPredict:
    def test_gives_the_columns_of_the_query_and_the_output(self, shared, model):
        """Every column stays, and the model's output is one more."""
        rows = shared.rows(
            f"SELECT id, y FROM ML.PREDICT(MODEL `{model}`, (SELECT 7 AS id, 1.5 AS x, "
            "'' AS t UNION ALL SELECT 8, CAST('nan' AS FLOAT64), 'b')) ORDER BY id",
        )

        assert rows[0] == (7, 3.0)
        assert str(rows[1]) == "(8, nan)"

    def test_is_where_a_table_may_be(self, shared, model):
        """It is inserted, joined, reads a view, and bills a dry run nothing."""
        shared.rows("CREATE TABLE IF NOT EXISTS doubles (y FLOAT64)")
        shared.rows("CREATE OR REPLACE VIEW v AS SELECT 2.0 AS x, 'a' AS t")
        predicted = f"SELECT p.y FROM ML.PREDICT(MODEL `{model}`, TABLE v) AS p"
        job = shared.job(predicted, dry_run=True)
        shared.rows(f"INSERT INTO doubles (y) {predicted}")

        assert [field.field_type for field in job.schema] == ["FLOAT"]
        assert shared.rows("SELECT y FROM doubles") == [(4.0,)]

    def test_refuses_null(self, shared, model):
        """A tensor has no NULL."""
        with pytest.raises(GoogleAPICallError, match="x is NULL"):
            shared.rows(
                f"SELECT y FROM ML.PREDICT(MODEL `{model}`, "
                "(SELECT CAST(NULL AS FLOAT64) AS x, 'a' AS t))",
            )

    def test_of_a_model_that_is_not_there_is_not_found(self, shared):
        with pytest.raises(NotFound, match="Model"):
            shared.rows("SELECT * FROM ML.PREDICT(MODEL `none`, (SELECT 1.0 AS x))")


class TestCreate:
    def test_is_once_if_not_exists(self, shared, model):
        """A model that is there stays, and its object is not read."""
        shared.rows(create(model, "gs://none/none", "CREATE MODEL IF NOT EXISTS"))

        [listed] = [
            m for m in shared.client.list_models(shared.default) if m.model_id == model
        ]
        assert listed.model_type == "ONNX"

    def test_replaces_and_drops(self, shared, stored):
        """After a replacement the new one runs; after a drop none does."""
        uri = stored("b/m.onnx", doubled().SerializeToString())
        shared.rows(create("short", uri))
        shared.rows(create("short", uri, "CREATE OR REPLACE MODEL"))
        shared.rows("DROP MODEL short")

        with pytest.raises(NotFound):
            shared.rows("SELECT * FROM ML.PREDICT(MODEL short, (SELECT 1.0 AS x))")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"opset": 18}, "ONNX Runtime 1.12.0"),
            ({"domain": "com.example"}, "ONNX Runtime 1.12.0"),
            ({"shape": (None, 3)}, "no column"),
            ({"element": TensorProto.COMPLEX64}, "no column"),
        ],
    )
    def test_refuses_what_bigquery_does(self, shared, stored, changes, reason):
        """Opsets that its runtime does not know, and types without a column."""
        data = doubled(**changes).SerializeToString()

        with pytest.raises(BadRequest, match=reason):
            shared.rows(create("refused", stored("c/m.onnx", data)))

    @pytest.mark.parametrize("uri", ["gs://none/m.onnx", "/etc/passwd", "gs://none"])
    def test_refuses_a_path_without_an_object(self, shared, uri):
        with pytest.raises(BadRequest, match="URI"):
            shared.rows(create("refused", uri))

    def test_refuses_what_is_no_model(self, shared, stored):
        with pytest.raises(BadRequest, match="not a valid ONNX model"):
            shared.rows(create("refused", stored("d/m.onnx", b"no model")))
