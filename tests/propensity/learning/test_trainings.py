"""
Trainings, specified to the last bit: one small training of each use case.

A change of shape leaves every figure as it was; a change of what is computed changes a
line here, and says so in its commit. The last bits of a sum depend on the processor, by
the width of its registers, and on Python, whose sum is more exact since 3.12: the
digests are of one kind and of the deployed version, the figures hold on all.
"""

from __future__ import annotations

import sys

import pytest
from threadpoolctl import threadpool_info

from tests.propensity.learning.trainings import made

# Of each training: its digest, the ROC AUC held out, and the sum of the probabilities.
KNOWN = {
    ("ga4_purchase", ()): (
        "53bed7cfb26851475fb6d62d1c14fec3147a0632db37f98e686769afc3c1fc06",
        0.8217967599410898,
        55.54967016890427,
    ),
    ("first_day_churn", ()): (
        "c9df8a2fd43fc87e3a99e419bfcbf51191d615d7b42cd9c57803ec4829ec3e3f",
        0.868195564516129,
        53.55312271972841,
    ),
    ("card_fraud", ()): (
        "7a7a5d2cdc7652c14137b1809a4bac7fc087c199542c600860cd8d8dd61214c9",
        0.7812987012987013,
        31.617223284268714,
    ),
    ("card_fraud", (("minimum_conversions", 500),)): (
        "bce9c269f2d15399cec23ff03ae739154d8e275760aecdcc00d905115c904144",
        0.6673098330241187,
        263.4737383953033,
    ),
    ("card_fraud", (("fraud_prior", 0.01),)): (
        "a5ee4c8160cfb080c1ac7d33a824ac91b52543ccd1d3b09b0f130db5f9cac529",
        0.7598268398268399,
        7.384699268781397,
    ),
}
KIND = "Haswell"
DEPLOYED = (3, 11)


# The kind of training of each use case once in a quick run: of users, and of events.
QUICK = (("first_day_churn", ()), ("card_fraud", ()))


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(one, marks=() if one in QUICK else pytest.mark.long)
        for one in KNOWN
    ],
)
def test_is_as_it_was(training):
    """Card, verdict and probabilities are equal bit for bit, on fixed seeds."""
    name, changed = training
    digest, roc_auc, mass = KNOWN[training]
    found = made(name, **dict(changed))
    kinds = {library.get("architecture") for library in threadpool_info()}

    assert found.card["quality"]["roc_auc"] == pytest.approx(roc_auc, rel=1e-6)
    assert found.probability.sum() == pytest.approx(mass, rel=1e-6)
    if sys.version_info[:2] == DEPLOYED and KIND in kinds:
        assert found.digest() == digest
