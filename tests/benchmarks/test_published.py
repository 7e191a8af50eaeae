"""Figures on public data, specified: which files are read, and what a row says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import published
from benchmarks.published import Row


def row(data, what):
    return Row(
        data=data, what=what, split="", ours=(1.0, None, None), plain={}, seconds=0
    )


@pytest.mark.parametrize("name", published.SETS)
def test_a_set_that_is_not_there_says_where_it_is_and_its_licence(name, tmp_path):
    said = published.missing(name, tmp_path)

    assert next(iter(published.SOURCES[name].files)) in said
    assert published.SOURCES[name].where in said
    assert published.SOURCES[name].licence in said


def test_a_file_that_is_another_one_is_not_read(tmp_path):
    for file in published.SOURCES["coil"].files:
        (tmp_path / file).write_text("1\t2\n")

    assert "is not the file that was measured" in published.missing("coil", tmp_path)


def test_rows_of_a_set_replace_those_before_and_leave_other_sets(tmp_path):
    path = tmp_path / "measured.json"
    published.keep([row("coil", "old"), row("hst", "kept")], path)
    published.keep([row("coil", "new")], path)

    assert [one.what for one in published.kept(path)] == ["new", "kept"]


def test_an_area_is_scikit_learns_and_within_its_interval():
    random = np.random.default_rng(0)
    label = random.random(500) < 0.2
    scores = np.clip(random.normal(0.4 + 0.1 * label, 0.1), 0, 1)
    estimate, low, high = published.area_of(label)(scores)

    assert estimate == pytest.approx(roc_auc_score(label, scores))
    assert low < estimate < high


def test_what_the_best_add_is_counted_for_each_100_customers_of_all():
    """30 of 100 are the best: 10 of 20 contacted visit, and 2 of 10 others."""
    segments = ["mail"] * 20 + ["none"] * 10 + ["mail"] * 70
    visits = [1] * 10 + [0] * 10 + [1] * 2 + [0] * 78
    ranked = pd.DataFrame({"segment": segments, "visit": visits})
    estimate, low, high = published.added_by_best(ranked, "mail")

    assert estimate == pytest.approx(100 * 0.3 * (10 / 20 - 2 / 10))
    assert low < estimate < high
