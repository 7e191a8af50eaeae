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
        "98e9a660638a0b876658aa5297d86d8027b81e6e0cded82b807b53754ca32af5",
        0.8322559793148029,
        51.69691046311613,
    ),
    ("first_day_churn", ()): (
        "f894e12533b1b0019b4f5263c9447dddc6853e3ee88bb091214c876a31ac6ab2",
        0.8570228494623656,
        54.77145068474338,
    ),
    ("card_fraud", ()): (
        "530c74cb3643b9833fa249cd48d22cc7cf7bf1d79c25b01519ada208babbe1bc",
        0.7812987012987013,
        31.617223284268714,
    ),
    ("card_fraud", (("minimum_conversions", 500),)): (
        "191dcb59f40992376b84154776c1f78a303ce2f5e1c99b69dfddc57abc26ea25",
        0.6673098330241187,
        263.4737383953033,
    ),
    ("card_fraud", (("fraud_prior", 0.01),)): (
        "02e25c5252984652b01521e24b8b92eeae9c4b1dc16b27e4aead1eb7b8cbf41a",
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
