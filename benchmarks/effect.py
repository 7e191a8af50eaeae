"""
How often audiences are ordered by effect where contacting adds the same to everybody.

    python -m benchmarks.effect [--shops N] [--members N] [--every N]

A shop has members who arrive over two years, of whom 30% are the control group. Once in
so many months all members so far are looked at, until the gate is open, which is a
mistake here. Orders that are worth something are drawn by ``benchmarks.experiments``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import pyarrow as pa

from propensity.learning.effect_gate import Members, look_at

LOOKS = 24
CONTROL = 0.3
# What contacting adds to the probability of everybody.
ADDED = 0.02
NUMBERS = 5
KINDS = {**{f"x{n}": "number" for n in range(NUMBERS)}, "segment": "category"}


def members_of(users: int, random: np.random.Generator) -> Members:
    """Draw users, contact them at random, and return what became of them."""
    weights = random.normal(0, 0.4, NUMBERS)
    numbers = random.normal(size=(users, NUMBERS))
    log_odds = -2.0 + numbers @ weights
    columns = {f"x{n}": numbers[:, n] for n in range(NUMBERS)}
    columns["segment"] = random.choice(["a", "b", "c"], users)
    rate = 1 / (1 + np.exp(-log_odds))
    published = 1 / (1 + np.exp(-log_odds - random.normal(0, 0.3, users)))
    added = np.minimum(ADDED, 1 - rate)
    is_control = random.random(users) < CONTROL
    chance = rate + np.where(is_control, 0.0, added)
    return Members(
        features=pa.table(columns),
        probability=published,
        is_control=is_control,
        outcome=(random.random(users) < chance).astype(float),
        is_sound=True,
    )


def so_far(members: Members, users: int) -> Members:
    """Return the first members."""
    return replace(
        members,
        features=members.features[:users],
        probability=members.probability[:users],
        is_control=members.is_control[:users],
        outcome=members.outcome[:users],
    )


def opens_at(members: int, seed: int, every: int) -> int | None:
    """Return the month in which a shop's gate opens; None if it stays shut."""
    drawn = members_of(members, np.random.default_rng(seed))
    for month in range(every, LOOKS + 1, every):
        known = so_far(drawn, members * month // LOOKS)
        if look_at(known, KINDS, was_open=False).model is not None:
            return month
    return None


def main() -> None:
    """Print how many gates opened, and when."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effect")
    parser.add_argument("--shops", type=int, default=200)
    parser.add_argument("--members", type=int, default=6_000)
    parser.add_argument("--every", type=int, default=6)
    options = parser.parse_args()
    opened = 0
    for seed in range(options.shops):
        month = opens_at(options.members, seed, options.every)
        if month is not None:
            opened += 1
            print(f"shop {seed} opened in month {month}", flush=True)
    share = opened / options.shops
    print(f"{opened} of {options.shops} gates opened ({share:.1%})")


if __name__ == "__main__":
    main()
