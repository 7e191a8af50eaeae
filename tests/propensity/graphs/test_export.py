"""
Graphs, specified: the scorer's probabilities to the last digits, or a reason.
"""

from __future__ import annotations

import numpy as np
import onnx
import pyarrow as pa
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)

from local.emulators.bigquery import models
from propensity.graphs import builder, checked, export, parity
from propensity.graphs.builder import Unsupported
from propensity.graphs.columns import Columns, raw_thresholds
from propensity.models.encoder import Encoder
from propensity.models.encoding import to_frame
from propensity.models.scoring import Scorer
from tests.propensity.graphs.generated import generated

FEATURES = {"x": "number", "t": "category"}


def rows(count=400, seed=0):
    """Rows with one number and one text, and gaps in both."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "x": pa.array(random.normal(size=count), mask=random.random(count) < 0.1),
            "t": pa.array(random.choice(["a", "b"], count).tolist()),
        }
    )


def label(table):
    return (np.nan_to_num(table["x"].to_numpy(zero_copy_only=False)) > 0.3).astype(int)


def fitted(transformer, model, *, names=("x",)):
    """A preprocessor and a model, fitted on ``rows``."""
    table = rows()
    frame = to_frame(table.combine_chunks().to_batches()[0], FEATURES)
    preprocessor = ColumnTransformer([("all", transformer, list(names))])
    return preprocessor, model.fit(
        preprocessor.fit_transform(frame, label(table)), label(table)
    )


class TestParity:
    @pytest.mark.parametrize(
        "number",
        # Every model, and every calibration of boosted trees and of a weighted mean.
        [*range(6), *range(7, 24, 6), *range(11, 24, 6)],
    )
    def test_a_graph_gives_the_scorer_s_probabilities(self, number):
        """Of every row, with gaps and texts that are new, within 1e-12; ranks too."""
        pipeline = generated(number)

        data = export.exported(**pipeline.pipeline)
        difference = parity.compare(
            parity.run(data, pipeline.rows, features=pipeline.features),
            pipeline.expected,
        )

        assert difference.rows == len(pipeline.rows)
        assert difference.largest_difference <= 1e-12
        assert difference.moved_ranks == 0

    def test_texts_are_compared_to_the_last_zero_byte(self):
        """Such a text is another category, of training as of the graph: held-out rows
        that have it cost a version its graph otherwise."""
        texts = pa.array(["a", "a\0", "\0", "a\0b"] * 100)
        table = pa.table({"x": pa.nulls(400, pa.float64()), "t": texts})
        frame = to_frame(table.to_batches()[0], FEATURES)
        preprocessor = ColumnTransformer(
            [("t", OneHotEncoder(handle_unknown="ignore"), ["t"])]
        )
        is_zero = (frame["t"] == "a\0").astype(int)
        model = LogisticRegression().fit(preprocessor.fit_transform(frame), is_zero)
        expected = Scorer.compile(preprocessor, model, features=FEATURES).probabilities(
            table.to_batches()[0]
        )

        graph = checked.checked(
            preprocessor, model, rows=table, expected=expected, features=FEATURES
        )

        assert graph.data is not None, graph.note

    def test_neighbouring_floats_go_the_way_of_the_model(self):
        """A threshold between two floats without another one parts them."""
        step = np.nextafter(1.0, 2.0)
        values = np.array([1.0, step, np.nextafter(step, 2.0)] * 40)
        table = pa.table({"x": values, "t": ["a"] * len(values)})
        frame = to_frame(table.combine_chunks().to_batches()[0], FEATURES)
        preprocessor = ColumnTransformer(
            [("all", make_pipeline(FunctionTransformer(np.arcsinh)), ["x"])]
        )
        encoded = preprocessor.fit_transform(frame)
        model = HistGradientBoostingClassifier(min_samples_leaf=5, max_iter=5)
        model.fit(encoded, (values > 1.0).astype(int))
        expected = model.predict_proba(encoded)[:, 1]

        data = export.exported(preprocessor, model, features=FEATURES)

        assert len(set(expected)) > 1
        assert parity.run(data, table, features=FEATURES) == pytest.approx(
            expected, abs=1e-12
        )

    def test_a_forest_compares_float32_values(self):
        """A number just above a threshold goes left where it is rounded down to it."""
        unit = 2.0**-23
        values = np.array([1.0, 1.0 + 2 * unit] * 40)
        frame = to_frame(pa.RecordBatch.from_pydict({"x": values}), {"x": "number"})
        preprocessor = ColumnTransformer([("all", "passthrough", ["x"])])
        model = RandomForestClassifier(3, bootstrap=False, random_state=0)
        model.fit(preprocessor.fit_transform(frame), (values > 1.0).astype(int))
        rows_above = pa.table({"x": [1.0 + unit + 2.0**-30, 1.0 + 1.6 * unit]})

        data = export.exported(preprocessor, model, features={"x": "number"})
        probability = parity.run(data, rows_above, features={"x": "number"})

        assert probability.tolist() == [0.0, 1.0]

    @pytest.mark.parametrize(
        "model", [LogisticRegression(), RandomForestClassifier(5, random_state=0)]
    )
    def test_a_row_that_a_model_refuses_is_not_a_number(self, model):
        """
        A gap where none was fitted, and what is no float32 where trees compare such.

        The run then says so, and publishes nothing.
        """
        table = rows().filter(rows()["x"].is_valid())
        frame = to_frame(table.combine_chunks().to_batches()[0], FEATURES)
        preprocessor = ColumnTransformer([("all", StandardScaler(), ["x"])])
        model.fit(preprocessor.fit_transform(frame), label(table))
        takes_gaps = model.__sklearn_tags__().input_tags.allow_nan

        data = export.exported(preprocessor, model, features=FEATURES)
        probability = parity.run(
            data, pa.table({"x": [None, 1.0, 1e39], "t": ["a"] * 3}), features=FEATURES
        )

        assert np.isnan(probability).tolist() == [not takes_gaps, False, takes_gaps]

    @pytest.mark.parametrize(
        ("transformer", "refused"),
        [
            (StandardScaler(), [np.inf, -np.inf]),
            (SimpleImputer(), [np.inf, -np.inf]),
            # Its logarithm is minus infinity, which the scaler refuses.
            (
                make_pipeline(FunctionTransformer(np.log1p), MinMaxScaler()),
                [np.inf, -1.0],
            ),
            (FunctionTransformer(), []),
        ],
    )
    @pytest.mark.filterwarnings("ignore")
    def test_a_row_that_a_preprocessor_refuses_is_not_a_number(
        self, transformer, refused
    ):
        """Trees would send what is infinite somewhere."""
        frame = to_frame(rows().combine_chunks().to_batches()[0], FEATURES)
        preprocessor = ColumnTransformer([("all", transformer, ["x"])])
        encoded = preprocessor.fit_transform(frame[["x"]].abs())
        model = HistGradientBoostingClassifier(max_iter=2).fit(encoded, label(rows()))
        values = [np.inf, -np.inf, -1.0, 0.0, 1e300, None]

        data = export.exported(preprocessor, model, features=FEATURES)
        table = pa.table({"x": values, "t": ["a"] * len(values)})
        probability = parity.run(data, table, features=FEATURES)

        assert [values[at] for at in np.flatnonzero(np.isnan(probability))] == refused

    @pytest.mark.parametrize("method", ["sigmoid", "temperature"])
    def test_a_factor_of_nearly_one_is_applied(self, method):
        """ONNX Runtime leaves out what is 1 as a float32: 5e-9 of a probability."""
        preprocessor, model = fitted(
            FunctionTransformer(), HistGradientBoostingClassifier(max_iter=2)
        )
        frame = to_frame(rows().combine_chunks().to_batches()[0], FEATURES)
        encoded = preprocessor.transform(frame)
        calibrated = CalibratedClassifierCV(FrozenEstimator(model), method=method)
        calibrated.fit(encoded, label(rows()))
        for part in calibrated.calibrated_classifiers_:
            vars(part.calibrators[0]).update(a_=-1 + 2e-8, b_=0.1, beta_=0.5 + 1e-8)

        data = export.exported(preprocessor, calibrated, features=FEATURES)

        assert parity.compare(
            parity.run(data, rows(), features=FEATURES),
            calibrated.predict_proba(encoded)[:, 1],
        ).holds


class TestThresholds:
    def test_a_raw_threshold_is_the_last_number_on_the_left(self):
        """It goes left as the encoded one does, and the next number does not."""
        pipeline = generated(1)
        encoder = Encoder.compile(pipeline.preprocessor, pipeline.features)
        columns = Columns(builder.Graph(), encoder)
        for block, _ in columns.slices():
            edges = [np.array([-0.7, 0.0, 0.31])] * block.width
            thresholds = raw_thresholds(block.forward, edges, is_single=False)
            at = np.array(thresholds).T
            is_finite = np.isfinite(at)

            assert (~(block.forward(at) > np.array(edges).T) | ~is_finite).all()
            assert (
                (block.forward(np.nextafter(at, np.inf)) > np.array(edges).T)
                | ~is_finite
                | (at == np.finfo(float).max)
            ).all()


class TestUnsupported:
    @pytest.mark.parametrize(
        ("transformer", "model", "names", "reason"),
        [
            (StandardScaler(), DummyClassifier(), ("x",), "DummyClassifier"),
            (KNNImputer(), LogisticRegression(), ("x",), "Python code"),
            (
                OneHotEncoder(sparse_output=False),
                LogisticRegression(),
                ("t",),
                "refuses a category",
            ),
            (
                OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
                LogisticRegression(),
                ("x",),
                "encoded as categories",
            ),
            (
                FunctionTransformer(np.square),
                HistGradientBoostingClassifier(max_iter=2),
                ("x",),
                "none of the steps",
            ),
            (
                FunctionTransformer(),
                HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]),
                ("x",),
                "categorical_features",
            ),
        ],
    )
    @pytest.mark.filterwarnings("ignore")
    def test_says_what_a_graph_cannot_hold(self, transformer, model, names, reason):
        table = rows()
        frame = to_frame(table.combine_chunks().to_batches()[0], FEATURES)
        if names == ("x",) and type(model) is not HistGradientBoostingClassifier:
            frame = frame.fillna({"x": 0.5})
        preprocessor = ColumnTransformer([("all", transformer, list(names))])
        encoded = preprocessor.fit_transform(frame, label(table))
        if reason == "categorical_features":
            encoded = np.abs(np.rint(np.nan_to_num(encoded)))
        model.fit(encoded, label(table))

        with pytest.raises(Unsupported, match=reason):
            export.exported(preprocessor, model, features=FEATURES)

    @pytest.mark.parametrize("name", ["probability", "Probability"])
    def test_a_feature_named_like_the_output(self, name):
        """BigQuery would have two columns of one name, which it reads in any case."""
        pipeline = generated(0)

        with pytest.raises(Unsupported, match="as the graph's output is"):
            export.exported(**pipeline.pipeline | {"features": {name: "number"}})

    def test_trees_that_are_too_large_are_not_written_first(self, monkeypatch):
        """To write a forest takes ten times its size: more than a training has. No
        node of one is smaller than what is counted."""
        _, model = fitted(SimpleImputer(), RandomForestClassifier(9, random_state=0))
        preprocessor, _ = fitted(SimpleImputer(), LogisticRegression())
        data = export.exported(preprocessor, model, features=FEATURES)
        nodes = sum(tree.tree_.node_count for tree in model.estimators_)
        monkeypatch.setattr(builder, "LARGEST_BYTES", 48 * nodes - 1)

        def written(*_, **__):
            raise AssertionError("it was written")

        monkeypatch.setattr(builder.Graph, "add", written)

        assert len(data) > 48 * nodes
        with pytest.raises(Unsupported, match="BigQuery imports models"):
            export.exported(preprocessor, model, features=FEATURES)

    def test_larger_than_bigquery_imports(self, monkeypatch):
        """450 MB, of a thousand KB each: the emulator has the same limit."""
        assert builder.LARGEST_BYTES == models.LARGEST_BYTES == 450 * 10**6
        monkeypatch.setattr(builder, "LARGEST_BYTES", 100)
        pipeline = generated(0)

        with pytest.raises(Unsupported, match="BigQuery imports models"):
            export.exported(**pipeline.pipeline)


class TestChecked:
    def test_keeps_a_graph_that_equals_the_model(self):
        """The note of the record has the figures."""
        pipeline = generated(1)

        result = checked.checked(**pipeline.checked)

        assert result.data is not None
        assert f"0 moved ranks on {len(pipeline.rows)} held-out rows" in result.note

    @pytest.mark.parametrize("apart", [1e-9, -0.4])
    def test_keeps_none_that_differs(self, apart):
        """One row of thousands that is further off than 1e-10, or another rank."""
        pipeline = generated(1)
        expected = pipeline.expected
        expected[7] += apart

        result = checked.checked(**pipeline.checked | {"expected": expected})

        assert result.data is None
        assert result.note.startswith("no graph: it differs")

    def test_proves_nothing_without_rows(self):
        rows = generated(1).rows.slice(0, 0)
        nothing = {"rows": rows, "expected": np.empty(0)}

        assert checked.checked(**generated(1).checked | nothing).data is None

    def test_ranks_may_not_move(self):
        """Two rows in another order are one moved rank, however close they are."""
        result = parity.compare(np.array([0.1, 0.2 - 1e-12]), np.array([0.1, 0.2]))
        moved = parity.compare(
            np.array([0.2, 0.2 - 2e-12]), np.array([0.2, 0.2 + 2e-12])
        )

        assert result.holds
        assert moved.moved_ranks == 1
        assert not moved.holds


class TestGraph:
    def test_is_of_the_opsets_that_bigquery_runs(self):
        """ONNX Runtime 1.12 knows opset 17, ai.onnx.ml 3 and IR version 8."""
        pipeline = generated(4)
        model = onnx.load_model_from_string(export.exported(**pipeline.pipeline))
        opsets = {opset.domain: opset.version for opset in model.opset_import}

        assert opsets == {"": 15, "ai.onnx.ml": 3}
        assert model.ir_version == 8
        assert {value.name for value in model.graph.input} == {*pipeline.features}
        assert [value.name for value in model.graph.output] == ["probability"]

    def test_scorer_and_graph_agree_that_features_do_not_fit(self):
        other = generated(1).pipeline | {"features": {"y": "number"}}
        for make in (Scorer.compile, export.exported):
            with pytest.raises(Exception, match="n0"):
                make(**other)
