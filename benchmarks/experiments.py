"""
What ``try`` says of experiments whose truth is known.

    python -m benchmarks.experiments none|constant|linear|group|bent|pair [--tests N]

Each is drawn: users, the rate of the outcome, the share of the control group, features,
and what decides. Contacting adds

- none: nothing; a verdict other than "undecided" is a mistake;
- constant: the same to everybody;
- linear: what a line in two features says;
- group: 4 to 6 points to one group, half a point to others;
- bent: most, or least, to the middle of an age;
- pair: 4 to 6 points where two features meet, half a point to others.

Experiments without an effect have 4,000 to 60,000 users, of whom 10 to 50% are held
out, outcomes of 1 to 15%, and one treatment or two. Others have 20,000 users.

Each is a line of ``.local/experiments-KIND.jsonl``; a run goes on after the last one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from propensity.errors import SchemaError
from propensity.first_look.experiment import Arm, try_experiment
from propensity.models.encoding import Floats

KINDS = ("none", "constant", "linear", "group", "bent", "pair")
FOLDER = Path(__file__).parents[1] / ".local"
USERS = 20_000
# Of those drawn without an effect.
FEWEST_USERS = 4_000
MOST_USERS = 60_000
# A group without so many outcomes is refused.
FEWEST_OUTCOMES = 30
BEST = 0.3


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
    """Draw what decides whether users have the outcome without a contact."""
    log_odds = random.normal(0, 0.3) * (table["age"].to_numpy() - 49) / 18
    log_odds += random.normal(0, 0.3) * np.log(table["recency"].to_numpy() / 90)
    log_odds += random.normal(0, 0.3) * (table["region"] == "b").to_numpy()
    for name in table.columns[4:]:
        weight = random.normal(0, 0.35)
        log_odds += weight * table[name].to_numpy()
    rate = 1 / (1 + np.exp(-log_odds))
    rate *= mean / rate.mean()
    return np.asarray(np.clip(rate, 0.0005, 0.6))


def added_to(kind: str, table: pd.DataFrame, random: np.random.Generator) -> Floats:
    """Draw what contacting adds to the probability of each user."""
    size = random.uniform(0.015, 0.03)
    strong = random.uniform(0.04, 0.06)
    number = table["x1"].to_numpy()
    recency = table["recency"].rank(pct=True).to_numpy()
    if kind == "none":
        return np.zeros(len(table))
    if kind == "constant":
        return np.full(len(table), size)
    if kind == "linear":
        line = number + random.normal() * table["x0"].to_numpy()
        return np.asarray(size * (0.6 + line / line.std()))
    if kind == "bent":
        middle = random.uniform(40, 58)
        distance = np.abs(table["age"].to_numpy() - middle) / 18
        sign = random.choice([1, 1, -1])
        return np.asarray(0.008 + sign * 1.6 * size * (distance - 0.5))
    if kind == "pair":
        in_group = (number > 0) & (recency < random.uniform(0.35, 0.6))
    else:
        low = random.uniform(0.1, 0.6)
        groups = [
            (recency > low) & (recency < low + random.uniform(0.12, 0.3)),
            (table["region"] == random.choice(["b", "c"])).to_numpy(),
            number > random.uniform(0.5, 1.1),
        ]
        in_group = groups[random.integers(3)]
    return np.where(in_group, strong, 0.005)


def drawn(kind: str, seed: int) -> tuple[pd.DataFrame, Floats]:
    """Return an experiment's table and what contacting adds to each of its users."""
    random = np.random.default_rng([KINDS.index(kind), seed])
    users = USERS
    rate = random.uniform(0.02, 0.12)
    held_out = random.choice([0.5, 0.5, 0.4, 0.3])
    treatments = ["mail"]
    if kind == "none":
        held_out = random.uniform(0.1, 0.5)
        treatments = [["mail"], ["mail", "letter"]][random.integers(2)]
        outcomes = 0.0
        while outcomes < FEWEST_OUTCOMES:
            logs = random.uniform(np.log(FEWEST_USERS), np.log(MOST_USERS))
            users = int(np.exp(logs))
            rate = np.exp(random.uniform(np.log(0.01), np.log(0.15)))
            outcomes = users * rate * min(held_out, (1 - held_out) / len(treatments))
    table = features_of(users, random)
    before = rate_of(table, rate, random)
    added = np.clip(added_to(kind, table, random), -before, 1 - before)
    is_contacted = random.random(users) >= held_out
    chance = before + is_contacted * added
    table["bought"] = (random.random(users) < chance).astype(int)
    table["contact"] = np.where(is_contacted, random.choice(treatments, users), "none")
    return table, added


def best_of(order: Floats, added: Floats) -> float:
    """Return what contacting the best 30% of an order adds, per 100 users."""
    best = np.argsort(-order, kind="stable")[: round(BEST * len(order))]
    return 100 * float(added[best].sum() / len(order))


def said_of(arm: Arm, added: Floats) -> dict[str, object]:
    """Return what is said of a treatment, beside the truth of its users."""
    return {
        "users": len(arm.experiment),
        "gain": arm.gain.estimate,
        "low": arm.gain.low,
        "opens": arm.gain.is_above(),
        "adds_less": arm.gain.is_below(),
        "printed": arm.at_share(arm.effects.effect),
        "by_effect": best_of(arm.effects.effect, added),
        "by_probability": best_of(arm.effects.expected, added),
        "at_random": 100 * BEST * float(added.mean()),
        "possible": best_of(added, added),
    }


def arms_of(table: pd.DataFrame) -> Sequence[Arm]:
    """Return what is said of treatments: of one experiment in 1,000 nothing."""
    try:
        look = try_experiment(
            table, label="bought", treatment="contact", control="none"
        )
    except SchemaError:
        # Its groups differ by chance so much that they do not look drawn.
        return []
    return look.arms


def main() -> None:
    """Draw experiments, and print what was said of them so far."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--tests", type=int, default=20)
    options = parser.parse_args()
    path = FOLDER / f"experiments-{options.kind}.jsonl"
    path.touch()
    for seed in range(len(path.read_text().splitlines()), options.tests):
        table, added = drawn(options.kind, seed)
        said = []
        for arm in arms_of(table):
            compared = table["contact"].isin([arm.name, "none"]).to_numpy()
            said.append(said_of(arm, added[compared]))
        with path.open("a") as lines:
            lines.write(json.dumps(said) + "\n")
    tests = [json.loads(line) for line in path.read_text().splitlines()]
    for verdict in ("opens", "adds_less"):
        some = sum(any(arm[verdict] for arm in test) for test in tests)
        print(f"{options.kind}: {verdict} in {some} of {len(tests)}")
    if options.kind != "none":
        for order in ("by_effect", "by_probability", "at_random"):
            shares = [test[0][order] / test[0]["possible"] for test in tests]
            print(f"{order}: median {np.median(shares):.2f} of what is possible")


if __name__ == "__main__":
    main()
