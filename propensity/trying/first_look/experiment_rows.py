"""An experiment's table, read and checked: users at random, outcomes, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import stats

from propensity.errors import NotEnoughData, SchemaError
from propensity.learning import effects
from propensity.measures.intervals import FEW
from propensity.models.encoding import Flags, to_frame
from propensity.pages.words import plural
from propensity.table_files.column import Feature, have_decimal_commas, one_form
from propensity.table_files.texts import GAPS, texts
from propensity.trying.first_look import alone, arms, columns
from propensity.trying.first_look.arms import Arm
from propensity.trying.first_look.reading import check_names, features_of, listed_names

# Chance that a column which was written before the contact is refused.
_BY_CHANCE = 0.001


@dataclass(frozen=True, kw_only=True)
class ReadExperiment:
    """
    The users of an experiment.

    Attributes:
        rows: The features that may be used, (users, features), of these ``kinds``.
        outcomes: By what each is called; null where it is not known.
        treatments: Null for users without one; ``is_control`` says who is of
            ``control``.
        features: What a column is, by column.
        notes: What is left out, and why.
    """

    rows: pd.DataFrame
    kinds: Mapping[str, str]
    outcomes: Mapping[str, pd.Series]
    treatments: pd.Series
    is_control: pd.Series
    control: str
    user: str | None
    features: Mapping[str, Feature]
    missing: Sequence[str]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
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
        missing: Sequence[str] = (),
    ) -> ReadExperiment:
        """Read an experiment; arguments and errors are ``try_experiment``'s."""
        labels = one_form([label] if isinstance(label, str) else list(label))
        keys = labels + [one_form(treatment)]
        if user is not None:
            keys.append(one_form(user))
        frame = columns.frame_of(table, missing, keys)
        categories = listed_names(frame, categories)
        without = listed_names(frame, without)
        check_names(frame, keys, list(categories) + list(without))
        if user is not None:
            frame = _by_user(frame, one_form(user))
        outcomes = _outcomes_by_title(frame, labels, outcome, title)
        treatments, is_control = _treatments(frame[one_form(treatment)], control)
        others = frame.drop(columns=keys + list(without))
        features = features_of(others, None, categories)
        used = {column: entry for column, entry in features.items() if entry.kind}
        if not used:
            raise SchemaError("no column is left as a feature", hint="Leave out fewer")
        notes = _without_treatment(treatments)
        kinds = {column: entry.model_kind for column, entry in used.items()}
        rows = {column: entry.array for column, entry in used.items()}
        read = to_frame(pa.table(rows), kinds)
        for column, why in _leaks(used, outcomes).items():
            kinds.pop(column)
            features[column] = Feature(why="it may know the outcome", leak=why)
            notes.append(
                f"{column} is left out: it {why}. If it is another outcome, name it by "
                "--outcomes as well"
            )
        return cls(
            rows=read,
            kinds=kinds,
            outcomes=outcomes,
            treatments=treatments,
            is_control=is_control,
            control=str(treatments[is_control].iloc[0]),
            user=one_form(user),
            features=features,
            missing=missing,
            notes=notes,
        )

    def compare(self, **costs: float | None) -> list[Arm]:
        """
        Compare each treatment with the control group, in each outcome.

        Raises:
            NotEnoughData: All have too few users or outcomes.
        """
        if not self.kinds:
            raise SchemaError(
                f"no column is left as a feature: {self.notes[-1]}",
                hint="Add columns that were known before the contact",
            )
        compared = []
        too_few = []
        for outcome, values in self.outcomes.items():
            for name in sorted(self.treatments[~self.is_control].dropna().unique()):
                is_arm = self.treatments == name
                is_compared = is_arm | self.is_control
                unknown = _unknown(
                    values[is_compared], self.treatments[is_compared], self.control
                )
                if unknown:
                    self.notes.append(unknown)
                rows = (values.notna() & is_compared).to_numpy()
                is_contacted = is_arm[rows].to_numpy()
                actual = values[rows].to_numpy()
                few = effects.too_few(actual[is_contacted], f"{name}, {outcome}")
                few = few or effects.too_few(
                    actual[~is_contacted], f"{self.control}, {outcome}"
                )
                if few:
                    too_few.append(few)
                    continue
                self._check_random(rows, is_contacted)
                read = self.rows.loc[rows, list(self.kinds)]
                said = {"name": name, "outcome": outcome, **costs}
                compared.append(Arm.of(read, self.kinds, is_contacted, actual, **said))
        if not compared:
            raise NotEnoughData(
                too_few[0],
                hint="Add users; if nobody can have both, the column of the treatment "
                "was written by the outcome",
            )
        self.notes.extend(f"Not shown: {few}" for few in too_few)
        return compared

    def _check_random(self, rows: Flags, is_contacted: Flags) -> None:
        """
        Refuse columns whose values differ between the groups beyond chance.

        Either they were written after the contact, or users were not drawn at random.
        """
        different = []
        read = self.rows[rows]
        for name, values in read.items():
            chance = _chance_of_groups(values, is_contacted)
            if chance < _BY_CHANCE / read.shape[1]:
                different.append(str(name))
        if different:
            leaving = " ".join(f"--without {name}" for name in different)
            raise SchemaError(
                f"the groups of {self.treatments.name} differ beyond chance in "
                f"{', '.join(different)}: this was written after the contact, or the "
                "groups were not drawn at random",
                hint="Nothing can be learned from groups that were not drawn at "
                f"random. If they were, leave out what was written later: {leaving}. "
                "Several outcomes are named together, by --outcomes",
            )


def _by_user(frame: pd.DataFrame, user: str) -> pd.DataFrame:
    """Return users in one order: they are judged in parts, which are the same then."""
    columns.check_users(frame, user, None, None)
    columns.check_once(
        frame[user],
        "has another row: an experiment has one for each user",
        "add the user's outcomes up, and keep the row before the contact",
    )
    return frame.iloc[texts(frame[user]).argsort()]


def _treatments(column: pd.Series, control: object) -> tuple[pd.Series, pd.Series]:
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


def _without_treatment(treatments: pd.Series) -> list[str]:
    if not treatments.isna().any():
        return []
    users = plural(int(treatments.isna().sum()), "user")
    return [f"{users} without a value of {treatments.name} are left out"]


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


def check_sums(outcomes: Mapping[str, pd.Series]) -> None:
    """Refuse a cost where no outcome is a sum of money."""
    if not any(arms.is_sum(values.dropna()) for values in outcomes.values()):
        raise SchemaError(
            f"a profit needs sums of money, and {' and '.join(outcomes)} has none",
            hint="Name a column with sums by --label, or leave the cost out",
        )


def _leaks(
    used: Mapping[str, Feature], outcomes: Mapping[str, pd.Series]
) -> dict[str, str]:
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
