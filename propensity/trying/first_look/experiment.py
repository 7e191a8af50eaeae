"""
An experiment: users contacted at random, what contacting added, and whom to contact.

What contacting did comes first: nobody is to be contacted whom it harms, or at a loss.
The order by effect is offered only if it adds more than the order by probability beyond
chance; otherwise the look says what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from markupsafe import Markup
from scipy import stats

from propensity.errors import NotEnoughData, SchemaError
from propensity.learning import effects
from propensity.learning.candidates import encoder_of
from propensity.learning.effects import Effects, Experiment
from propensity.measures.intervals import FEW, NORMAL, Difference, in_columns
from propensity.models.encoding import Flags, Floats, to_frame
from propensity.pages.page import ChartLine, fill_template, in_notebook, lines_svg
from propensity.pages.words import about, decimals, plural
from propensity.table_files.column import Feature, have_decimal_commas, one_form
from propensity.table_files.texts import GAPS, texts
from propensity.trying.first_look import alone, columns
from propensity.trying.first_look.reading import check_names, features_of, listed_names
from propensity.trying.first_look.scores import RowsToScore, check_there

# Chance that a column which was written before the contact is refused.
_BY_CHANCE = 0.001
# Numbers with more values are shown by thirds, and texts by their commonest values.
_MOST_GROUPS = 6
# What a page and a line compare.
_SHARE = 0.3
_SHARES = np.linspace(0, 1, 21)
# What ``make bench ONLY=experiments TESTS=400`` counted.
RATES = (
    "Of 400 experiments that were drawn without any effect (4,000 to 60,000 users, 10 "
    "to 50% held out, outcomes of 1 to 15%, one treatment or two), 10 were told to "
    "contact by effect, and 11 that an order by effect adds less."
)


# Whom to contact.
Advice = Literal["by_effect", "by_probability", "groups", "nobody", "at_a_loss"]
# What of it, by whether contacting adds something, harms, or may do either.
SENTENCES: Mapping[tuple[str, Advice], str] = {
    ("adds", "by_effect"): "Contact by effect: it adds more than an order by "
    "probability, {compared}",
    ("adds", "by_probability"): "Contact by probability: {order}, {compared}{missing}",
    ("undecided", "by_effect"): "It is undecided whether contacting adds anything. If "
    "you contact, contact by effect: it adds more than an order by probability, "
    "{compared}",
    ("undecided", "by_probability"): "It is undecided whether contacting adds "
    "anything{missing}",
    ("harms", "groups"): "Do not contact everybody: contacting does harm. Contact only "
    "{helped}",
    ("harms", "nobody"): "Do not contact everybody: contacting does harm, and helps no "
    "group beyond chance. Contact nobody",
    ("adds", "at_a_loss"): "Do not contact at this cost: it does not pay",
    ("undecided", "at_a_loss"): "Do not contact at this cost: it does not pay",
    ("harms", "at_a_loss"): "Do not contact everybody: contacting does harm, and does "
    "not pay",
}


Grouping = Callable[[pd.Series], pd.Series]


@dataclass(frozen=True, kw_only=True)
class UserGroup:
    """Users with a value of a feature, or with one in its third."""

    name: str
    users: int
    added: Difference

    def is_helped(self, groups: int) -> bool:
        """Tell whether contacting adds something to this one of so many groups."""
        if self.added.low is None:
            return False
        error = (self.added.estimate - self.added.low) / NORMAL
        return self.added.estimate > error * float(stats.norm.isf(0.025 / groups))


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

    @cached_property
    def gain(self) -> Difference:
        """By how much the order by effect adds more than that by probability."""
        return self.effects.gain()

    @property
    def is_open(self) -> bool:
        """Whether to contact by effect."""
        return self.gain.is_above()

    def at_share(self, order: Floats) -> float:
        """Return what contacting the best 30% adds, per 100 users."""
        return 100 * float(self.effects.curve(order, np.array([_SHARE]))[0])

    @property
    def contacted(self) -> int:
        return int(self.experiment.is_contacted.sum())

    @property
    def is_sum(self) -> bool:
        return _is_sum(self.experiment.outcome)

    @property
    def most_and_least(self) -> tuple[str, UserGroup, UserGroup] | None:
        """The feature whose groups differ most, and those that react most and least."""
        if not self.reacting:
            return None
        feature = next(iter(self.reacting))
        groups = sorted(self.reacting[feature], key=lambda group: group.added.estimate)
        return feature, groups[-1], groups[0]

    @property
    def profit(self) -> Difference | None:
        """What contacting left; None where nobody knows the cost, or of no sums."""
        if self.cost_per_contact is None or self.margin is None or not self.is_sum:
            return None
        earned = self.effects.mean().times(self.contacted * self.margin)
        return earned.plus(-self.cost_per_contact * self.contacted)

    @property
    def earned(self) -> str:
        """What contacting cost and left; "" where nobody has said what it costs."""
        profit = self.profit
        if profit is None or self.cost_per_contact is None:
            return ""
        cost = self.cost_per_contact * self.contacted
        ends = ""
        if profit.low is not None and profit.high is not None:
            ends = f" (95% interval {about(profit.low)} to {about(profit.high)})"
        advice = "whether it pays is undecided"
        if profit.is_above():
            advice = "it pays"
        elif profit.is_below():
            advice = "it does not pay"
        return (
            f"contacting {self.contacted:,} users cost {about(cost)} and left a profit "
            f"of {about(profit.estimate)}{ends}: {advice}"
        )

    @property
    def colour(self) -> str:
        """The class of a verdict: contacting helps, it does harm, or neither."""
        if self.did == "adds" and not self.is_at_a_loss:
            return "good"
        return "open" if self.did == "undecided" else "wait"

    @property
    def did(self) -> Literal["adds", "harms", "undecided"]:
        """What contacting did to the outcome of all users."""
        effect = self.effects.mean()
        if effect.is_above():
            return "adds"
        return "harms" if effect.is_below() else "undecided"

    @property
    def helped(self) -> Mapping[str, Sequence[UserGroup]]:
        """Groups by feature to whose outcome contacting adds something."""
        helped = {}
        for feature, groups in self.reacting.items():
            above = [group for group in groups if group.is_helped(len(groups))]
            if above:
                helped[feature] = above
        return helped

    @property
    def advice(self) -> Advice:
        """Whom to contact."""
        if self.is_at_a_loss:
            return "at_a_loss"
        if self.did == "harms":
            return "groups" if self.helped else "nobody"
        return "by_effect" if self.is_open else "by_probability"

    @property
    def verdict(self) -> str:
        """Whom to contact, and why."""
        gain = self.gain
        order = "it is undecided whether an order by effect adds more"
        missing = f". {self._users_missing(gain)}"
        if gain.is_below():
            order = "an order by effect adds less"
            missing = ""
        if self.did == "undecided":
            missing = f". {self._users_missing(self.effects.mean())}"
        more = gain.times(100).format("+.2f")
        helped = []
        for feature, groups in self.helped.items():
            for group in groups:
                helped.append(f"{feature} = {group.name} ({_per_100(group.added)})")
        return (
            SENTENCES[self.did, self.advice].format(
                compared=f"on average over all shares {more} for each 100 users",
                order=order,
                missing=missing,
                helped=" or ".join(helped),
            )
            + "."
        )

    @property
    def worth(self) -> str:
        """How much more contacting the best 30% adds by effect, for 100 users."""
        more = self.effects.gain_at(_SHARE, self.effects.expected)
        than_random = self.effects.gain_at(_SHARE)
        sentence = (
            f"contacting the best {_SHARE:.0%} by effect adds "
            f"{more.times(100).format('+.2f')} compared with probability, and "
            f"{than_random.times(100).format('+.2f')} compared with chance"
        )
        if more.is_above() or more.is_below():
            return f"{sentence}."
        return f"{sentence}. {self._users_missing(more)}."

    def _users_missing(self, gain: Difference) -> str:
        """Say how many more users would decide a gain."""
        needed = effects.users_needed(gain, len(self.experiment))
        if needed is None:
            return "Repeat the experiment with other users to decide it"
        missing = effects.missing(needed, len(self.experiment))
        return f"About {missing:,} more users would decide it"

    def plain(self) -> dict[str, object]:
        """Return the numbers of the treatment, per user, for JSON."""
        effect = self.effects.mean()
        by_probability = self.effects.gain_at(_SHARE, self.effects.expected)
        return {
            "treatment": self.name,
            "outcome": self.outcome,
            "users": len(self.experiment),
            "contacted": self.contacted,
            **in_columns("effect", effect),
            **in_columns("gain", self.gain),
            "top_30_by_effect": self.at_share(self.effects.effect) / 100,
            "top_30_by_probability": self.at_share(self.effects.expected) / 100,
            "top_30_at_random": _SHARE * effect.estimate,
            **in_columns("top_30_gain", by_probability),
            **in_columns("top_30_gain_over_random", self.effects.gain_at(_SHARE)),
            "did": self.did,
            "advice": self.advice,
            "by_effect": self.is_open,
            "verdict": self.verdict,
            **in_columns("profit", self.profit),
            "reacting": list(self.reacting),
        }


@dataclass(frozen=True, kw_only=True)
class ExperimentLook:
    """
    What an experiment says; printed, a few lines for each treatment.

    Attributes:
        control: The control group, as the table calls it.
        user: The column that names the user; None where nothing does.
        features: What a column is, by column.
        notes: Which users are in no group that is compared, and why.
        missing: Words that stand for a missing value.
    """

    name: str
    control: str
    arms: Sequence[Arm]
    user: str | None
    features: Mapping[str, Feature]
    notes: Sequence[str]
    missing: Sequence[str]

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why a column is no feature."""
        return {name: entry.why for name, entry in self.features.items() if entry.why}

    def headline(self, arm: Arm) -> str:
        """Say what a treatment adds, and to whom."""
        effect = arm.effects.mean()
        shown = effect.times(100).format("+.1f")
        said = f"{arm.name}: {shown} {arm.outcome} for each 100 users"
        if not effect.is_above() and not effect.is_below():
            return f"{said}, which may be chance"
        if arm.most_and_least is None:
            return said
        feature, most, least = arm.most_and_least
        return (
            f"{said}; most for {feature} = {most.name} "
            f"({100 * most.added.estimate:.1f} against "
            f"{100 * least.added.estimate:.1f})"
        )

    def scores(self, rows: pd.DataFrame | pa.Table) -> pd.DataFrame:
        """
        Return users of other rows whom to contact, best first; none if it does harm.

        Of several treatments it is the one that adds most of the first outcome:
        ``treatment`` names it, and ``effect`` is what it adds. ``expected`` is the
        outcome, whether or not a user is contacted: a probability, or a sum. By effect,
        nobody is listed to whose outcome it adds nothing.
        """
        arm = self.best_arm
        used = {name: entry for name, entry in self.features.items() if entry.kind}
        frame = columns.frame_of(rows, self.missing)
        names = list(used)
        if self.user is not None:
            names.insert(0, self.user)
        check_there(names, frame)
        if self.user is not None:
            columns.check_users(frame, self.user, None, None)
        to_score = RowsToScore.from_frame(
            frame,
            None,
            user=self.user,
            features=used,
            columns_of={name: name for name in used},
        )
        kinds = {name: entry.model_kind for name, entry in used.items()}
        read = to_frame(to_score.features, kinds)
        encoded = np.asarray(arm.encoder.transform(read))
        model = effects.model_of(arm.experiment, arm.effects)
        table = pd.DataFrame({str(to_score.users.name): to_score.users.to_numpy()})
        table["treatment"] = arm.name
        table["effect"] = model.predict(encoded)
        table["expected"] = model.outcome.predict(encoded)
        order = "expected" if arm.advice == "by_probability" else "effect"
        if arm.advice in {"nobody", "at_a_loss"}:
            table = table[:0]
        elif arm.advice == "groups":
            is_helped = np.zeros(len(table), dtype=bool)
            for feature, groups in arm.helped.items():
                names_of_groups = [group.name for group in groups]
                is_helped |= arm.group_of[feature](read[feature]).isin(names_of_groups)
            table = table[is_helped]
        if order == "effect":
            table = table[table["effect"] > 0]
        return table.sort_values(order, ascending=False, kind="stable").reset_index(
            drop=True
        )

    @property
    def best_arm(self) -> Arm:
        """The treatment that adds most of the first outcome, of those that pay."""
        compared = [arm for arm in self.arms if arm.outcome == self.arms[0].outcome]
        pays = [arm for arm in compared if not arm.is_at_a_loss]
        return max(pays or compared, key=lambda arm: arm.effects.mean().estimate)

    def lines(self, arm: Arm) -> list[str]:
        """Return the lines of a treatment."""
        contacted = arm.contacted
        outcome = arm.experiment.outcome
        mean = outcome[~arm.experiment.is_contacted].mean()
        effect = arm.effects.mean()
        paid = [f"Profit   {arm.earned}"] if arm.earned else []
        reacting = "none beyond chance"
        if arm.most_and_least is not None:
            feature, most, least = arm.most_and_least
            reacting = (
                f"{feature}: {_per_100(most.added)} for {most.name}, "
                f"{_per_100(least.added)} for {least.name}"
            )
        measured = [
            f"Groups   {contacted:,} users of {arm.name}, "
            f"{len(outcome) - contacted:,} of {self.control}",
            f"Effect   contacting adds {_per_100(effect)} of {arm.outcome} for each "
            f"100 users; the control group has {100 * mean:,.2f}",
            f"Orders   the top {_SHARE:.0%} add "
            f"{arm.at_share(arm.effects.effect):.2f} by effect, "
            f"{arm.at_share(arm.effects.expected):.2f} by probability, "
            f"{_SHARE * 100 * effect.estimate:.2f} at random",
            f"Worth    {arm.worth}",
            f"Reacting {reacting}",
        ]
        return measured + paid + [f"Use      {arm.verdict}"]

    def plain_arms(self) -> list[dict[str, object]]:
        """Return the numbers of each treatment, for JSON."""
        return [arm.plain() for arm in self.arms]

    def page(self) -> str:
        """Write the report, an HTML page."""
        return fill_template(
            __package__,
            "experiment.html",
            {
                "look_at": self,
                "bars": _bars,
                "draw": _curves,
                "orders": _orders,
                "per_100": _per_100,
                "rates": RATES,
            },
        )

    def __repr__(self) -> str:
        shown = ["\n".join(self.lines(arm)) for arm in self.arms]
        if self.notes:
            shown.append("\n".join(self.notes))
        return "\n\n".join(shown)

    def _repr_html_(self) -> str:
        return in_notebook(self.page())


def try_experiment(
    table: pd.DataFrame | pa.Table,
    *,
    label: str | Sequence[str],
    treatment: str,
    control: object,
    user: str | None = None,
    outcome: object | None = None,
    title: str | None = None,
    categories: Sequence[str] = (),
    without: Sequence[str] = (),
    cost_per_contact: float | None = None,
    margin: float | None = None,
    missing: Sequence[str] = (),
    name: str = "table",
) -> ExperimentLook:
    """
    Say what contacting added in an experiment at random, and whom to contact.

    Args:
        table: A row for each user. Columns that are not named here are features, and
            were known before the contact.
        label: The column with the outcome: 1 or 0, yes or no, or a sum of money; or
            several columns, of which each is looked at.
        treatment: The column that says how a user was contacted.
        control: Its value for users who were not.
        user: The column that names the user; None where each row is of another one.
        outcome: The value of the label that counts, where it is neither 1 nor yes.
        title: What the outcome is called; None for the column and its value.
        categories: Columns whose numbers are names of something.
        without: Columns to leave out.
        cost_per_contact: What one contact costs, where the outcome is a sum.
        margin: The share of the sum that is left, from 0 to 1.
        missing: Words that stand for a missing value, beside NA and its like.
        name: Of the table, for the report.
    """
    frame = columns.frame_of(table, missing)
    labels = one_form([label] if isinstance(label, str) else list(label))
    treatment = one_form(treatment)
    user = one_form(user)
    categories = listed_names(frame, categories)
    without = listed_names(frame, without)
    keys = labels + [treatment]
    if user is not None:
        keys.append(user)
    check_names(frame, keys, list(categories) + list(without))
    if user is not None:
        columns.check_users(frame, user, None, None)
        columns.check_once(
            frame[user],
            "has another row: an experiment has one for each user",
            "add the user's outcomes up, and keep the row before the contact",
        )
        # Users are judged in parts, which are the same in whatever order they come.
        frame = frame.iloc[texts(frame[user]).argsort()]
    outcomes = _outcomes_by_title(frame, labels, outcome, title)
    if cost_per_contact is not None or margin is not None:
        _check_sums(outcomes)
    arms, is_control = _arms(frame[treatment], control)
    names = sorted(arms[~is_control].dropna().unique())
    shown_control = str(arms[is_control].iloc[0])
    notes = []
    if arms.isna().any():
        notes.append(
            f"{plural(int(arms.isna().sum()), 'user')} without a value of {treatment} "
            "are left out"
        )
    ignored = keys + list(without)
    features = features_of(frame.drop(columns=ignored), None, categories)
    used = {column: entry for column, entry in features.items() if entry.kind}
    if not used:
        raise SchemaError("no column is left as a feature", hint="Leave out fewer")
    arrays = {column: entry.array for column, entry in used.items()}
    kinds = {column: entry.model_kind for column, entry in used.items()}
    read = to_frame(pa.table(arrays), kinds)
    for column, why in _leaks(used, outcomes).items():
        kinds.pop(column)
        features[column] = Feature(why="it may know the outcome", leak=why)
        notes.append(
            f"{column} is left out: it {why}. If it is another outcome, name it by "
            "--outcomes as well"
        )
    if not kinds:
        raise SchemaError(
            f"no column is left as a feature: {notes[-1]}",
            hint="Add columns that were known before the contact",
        )
    looked_at = []
    too_few = []
    for said, values in outcomes.items():
        for arm in names:
            is_of_arm = is_control | (arms == arm)
            unknown = _unknown(values[is_of_arm], arms[is_of_arm], shown_control)
            if unknown:
                notes.append(unknown)
            rows = (values.notna() & is_of_arm).to_numpy()
            is_contacted = (arms[rows] == arm).to_numpy()
            outcome_of = values[rows].to_numpy()
            few = effects.too_few(outcome_of[is_contacted], f"{arm}, {said}")
            if not few:
                few = effects.too_few(
                    outcome_of[~is_contacted], f"{shown_control}, {said}"
                )
            if few:
                too_few.append(few)
                continue
            _check_random(read[rows], is_contacted, treatment)
            columns_read = read.loc[rows, list(kinds)]
            look = _arm(
                columns_read, is_contacted, outcome_of, kinds, names=(arm, said)
            )
            look = replace(look, cost_per_contact=cost_per_contact, margin=margin)
            looked_at.append(look)
    if not looked_at:
        raise NotEnoughData(
            too_few[0],
            hint="Add users; if nobody can have both, the column of the treatment was "
            "written by the outcome",
        )
    notes += [f"Not shown: {few}" for few in too_few]
    return ExperimentLook(
        name=name,
        control=shown_control,
        arms=_with_losses(looked_at),
        user=user,
        features=features,
        notes=notes,
        missing=missing,
    )


def _arm(
    read: pd.DataFrame,
    is_contacted: Flags,
    outcome: Floats,
    kinds: Mapping[str, str],
    *,
    names: tuple[str, str],
) -> Arm:
    """Look at a treatment and an outcome, whose names are given."""
    encoder = encoder_of(kinds)
    experiment = Experiment(
        features=np.asarray(encoder.fit_transform(read)),
        is_contacted=is_contacted,
        outcome=outcome,
    )
    estimated = effects.effects(experiment)
    group_of = {str(name): _grouping(values) for name, values in read.items()}
    return Arm(
        name=names[0],
        outcome=names[1],
        encoder=encoder,
        experiment=experiment,
        effects=estimated,
        reacting=_reacting(read, estimated, group_of),
        group_of=group_of,
    )


def _check_sums(outcomes: Mapping[str, pd.Series]) -> None:
    """Refuse a cost where no outcome is a sum of money."""
    if not any(_is_sum(values.dropna()) for values in outcomes.values()):
        raise SchemaError(
            f"a profit needs sums of money, and {' and '.join(outcomes)} has none",
            hint="Name a column with sums by --label, or leave the cost out",
        )


def _arms(column: pd.Series, control: object) -> tuple[pd.Series, pd.Series]:
    """
    Return the treatment of each user, null for none, and who is of the control group.

    Each is as most rows write it: neither case nor blanks count.
    """
    written = texts(column).map(one_form, na_action="ignore")
    keys = written.map(columns.key_of, na_action="ignore")
    is_control = keys == columns.key_of(control)
    is_nobodys = written.isna() | written.str.fullmatch(GAPS, case=False).eq(True)
    is_nobodys &= ~is_control
    if not is_control.any() or (is_control | is_nobodys).all():
        names = sorted(written.dropna().unique())[:10]
        raise SchemaError(
            f"column {column.name} has no value {str(control)!r} beside others",
            hint=f"Name one by --control, of two or more: {', '.join(names)}",
        )
    spellings = written.groupby(keys).agg(lambda spelled: spelled.mode()[0])
    return keys.map(spellings).mask(is_nobodys), is_control


def _with_losses(arms: Sequence[Arm]) -> list[Arm]:
    """Mark treatments that cost more than they left, of other outcomes as well."""
    losing = set()
    for arm in arms:
        if arm.profit is not None and arm.profit.is_below():
            losing.add(arm.name)
    return [replace(arm, is_at_a_loss=arm.name in losing) for arm in arms]


def _is_sum(values: Any) -> bool:
    """Tell whether outcomes are sums of money, rather than 1 or 0."""
    return not np.isin(values, (0, 1)).all()


def _outcomes_by_title(
    frame: pd.DataFrame,
    labels: Sequence[str],
    outcome: object | None,
    title: str | None,
) -> dict[str, pd.Series]:
    has_commas = have_decimal_commas(frame)
    outcomes = {}
    for label in labels:
        values, name = _outcomes(frame[label], outcome, has_commas=has_commas)
        if title is not None and len(labels) == 1:
            name = title
        outcomes[name] = values
    return outcomes


def _outcomes(
    column: pd.Series, outcome: object | None, *, has_commas: bool
) -> tuple[pd.Series, str]:
    """
    Return the outcome, null where it is not known, and what it is called.

    Numbers are a sum of money, also of one price, unless they are 0 and 1.
    """
    if outcome is None and not columns.is_label(column):
        written = column
        if isinstance(column.dtype, pd.StringDtype):
            written = column.astype("object")
        try:
            amounts = Feature.decide(written, None, has_commas=has_commas)
        except SchemaError as error:
            hint = "Write sums like 1234.5; leave them empty where they are not known"
            raise SchemaError(error.problem, hint=hint) from error
        values = pd.Series(amounts.values, column.index)
        if amounts.kind == "number":
            different = set(values.dropna())
            is_price = len(different) == 2 and 0 in different and 1 not in different
            if len(different) > 2 or is_price:
                return values.astype("float64"), str(column.name)
    labels, positive = columns.label_of(column, outcome)
    return labels, f"{column.name} = {positive}"


# -- what is wrong with an experiment --------------------------------------------------


def _leaks(
    used: Mapping[str, Feature], outcomes: Mapping[str, pd.Series]
) -> dict[str, str]:
    """Return why a feature may know an outcome."""
    leaks = {}
    for said, values in outcomes.items():
        has_outcome = values.notna()
        label = (values[has_outcome] != 0).astype("int8")
        for column, entry in used.items():
            values_known = entry.array.filter(pa.array(has_outcome))
            why = alone.why_a_leak(values_known, label, entry.model_kind)
            if why:
                leaks[column] = f"{why} of {said}"
    return leaks


def _unknown(values: pd.Series, arms: pd.Series, control: str) -> str:
    """
    Say how many users of a treatment and the control group have no outcome; "" of none.

    Raises:
        SchemaError: More of one group than of the other, beyond chance: then those who
            are left differ, too.
    """
    is_unknown = values.isna()
    if not is_unknown.any():
        return ""
    counts = pd.crosstab(arms, is_unknown)
    shown = []
    for name in sorted(counts.index, key=lambda name: name == control):
        shown.append(
            f"{counts.loc[name, True]:,} of {counts.loc[name].sum():,} users of {name}"
        )
    sentence = f"{' and '.join(shown)} have no value of {values.name}"
    if not is_unknown.all() and stats.chi2_contingency(counts).pvalue < _BY_CHANCE:
        raise SchemaError(
            f"{sentence}, which differs beyond chance",
            hint="Write the outcome of each user, such as 0 for who did nothing, or "
            "remove users of both groups alike",
        )
    return f"{sentence}, and are left out"


def _check_random(read: pd.DataFrame, is_contacted: Flags, treatment: str) -> None:
    """
    Refuse columns whose values differ between the groups beyond chance.

    Either they were written after the contact, or users were not drawn at random.
    """
    different = []
    for name, values in read.items():
        if _chance_of_groups(values, is_contacted) < _BY_CHANCE / read.shape[1]:
            different.append(str(name))
    if different:
        leaving = " ".join(f"--without {name}" for name in different)
        raise SchemaError(
            f"the groups of {treatment} differ beyond chance in "
            f"{', '.join(different)}: this was written after the contact, or the "
            "groups were not drawn at random",
            hint="Nothing can be learned from groups that were not drawn at random. If "
            f"they were, leave out what was written later: {leaving}. Several outcomes "
            "are named together, by --outcomes",
        )


def _chance_of_groups(values: pd.Series, is_contacted: Flags) -> float:
    """Return the chance of values so different, if the groups are drawn at random."""
    if pd.api.types.is_numeric_dtype(values):
        # A gap is a value below all others.
        ranked = values.fillna(-np.inf)
        test = stats.mannwhitneyu(ranked[is_contacted], ranked[~is_contacted])
        return float(test.pvalue)
    named = values.fillna("(missing)")
    # Rare values are one: alone, they say little, and together they may be a group.
    is_rare = named.map(named.value_counts()) < FEW
    counts = pd.crosstab(named.mask(is_rare, "(rare)"), is_contacted)
    counts = counts[counts.sum(axis=1) >= FEW]
    return float(stats.chi2_contingency(counts).pvalue) if len(counts) > 1 else 1.0


# -- what reacts -----------------------------------------------------------------------


def _reacting(
    read: pd.DataFrame, estimated: Effects, group_of: Mapping[str, Grouping]
) -> dict[str, list[UserGroup]]:
    """Return features whose groups react differently beyond chance, by how much."""
    by_feature = {}
    chances = {}
    for name, values in read.items():
        groups = []
        group_of_user = group_of[str(name)](values).to_numpy()
        for label in sorted(set(group_of_user)):
            chosen = group_of_user == label
            users = int(chosen.sum())
            if users >= effects.FEWEST:
                added = estimated.mean(chosen)
                groups.append(UserGroup(name=str(label), users=users, added=added))
        if len(groups) < 2:
            continue
        chance = _chance(groups)
        if chance < 0.05 / read.shape[1]:
            by_feature[str(name)] = groups
            chances[str(name)] = chance
    return {name: by_feature[name] for name in sorted(chances, key=chances.__getitem__)}


def _grouping(values: pd.Series) -> Grouping:
    """Return what names the group of values: a value, or a third of the numbers."""
    if not pd.api.types.is_numeric_dtype(values):
        usual = values.value_counts().index[:_MOST_GROUPS]
        return lambda others: others.where(
            others.isin(usual) | others.isna(), "others"
        ).fillna("empty")
    if values.nunique() <= _MOST_GROUPS:
        return lambda others: others.map(decimals(0), na_action="ignore").fillna(
            "empty"
        )
    edges = pd.qcut(values, 3, duplicates="drop", retbins=True)[1]
    thirds = pd.qcut(values, 3, duplicates="drop").cat.categories
    name = _span_of_numbers
    if (values.dropna() % 1 == 0).all():
        name = _span_of_whole_numbers
    names = [name(third) for third in thirds]
    # Other users may have lower or higher numbers.
    bounds = [-math.inf, *edges[1:-1], math.inf]
    return lambda others: (
        pd.cut(others, bounds, labels=names).astype("object").fillna("empty")
    )


def _span_of_numbers(third: pd.Interval) -> str:
    return f"{third.left:,.4g} to {third.right:,.4g}"


def _span_of_whole_numbers(third: pd.Interval) -> str:
    """Name the first and the last whole number; the left end is not among them."""
    return f"{math.floor(third.left) + 1:,} to {math.floor(third.right):,}"


def _chance(groups: Sequence[UserGroup]) -> float:
    """Return the chance of groups that differ so much, if all react alike."""
    means = np.array([group.added.estimate for group in groups])
    ends = np.array([group.added.high for group in groups], dtype=float)
    weights = (NORMAL / (ends - means)) ** 2
    distance = float(
        (weights * (means - np.average(means, weights=weights)) ** 2).sum()
    )
    return float(stats.chi2.sf(distance, len(groups) - 1))


def _per_100(added: Difference) -> str:
    """Write what contacting a user adds, for each 100 users."""
    return added.times(100).format(".2f")


def _orders(arm: Arm) -> list[tuple[str, str, str]]:
    """Return orders with what their best 30% add, and how much more than chance."""
    by_effect = arm.effects.gain_at(_SHARE).times(100)
    by_probability = arm.effects.gain_of_expected(_SHARE).times(100)
    at_random = 100 * _SHARE * arm.effects.mean().estimate
    best = arm.at_share(arm.effects.effect)
    probable = arm.at_share(arm.effects.expected)
    return [
        ("by effect", f"{best:.2f}", by_effect.format("+.2f")),
        ("by probability", f"{probable:.2f}", by_probability.format("+.2f")),
        ("at random", f"{at_random:.2f}", ""),
    ]


def _bars(arm: Arm) -> list[tuple[str, float, float, float, str]]:
    """Return the effect on all users and on groups that react, with its interval."""
    groups = [("all", arm.effects.mean())]
    for feature, members in arm.reacting.items():
        for group in members:
            groups.append((f"{feature} = {group.name}", group.added))
    rows = []
    for name, added in groups:
        if added.low is not None and added.high is not None:
            shown = added.times(100).format("+.1f")
            rows.append((name, added.estimate, added.low, added.high, shown))
    return rows


def _curves(arm: Arm) -> Markup:
    """Draw the outcomes added by the share contacted, by each order."""
    by_effect = 100 * arm.effects.curve(arm.effects.effect, _SHARES)
    by_probability = 100 * arm.effects.curve(arm.effects.expected, _SHARES)
    at_random = _SHARES * by_effect[-1]
    lines = [
        ChartLine(name="at random", y=list(at_random), style="guide"),
        ChartLine(name="by effect", y=list(by_effect)),
        ChartLine(name="by probability", y=list(by_probability), style="line other"),
    ]
    return lines_svg(
        lines,
        title="Added outcomes by share contacted",
        write=decimals(2),
        times=[f"{share:.0%}" for share in _SHARES],
        starts_at_zero=True,
    )
