"""The players' figures: mixes, plays, stakes, hours, and how they are drawn."""

from __future__ import annotations

import math

import numpy as np

from local.generators.drawing import HOUR_MS, Floats, Ints, floor, normal

PURCHASE, BET, WIN = range(3)


# Whatever has two rows below has one for those who stay and one for those who churn.
STAYS, CHURNS = 0, 1
MIX = np.array([[0.10, 0.85, 0.05], [0.10, 0.89, 0.01]])
AGES = ((18, 24), (25, 34), (35, 44), (45, 54), (55, 79))
AGE = np.array([[0.12, 0.27, 0.27, 0.20, 0.14], [0.19, 0.31, 0.25, 0.15, 0.10]])
COUNTRY = np.array([[0.72, 0.10, 0.06, 0.05, 0.07], [0.68, 0.11, 0.08, 0.05, 0.08]])
CHANNEL = np.array(
    [
        [0.20, 0.14, 0.15, 0.12, 0.15, 0.12, 0.12],
        [0.14, 0.13, 0.23, 0.18, 0.11, 0.13, 0.08],
    ]
)


# Plays in the first 24 hours: the logarithm's mean and standard deviation.
FIRST_DAY = ((3.2, 1.0), (2.6, 1.0))
# Plays after them. A share of those who churn comes back on the second day.
LATER = ((5.0, 1.2), (1.8, 0.9))
SECOND_DAY = 0.35
PLAY_DAYS = 14
# This share of the maximum is for the first day, so that there is room for later.
FIRST_DAY_SHARE = 0.6
SESSIONS = np.array([0.5, 0.3, 0.2])
SESSION_MS = 3 * HOUR_MS
# The logarithm of a player's stake: means, and one standard deviation.
STAKE = (1.1, 0.7)
STAKE_SPREAD = 0.8
# Of purchase, bet and win around the stake: shift and standard deviation.
SHIFT = np.array([1.9, 0.0, 1.1])
SPREAD = np.array([0.5, 0.6, 1.0])
FREE_BETS = 0.015
MAXIMUM_CENTS = 100_000_000


HOURS = np.ravel(
    [
        [3.0, 2.0, 1.2, 0.8, 0.5, 0.5, 0.8, 1.4, 2.0, 2.4, 2.8, 3.2],
        [3.8, 3.6, 3.4, 3.6, 4.0, 4.8, 6.0, 7.2, 8.0, 8.0, 6.6, 4.6],
    ]
)
WEEKDAYS = np.array([0.85, 0.85, 0.95, 0.95, 1.15, 1.35, 1.2])
# Of players at home: a unit that the table lacks, and an outward code that it lacks.
UNKNOWN_UNIT = 0.015
UNKNOWN_OUTWARD = 0.015


def log_normal_count(
    random: np.random.Generator,
    parameters: tuple[tuple[float, float], tuple[float, float]],
    group: Ints,
) -> Ints:
    """Draw whole numbers from 0, the floor of log-normal ones, by group."""
    mean, spread = np.array(parameters)[group].T
    return floor(np.exp(mean + spread * normal(random, len(group))))


def count_density(maximum: int) -> Floats:
    """Return groups × 0 to maximum: how likely as many plays are on the first day."""
    rows = []
    for mean, spread in FIRST_DAY:
        above = [1.0]
        for count in range(1, maximum + 1):
            above.append(
                math.erfc((math.log(count) - mean) / spread / math.sqrt(2)) / 2
            )
        rows.append(np.array(above) - np.array([*above[1:], 0.0]))
    return np.array(rows)


def churn_log_odds(density: Floats) -> Floats:
    """Return the log of how much likelier each column is for those who churn."""
    odds: Floats = np.log(density[CHURNS] / density[STAYS])
    return odds
