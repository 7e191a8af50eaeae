"""
What people are promised of trainings, predictions and evaluations, asked of tables and
bucket after the fact.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date
from typing import Any

from tests.audit.runs import LAST_DAY, LOOKBACK, Site, State


def check(site: Site, state: State) -> None:
    """Ask everything that can be asked at any time."""
    versions_have_their_files(site, state)
    the_pointer_names_a_version(state)
    predictions_are_whole(state)
    publications_had_data(state)
    weeks_have_one_row(state)


def versions_have_their_files(site: Site, state: State) -> None:
    """Each with the recorded SHA-256; a number is of one run."""
    runs = defaultdict[int, set[str]](set)
    for row in state.versions:
        runs[row["model_version"]].add(row["run_id"])
        for kind in ("model", "preprocessor"):
            assert site.sha256(row[f"{kind}_object"]) == row[f"{kind}_sha256"]
    assert all(len(ids) == 1 for ids in runs.values()), runs


def the_pointer_names_a_version(state: State) -> None:
    """It, and those before it, were recorded."""
    if not state.champion:
        return
    models = {row["model_version"]: row["model_sha256"] for row in state.versions}
    assert state.champion["model_sha256"] == models[state.champion["version"]]
    assert {*state.champion["earlier"]} <= models.keys()


def publications_in_force(state: State) -> dict[date, dict[str, Any]]:
    """Return the newest publication of each date."""
    return {row["as_of"]: row for row in state.publications}


def predictions_are_whole(state: State) -> None:
    """Those of a date are of one version, and all of them; a user has the newest."""
    in_force = publications_in_force(state)
    users = Counter((as_of, version) for _, as_of, version, _ in state.history)
    expected = {
        (as_of, row["model_version"]): row["users"] for as_of, row in in_force.items()
    }
    assert users == expected
    assert len({row[:2] for row in state.history}) == len(state.history)
    newest = dict[str, tuple[Any, ...]]()
    for row in sorted(state.history, key=lambda row: row[1]):
        newest[row[0]] = row
    assert state.current == [newest[user] for user in sorted(newest)]
    versions = {row["model_version"] for row in state.versions}
    assert {version for _, version in users} <= versions


def publications_had_data(state: State) -> None:
    """What no event says anything of is not published."""
    for row in state.publications:
        assert row["as_of"] <= LAST_DAY + LOOKBACK, f"published of nothing: {row}"


def weeks_have_one_row(state: State) -> None:
    """Each of a publication that there was."""
    weeks = [row["week"] for row in state.evaluations]
    assert len({*weeks}) == len(weeks)
    known = {(row["as_of"], row["scored_at"]) for row in state.publications}
    for row in state.evaluations:
        if row["prediction_as_of"] is not None:
            assert (row["prediction_as_of"], row["prediction_scored_at"]) in known


def unpublished(state: State) -> set[tuple[date, str]]:
    """Return runs whose scores are there, though they were never published."""
    runs = {row["run_id"] for row in state.publications}
    return {(as_of, run) for as_of, run in state.scored if run not in runs}


def lookups_have_what_was_published(site: Site, state: State) -> None:
    """The index is that of the table."""
    found = site.looked_up([row[0] for row in state.current])
    for user, as_of, version, probability in state.current:
        prediction = found[user]
        assert prediction is not None
        assert prediction[0] == probability
        assert (prediction[2], prediction[3]) == (str(as_of), version)


def no_version_knew_the_outcomes(before: State, after: State) -> None:
    """A date's predictions are of a version that was trained by then, if one served."""
    trained = {row["model_version"]: row["as_of"] for row in before.versions}
    served = {row["model_version"] for row in before.versions if row["promoted"]}
    if before.champion:
        served |= {before.champion["version"], *before.champion["earlier"]}
    old = {row["run_id"] for row in before.publications}
    for row in after.publications:
        is_later = trained.get(row["model_version"], row["as_of"]) > row["as_of"]
        if row["run_id"] not in old and is_later:
            by_then = [one for one in served if trained[one] <= row["as_of"]]
            assert not by_then


def final_weeks_stay(before: State, after: State) -> None:
    """What is final of a publication is the same ever after."""
    rows = {row["week"]: row for row in after.evaluations}
    for row in before.evaluations:
        now = rows[row["week"]]
        same = ("prediction_as_of", "prediction_scored_at")
        if row["status"] == "final" and all(row[name] == now[name] for name in same):
            assert now["status"] == "final"
            assert now["metrics"] == row["metrics"]
