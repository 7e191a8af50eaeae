"""A third of a shop's users has two devices: predictions by browser and by person."""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline

from local.generators.shop import LAST_DATE, Shop
from propensity import usecases
from propensity.learning.candidates import default_preprocessor, estimator
from tests import shop
from tests.usecases.ga4_purchase.conftest import Export

pytestmark = pytest.mark.long

WEEK = timedelta(days=7)
# The newest four of these dates judge a model of those before.
AS_OFS = [LAST_DATE + timedelta(days=1) - n * WEEK for n in range(12, 0, -1)]
TESTED = 4


def draw(*of: Any) -> int:
    """Return a number below 100 that is always the same for the same things."""
    return zlib.crc32(repr(of).encode()) % 100


def on_two_devices(table: pa.Table) -> pa.Table:
    """Let a third of the users visit from two browsers, and log in on most visits."""
    rows = table.to_pylist()
    for row in rows:
        user = row["user_pseudo_id"]
        sessions = (
            one["value"] for one in row["event_params"] if one["key"] == "ga_session_id"
        )
        visit = next((repr(sorted(map(str, one.values()))) for one in sessions), "")
        has_two = draw(user) < 33
        row["user_id"] = f"id.{user}" if draw(user, visit, "login") < 70 else None
        if has_two and draw(user, visit, "device") < 50:
            row["user_pseudo_id"] = f"{user}.2"
    return pa.Table.from_pylist(rows, table.schema)


@pytest.fixture(scope="module")
def place(module_workplace):
    made = Shop(days=200)
    tables = {
        f"events_{day:%Y%m%d}": on_two_devices(made.shard(day)) for day in made.dates
    }
    shop.load_shards(module_workplace, tables)
    return module_workplace


def judged(place: Any, user_column: str) -> tuple[float, float, float]:
    """
    Return PR AUC and base rate of the newest weeks, by a model of those before.

    The third is the PR AUC of the humans behind the rows, who are the same however
    their browsers are told apart: one buys if one of the human's rows does.
    """
    export = Export(place, PROPENSITY_USER_COLUMN=user_column).prepare()
    use_case = usecases.load("ga4_purchase")
    window = {**use_case.window(export.settings, AS_OFS), "maximum_rows": 10_000_000}
    sql = use_case.statement("training_rows")
    rows = export.warehouse.table(sql, window).to_pandas()
    export.warehouse.close()
    is_test = rows["as_of"] >= AS_OFS[-TESTED]
    older, newest = rows[~is_test], rows[is_test].copy()
    [logistic, *_] = use_case.candidates
    model = make_pipeline(default_preprocessor(use_case), estimator(logistic, seed=1))
    model.fit(older[[*use_case.features]], older["label"])
    newest["score"] = model.predict_proba(newest[[*use_case.features]])[:, 1]
    human = newest["user_id"].str.removeprefix("id.").str.removesuffix(".2")
    newest["stays"] = 1 - newest["score"]
    humans = newest.groupby(["as_of", human]).agg({"label": "max", "stays": "prod"})
    return (
        float(average_precision_score(newest["label"], newest["score"])),
        float(newest["label"].mean()),
        float(average_precision_score(humans["label"], 1 - humans["stays"])),
    )


@pytest.mark.timeout(900)
def test_a_person_is_predicted_as_well_as_by_all_of_its_browsers_together(place):
    """And better than each browser by itself; -rP shows by how much."""
    browser, person = judged(place, "user_pseudo_id"), judged(place, "person")
    for name, (area, rate, of_humans) in {"browser": browser, "person": person}.items():
        print(
            f"by {name}: PR AUC {area:.3f} at a base rate of {rate:.3f}; of the same "
            f"humans {of_humans:.3f}"
        )

    assert person[0] > browser[0]
    assert person[2] > browser[2] - 0.01
