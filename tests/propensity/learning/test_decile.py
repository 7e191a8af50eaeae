"""
What the top tenth has in common, specified.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from propensity.learning import decile

COUNT = 2_000
FEATURES = {"visits": "number", "source": "category"}


def shop(seed: int = 0, *, effect: float = 2.0) -> tuple[pa.Table, np.ndarray]:
    """Users whose probability rises with a source, and not with their visits."""
    random = np.random.default_rng(seed)
    source = random.choice(["mail", "search", "direct"], COUNT, p=[0.2, 0.3, 0.5])
    source[:18] = ["rare", "scarce", "unique"] * 6
    visits = random.gamma(2.0, 3.0, COUNT)
    score = effect * (source == "mail") + random.normal(size=COUNT)
    columns = {
        "visits": pa.array(visits, mask=random.random(COUNT) < 0.1),
        "source": pa.array(source, mask=random.random(COUNT) < 0.05),
    }
    return pa.table(columns), 1 / (1 + np.exp(-score))


def in_common(rows, probability, weight=None, features=FEATURES):
    weight = np.ones(len(probability)) if weight is None else weight
    return decile.in_common(rows, features, probability, weight=weight)


def test_lift_is_the_share_at_the_top_over_the_share_of_all():
    """By hand, for each value of a category."""
    rows, probability = shop()
    top = np.argsort(-probability)[: COUNT // 10]
    source = np.array(rows["source"].to_pylist(), dtype=object)
    bands = {entry["band"]: entry for entry in in_common(rows, probability)}

    share_top, share = np.mean(source[top] == "mail"), np.mean(source == "mail")
    assert bands["mail"]["share_top"] == pytest.approx(share_top)
    assert bands["mail"]["share_all"] == pytest.approx(share)
    assert bands["mail"]["lift"] == pytest.approx(share_top / share)


def test_no_limit_is_beyond_what_a_lift_can_be():
    """Nothing is more than ten times as frequent in a tenth of all users."""
    kind = pa.array(["best" if place < 190 else "other" for place in range(COUNT)])
    probability = 1 - np.arange(COUNT) / COUNT
    entries = in_common(
        pa.table({"source": kind}), probability, features={"source": "category"}
    )

    best = entries[0]
    assert best["band"] == "best"
    assert best["lift"] == pytest.approx(10)
    assert best["low"] < best["high"] <= best["lift"]


def test_the_surest_comes_first():
    """Features by the lower end of their best band, and one band of each."""
    entries = in_common(*shop())
    best = decile.strongest(entries)

    assert [entry["feature"] for entry in best] == ["source", "visits"]
    assert best[0]["band"] == "mail"
    assert best[0]["low"] > 1


def test_bands_hold_every_user_once():
    """Also those whose value is missing, or so rare that it might be one person."""
    entries = in_common(*shop())

    for feature in FEATURES:
        bands = [entry for entry in entries if entry["feature"] == feature]
        assert sum(entry["rows"] for entry in bands) == COUNT
        assert sum(entry["share_top"] for entry in bands) == pytest.approx(1)
    names = {entry["band"] for entry in entries}
    assert {decile.MISSING, decile.OTHERS} <= names
    assert not names & {"rare", "scarce", "unique"}


def test_bands_are_named_in_plain_numbers():
    """Millions in digits, no negative zero, and one number where both ends are it."""
    values = np.repeat([-0.0, 0.25, 1_234_567.0, 7_654_321.0, 7_654_321.25], 400)
    probability = np.linspace(0, 1, COUNT)
    rows = pa.table({"spent": values})
    bands = {
        entry["band"]
        for entry in in_common(rows, probability, features={"spent": "number"})
    }

    assert bands == {"0", "0.25", "1,234,567", "7,654,321"}


def test_a_band_of_a_few_users_is_left_out():
    """It might be a single person."""
    rows, probability = shop()
    few = pa.array(["direct"] * (COUNT - 9) + ["rare"] * 9)
    entries = in_common(rows.set_column(1, "source", few), probability)

    assert [entry["band"] for entry in entries if entry["feature"] == "source"] == [
        "direct"
    ]


def test_a_row_counts_as_often_as_its_weight_says():
    """Weights of two are rows that are there twice."""
    rows, probability = shop()
    weight = np.where(np.arange(COUNT) % 3, 1.0, 2.0)
    twice = np.repeat(np.arange(COUNT), weight.astype(int))

    weighted = in_common(rows, probability, weight)
    repeated = in_common(rows.take(pa.array(twice)), probability[twice])
    lifts = [
        {(entry["feature"], entry["band"]): entry["lift"] for entry in entries}
        for entries in (weighted, repeated)
    ]
    mail = ("source", "mail")
    assert lifts[0][mail] == pytest.approx(lifts[1][mail])


def test_nothing_stands_out_of_equal_probabilities():
    """There is no tenth, so there is no table; nor is there without rows."""
    rows, probability = shop()

    assert in_common(rows, np.full(COUNT, 0.1)) == []
    assert in_common(rows.slice(0, 0), probability[:0]) == []


@pytest.mark.parametrize("effect", [0.0, 1.5])
def test_intervals_hold_the_true_lift_in_95_of_100_draws(effect):
    """The truth is of a million users; tolerance is three standard errors of it."""
    random = np.random.default_rng(1)
    count, draws, size = 1_000_000, 400, 1_000
    inside = random.random(count) < 0.2
    score = effect * inside + random.normal(size=count)
    top = score >= np.quantile(score, 0.9)
    truth = inside[top].mean() / inside.mean()
    held = []
    for _ in range(draws):
        some = random.integers(0, count, size)
        flags = pa.table({"flag": pa.array(np.where(inside[some], "yes", "no"))})
        entries = in_common(flags, score[some], features={"flag": "category"})
        [band] = [entry for entry in entries if entry["band"] == "yes"]
        held.append(band["low"] <= truth <= band["high"])

    assert np.mean(held) == pytest.approx(0.95, abs=0.035)
