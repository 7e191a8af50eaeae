"""What is known of use cases beside the tables, specified on the emulators."""

from __future__ import annotations

from offline.dashboard.run import known
from propensity.registry.versions import Registry
from tests.offline.dashboard.test_run import NOW, site

__all__ = ["site"]


def test_a_removed_use_case_has_no_champion(site):
    """Its pointer is in the bucket still, and serves nobody."""
    registry = Registry(site.artifacts, "of_last_year")
    registry.promote(0, model_sha256="0" * 64, at=NOW, instead_of=None)

    facts = known(
        ["of_last_year", "ga4_purchase"], site.artifacts, settings=site.settings
    )

    removed = facts["of_last_year"]
    assert (removed.has_folder, removed.champion) == (False, None)
    assert facts["ga4_purchase"].has_folder
