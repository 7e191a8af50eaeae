"""
A first look at a labelled table: how well its columns predict its label.

``reading`` reads the table; the split, the metrics and the report are those of every
training. Here are what a column tells alone: the best one to compare with, and likely
leaks.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from propensity.cli.progress import watched
from propensity.clock import SYSTEM
from propensity.errors import SchemaError
from propensity.learning import gate
from propensity.learning.card import Origin, UserCard, user_card
from propensity.learning.importance import ranks_alone
from propensity.learning.model import Model
from propensity.learning.report import version_page
from propensity.learning.rows import Parts, Slice
from propensity.learning.split import split_users
from propensity.learning.task import CATEGORY, Baseline, Limits, Task
from propensity.learning.trained import LEAK, Trained
from propensity.measures.intervals import (
    lift_interval,
    rate_interval,
)
from propensity.pages.page import in_notebook
from propensity.pages.words import percent, plural
from propensity.table_files.column import TEXT
from propensity.trying.first_look import alone
from propensity.trying.first_look.columns import FEWEST
from propensity.trying.first_look.ranking import Ranking, compared, ranking_of
from propensity.trying.first_look.reading import (
    ADVICE,
    EXPECTED,
    ReadTable,
    read_table,
)
from propensity.trying.first_look.reasons import Reasons, directions, reasons
from propensity.trying.first_look.scores import RowsToScore, best_first
from propensity.trying.first_look.training import TableTraining, sample_of
from propensity.trying.first_look.who import (
    Trait,
    traits_text,
    who_of_test,
    who_they_are,
)
from propensity.usecases.declaration import Telling

# Rows of a list that have reasons: those whom one contacts first.
_WITH_REASONS = 10_000
# A column that alone ranks so well, and so much above the next, is named.
_FAR = 0.95
_FAR_ABOVE = 0.1
# Of more than twice as many names so many are listed.
_LISTED = 6
# How columns are called that number customers, households or shops.
_NAME_OF_A_KEY = re.compile(
    r"(?i:(^|[\s_-])(id|key|code|no|nr)$)|[a-z](Id|ID|Key|Nr|No)$"
)
# A column that is filled so much less often in the newest rows is filled in later.
_FILLED_LESS = 0.1


# For a table of a few hundred rows: intervals say what it cannot tell.
_LIMITS = Limits(rows=50, conversions=FEWEST, seed=42)


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """
    What a table can predict; printed, five lines.

    Attributes:
        leaks: Why a column may know the outcome.
        card: As every model version has one.
        ranking: Whether the model or a column ranks rows better than by chance.
        compared: How the model and its best column rank rows of later times.
        far_above: Which column alone ranks far above all others, if one does.
    """

    table: ReadTable
    leaks: Mapping[str, str]
    far_above: str
    card: UserCard
    training: TableTraining
    trained: Trained
    ranking: Ranking
    compared: str

    @property
    def tells_nothing(self) -> bool:
        """Whether neither the model nor a column seems to rank rows."""
        return not (self.ranking.is_known or self.ranking.is_too_few)

    @property
    def kinds(self) -> Mapping[str, str]:
        """number, category or date by column."""
        features = self.table.features.items()
        return {name: feature.kind for name, feature in features if feature.kind}

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why a column is no feature."""
        features = self.table.features.items()
        return {name: feature.why for name, feature in features if feature.why}

    @property
    def lines(self) -> Sequence[str]:
        """The five lines."""
        outcome = self.card.outcome
        metrics = self.card.metrics
        tested = self.card.split["holdout"]
        rows = f"{len(self.trained.parts.holdout):,} rows"
        test = f"{' to '.join(dict.fromkeys([tested[0], tested[-1]]))}, {rows}"
        if self.table.times is None:
            test = (
                f"{rows} drawn at random: without --time this cannot see whether it "
                "holds later, or what was written after the outcome"
            )
        if self.table.unlabelled:
            have = "has" if self.table.unlabelled == 1 else "have"
            rows = plural(self.table.unlabelled, "row")
            test += f"; {rows} {have} no {self.table.label} yet"
        by_kind: dict[str, list[str]] = {}
        for column, kind in self.kinds.items():
            by_kind.setdefault(kind, []).append(column)
        listed = [f"{kind}: {_few(names)}" for kind, names in by_kind.items()]
        others = [f"{column} ({why})" for column, why in self.left_out.items()]
        listed.append(f"left out: {_few(others)}")
        listed += self._keys()
        leaks = []
        for column, why in self.leaks.items():
            without = ", so it is left out" if column in self.left_out else ""
            leaks.append(f"{column} {why}{without}")
        if not leaks:
            leaks.append("none found")
        if self.far_above:
            leaks.append(self.far_above)
        best = metrics.lift[0]
        assert metrics.base_rate
        lift = lift_interval(best.conversions, best.users, metrics.base_rate)
        share = percent(self.trained.parts.every.label.mean())
        use = (
            f"Of the top 10%, {percent(best.conversions / best.users)} {outcome}: "
            f"{lift.format('.1f')} times the average. Expected of all "
            f"{percent(metrics.mean_probability)}, actual {percent(metrics.base_rate)}"
        )
        if self.tells_nothing:
            use = f"Make no list, which would be by chance{self._unread}. {use}"
        elif self.ranking.is_too_few:
            use = "Make no list yet: add rows, and try again"
        if self.known_leaks:
            use = _knows(self.known_leaks)
        level = []
        if self.level:
            level.append(f"Level    {self.level}")
        return level + [
            f"Table    {len(self.table.rows):,} rows, of which {share} {outcome}; "
            f"tested on {test}",
            f"Columns  {'; '.join(listed)}",
            f"Leaks    {'; '.join(leaks)}",
            f"Model    {self.compared}",
            f"Use      {use}",
        ]

    def _keys(self) -> list[str]:
        """Say which numbers are names of something that many rows are of."""
        sentences = []
        for name, column in self.table.columns.items():
            if self.kinds[column] != "number" or not _NAME_OF_A_KEY.search(column):
                continue
            values = self.table.rows[name].drop_null()
            different = len(values.unique())
            is_whole = pc.all(pc.equal(values, pc.floor(values))).as_py()
            if is_whole and 0 < 2 * different <= len(values):
                sentences.append(
                    f"{column} has {different:,} values, each in "
                    f"{len(values) / different:,.0f} rows, and is read as a number: if "
                    "it names something, intervals are too narrow, because they take "
                    f"rows as independent. Add --without {shlex.quote(column)}, or "
                    f"--category {shlex.quote(column)}"
                )
        return sentences

    @property
    def known_leaks(self) -> list[str]:
        """Features that may know the outcome: the model has learned from them."""
        return [column for column in self.leaks if column not in self.left_out]

    @property
    def _unread(self) -> str:
        names = []
        for column, why in self.left_out.items():
            if why.startswith(TEXT):
                names.append(column)
        if not names:
            return ""
        are = "is a text, which is" if len(names) == 1 else "are texts, which are"
        return f", by the columns that were read: {_few(names)} {are} not"

    @property
    def level(self) -> str:
        """Say that fewer or more of the test set had the outcome than was expected."""
        metrics = self.card.metrics
        assert metrics.base_rate is not None
        assert metrics.mean_probability is not None
        low, high = rate_interval(metrics.conversions, metrics.users)
        if low <= metrics.mean_probability <= high:
            return ""
        return (
            "the test set has another level than the older rows: "
            f"{percent(metrics.mean_probability)} expected, "
            f"{percent(metrics.base_rate)} actual (95% interval {percent(low)} to "
            f"{percent(high)}). So a list's probabilities may be as far off; its order "
            "stays"
        )

    @cached_property
    def without_leaks(self) -> FirstLook:
        """The same table, tried without the columns that may know the outcome."""
        clean = self.table.without(self.leaks)
        if clean.columns == self.table.columns:
            return self
        if not clean.columns:
            problem = "each column may know the outcome, so that none is left"
            raise SchemaError(problem, hint="Add columns that are known before it")
        return look_at_table(clean)

    @cached_property
    def live(self) -> Model:
        """The model of all rows whose outcome is known."""
        return self.training.live(self.trained.members)

    @property
    def tellings(self) -> dict[str, Telling]:
        """How people are told of each feature: by the name of its column."""
        tellings = {}
        for name, column in self.table.columns.items():
            unit = ""
            if self.table.features[column].kind == "date":
                unit = "days" if self.table.features[column].is_plan else "days ago"
            tellings[name] = Telling(phrase=column, unit=unit)
        return tellings

    @cached_property
    def who(self) -> Sequence[Trait]:
        """What tells the best tenth of the test set from the others."""
        if self.known_leaks or not self.ranking.is_known:
            return ()
        return who_of_test(self.trained, self.tellings)

    def scores(self, rows: pd.DataFrame | pa.Table | None = None) -> pd.DataFrame:
        """
        Return the users, each with probability, percentile and reasons, best first.

        The model has learned from all rows whose outcome is known, without columns that
        may know it.

        Args:
            rows: Rows of a later table; by default the table's own rows whose outcome
                is open. Of each user the newest row counts.
        """
        return self.list_of(rows)[0]

    def list_of(
        self, rows: pd.DataFrame | pa.Table | None = None
    ) -> tuple[pd.DataFrame, Sequence[Trait]]:
        """Return the users as ``scores``, and what tells their best tenth."""
        look = self.without_leaks
        to_score = RowsToScore.of(look.table, rows)
        probability = look.live.scores(to_score.features, look.table.task.features)
        listed = best_first(to_score.users, probability)
        best = to_score.features.take(pa.array(listed.index[:_WITH_REASONS]))
        why = look._reasons_of(best).shown(best, look.table.used)
        chosen = np.zeros(len(listed), np.bool_)
        chosen[listed.index[: len(listed) // 10]] = True
        who = list[Trait]()
        if look.ranking.is_known:
            who = who_they_are(to_score.features, chosen, look.tellings)
        listed = listed.reset_index(drop=True)
        return listed.assign(reasons=pd.Series(why, dtype="str")), who

    def reasons(self, rows: pd.DataFrame | pa.Table | None = None) -> Reasons:
        """Return what moved the log-odds of rows, in the order in which they are."""
        look = self.without_leaks
        return look._reasons_of(RowsToScore.of(look.table, rows).features)

    def _reasons_of(self, features: pa.Table) -> Reasons:
        training_rows = sample_of(self.table.rows)
        return reasons(
            self.live, self.table.task.features, features, training_rows=training_rows
        )

    def page(self, *, duel: object = None, who: Sequence[Trait] | None = None) -> str:
        """
        Write the model report, an HTML page.

        Args:
            duel: Its list beside another one, if there is one.
            who: Who is on its list; None for ``self.who``.
        """
        return version_page(self.card, duel=duel, who=self.who if who is None else who)

    def __repr__(self) -> str:
        lines = list(self.lines)
        if self.who:
            lines.append(f"Who      best 10% of the test set: {traits_text(self.who)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return in_notebook(self.page())


def try_table(table: pd.DataFrame | pa.Table, **options: Any) -> FirstLook:
    """
    Train on a labelled table, and say how well its newest rows can be predicted.

    Args:
        table: A row for each user and time. Columns that are not named here are
            features.
        label: The column with the outcome: 1 or 0, yes or no, true or false.
        time: The column that says when a row was true; None to test on users drawn at
            random, which shows neither what changes with time nor every leak.
        user: The column that names the user; None where each row is of another one.
        outcome: The value of the label to predict, where it is another one.
        title: What the outcome is called, as in "15% churned".
        categories: Columns whose numbers are names of something.
        without: Columns to leave out.
        plans: Columns with dates that are known in advance, such as the end of a
            contract.
        horizon_days: Days after a row's time until its label is known; by default it is
            known at the table's next time.
        test_times: How many of the newest times are the test set; by default one, or
            more if that has few rows of label 1.
        candidates: Of which the best is chosen, as ``usecase.toml`` has them.
        missing: Words that stand for a missing value, beside NA and its like.
        name: Of the table, for the report.
    """
    return look_at_table(read_table(table, **options))


def look_at_table(read: ReadTable) -> FirstLook:
    """Train on a table; errors are ``try_table``'s."""
    split = partial(
        split_users,
        task=read.task,
        timeframe=read.timeframe,
        limits=_LIMITS,
        advice=ADVICE,
        test_dates=read.test_times,
    )
    parts = split(read.rows)
    sampled = parts
    sample = sample_of(read.rows)
    if len(sample) < len(read.rows):
        sampled = split(sample)
        # They learn from a sample, and are tested on all of the test set.
        parts = replace(
            parts, before=sampled.before, blocks=sampled.blocks, fitting=sampled.fitting
        )
    areas = _areas(sampled, read)
    leaks = _leaks(sampled, read, areas)
    parts, task = _with_baseline(parts, read.task)
    training = TableTraining(parts=parts, task=task, limits=_LIMITS, watched=watched)
    trained = training.run()
    ranking = ranking_of(trained)
    baseline = f"{task.baseline.feature} alone"
    is_better = gate.first_verdict(trained).promoted and not leaks
    is_better &= not ranking.is_too_few
    compares = compared(
        trained,
        baseline,
        ranking=ranking,
        is_better=is_better,
        is_later=read.times is not None,
    )
    # A leak that is left out is no reason to distrust the model.
    reason = compares
    for column, why in leaks.items():
        reason += f"; LIKELY LEAK: {column} {why}"
    verdict = gate.Verdict(promoted=is_better, reason=reason)
    claim = ""
    if leaks:
        claim = f"{_knows(list(leaks))}."
    else:
        noun = "row" if read.user is None else read.user
        claim = ranking.claim(f"{noun}s", task.outcome)
    card = _card(read, task, trained, verdict, claim=claim)
    for column, feature in read.features.items():
        if feature.leak:
            leaks[column] = feature.leak
    return FirstLook(
        table=read,
        leaks=leaks,
        far_above=_far_above(areas, leaks),
        card=card,
        training=training,
        trained=trained,
        ranking=ranking,
        compared=compares,
    )


def _card(
    read: ReadTable,
    task: Task,
    trained: Trained,
    verdict: gate.Verdict,
    *,
    claim: str,
) -> UserCard:
    steps = read.steps
    origin = Origin(
        rows=trained.parts.every.rows,
        as_of=steps.days[-1],
        trained_at=SYSTEM.now(),
        names=dict(zip(steps.days, steps.names, strict=True)),
        is_random=read.times is None,
    )
    most_needed = [entry.feature for entry in trained.holdout.importance]
    return user_card(
        task,
        trained,
        verdict,
        origin,
        heading="Test set",
        claim=claim,
        directions=directions(
            trained.measured, task.features, trained.parts.before.rows, most_needed
        ),
    )


# -- what it tells ---------------------------------------------------------------------


def _knows(leaks: Sequence[str]) -> str:
    """Say that columns know the outcome, and how to leave them out."""
    them = "it" if len(leaks) == 1 else "them"
    return (
        f"This table knows the outcome: {', '.join(leaks)}. Leave {them} out and try "
        f"again: --without {shlex.quote(','.join(leaks))}"
    )


def _few(names: Sequence[str]) -> str:
    """List names; of a long list the first six and how many there are."""
    if not names:
        return "none"
    if len(names) <= 2 * _LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:_LISTED])}, … ({len(names)} in all)"


# -- what a column tells alone --------------------------------------------------------


def _with_baseline(parts: Parts, task: Task) -> tuple[Parts, Task]:
    """Make the column that alone ranks the judged rows best the baseline."""
    older = parts.before.between(0, parts.blocks[0].fit_end)
    areas = dict[str, float]()
    for name, kind in task.features.items():
        areas[name] = alone.area(older, parts.choosing, name, kind)
    best = max(areas, key=lambda name: abs(areas[name] - 0.5))
    baseline = Baseline(feature=best, ascending=areas[best] < 0.5)
    if task.features[best] == CATEGORY:
        baseline = Baseline(feature=f"{best} (rate)", ascending=False)
        judged_rows = parts.before.followed_by(parts.holdout)
        rates = pa.array(ranks_alone(older, judged_rows, best, CATEGORY))
        judged_rows = Slice(
            rows=judged_rows.rows.append_column(baseline.feature, rates)
        )
        tested = len(parts.before)
        before = judged_rows.between(0, tested)
        parts = replace(parts, before=before, holdout=judged_rows.between(tested))
    return parts, structs.replace(task, baseline=baseline)


def _areas(parts: Parts, read: ReadTable) -> dict[str, float]:
    """Return the ROC AUC of each feature alone, whichever way it ranks, by column."""
    fit_end = parts.blocks[0].fit_end
    older = parts.every.between(0, fit_end)
    later = parts.every.between(fit_end)
    areas = {}
    for name in watched(list(read.columns), "ranking by each column alone"):
        area = alone.area(older, later, name, read.task.features[name])
        areas[read.columns[name]] = max(area, 1 - area)
    return areas


def _far_above(areas: Mapping[str, float], leaks: Mapping[str, str]) -> str:
    """Say which column ranks far above all others; "" if it is known as a leak."""
    ranked = sorted(areas, key=areas.__getitem__, reverse=True)[:2]
    if len(ranked) < 2 or ranked[0] in leaks:
        return ""
    best, next_best = ranked
    if areas[best] < _FAR or areas[best] < areas[next_best] + _FAR_ABOVE:
        return ""
    return (
        f"but {best} alone ranks at {areas[best]:.3f}, far above all others: look "
        "whether it was known at the time of its row"
    )


def _leaks(parts: Parts, read: ReadTable, areas: Mapping[str, float]) -> dict[str, str]:
    """Return columns that alone nearly decide the label, or are written after it."""
    every = parts.every
    leaks = {}
    for name, column in read.columns.items():
        area = areas[column]
        filled = _filled(parts.before, name)
        newest = _filled(parts.holdout, name)
        in_every = _filled(every, name)
        in_open = read.features[column].share_filled(read.open_rows[column])
        is_expected = in_every * len(read.open_rows) >= EXPECTED
        sure = alone.sure_value(every, name, _open_values(read, column))
        if area >= LEAK:
            leaks[column] = f"alone ranks at ROC AUC {area:.3f}"
        elif newest < filled * _FILLED_LESS:
            leaks[column] = (
                f"is filled in {percent(filled)} of the older rows and "
                f"{percent(newest)} of the newest, as if written later"
            )
        elif is_expected and in_open < in_every * _FILLED_LESS:
            leaks[column] = (
                f"is filled in {percent(in_every)} of the rows with {read.label} and "
                f"{percent(in_open)} of those without, as if written later"
            )
        elif sure:
            leaks[column] = sure
    return leaks


def _filled(part: Slice, name: str) -> float:
    return 1 - int(part.rows[name].null_count) / len(part)


def _open_values(read: ReadTable, column: str) -> pd.Series:
    """Return the values of a column in the open rows; none if one of them is wrong."""
    feature = read.features[column]
    try:
        return feature.read(read.open_rows[column], read.open_times).to_pandas()
    except SchemaError:
        # It is refused once the rows are scored.
        return pd.Series(dtype="object")
