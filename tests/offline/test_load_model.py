"""
load_model, specified: the shipped model serves where nothing does, and only there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from commands.cli import main
from offline import load_model
from propensity import usecases
from propensity.errors import ArtifactError, PropensityError, SchemaError
from propensity.gcp.artifacts import Artifacts, sha256
from propensity.gcp.warehouse import Warehouse
from propensity.registry import loading
from propensity.registry.versions import Registry, pickled
from propensity.settings import Settings
from propensity.tables import every as tables
from tests.constants import set_parameter
from tests.emptied import empty_bucket, empty_tables
from tests.functions.conftest import entered
from tests.propensity.registry.versions import Malicious, promote

USE_CASE = usecases.load("first_day_churn")
NOW = datetime(2026, 3, 2, tzinfo=UTC)


class Place:
    """A deployment of the stream, with nothing that serves."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**environment, "PROPENSITY_GA4_DATASET": ""}
        self.settings = Settings.from_environment(self.environment)
        self.warehouse = Warehouse.open(self.settings)
        with entered(self.environment):
            self.artifacts = Artifacts.open(self.settings)
        self.registry = Registry(self.artifacts, USE_CASE.name)
        self.warehouse.create(tables.TRAINING_METADATA)

    def close(self) -> None:
        self.warehouse.close()
        self.artifacts.close()

    def load(self, folder: Path = load_model.MODELS) -> load_model.Outcome:
        return load_model.load(
            self.warehouse, self.artifacts, self.settings, folder=folder
        )

    def run(self, *words: str) -> int:
        """Run the command here."""
        with entered(self.environment):
            return main(list(words))

    def recorded(self) -> list[dict[str, Any]]:
        found = self.warehouse.rows(
            "SELECT * FROM ma_model_training_metadata ORDER BY model_version"
        )
        return [dict(row.items()) for row in found]

    def objects(self) -> list[str]:
        return self.artifacts.names("models/")

    def enthrone(self) -> None:
        """Let some model of a training serve."""
        version = self.registry.claim(run_id="training", at=NOW)
        self.registry.promote(version, model_sha256="0" * 64, at=NOW, instead_of=None)


@pytest.fixture(scope="module")
def untouched(module_workplace) -> Iterator[Place]:
    """A deployment that is only read."""
    made = Place(module_workplace.environment)
    yield made
    made.close()


@pytest.fixture
def place(untouched) -> Iterator[Place]:
    """The same for a test that writes; nothing is left of it."""
    yield untouched
    empty_tables(untouched.warehouse, [tables.TRAINING_METADATA])
    empty_bucket(untouched.artifacts)


@pytest.fixture
def altered(tmp_path) -> Callable[..., Path]:
    """Copy the shipped model with some file or entry changed."""

    def make(
        name: str | None = None,
        data: bytes = b"",
        *,
        card: dict[str, Any] | None = None,
        about: dict[str, Any] | None = None,
    ) -> Path:
        folder = tmp_path / USE_CASE.name
        shutil.copytree(load_model.MODELS / USE_CASE.name, folder)
        if name is not None:
            (folder / name).write_bytes(data)
        whole = json.loads((folder / load_model.METADATA).read_text("utf-8"))
        if card is not None:
            path = folder / load_model.CARD
            found = json.loads(path.read_text("utf-8"))
            path.write_text(json.dumps({**found, **card}), "utf-8")
            whole["files"][load_model.CARD]["sha256"] = sha256(path.read_bytes())
        text = json.dumps({**whole, **(about or {})})
        (folder / load_model.METADATA).write_text(text, "utf-8")
        return tmp_path

    return make


class TestLoad:
    def test_lets_it_serve_where_nothing_does(self, place):
        """As version 0, stored, recorded and promoted like any other."""
        outcome = place.load()
        [row] = place.recorded()
        champion = place.registry.champion()

        assert (outcome.version, outcome.is_new) == (0, True)
        assert (champion.version, champion.epoch, champion.previous) == (0, 0, None)
        assert champion.model_sha256 == row["model_sha256"]
        assert (row["use_case"], row["model_version"]) == (USE_CASE.name, 0)
        assert row["promoted"] is True
        assert row["verdict"].startswith("shipped")
        assert row["roc_auc"] > 0.85
        for name in ("model", "preprocessor"):
            assert place.artifacts.read(row[f"{name}_object"]).data
        page = place.artifacts.read(f"models/{USE_CASE.name}/0/report.html").data
        assert page.lstrip().lower().startswith(b"<!doctype html")

    def test_gives_what_functions_can_load(self, place):
        """By the way in which they do, with its bytes verified."""
        place.load()
        metadata = loading.recorded(place.warehouse, USE_CASE.name, 0)
        found = loading.loaded(
            place.registry, USE_CASE, metadata, settings=place.settings
        )

        assert found.version == 0

    def test_is_older_than_what_it_scores(self, place):
        """Its as-of date lies before any stream that it may serve, so that a rerun of
        a past week finds it, and not a model that has seen what came of the week."""
        place.load()
        [row] = place.recorded()

        assert str(row["as_of"]) == "2025-01-01"
        split = json.loads(row["card"])["split"]
        assert max(split["holdout"]) < str(row["as_of"])

    def test_twice_is_once(self, place):
        """Whatever serves is newer than what was shipped."""
        first, objects, rows = place.load(), place.objects(), place.recorded()
        again = place.load()

        assert (first.is_new, again.is_new) == (True, False)
        assert "not loaded" in again.note
        assert (place.objects(), place.recorded()) == (objects, rows)

    def test_is_no_version_that_was_recorded(self, place):
        """Defect: with the bucket lost and the record kept, version 0 was stored under
        the record of another model, so that no function loaded what was promoted."""
        place.load()
        place.warehouse.execute(
            "UPDATE ma_model_training_metadata_runs SET model_sha256 = 'other' "
            "WHERE TRUE"
        )
        empty_bucket(place.artifacts)
        outcome = place.load()
        rows = place.recorded()

        assert outcome.version == 1
        assert [row["model_version"] for row in rows] == [0, 1]
        assert place.registry.champion().model_sha256 == rows[1]["model_sha256"]


class TestInterruption:
    def test_of_other_loads_leaves_one_that_serves(self, place):
        """Six loads at once have one champion; no other row says that it serves."""
        with ThreadPoolExecutor(6) as pool:
            outcomes = list(pool.map(lambda _: place.load(), range(6)))
        serving = {row["model_version"] for row in place.recorded() if row["promoted"]}

        assert {outcome.version for outcome in outcomes} == serving
        assert serving == {place.registry.champion().version}

    def test_before_it_serves_is_not_recorded_as_serving(self, place, monkeypatch):
        """Defect: the row said "promoted" before anything did; the next load does."""
        monkeypatch.setattr(Registry, "promote", lambda *_, **__: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            place.load()
        [row] = place.recorded()
        assert row["promoted"] is None
        assert row["verdict"].startswith("cut off before it was recorded")

        monkeypatch.undo()
        assert place.load().version == 1
        assert [row["promoted"] for row in place.recorded()] == [None, True]

    @pytest.mark.parametrize(("is_pinned", "serves"), [(False, 1), (True, 7)])
    def test_by_a_training_or_a_pin_leaves_that_one_serving(
        self, place, monkeypatch, is_pinned, serves
    ):
        """Defect: the row said that it was promoted, beside a version pinned."""
        publish = Registry.publish

        def then_another(registry: Registry, *given: Any) -> Any:
            done = publish(registry, *given)
            if is_pinned:
                promote(registry, serves, pinned=True)
            else:
                place.enthrone()
            return done

        monkeypatch.setattr(Registry, "publish", then_another)
        outcome = place.load()
        [row] = place.recorded()

        assert (outcome.version, outcome.is_new) == (serves, False)
        assert place.registry.champion().version == serves
        assert (row["model_version"], row["promoted"]) == (0, False)
        assert row["compared_version"] == serves


class TestRefusals:
    """Each is told, and writes nothing."""

    def refused(self, place: Place, folder: Path, error: type[PropensityError]) -> str:
        with pytest.raises(error) as raised:
            place.load(folder)
        assert place.objects() == []
        assert place.recorded() == []
        return raised.value.message

    @pytest.mark.parametrize("name", load_model.FILES)
    def test_of_other_bytes(self, untouched, altered, tmp_path, name):
        """A file that is not the one shipped is not even unpickled."""
        evil = pickled(Malicious(tmp_path / "was_here"))

        assert name in self.refused(untouched, altered(name, evil), ArtifactError)
        assert not (tmp_path / "was_here").exists()

    def test_of_other_features(self, untouched, altered):
        """Features that the use case no longer has, or has anew, are named."""
        features = dict(USE_CASE.features) | {"shoe_size": "number"}
        del features["age"]
        told = self.refused(
            untouched, altered(card={"features": features}), SchemaError
        )

        assert "age, shoe_size" in told

    def test_of_other_libraries(self, untouched, altered):
        """A pickle of another scikit-learn is not loaded."""
        about = {"libraries": {"scikit-learn": "0.1"}}

        assert "0.1" in self.refused(untouched, altered(about=about), ArtifactError)

    def test_of_a_first_day_that_is_not_a_day(self, untouched, monkeypatch):
        """Features of six hours are others than those it was trained on."""
        set_parameter(monkeypatch, USE_CASE, first_day_hours=6)
        told = self.refused(untouched, load_model.MODELS, SchemaError)

        assert "first_day_hours" in told

    def test_of_a_use_case_without_one(self, untouched, tmp_path):
        """There need not be a shipped model; then this says so."""
        told = self.refused(untouched, tmp_path, ArtifactError)

        assert "no model is shipped with first_day_churn" in told


class TestCommand:
    def test_says_what_serves(self, place, capsys):
        """First that it loaded, then that it did not have to; a dry run writes
        nothing."""
        answers = []
        for options in (["--dry-run"], [], []):
            assert place.run("load", "model", "--json", *options) == 0
            answers.append(json.loads(capsys.readouterr().out))

        assert [(one["version"], one["is_new"]) for one in answers] == [
            (None, False),
            (0, True),
            (0, False),
        ]
        assert "would be loaded" in answers[0]["note"]
        assert "not loaded" in answers[2]["note"]

    def test_fails_in_words(self, untouched, capsys):
        assert untouched.run("load", "model", "--use-case", "ga4_purchase") == 1
        assert "no model is shipped" in capsys.readouterr().err
