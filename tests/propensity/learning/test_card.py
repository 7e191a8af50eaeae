"""
The card of a version, specified: plain values, files that anybody can load, and a
description of the data that hides single users.
"""

from __future__ import annotations

import io
import json
import math
import pickle
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from msgspec import structs

from propensity.learning import candidates
from propensity.learning.candidates import default_preprocessor, fitted, transformed
from propensity.learning.files import pseudonymise
from propensity.learning.model import Model
from propensity.learning.profile import BINS, described
from propensity.models.encoding import to_frame
from tests.propensity.learning.cards import card, trained
from tests.propensity.learning.shops import FOREST, LINEAR, SHOP

# Packages whose classes a pickle may name: those that come with scikit-learn.
LIBRARIES = {"builtins", "copyreg", "functools", "numpy", "scipy", "sklearn"}


@pytest.mark.parametrize("members", [[LINEAR], [LINEAR, FOREST]])
def test_files_load_without_this_package(members):
    """Preprocessor and model are of scikit-learn's own classes, whatever is chosen,
    and their product is what is published."""
    parts = trained().parts
    encoder = fitted(default_preprocessor(SHOP), parts.before, SHOP.features)
    encoded = transformed(encoder, parts.before.rows, SHOP.features)
    fits = [candidates.fit(one, encoded, parts.before, seed=1) for one in members]
    combined = candidates.combined(fits)
    named: set[str] = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            named.add(module.partition(".")[0])
            return super().find_class(module, name)

    preprocessor, classifier = Reader(
        io.BytesIO(pickle.dumps((encoder, combined)))
    ).load()
    read = preprocessor.transform(to_frame(parts.holdout.rows, SHOP.features))
    model = Model(preprocessor=encoder, classifier=combined)
    published = model.scores(parts.holdout.rows, SHOP)

    assert named <= LIBRARIES
    assert classifier.predict_proba(read)[:, 1] == pytest.approx(published, abs=1e-12)
    assert len(np.unique(published)) > 1


def test_a_training_set_numbers_its_users_at_random():
    """Whoever has a list of ids could name them again by numbers in its order."""
    ids = [f"user {number:04}" for number in range(1_000)]
    table = pa.table({"user_id": ids, "recency": range(1_000)})
    stored = pseudonymise(table)

    assert stored["user_id"].to_pylist() == sorted(stored["user_id"].to_pylist())
    assert abs(np.corrcoef(stored["user_id"], stored["recency"])[0, 1]) < 0.2
    assert not stored.equals(pseudonymise(table))


def test_a_card_keeps_an_infinite_parameter():
    """Trials fit the live version's candidates again, such as one with C = inf."""
    infinite = structs.replace(trained().chosen, parameters={"C": math.inf})
    written = card(model=replace(trained(), chosen=infinite))

    assert json.loads(written.to_json())["parameters"] == {"C": math.inf}


FEATURES = {
    "amount": "number", "double": "number", "flag": "number", "site": "category",
}  # fmt: skip


@pytest.fixture(scope="module")
def profile() -> dict:
    random = np.random.default_rng(1)
    count = 2_000
    label = (random.random(count) < 0.2).astype(np.int64)
    amount = random.gamma(2, 10, count) + 20 * label
    amount[0] = 987_654.25
    site = random.choice(["shop", "app"], count).astype(object)
    site[:9] = "only nine users"
    rows = {
        "as_of": pa.array([date(2026, 1, 5 + 7 * (n % 2)) for n in range(count)]),
        "user_id": [f"u{n}" for n in range(count)],
        "amount": pa.array(amount, mask=np.arange(count) % 4 == 3),
        "double": 2 * amount,
        "flag": (random.random(count) < 0.5).astype(float),
        "site": pa.array(site.tolist()),
        "label": label,
        "weight": np.where(label == 1, 1.0, 4.0),
    }
    return described(pa.table(rows), FEATURES)


def test_numbers_have_histograms_by_label(profile):
    """Shares add up to one, whatever lies beyond the ends; of a few whole numbers each
    has a bin of its own."""
    amount, _, flag = profile["numbers"]

    assert len(amount["edges"]) == BINS + 1
    for name in ("negative", "positive"):
        assert sum(amount[name]) == pytest.approx(1, abs=0.01)
    assert amount["correlation"] > 0.3
    assert amount["missing"] == pytest.approx(0.25)
    assert flag["edges"] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "values", [[0, 1], [0, 4e9] * 50, [2.0**53] * 3], ids=["two", "far apart", "large"]
)
def test_odd_numbers_have_histograms_too(values):
    rows = {"as_of": [1] * len(values), "user_id": values, "x": values}
    targets = {"label": [0] * len(values), "weight": [1.0] * len(values)}
    table = pa.table(rows | targets)
    [number] = described(table, {"x": "number"})["numbers"]

    assert len(number["edges"]) == BINS + 1
    assert sum(number["negative"]) == pytest.approx(1)


def test_nothing_shows_a_single_user(profile):
    """The largest value is one person's. Rows are counted by date."""
    assert "987654" not in str(profile).replace("_", "")
    assert [day["rows"] for day in profile["dates"]] == [1_000, 1_000]
    assert (profile["rows"], profile["users"]) == (2_000, 2_000)


def test_sampled_rows_say_what_they_stand_for(profile):
    """Shares of label 1 are of the rows that they stand for."""
    positives = profile["conversions"]
    expected = positives + 4 * (2_000 - positives)
    shares = [day["share"] for day in profile["dates"]]

    assert profile["stand_for"] == expected
    assert np.mean(shares) == pytest.approx(positives / expected, rel=0.01)
