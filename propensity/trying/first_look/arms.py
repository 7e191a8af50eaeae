"""
The statistics of an experiment: what a treatment added, to whom, and whether by chance.

``advice`` says it in words; ``experiment`` reads the table, and writes list and page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from propensity.learning import effects
from propensity.learning.candidates import encoder_of
from propensity.learning.effects import Effects, Experiment
from propensity.measures.intervals import NORMAL, Difference
from propensity.models.encoding import Flags, Floats

# The share of users whose contacts orders are compared by.
SHARE = 0.3
# Numbers with more values are shown by thirds, and texts by their commonest values.
_MOST_GROUPS = 6

Grouping = Callable[[pd.Series], pd.Series]


@dataclass(frozen=True)
class UserGroup:
    """Users with a value of a feature, or in its third; of so many ``groups``."""

    feature: str
    name: str
    users: int
    added: Difference
    groups: int

    @property
    def title(self) -> str:
        return f"{self.feature} = {self.name}"

    def is_decided(self) -> bool:
        """Tell whether contacting this one of its feature's adds or takes something."""
        if self.added.low is None:
            return False
        error = (self.added.estimate - self.added.low) / NORMAL
        bound = error * float(stats.norm.isf(0.025 / self.groups))
        return abs(self.added.estimate) > bound


@dataclass(frozen=True, kw_only=True)
class Arm:
    """
    A treatment against the control group.

    Attributes:
        name: The treatment, as the table calls it.
        outcome: The label, ``label = value``, or what somebody calls it.
        encoder: Of the features, fitted.
        experiment: The users of both groups.
        effects: What contacting added, user by user.
        reacting: Groups by feature, where their effects differ beyond chance; the
            feature whose groups differ most comes first.
        group_of: Names the group of each value, by feature.
        cost_per_contact, margin: As somebody says them; None to compute no profit.
        is_at_a_loss: Whether the treatment's contacts cost more than they left.
    """

    name: str
    outcome: str
    encoder: Any
    experiment: Experiment
    effects: Effects
    reacting: Mapping[str, Sequence[UserGroup]]
    group_of: Mapping[str, Grouping]
    cost_per_contact: float | None = None
    margin: float | None = None
    is_at_a_loss: bool = False

    @classmethod
    def of(
        cls,
        read: pd.DataFrame,
        kinds: Mapping[str, str],
        is_contacted: Flags,
        values: Floats,
        **named: Any,
    ) -> Arm:
        """Compare a treatment's users and the control group by features, ``read``."""
        encoder = encoder_of(kinds)
        experiment = Experiment(
            features=np.asarray(encoder.fit_transform(read)),
            is_contacted=is_contacted,
            outcome=values,
        )
        estimated = effects.effects(experiment)
        group_of = {str(name): grouping(values) for name, values in read.items()}
        return cls(
            encoder=encoder,
            experiment=experiment,
            effects=estimated,
            reacting=_reacting(read, estimated, group_of),
            group_of=group_of,
            **named,
        )

    @cached_property
    def effect(self) -> Difference:
        """What contacting added to a user's outcome."""
        return self.effects.mean()

    @cached_property
    def gain(self) -> Difference:
        """By how much the order by effect adds more than that by probability."""
        return self.effects.gain()

    @property
    def is_decided(self) -> bool:
        """Whether contacting adds something, or harms, beyond chance."""
        return self.effect.is_above() or self.effect.is_below()

    @property
    def is_open(self) -> bool:
        """Whether to contact by effect."""
        return self.gain.is_above()

    def at_share(self, order: Floats) -> float:
        """Return what contacting the best 30% adds, per 100 users."""
        return 100 * float(self.effects.curve(order, np.array([SHARE]))[0])

    @property
    def contacted(self) -> int:
        return int(self.experiment.is_contacted.sum())

    @property
    def most_and_least(self) -> tuple[UserGroup, UserGroup] | None:
        """Those who react most and least, by the feature whose groups differ most."""
        for groups in self.reacting.values():
            ordered = sorted(groups, key=lambda group: group.added.estimate)
            return ordered[-1], ordered[0]
        return None

    @property
    def decided(self) -> list[UserGroup]:
        """Groups to whose outcome contacting adds something, or harms it."""
        return [group for group in self.groups if group.is_decided()]

    @property
    def helped(self) -> list[UserGroup]:
        """Groups to whose outcome contacting adds something."""
        return [group for group in self.decided if group.added.estimate > 0]

    @property
    def groups(self) -> list[UserGroup]:
        """The groups of all features that react differently."""
        return [group for groups in self.reacting.values() for group in groups]

    @property
    def cost(self) -> float | None:
        """What all contacts cost; None where nobody says it, or of no sums."""
        if self.cost_per_contact is None or not is_sum(self.experiment.outcome):
            return None
        return self.cost_per_contact * self.contacted

    @property
    def profit(self) -> Difference | None:
        """What contacting left; None where nobody knows the cost, or of no sums."""
        if self.cost is None or self.margin is None:
            return None
        return self.effect.times(self.contacted * self.margin).plus(-self.cost)


def with_losses(arms: Sequence[Arm]) -> list[Arm]:
    """Mark treatments that cost more than they left, of other outcomes as well."""
    losing = set()
    for arm in arms:
        if arm.profit is not None and arm.profit.is_below():
            losing.add(arm.name)
    return [replace(arm, is_at_a_loss=arm.name in losing) for arm in arms]


def is_sum(values: Any) -> bool:
    """Tell whether outcomes are sums of money, rather than 1 or 0."""
    return not np.isin(values, (0, 1)).all()


# -- what reacts -----------------------------------------------------------------------


def _reacting(
    read: pd.DataFrame, estimated: Effects, group_of: Mapping[str, Grouping]
) -> dict[str, list[UserGroup]]:
    """Return features whose groups react differently beyond chance, by how much."""
    by_feature = {}
    chances = {}
    for name, values in read.items():
        group_of_user = group_of[str(name)](values).to_numpy()
        groups = _groups(str(name), group_of_user, estimated)
        if len(groups) < 2:
            continue
        chance = _chance(groups)
        if chance < 0.05 / read.shape[1]:
            by_feature[str(name)] = groups
            chances[str(name)] = chance
    return {name: by_feature[name] for name in sorted(chances, key=chances.__getitem__)}


def _groups(feature: str, group_of_user: Any, estimated: Effects) -> list[UserGroup]:
    """Return the groups of a feature that have enough users to say what was added."""
    names, counts = np.unique(group_of_user.astype(str), return_counts=True)
    names = names[counts >= effects.FEWEST]
    groups = []
    for name in names:
        chosen = group_of_user == name
        added = estimated.mean(chosen)
        users = int(chosen.sum())
        groups.append(UserGroup(feature, str(name), users, added, len(names)))
    return groups


def grouping(values: pd.Series) -> Grouping:
    """Return what names the group of values: a value, or a third of the numbers."""
    if not pd.api.types.is_numeric_dtype(values):
        usual = values.value_counts().index[:_MOST_GROUPS]
        return lambda others: others.where(
            others.isin(usual) | others.isna(), "others"
        ).fillna("empty")
    if values.nunique() <= _MOST_GROUPS:
        written = "{:.10g}".format
        return lambda others: others.map(written, na_action="ignore").fillna("empty")
    edges = pd.qcut(values, 3, duplicates="drop", retbins=True)[1]
    names = _spans(edges, is_whole=bool((values.dropna() % 1 == 0).all()))
    # Other users may have lower or higher numbers.
    bounds = [-math.inf, *edges[1:-1], math.inf]
    return lambda others: (
        pd.cut(others, bounds, labels=names).astype("object").fillna("empty")
    )


def _spans(edges: Floats, *, is_whole: bool) -> list[str]:
    """Name the thirds between edges, of whole numbers by their first and last one."""
    ends = list(zip(edges[:-1], edges[1:], strict=True))
    if is_whole:
        # All lie behind the left end, but the smallest number, which is itself one.
        firsts = [math.ceil(edges[0]), *(math.floor(edge) + 1 for edge in edges[1:-1])]
        return [
            f"{first:,} to {math.floor(end[1]):,}"
            for first, end in zip(firsts, ends, strict=True)
        ]
    names: list[str] = []
    # More digits, until no two thirds have one name.
    for digits in range(4, 18):
        names = [f"{low:,.{digits}g} to {high:,.{digits}g}" for low, high in ends]
        if len(set(names)) == len(names):
            break
    return names


def _chance(groups: Sequence[UserGroup]) -> float:
    """Return the chance of groups that differ so much, if all react alike."""
    means = np.array([group.added.estimate for group in groups])
    ends = np.array([group.added.high for group in groups], dtype=float)
    weights = (NORMAL / (ends - means)) ** 2
    distance = float(
        (weights * (means - np.average(means, weights=weights)) ** 2).sum()
    )
    return float(stats.chi2.sf(distance, len(groups) - 1))
