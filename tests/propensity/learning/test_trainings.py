"""
Trainings, specified to the last bit: one small training of each use case.

A change of shape leaves every figure as it was; a change of what is computed changes a
line here, and says so in its commit. The last bits of a sum depend on the processor, by
the width of its registers, and on Python, whose sum is more exact since 3.12: the
digests are of one arithmetic and of the deployed version, the figures hold on all.
"""

from __future__ import annotations

import sys

import pytest

from tests.propensity.learning.trainings import arithmetic, train_use_case

# Of each training: its digest, the ROC AUC held out, and the sum of the probabilities.
KNOWN = {
    ("ga4_purchase", ()): (
        "7b882b99d412d1b4a034527330a6030375a3016c81db11ed17a0837cdd8206c0",
        0.8322559793148029,
        51.69699062961774,
    ),
    ("first_day_churn", ()): (
        "deb377e5d732d3a2d84ffc711fd252ecb3f62cc62cb98d5851cc2aecdc49d3d1",
        0.8570228494623656,
        54.77145068474338,
    ),
    ("card_fraud", ()): (
        "d511b8905c55eb9c64e24b3c41eba233968672666ad56066dd367dad3ac4bf38",
        0.8271861471861471,
        33.536803049869455,
    ),
    ("card_fraud", (("minimum_conversions", 500),)): (
        "fdb7f110e9bbde6f78fe5471cdfcf5c84cd632a874b9c6f16e1dbe14c894a2e7",
        0.6673098330241187,
        263.4737383953033,
    ),
    ("card_fraud", (("fraud_prior", 0.01),)): (
        "d3c5290831ce164059f6696200e751201fe9f8d047e6bf6945a4487ccbb3878e",
        0.7845021645021646,
        23.382394607319725,
    ),
}
# What the processor has to make of fixed numbers, and which Python, for the digests.
ARITHMETIC = "7e9f864f617aa387679af6111a02c8d6e09267a2e0da2326c16a38b8c0e41461"
DEPLOYED = (3, 11)


# The kind of training of each use case once in a quick run: of users, and of events.
QUICK = (("ga4_purchase", ()), ("card_fraud", ()))


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(training, marks=() if training in QUICK else pytest.mark.long)
        for training in KNOWN
    ],
)
def test_is_as_it_was(training):
    """Card, verdict and probabilities are equal bit for bit, on fixed seeds."""
    name, changed = training
    digest, roc_auc, mass = KNOWN[training]
    result = train_use_case(name, **dict(changed))

    assert result.card["quality"]["roc_auc"] == pytest.approx(roc_auc, rel=1e-6)
    assert result.probability.sum() == pytest.approx(mass, rel=1e-9)
    if sys.version_info[:2] == DEPLOYED and arithmetic() == ARITHMETIC:
        assert result.digest() == digest
