"""
How often the order by effect is offered, in shops whose effect of contacting is known.

    python -m benchmarks.effect [alike|undecided] [--shops N] [--members N] [--every N]

A shop has members who arrive over two years, of whom 30% are the control group. Once in
so many months all members so far are looked at, until the gate is open.

- alike: contacting adds the same to everybody; an open gate is a mistake.
- undecided: contacting adds to those in the middle alone. Of the gain of the best order
  over one at random, on users who come later, the order by effect has a share.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from propensity.learning.effect_gate import Members, look_at
from propensity.models.effect import EffectModel
from propensity.models.encoding import Floats

LOOKS = 24
CONTROL = 0.3
# What contacting adds to the probability of everybody, or of the most undecided.
ADDED = {"alike": 0.02, "undecided": 0.1}


@dataclass(frozen=True)
class Shop:
    """Users: their features, what is published of them, and the truth."""

    features: pa.Table
    published: Floats
    rate: Floats
    added: Floats


def shop(kind: str, users: int, random: np.random.Generator, weights: Floats) -> Shop:
    """Draw users; ``weights`` say what decides in this shop whether they buy."""
    numbers = random.normal(size=(users, len(weights)))
    log_odds = -2.0 + numbers @ weights
    columns = {f"x{n}": numbers[:, n] for n in range(len(weights))}
    columns["segment"] = random.choice(["a", "b", "c"], users)
    rate = 1 / (1 + np.exp(-log_odds))
    published = 1 / (1 + np.exp(-log_odds - random.normal(0, 0.3, users)))
    added = np.full(users, ADDED[kind])
    if kind == "undecided":
        added = added * np.exp(-(((log_odds + 1.8) / 0.5) ** 2) / 2)
    added = np.minimum(added, 1 - rate)
    return Shop(pa.table(columns), published, rate, added)


def kinds(weights: Floats) -> dict[str, str]:
    """Return the kind of each feature of a shop."""
    numbers = {f"x{n}": "number" for n in range(len(weights))}
    return {**numbers, "segment": "category"}


def members_of(drawn: Shop, random: np.random.Generator) -> Members:
    """Contact users at random, and return what became of them."""
    is_control = random.random(len(drawn.rate)) < CONTROL
    chance = drawn.rate + np.where(is_control, 0.0, drawn.added)
    return Members(
        features=drawn.features,
        probability=drawn.published,
        is_control=is_control,
        outcome=(random.random(len(chance)) < chance).astype(float),
        is_sound=True,
    )


def so_far(members: Members, users: int) -> Members:
    """Return the first members."""
    return Members(
        features=members.features[:users],
        probability=members.probability[:users],
        is_control=members.is_control[:users],
        outcome=members.outcome[:users],
        is_sound=True,
    )


def area(order: Floats, added: Floats) -> float:
    """Return the gain of an order over one at random, mean of all shares."""
    ranks = np.empty(len(order))
    ranks[np.argsort(order, kind="stable")] = np.linspace(0, 1, len(order))
    return float((added * (ranks - 0.5)).mean())


@dataclass(frozen=True)
class Year:
    """When the gate of a shop opened, and shares of the best gain on later users."""

    look: int
    by_effect: float
    by_probability: float


def year(kind: str, members: int, seed: int, every: int) -> Year | None:
    """Look at a shop once in so many months; None if its gate stays shut."""
    random = np.random.default_rng(seed)
    weights = random.normal(0, 0.4, 5)
    drawn = shop(kind, members, random, weights)
    final = members_of(drawn, random)
    for number in range(every, LOOKS + 1, every):
        users = members * number // LOOKS
        look = look_at(so_far(final, users), kinds(weights), was_open=False)
        if look.model is not None:
            return _opened(
                kind, number, look.model, shop(kind, 20_000, random, weights)
            )
    return None


def _opened(kind: str, number: int, model: EffectModel, later: Shop) -> Year:
    if kind == "alike":
        return Year(number, 0.0, 0.0)
    [batch] = later.features.combine_chunks().to_batches()
    best = area(later.added, later.added)
    effect = model.effects(batch, later.published)
    by_effect = area(effect, later.added) / best
    return Year(number, by_effect, area(later.published, later.added) / best)


def main() -> None:
    """Print how many gates opened, when, and what the order is worth."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effect")
    parser.add_argument("kind", choices=sorted(ADDED))
    parser.add_argument("--shops", type=int, default=400)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    opened = []
    for seed in range(options.first, options.first + options.shops):
        result = year(options.kind, options.members, seed, options.every)
        if result is not None:
            opened.append(result)
            print(seed, result, flush=True)
    share = len(opened) / options.shops
    print(
        f"{options.kind}: {len(opened)} of {options.shops} gates opened ({share:.1%})"
    )
    if opened:
        for name in ("look", "by_effect", "by_probability"):
            values = [getattr(result, name) for result in opened]
            print(f"{name}: median {np.median(values):.2f}")


if __name__ == "__main__":
    main()
