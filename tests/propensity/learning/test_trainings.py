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
        "c49425c7e0b54ccafcd30488fe3b6f791487705a7af5bcd03921034d95e15d68",
        0.8217967599410898,
        55.54967016890427,
    ),
    ("first_day_churn", ()): (
        "1b59b33822b60f66b9f4ddcf4931feaeebd1fc0f6ec177792098a36277ded8f1",
        0.868195564516129,
        53.55312271972841,
    ),
    ("card_fraud", ()): (
        "84ada5dc38bb03fb2c691ec160c2b8d5263c5c3411972ce525c09e212a50cac5",
        0.7812987012987013,
        31.617223284268714,
    ),
    ("card_fraud", (("minimum_conversions", 500),)): (
        "343b2a606ff078a3f8b1eaa8c0764f7195965d0c5c9cd15d4255406a8e1c4af7",
        0.6673098330241187,
        263.4737383953033,
    ),
    ("card_fraud", (("fraud_prior", 0.01),)): (
        "90b03b8f321ce2225bee921f9a67f9301a6d26e7fc212cfb028146779fe4faa9",
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
