"""
The small shop, digested and trained once in a run of the tests, and copied for each.

Its export is in a project of its own, which all copies read from one file.
"""

from __future__ import annotations

import json
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
    (folder / EXPORTS).mkdir()
    export.save(folder / EXPORTS)
    deployment = Deployment(PROPENSITY_GA4_DATASET=EXPORT)
    deployment.ground.borrow(folder / EXPORTS)
    deployment.prepare()
    setup.prepare_export(deployment.warehouse, deployment.settings)
    deployment.fits_all = True
    answer = deployment.run("model_training", TRAINED)
    (folder / "answer.json").write_text(json.dumps(answer))
    _save(deployment, folder / Stage.TRAINED)
    deployment.empty([table for table in TABLES if table not in DIGEST])
    _save(deployment, folder / Stage.DIGESTED)


def _save(deployment: Deployment, folder: Path) -> None:
    folder.mkdir()
    deployment.ground.save(folder)


def a_shop(stage: Stage = Stage.DIGESTED, **settings: str) -> Deployment:
    """Return a copy of the shop, which one test may change; not its export."""
    folder = shared.once("shop", _make)
    ground = Ground.copy_of(folder / stage)
    ground.borrow(folder / EXPORTS)
    return Deployment(ground, **{"PROPENSITY_GA4_DATASET": EXPORT, **settings})


def training_answer() -> dict[str, Any]:
    """Return what the shop's training answered."""
    folder = shared.once("shop", _make)
    return dict(json.loads((folder / "answer.json").read_text()))
