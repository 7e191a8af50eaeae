"""
An experiment: users contacted at random, read from a table, with its list and its page.

``arms`` compares the groups, and ``advice`` says whom to contact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from markupsafe import Markup

from propensity.learning import effects
from propensity.models.encoding import to_frame
from propensity.pages.page import ChartLine, fill_template, in_notebook, lines_svg
from propensity.pages.words import decimals
from propensity.trying.first_look import advice, arms
from propensity.trying.first_look.advice import Advice
from propensity.trying.first_look.arms import SHARE, Arm
from propensity.trying.first_look.experiment_rows import ReadExperiment, check_sums
from propensity.trying.first_look.scores import RowsToScore

# Shares that a page compares.
_SHARES = np.linspace(0, 1, 21)
# What ``make bench ONLY=experiments TESTS=400`` counted.
RATES = (
    "Of 400 experiments that were drawn without any effect (4,000 to 60,000 users, 10 "
    "to 50% held out, outcomes of 1 to 15%, one treatment or two), 10 were told to "
    "contact by effect, and 11 that an order by effect adds less."
)


@dataclass(frozen=True, kw_only=True)
class ExperimentLook:
    """
    What an experiment says; printed, a few lines for each treatment.

    Attributes:
        read: The table, with what is left out and why.
        arms: A treatment and an outcome each.
    """

    name: str
    read: ReadExperiment
    arms: Sequence[Arm]

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why a column is no feature."""
        features = self.read.features
        return {name: entry.why for name, entry in features.items() if entry.why}

    @property
    def best_arm(self) -> Arm:
        """The treatment that adds most of the first outcome, of those that pay."""
        compared = [arm for arm in self.arms if arm.outcome == self.arms[0].outcome]
        pays = [arm for arm in compared if not arm.is_at_a_loss]
        return max(pays or compared, key=lambda arm: arm.effect.estimate)

    @property
    def whom_it_lists(self) -> str:
        """Whom its list has."""
        return Advice.of(self.best_arm).list_of

    def scores(self, rows: pd.DataFrame | pa.Table) -> pd.DataFrame:
        """
        Return users of other rows whom to contact, best first; none if it does harm, or
        if it is undecided whether contacting anybody adds something.

        Of several treatments it is the one that adds most of the first outcome:
        ``treatment`` names it, and ``effect`` is what it adds. ``expected`` is the
        outcome, whether or not a user is contacted: a probability, or a sum. By effect,
        nobody is listed to whose outcome it adds nothing.
        """
        arm = self.best_arm
        used = {name: self.read.features[name] for name in self.read.kinds}
        to_score = RowsToScore.of_others(
            rows,
            user=self.read.user,
            time=None,
            times=None,
            features=used,
            columns_of={name: name for name in used},
            missing=self.read.missing,
        )
        read = to_frame(to_score.features, self.read.kinds)
        encoded = np.asarray(arm.encoder.transform(read))
        model = effects.model_of(arm.experiment, arm.effects)
        table = pd.DataFrame({str(to_score.users.name): to_score.users.to_numpy()})
        table["treatment"] = arm.name
        table["effect"] = model.predict(encoded)
        table["expected"] = model.outcome.predict(encoded)
        advised = Advice.of(arm)
        if advised.order is None:
            return table[:0]
        is_listed = pd.Series(not advised.groups, table.index)
        for group in advised.groups:
            group_of_user = arm.group_of[group.feature](read[group.feature])
            is_listed |= (group_of_user == group.name).to_numpy()
        if advised.order == "effect":
            is_listed &= table["effect"] > 0
        return (
            table[is_listed]
            .sort_values(advised.order, ascending=False, kind="stable")
            .reset_index(drop=True)
        )

    def plain_arms(self) -> list[dict[str, object]]:
        """Return the numbers of each treatment, for JSON."""
        return [advice.plain(arm) for arm in self.arms]

    def page(self) -> str:
        """Write the report, an HTML page."""
        return fill_template(
            __package__,
            "experiment.html",
            {
                "look_at": self,
                "words": advice,
                "advice_of": Advice.of,
                "bars": _bars,
                "draw": _curves,
                "orders": _orders,
                "rates": RATES,
            },
        )

    def __repr__(self) -> str:
        shown = ["\n".join(advice.lines(arm, self.read.control)) for arm in self.arms]
        if self.read.notes:
            shown.append("\n".join(self.read.notes))
        return "\n\n".join(shown)

    def _repr_html_(self) -> str:
        return in_notebook(self.page())


def try_experiment(
    table: pd.DataFrame | pa.Table,
    *,
    cost_per_contact: float | None = None,
    margin: float | None = None,
    name: str = "table",
    **options: Any,
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
    read = ReadExperiment.of(table, **options)
    if cost_per_contact is not None or margin is not None:
        check_sums(read.outcomes)
    compared = read.compare(cost_per_contact=cost_per_contact, margin=margin)
    return ExperimentLook(name=name, read=read, arms=arms.with_losses(compared))


# -- the page --------------------------------------------------------------------------


def _orders(arm: Arm) -> list[tuple[str, str, str]]:
    """Return orders with what their best 30% add, and how much more than chance."""
    by_effect = arm.effects.gain_at(SHARE).times(100)
    by_probability = arm.effects.gain_of_expected(SHARE).times(100)
    at_random = 100 * SHARE * arm.effect.estimate
    best = arm.at_share(arm.effects.effect)
    probable = arm.at_share(arm.effects.expected)
    return [
        ("by effect", f"{best:.2f}", by_effect.format("+.2f")),
        ("by probability", f"{probable:.2f}", by_probability.format("+.2f")),
        ("at random", f"{at_random:.2f}", ""),
    ]


def _bars(arm: Arm) -> list[tuple[str, float, float, float, str]]:
    """Return the effect on all users and on groups that react, with its interval."""
    groups = [("all", arm.effect)]
    for group in arm.groups:
        groups.append((group.title, group.added))
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
