"""
The model card, specified: plain values, and the same ones in every shape.

One small model is trained once; cards differ only in what they are told.
"""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import joblib
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from propensity.edges.columns import record
from propensity.learning import fit, modelcard
from propensity.learning.bootstrap import Difference
from propensity.learning.fit import Trained
from propensity.learning.gate import Verdict
from propensity.learning.modelcard import ESTIMATOR
from propensity.learning.portable import Exported
from propensity.models.scoring import Scorer
from propensity.registry.versions import Published
from propensity.tables import TRAINING_METADATA
from propensity.usecases import Candidate
from tests.propensity.learning.shops import SHOP, snapshots, train

AT = datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)
CANDIDATES = (
    Candidate("linear", "LogisticRegression", {"C": 0.5}),
    Candidate("mean", "MeanOfModels", {"of": ["linear"]}),
)
WORSE = Verdict(
    promoted=False,
    reason="worse: ROC AUC",
    compared_version=2,
    differences={
        "roc_auc": Difference(-0.1, -0.2, -0.05),
        "log_loss": Difference(0.1, 0.05, 0.2),
    },
    level_difference=-0.02,
)
FIRST = Verdict(promoted=True, reason="the first model of this use case")


@cache
def rows() -> pa.Table:
    """Four weeks of a hundred users, whose ids no other bytes of a file can be."""
    weeks = snapshots(4, 100)
    users = pc.binary_join_element_wise("an-id-of", weeks["user_id"], "-")
    return weeks.set_column(1, "user_id", users)


@cache
def trained() -> Trained:
    """A small model of them."""
    return train(rows(), candidates=CANDIDATES)


def card(verdict: Verdict = FIRST, **exports: Exported) -> dict[str, Any]:
    """The card of version 3."""
    return modelcard.card(
        SHOP,
        trained(),
        verdict,
        version=3,
        rows=rows(),
        as_of=date(2026, 2, 28),
        data_until=date(2026, 2, 27),
        settle_days=3,
        chosen={"user_column": "user_pseudo_id", "label_event": "purchase"},
        trained_at=AT,
        bytes_billed=10_485_760,
        **exports,
    )


def published(names: Any) -> Published:
    """Names and checksums as the registry would give them."""
    return Published(
        version=3,
        objects={name: f"models/shop/3/{name}" for name in names},
        checksums={name: f"sha of {name}" for name in names},
    )


@cache
def files() -> dict[str, tuple[bytes, str]]:
    """The files of the version."""
    return modelcard.files(card(), trained(), rows())


class TestCard:
    def test_is_plain(self):
        """Nothing in it is a numpy value or an object: JSON has the same values, but
        for dates, which it writes as text. NaN, which JSON has not, is not in it."""

        def plain(value: Any) -> bool:
            if isinstance(value, dict):
                return all(isinstance(k, str) and plain(v) for k, v in value.items())
            if isinstance(value, list | tuple):
                return all(plain(entry) for entry in value)
            return value is None or type(value) in (str, int, float, bool, date)

        assert [name for name, value in card().items() if not plain(value)] == []
        json.dumps(card(), default=str, allow_nan=False)

    def test_says_how_the_version_came_about(self):
        """When, from which days and rows, by which candidates and which is chosen."""
        full = card()

        assert full["model_version"] == 3
        assert full["trained_at"] == "2026-03-01T04:05:06+00:00"
        assert full["rows"] == {"train": 200, "calibrate": 100, "holdout": 100}
        assert full["split"]["holdout"] == [date(2026, 1, 22)]
        chosen = {c["name"]: c["chosen"] for c in full["candidates"]}
        assert sorted(chosen) == ["linear", "mean"]
        assert sum(chosen.values()) == 1
        assert full["parameters"] == {"C": 0.5}
        assert set(full["libraries"]) >= {"python", "scikit-learn", "numpy", "pyarrow"}

    def test_says_what_it_is_worth(self):
        """Figures, curves, baseline, importance, and the data it was trained on."""
        full = card()

        assert full["quality"] == dict(trained().quality)
        assert full["baselines"][0]["name"] == "recency_days alone"
        assert {entry["feature"] for entry in full["importance"]} == {*SHOP.features}
        assert {"roc", "pr", "calibration"} <= set(full["curves"])
        assert full["dataset"]

    def test_says_why_it_does_not_serve(self):
        """A verdict comes with the champion and the differences to it."""
        verdict = card(WORSE)["verdict"]

        assert verdict["promoted"] is False
        assert verdict["compared_version"] == 2
        assert verdict["roc_auc_difference_low"] == -0.2
        assert verdict["log_loss_difference_high"] == 0.2


class TestFiles:
    def test_are_all_that_a_version_holds(self):
        """Model, preprocessor, data set, card and report, each with its type."""
        assert {name: kind for name, (_, kind) in files().items()} == {
            "model.joblib": "application/octet-stream",
            "preprocessor.joblib": "application/octet-stream",
            "measured.joblib": "application/octet-stream",
            "dataset/rows.parquet": "application/vnd.apache.parquet",
            "card.json": "application/json",
            "report.html": "text/html; charset=utf-8",
        }

    @pytest.mark.parametrize("data", [b"exported", None], ids=["equal", "none"])
    def test_have_an_estimator_if_it_equals_the_model(self, data):
        """The row has its object, and the card says how equal it is, or why it is not
        there."""
        estimator = Exported(data=data, note="of the test")
        full = card(estimator=estimator)
        contents = modelcard.files(full, trained(), rows(), estimator=estimator)
        row = modelcard.metadata(full, published(contents), seconds=1.0)

        assert contents.get(ESTIMATOR, (None,))[0] == data
        assert full["estimator"] == "of the test"
        for end in ("object", "sha256"):
            assert (row[f"estimator_{end}"] is None) == (data is None)

    def test_load_into_what_was_measured(self):
        """Read back, the model that was measured gives the holdout's probabilities, and
        the one that serves gives its own."""
        measured, model, preprocessor = (
            joblib.load(io.BytesIO(files()[name][0]))
            for name in (modelcard.MEASURED, modelcard.MODEL, modelcard.PREPROCESSOR)
        )

        def scored(*fitted: Any) -> bytes:
            scorer = Scorer.compile(*fitted, features=dict(SHOP.features))
            return fit.scores(scorer, trained().holdout.rows).tobytes()

        assert scored(*measured) == trained().probability.tobytes()
        assert scored(preprocessor, model) == scored(
            trained().preprocessor, trained().model
        )
        assert scored(preprocessor, model) != scored(*measured)

    def test_hold_the_rows(self):
        """The data set snapshot is the table that training read, but for its users."""
        table = pq.read_table(io.BytesIO(files()[modelcard.DATASET][0]))

        assert table.drop("user_id").equals(rows().drop("user_id"))

    def test_hold_numbers_in_the_place_of_users(self):
        """Rows of one user have one number, other users others; no id is in the file,
        so that none has to be removed from what is never rewritten."""
        data = files()[modelcard.DATASET][0]
        numbers = pq.read_table(io.BytesIO(data))["user_id"].to_pylist()
        users = rows()["user_id"].to_pylist()

        assert len(set(zip(users, numbers, strict=True))) == len(set(users))
        assert set(numbers) == set(range(len(set(users))))
        assert not [user for user in set(users) if user.encode() in data]

    def test_hold_the_card_as_it_is(self):
        """The stored card has the card's values."""
        stored = json.loads(files()[modelcard.CARD][0])

        assert stored == json.loads(json.dumps(card(), default=str))


class TestMetadata:
    def row(self, verdict: Verdict = FIRST) -> dict[str, Any]:
        return modelcard.metadata(card(verdict), published(files()), seconds=1.5)

    @pytest.mark.parametrize("verdict", [FIRST, WORSE], ids=["first", "worse"])
    def test_is_a_row_of_its_table(self, verdict):
        """Every value belongs to a column and has its type."""
        batch = record(self.row(verdict), TRAINING_METADATA)

        assert batch.schema.equals(TRAINING_METADATA.arrow_schema())
        assert batch["model_version"].to_pylist() == [3]

    def test_leaves_no_column_out(self):
        """After a comparison every column has a value, or is null because the figure
        has none."""
        columns = {column.name for column in TRAINING_METADATA.columns}
        of_events = {
            "review_cost", "alert_threshold", "alerted", "alerted_conversions", "cost",
            "cost_without", "saved", "saved_low", "saved_high", "saved_share",
            "baseline_saved", "pr_auc_difference", "pr_auc_difference_low",
            "pr_auc_difference_high", "cost_difference", "cost_difference_low",
            "cost_difference_high",
        }  # fmt: skip

        assert set(self.row(WORSE)) == columns - of_events

    def test_repeats_the_card(self):
        """Figures, days and checksums are those of the card and the files."""
        row = self.row(WORSE)

        assert row["roc_auc"] == trained().quality["roc_auc"]
        assert row["holdout_as_ofs"] == [date(2026, 1, 22)]
        assert row["training_date"] == date(2026, 3, 1)
        assert row["trained_at"] == AT
        assert row["model_object"] == "models/shop/3/model.joblib"
        assert row["model_sha256"] == "sha of model.joblib"
        assert row["dataset_sha256"] == "sha of dataset/rows.parquet"
        assert json.loads(row["parameters"]) == {"C": 0.5}
        # In order: the model reads its input so, and 01 compares it.
        assert list(json.loads(row["features"]).items()) == list(SHOP.features.items())
        assert row["promoted"] is False
        assert row["verdict"] == "worse: ROC AUC"


class TestAnswer:
    def test_tells_the_caller_what_was_trained(self):
        """Version, verdict, figures of the holdout, and where the files are."""
        answer = modelcard.answer(card(), published(files()))

        assert answer["model_version"] == 3
        assert answer["promoted"] is True
        assert answer["holdout"]["roc_auc"] == trained().quality["roc_auc"]
        assert answer["objects"]["report.html"] == "models/shop/3/report.html"
        assert json.dumps(answer, default=str)
