"""
How often ``try`` is wrong about experiments without any effect.

Each is drawn: 4,000 to 60,000 users, of whom 10 to 50% are held out, outcomes of 1 to
15%, features, and one treatment or two. A verdict other than "undecided" is a mistake:
an interval of 95% allows it in 2.5% of the cases for each of both. Of 400 draws 21
were mistakes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from propensity.errors import SchemaError
from propensity.models.encoding import Floats
from propensity.trying.first_look.experiment import try_experiment

TESTS = 40
# More are told by chance once in 1,000 times.
MOST = 7
FEWEST_USERS = 4_000
MOST_USERS = 60_000
# A group without so many outcomes is refused.
FEWEST_OUTCOMES = 30


def features_of(users: int, random: np.random.Generator) -> pd.DataFrame:
    """Draw what is known of users before the contact."""
    columns = {
        "age": random.uniform(18, 80, users),
        "recency": np.exp(random.normal(4.5, 0.8, users)),
        "channel": random.choice(["web", "shop", "both"], users, p=[0.5, 0.4, 0.1]),
        "region": random.choice(list("abcd"), users, p=[0.4, 0.3, 0.2, 0.1]),
    }
    for number in range(int(random.integers(2, 9))):
        columns[f"x{number}"] = random.normal(size=users)
    return pd.DataFrame(columns)


def rate_of(table: pd.DataFrame, mean: float, random: np.random.Generator) -> Floats:
    """Draw what decides whether users have the outcome."""
    log_odds = random.normal(0, 0.3) * (table["age"].to_numpy() - 49) / 18
    log_odds += random.normal(0, 0.3) * np.log(table["recency"].to_numpy() / 90)
    log_odds += random.normal(0, 0.3) * (table["region"] == "b").to_numpy()
    for name in table.columns[4:]:
        weight = random.normal(0, 0.35)
        log_odds += weight * table[name].to_numpy()
    rate = 1 / (1 + np.exp(-log_odds))
    rate *= mean / rate.mean()
    return np.asarray(np.clip(rate, 0.0005, 0.6))


def drawn(seed: int) -> pd.DataFrame:
    """Return an experiment's table."""
    random = np.random.default_rng([0, seed])
    # What is quoted was counted of these draws, two of which have lost their use.
    random.uniform()
    random.integers(4)
    held_out = random.uniform(0.1, 0.5)
    treatments = [["mail"], ["mail", "letter"]][random.integers(2)]
    users = 0
    rate = 0.0
    outcomes = 0.0
    while outcomes < FEWEST_OUTCOMES:
        logs = random.uniform(np.log(FEWEST_USERS), np.log(MOST_USERS))
        users = int(np.exp(logs))
        rate = np.exp(random.uniform(np.log(0.01), np.log(0.15)))
        outcomes = users * rate * min(held_out, (1 - held_out) / len(treatments))
    table = features_of(users, random)
    chance = rate_of(table, rate, random)
    random.uniform(size=2)
    is_contacted = random.random(users) >= held_out
    table["bought"] = (random.random(users) < chance).astype(int)
    table["contact"] = np.where(is_contacted, random.choice(treatments, users), "none")
    return table


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_one_experiment_in_twenty_without_an_effect_is_told_of_one():
    """Whichever it is: that an order by effect adds more, or less."""
    told = 0
    for seed in range(TESTS):
        try:
            look = try_experiment(
                drawn(seed), label="bought", treatment="contact", control="none"
            )
        except SchemaError:
            # Groups of one in 1,000 differ by chance as if they were not drawn.
            continue
        told += any(arm.gain.is_above() or arm.gain.is_below() for arm in look.arms)

    assert told <= MOST
