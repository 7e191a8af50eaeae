"""One world for all sequences, each of which begins with empty tables."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.settings import Settings
from propensity.tables import every as tables
from propensity.tables.models import PREDICTIONS_HISTORY
from tests.audit.bucket import LocalBucket
from tests.audit.clock import MachineClock
from tests.audit.faults import Faults
from tests.audit.receiver import Receiver
from tests.audit.warehouse import LocalWarehouse
from tests.audit.world import World
from tests.deployment import KEY, entered


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    """A deployment whose machine has the world's clock, and a receiver."""
    folder = tmp_path_factory.mktemp("use-cases")
    environment = {
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "PROPENSITY_BUCKET": "bucket",
        "PROPENSITY_DATASET": "propensity",
        "PROPENSITY_GA4_DATASET": "analytics_1",
        "PROPENSITY_USE_CASES": str(folder),
        "PROPENSITY_SUPPRESSION_KEY": KEY,
    }
    settings = Settings.from_environment(environment)
    clock = MachineClock()
    with (
        Receiver(clock) as receiver,
        entered(environment),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(Warehouse, "open", LocalWarehouse.open)
        patch.setattr(Artifacts, "open", LocalBucket.open)
        LocalWarehouse.begin()
        warehouse = LocalWarehouse.open(settings)
        for table in tables.TABLES:
            warehouse.create(table)
        history = tables.views("")[PREDICTIONS_HISTORY]
        warehouse.replace_view(PREDICTIONS_HISTORY, history)
        clock.install(patch)
        faults = Faults(receiver.url)
        faults.install(patch)
        world = World(settings, folder, clock, receiver, faults)
        clock.awake = world.stay_awake
        patch.setattr(secrets, "token_hex", world.token)
        yield world
