"""
Load the model that is shipped with a use case, where the use case has none yet.

The model becomes a version like any other: stored in the bucket, recorded in
ma_model_training_metadata, and champion. Its files are verified by the checksums in
their metadata.json and loaded here before anything is written. A load that was cut off
leaves a version that is not live, and the next one makes another.
"""

from __future__ import annotations

import importlib.metadata
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec import convert

from propensity import usecases
from propensity.errors import ArtifactError
from propensity.gcp.artifacts import Artifacts, sha256
from propensity.gcp.warehouse import Warehouse
from propensity.learning.card import CARD, MODEL, PREPROCESSOR, REPORT, UserCard
from propensity.learning.report import version_page
from propensity.registry.announcements import announce
from propensity.registry.deployment import open_deployment
from propensity.registry.records import newest_recorded, pending
from propensity.registry.serving import loaded
from propensity.registry.versions import (
    HTML,
    JSON,
    Record,
    RecordedCard,
    Registry,
    unpickled,
)
from propensity.settings import Settings
from propensity.tables.models import TRAINING_METADATA

MODELS = Path(__file__).resolve().parent / "models"
USE_CASE = "first_day_churn"
METADATA = "metadata.json"
FILES = (MODEL, PREPROCESSOR, CARD)
_BINARY = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A shipped model: its verified files by name, and their metadata."""

    use_case: str
    files: Mapping[str, bytes]
    about: Mapping[str, Any]

    @property
    def card(self) -> dict[str, Any]:
        return dict(json.loads(self.files[CARD]))


@dataclass(frozen=True)
class Outcome:
    """Version that is live now, or None; and whether this load made it so."""

    use_case: str
    version: int | None
    is_new: bool
    note: str


def run(use_case: str, *, is_dry: bool = False) -> dict[str, Any]:
    """
    Load the shipped model of a use case, or only check it; return the live version.

    Raises:
        PropensityError: The model does not fit, or a client failed.
    """
    with open_deployment(use_case) as deployment:
        registry = deployment.registry
        settings = deployment.settings
        if is_dry and registry.champion() is None:
            checked(read(use_case), settings)
            return vars(Outcome(use_case, None, False, "it can be loaded"))
        outcome = load(deployment.warehouse, deployment.artifacts, settings, use_case)
        if outcome.is_new:
            champion = registry.champion()
            if champion is not None:
                announce(settings, use_case, "promote", champion, at=datetime.now(UTC))
    return vars(outcome)


def load(
    warehouse: Warehouse,
    artifacts: Artifacts,
    settings: Settings,
    use_case: str = USE_CASE,
    *,
    folder: Path = MODELS,
) -> Outcome:
    """
    Make the shipped model live where the use case has no champion.

    Where it has one, that is all that is read. Of loads at once, one goes live.

    Raises:
        Conflict: Another version went live meanwhile.
        ArtifactError: There is no shipped model, its bytes are not the ones that were
            shipped, or today's libraries cannot load it.
        SchemaError: It was trained on other features than today's.
        PropensityError: BigQuery or the bucket failed.
    """
    registry = Registry(artifacts, use_case)
    champion = registry.champion()
    if champion is not None:
        note = "this version is live; the shipped model was not loaded"
        return Outcome(use_case, champion.version, False, note)
    shipped = checked(read(use_case, folder), settings)
    run_id = f"shipped-{uuid.uuid4().hex}"
    version = registry.claim(
        run_id=run_id,
        at=datetime.fromisoformat(shipped.card["trained_at"]),
        recorded=newest_recorded(warehouse, use_case),
    )
    card = convert({**shipped.card, "model_version": version}, UserCard)
    published = registry.publish(
        version,
        {
            MODEL: (shipped.files[MODEL], _BINARY),
            PREPROCESSOR: (shipped.files[PREPROCESSOR], _BINARY),
            CARD: (card.to_json(), JSON),
            REPORT: (version_page(card).encode(), HTML),
        },
    )
    seconds = shipped.about["seconds"]
    row = card.row(
        published.objects, published.checksums, run_id=run_id, seconds=seconds
    )
    # Readers see the newest row of a version, so this one counts until the next.
    warehouse.write(TRAINING_METADATA, [pending(row)])
    registry.promote(
        version,
        model_sha256=row.model_sha256,
        at=datetime.now(UTC),
        instead_of=None,
    )
    warehouse.write(TRAINING_METADATA, [row])
    return Outcome(use_case, version, True, "the shipped model is live")


def read(use_case: str, folder: Path = MODELS) -> Shipped:
    """
    Read a shipped model and verify its bytes.

    Raises:
        ArtifactError: There is none, or its bytes are not the ones that were shipped.
    """
    shelf = folder / use_case
    try:
        about = json.loads((shelf / METADATA).read_bytes())
        files = {name: (shelf / name).read_bytes() for name in FILES}
    except FileNotFoundError as error:
        raise ArtifactError(
            f"there is no shipped model for {use_case}: {error.filename} is missing"
        ) from error
    for name, data in files.items():
        if sha256(data) != about["files"][name]["sha256"]:
            raise ArtifactError(
                f"{shelf / name} has changed: its SHA-256 is not the one in "
                f"{METADATA}. Nothing was loaded",
                hint=f"Restore it, for example with git checkout {name}",
            )
    return Shipped(use_case=use_case, files=files, about=about)


def checked(shipped: Shipped, settings: Settings) -> Shipped:
    """
    Return a shipped model that can be live here, as a test load shows.

    Raises:
        ArtifactError: Other libraries made it, and today's may not load it.
        SchemaError: Its features, or parameters that they depend on, are not those of
            the use case and the settings.
    """
    made_with = shipped.about["libraries"]["scikit-learn"]
    version = importlib.metadata.version("scikit-learn")
    if version != made_with:
        raise ArtifactError(
            f"the shipped model was made with scikit-learn {made_with}; this is "
            f"{version}",
            hint="Make it again: .venv/bin/python -m local.ship_model",
        )
    names = (PREPROCESSOR, MODEL)
    shelf: Any = SimpleNamespace(
        load=lambda _: [unpickled(shipped.files[name]) for name in names]
    )
    record = Record(model_version=0, card=convert(shipped.card, RecordedCard))
    loaded(shelf, usecases.load(shipped.use_case), record, settings=settings)
    return shipped
