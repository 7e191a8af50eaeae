"""
The small shop, digested and trained once in a run of the tests, and copied for each.

Its export is in a project of its own, which all copies read from one file.
"""

from __future__ import annotations

import json
import pickle
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

from local.ground import Ground
from propensity.runs import setup
from propensity.tables.every import TABLES
from propensity.tables.export import DIGEST
from tests.support import shared, shop
from tests.support.deployment import Deployment

FIRST = date(2026, 1, 7)
WEEKS = 20
# Everybody's visits are on Wednesdays, and these are Mondays.
TRAINED = date(2026, 4, 20)
LATER = date(2026, 4, 27)
# The project of its export, which nobody changes.
EXPORTS = "exports"
EXPORT = f"{EXPORTS}.analytics_1"
# Files of a ground that is saved.
SAVED_TABLES = "tables.duckdb"
SAVED_OBJECTS = "objects"


class Stage(StrEnum):
    """How far a shop is."""

    DIGESTED = "digested"
    TRAINED = "trained"


def _make(folder: Path) -> None:
    """Load the shop, and train it; save it at each stage."""
    export = Ground(EXPORTS)
    owner = Deployment(export)
    owner.project = EXPORTS
    export.bigquery.create_dataset("analytics_1")
    shop.load(owner, shop.weekly(FIRST, WEEKS))
    _save(export, folder / EXPORTS)
    deployment = Deployment(PROPENSITY_GA4_DATASET=EXPORT)
    _borrow_export(deployment.ground, folder)
    deployment.prepare()
    setup.prepare_export(deployment.warehouse, deployment.settings)
    deployment.fits_all = True
    answer = deployment.run("model_training", TRAINED)
    (folder / "answer.json").write_text(json.dumps(answer))
    _save(deployment.ground, folder / Stage.TRAINED)
    deployment.empty([table for table in TABLES if table not in DIGEST])
    _save(deployment.ground, folder / Stage.DIGESTED)


def _save(ground: Ground, folder: Path) -> None:
    """Write the project's tables and all objects into a folder."""
    folder.mkdir()
    ground.bigquery.save(ground.project, folder / SAVED_TABLES)
    buckets = ground.storage.buckets
    objects = {name: bucket.objects for name, bucket in buckets.items()}
    (folder / SAVED_OBJECTS).write_bytes(pickle.dumps((ground.project, objects)))


def _copy_of(folder: Path) -> Ground:
    """Return a ground with what was saved in a folder."""
    project, objects = pickle.loads((folder / SAVED_OBJECTS).read_bytes())
    ground = Ground(project)
    ground.bigquery.restore(project, folder / SAVED_TABLES, lent=False)
    for name, content in objects.items():
        ground.storage.create_bucket(name).objects.update(content)
    return ground


def _borrow_export(ground: Ground, folder: Path) -> None:
    """Add the project of the export, whose tables nobody may change."""
    ground.bigquery.restore(EXPORTS, folder / EXPORTS / SAVED_TABLES, lent=True)


def a_shop(stage: Stage = Stage.DIGESTED, **settings: str) -> Deployment:
    """Return a copy of the shop, which one test may change; not its export."""
    folder = shared.once("shop", _make)
    ground = _copy_of(folder / stage)
    _borrow_export(ground, folder)
    return Deployment(ground, **{"PROPENSITY_GA4_DATASET": EXPORT, **settings})


def training_answer() -> dict[str, Any]:
    """Return what the shop's training answered."""
    folder = shared.once("shop", _make)
    return dict(json.loads((folder / "answer.json").read_text()))
