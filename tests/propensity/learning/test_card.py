"""
The card of a version, specified: plain values, files that anybody can load, and a
description of the data that hides single users.
"""

from __future__ import annotations

import io
import pickle

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning import candidates
from propensity.learning.candidates import encoder_of, fitted, transformed
from propensity.learning.model import Model
from propensity.models.encoding import to_frame
from propensity.runs.model_files import pseudonymise
from tests.propensity.learning.cards import ROWS, card, trained
from tests.propensity.learning.shops import FOREST, LINEAR, SHOP, train

# Packages whose classes a pickle may name: those that come with scikit-learn.
LIBRARIES = {"builtins", "copyreg", "functools", "numpy", "scipy", "sklearn"}


def test_files_load_without_this_package():
    """Preprocessor and model are of scikit-learn's own classes, and their product is
    what is published."""
    parts = trained().parts
    encoder = fitted(encoder_of(SHOP.features), parts.before, SHOP.features)
    encoded = transformed(encoder, parts.before.rows, SHOP.features)
    fits = [
        candidates.fit(one, encoded, parts.before, seed=1) for one in (LINEAR, FOREST)
    ]
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
    published = model.scores(parts.holdout.rows, SHOP.features)

    assert named <= LIBRARIES
    assert classifier.predict_proba(read)[:, 1] == pytest.approx(published, abs=1e-12)


def test_a_training_set_numbers_its_users_at_random():
    """Whoever has a list of ids could name them again by numbers in its order."""
    ids = [f"user {number:04}" for number in range(1_000)]
    table = pa.table({"user_id": ids, "recency": range(1_000)})
    stored = pseudonymise(table)

    assert stored["user_id"].to_pylist() == sorted(stored["user_id"].to_pylist())
    assert abs(np.corrcoef(stored["user_id"], stored["recency"])[0, 1]) < 0.2
    assert not stored.equals(pseudonymise(table))


def test_a_card_says_which_share_of_the_rows_of_a_label_was_read():
    weight = np.where(np.asarray(ROWS["label"]) == 1, 1.0, 4.0)
    place = ROWS.column_names.index("weight")
    rows = ROWS.set_column(place, "weight", pa.array(weight))
    plain = card(train(rows, candidates=(LINEAR,))).plain()

    assert plain["negative_sampling_rate"] == pytest.approx(0.25)
    assert plain["positive_sampling_rate"] == 1
