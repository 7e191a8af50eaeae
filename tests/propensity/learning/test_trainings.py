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
        "526682596300757ff70d0eba8b7899856da6deff82d598120631190b634a9b6f",
        0.8322559793148029,
        51.69699062961774,
    ),
    ("first_day_churn", ()): (
        "bd86ae3bb1dc05a5b0b34e48d5b10428e7a0f96e1ff395b84c035b4e2c2cfd51",
        0.8570228494623656,
        54.77145068474338,
    ),
    ("card_fraud", ()): (
        "ab5cd200326fcf609637605d5c17df437945429cecf01bd809062a10bac822ae",
        0.8271861471861471,
        33.536803049869455,
    ),
    ("card_fraud", (("minimum_conversions", 500),)): (
        "b725254cdd16ef525bc44cbe3694e563f643cf8d20a7775be29e5096ae03d840",
        0.6673098330241187,
        263.4737383953033,
    ),
    ("card_fraud", (("fraud_prior", 0.01),)): (
        "74e1077c3db8713393baa2d877b1b955daa38b6dd9a378b80bdf483e6a6482a2",
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
