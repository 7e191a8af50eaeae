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
        "89367b70892c894f112a66873031bb5cd004cb76ae4cd6b4699694d7167e6f19",
        0.8322559793148029,
        51.69691046311613,
    ),
    ("first_day_churn", ()): (
        "e9a6464e4456d2e7ce0ac0949a5b48705421c97f11af12c8f0ea4312eed2b718",
        0.8570228494623656,
        54.77145068474338,
    ),
    ("card_fraud", ()): (
        "6f770a46e392f7e73ee57287c9a59177ef591c9207aeb8daeedcb33a21571885",
        0.8271861471861471,
        33.536803049869455,
    ),
    ("card_fraud", (("minimum_conversions", 500),)): (
        "95e6e3d77b6c0a87e43d6becebcd55d02a4643e942c239354f9eedb0040b5dab",
        0.6673098330241187,
        263.4737383953033,
    ),
    ("card_fraud", (("fraud_prior", 0.01),)): (
        "aee14b5ffe2ac85794e21011ac2d3046077b85a43f36414757683b4ac60daba4",
        0.7845021645021646,
        23.382394607319725,
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
