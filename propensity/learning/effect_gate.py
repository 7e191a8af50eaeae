"""
Whether an audience is ordered by the effect of contacting, and that effect's model.

Its members were contacted at random, but for the control group. The gate is looked at
once a month, with all members so far: it opens if the order by effect adds more
outcomes than the order by probability, by an interval that holds at all these looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from propensity.learning.candidates import encoder_of
from propensity.learning.effects import (
    Experiment,
    effects,
    missing,
    model_of,
    too_few,
    users_needed,
)
from propensity.measures.intervals import Difference
from propensity.models.effect import OF_PROBABILITY, EffectModel, with_probability
from propensity.models.encoding import Flags, Floats, to_frame

# How many standard errors the interval of a gain reaches. Of 24 monthly looks at all
# members so far, none leaves these in 95% of cases: Pocock, "Group sequential methods
# in the design and analysis of clinical trials", Biometrika 64, 1977.
ERRORS = 2.72


@dataclass(frozen=True, kw_only=True)
class Members:
    """
    First-time members of an audience with their outcomes, which are final.

    Attributes:
        features: As of the date on which each became a member, (users,).
        probability: As published for that date, (users,).
        is_control: (users,).
        outcome: 1 or 0, (users,).
        is_sound: Whether the groups' sizes raised no alarm.
    """

    features: pa.Table
    probability: Floats
    is_control: Flags
    outcome: Floats
    is_sound: bool

    def __len__(self) -> int:
        return len(self.outcome)


@dataclass(frozen=True, kw_only=True)
class Look:
    """
    What the members so far say of an order by effect.

    Attributes:
        gain: By how much it adds more than the order by probability, per member, on
            average over all shares that could be contacted; None of too few members.
        needed: Members who would show this gain; None if that is not known.
        reason: Why members are put in this order, in a sentence.
        model: The effect of contacting; None unless it is used.
    """

    users: int
    control: int
    gain: Difference | None
    needed: int | None
    reason: str
    model: EffectModel | None = None


def look_at(members: Members, features: Mapping[str, str], *, was_open: bool) -> Look:
    """
    Look at the members so far.

    Args:
        features: Kind of each feature of the use case by name.
        was_open: Whether the gate was open at the look before. It closes if the order
            by effect adds no more in all, so that chance does not open and close it.
    """
    users = len(members)
    control = int(members.is_control.sum())
    wrong = _problem(members)
    if wrong:
        return Look(users=users, control=control, gain=None, needed=None, reason=wrong)
    kinds = {**features, **OF_PROBABILITY}
    rows = with_probability(members.features, members.probability)
    frame = to_frame(rows, kinds)
    encoder = encoder_of(kinds).fit(frame)
    experiment = Experiment(
        features=np.asarray(encoder.transform(frame)),
        is_contacted=~members.is_control,
        outcome=members.outcome,
    )
    estimated = effects(experiment)
    gain = estimated.gain(members.probability, errors=ERRORS)
    needed = users_needed(gain, users, errors=ERRORS)
    model = None
    if gain.is_above() or (was_open and gain.estimate > 0):
        regressor = model_of(experiment, estimated)
        learned = regressor.predict(experiment.features)
        model = EffectModel(
            features,
            preprocessor=encoder,
            regressor=regressor,
            bounds=(float(learned.min()), float(learned.max())),
        )
    return Look(
        users=users,
        control=control,
        gain=gain,
        needed=needed,
        reason=_reason(gain, users, needed, is_open=model is not None),
        model=model,
    )


def _problem(members: Members) -> str:
    """Say why members cannot be compared yet; "" if they can."""
    if not members.is_sound:
        return "some members got lost on the way: the groups' sizes can't be chance"
    few = too_few(members.outcome[~members.is_control], "contacted")
    few = few or too_few(members.outcome[members.is_control], "control group")
    return f"undecided: {few}" if few else ""


def _reason(gain: Difference, users: int, needed: int | None, *, is_open: bool) -> str:
    """Say in a sentence why members are put in an order."""
    more = f"{gain.times(100).format('+.2f')} for each 100 members"
    if is_open:
        return f"contacting by effect adds more than by probability: {more}"
    if needed is None or gain.is_below():
        return f"so far contacting by effect adds no more than by probability: {more}"
    return (
        f"undecided whether contacting by effect adds more: {more}. About "
        f"{missing(needed, users):,} more members would decide it"
    )
