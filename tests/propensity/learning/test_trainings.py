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
        "a7a33e4bb74252c17c0f2c063c6b3e2882e1c37242cc3d95d160c92a6172a37a",
        0.8322559793148029,
        51.69699062961774,
    ),
    ("first_day_churn", ()): (
        "e80b887dfeb0312762b3d58ad463df4202f13fd5192eadfa5c4a0e09dffe0365",
        0.8570228494623656,
        54.77145068474338,
    ),
    ("card_fraud", ()): (
        "de1e16730d8d0252c23b7c39194b1678db473e9cfb5154b1f1753e552e8db13d",
        0.8271861471861471,
        33.536803049869455,
    ),
    ("card_fraud", (("minimum_conversions", 500),)): (
        "f29a02fa4e98ca7ab579bb772b45c2155a5a4cb9b16c253c71292d5414b1d36c",
        0.6673098330241187,
        263.4737383953033,
    ),
    ("card_fraud", (("fraud_prior", 0.01),)): (
        "e7ff5f4577d37167cc74169c13f572d4d30960f7b201c9581e62c56f3819a790",
        0.7845021645021646,
        23.382394607319725,
    ),
}
KIND = "Haswell"
DEPLOYED = (3, 11)


# The kind of training of each use case once in a quick run: of users, and of events.
QUICK = (("ga4_purchase", ()), ("card_fraud", ()))


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
