"""
A first look at a labelled table: how well its columns predict its label.

``reading`` reads the table; the split, the metrics and the report are those of every
training. Here are what a column tells alone: the best one to compare with, and likely
leaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd
import pyarrow as pa
from msgspec import structs

from propensity.clock import SYSTEM
from propensity.errors import NotEnoughData, SchemaError
from propensity.first_look import columns
from propensity.first_look.columns import FEWEST, Steps
from propensity.first_look.reading import ReadTable, read_table
from propensity.first_look.scores import RowsToScore
from propensity.learning import gate
from propensity.learning.card import Origin, UserCard, user_card
from propensity.learning.importance import ranks_alone
from propensity.learning.report import version_page
from propensity.learning.rows import Parts, Slice
from propensity.learning.split import split_users
from propensity.learning.trained import LEAK, Trained
from propensity.learning.users import UserTraining
from propensity.pages.page import in_notebook
from propensity.pages.words import percent, plural
from propensity.settings import Settings
from propensity.texts import refuse
from propensity.timeframe import FEWEST_SNAPSHOTS, Timeframe
from propensity.usecases import CATEGORY, Baseline, UseCase
from propensity.watching import Watched, unwatched

# If this many outcomes are expected and none is there, it is not by chance.
_EXPECTED = 10
_ADVICE = "Add older rows, or rows of more users"
# A column with more values than that is no list of them.
_MOST_VALUES = 60
# Rows of a value, and their share of label 1, from which the value tells the outcome.
_SURE_ROWS = 20
_SURE_SHARE = 0.98
# A column that is filled so much less often in the newest rows is filled in later.
_FILLED_LESS = 0.1


class _Small(Settings):
    """Settings for a table of a few hundred rows: intervals say what it cannot tell."""

    minimum_training_rows = 50
    minimum_conversions = FEWEST


_SETTINGS = _Small(project="none")


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """
    What a table can predict; printed, five lines.

    Attributes:
        leaks: Why a column may know the outcome.
        card: As every model version has one.
    """

    table: ReadTable
    leaks: Mapping[str, str]
    card: UserCard
    trained: Trained

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
        title = self.card.title
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
        listed = [f"{kind}: {', '.join(names)}" for kind, names in by_kind.items()]
        others = [f"{column} ({why})" for column, why in self.left_out.items()]
        listed.append(f"left out: {', '.join(others) if others else 'none'}")
        leaks = []
        for column, why in self.leaks.items():
            without = ", so it is left out" if column in self.left_out else ""
            leaks.append(f"{column} {why}{without}")
        if not leaks:
            leaks.append("none found")
        compared = gate.beside_baseline(self.trained, self.card.baseline.name)
        best = metrics.lift[0]
        share = percent(self.trained.parts.every.label.mean())
        return [
            f"Table    {len(self.table.labels):,} rows, {share} with {title}; "
            f"tested on {test}",
            f"Columns  {'; '.join(listed)}",
            f"Leaks    {'; '.join(leaks)}",
            f"Model    {compared}",
            f"Use      Of the top 10%, {percent(best.conversions / best.users)} have "
            f"{title}: {best.lift:.1f} times the average. Expected of all "
            f"{percent(metrics.mean_probability)}, actual "
            f"{percent(metrics.base_rate)}",
        ]

    @cached_property
    def without_leaks(self) -> FirstLook:
        """The same table, tried without the columns that may know the outcome."""
        clean = self.table.without(self.leaks)
        if clean.columns == self.table.columns:
            return self
        if not clean.columns:
            problem = "each column may know the outcome, so that none is left"
            raise SchemaError(problem, hint="Add columns that are known before it")
        return look_at(clean)

    def scores(self, rows: pd.DataFrame | pa.Table | None = None) -> pd.DataFrame:
        """
        Return the users, each with probability and percentile, the best first.

        The model has learned from all rows whose outcome is known, without columns that
        may know it.

        Args:
            rows: Rows of a later table; by default the table's own rows whose outcome
                is open. Of each user the newest row counts.

        Raises:
            SchemaError: There is no row, or a column or value is wrong.
        """
        look = self.without_leaks
        to_score = RowsToScore.of(look.table, rows)
        model = look.trained.live
        return to_score.listed(model.scores(to_score.features, look.table.use_case))

    def page(self) -> str:
        """Write the model report, an HTML page."""
        return version_page(self.card)

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        return in_notebook(self.page())


def try_table(
    table: pd.DataFrame | pa.Table,
    *,
    label: str,
    time: str | None = None,
    user: str | None = None,
    outcome: object | None = None,
    categories: Sequence[str] = (),
    without: Sequence[str] = (),
    horizon_days: int | None = None,
    name: str = "table",
) -> FirstLook:
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
        categories: Columns whose numbers are names of something.
        without: Columns to leave out.
        horizon_days: Days after a row's time until its label is known; by default it is
            known at the table's next time.
        name: Of the table, for the report.

    Raises:
        SchemaError: A column or value is wrong; the message names it.
        NotEnoughData: There are too few rows of a class, or too few times.
    """
    return look_at(
        read_table(
            table,
            label=label,
            time=time,
            user=user,
            outcome=outcome,
            categories=categories,
            without=without,
            horizon_days=horizon_days,
            name=name,
        )
    )


def look_at(read: ReadTable, watched: Watched = unwatched) -> FirstLook:
    """Train on a table; errors are ``try_table``'s."""
    steps, timeframe = _steps(read)
    rows = read.rows(steps)
    parts = split_users(
        rows, read.use_case, timeframe, settings=_SETTINGS, advice=_ADVICE
    )
    leaks = _leaks(parts, read)
    parts, use_case = _with_baseline(parts, read.use_case)
    training = UserTraining(
        parts=parts, use_case=use_case, settings=_SETTINGS, watched=watched
    )
    trained = training.run()
    # A leak that is left out is no reason to distrust the model.
    card = _card(read, steps, leaks, use_case, trained)
    card = structs.replace(card, horizon_days=read.horizon_days)
    for column, feature in read.features.items():
        if feature.leak:
            leaks[column] = feature.leak
    return FirstLook(table=read, leaks=leaks, card=card, trained=trained)


def _steps(read: ReadTable) -> tuple[Steps, Timeframe]:
    """Put rows into steps, with the time until their labels are known."""
    if read.time is None or read.times is None:
        if read.horizon_days is not None:
            hint = "Name the column that says when a row was true by --time"
            raise SchemaError("--horizon-days needs a time", hint=hint)
        # Rows that are alike may be of one user, and are on one side.
        hashes = pd.util.hash_pandas_object(read.tried.astype("str"), index=False)
        users = read.users if read.user else hashes.astype("str")
        count = users.nunique()
        if count < FEWEST_SNAPSHOTS:
            kind = "user" if read.user else "kind"
            raise NotEnoughData(
                f"all rows are of {plural(count, kind)}. You need at least "
                f"{FEWEST_SNAPSHOTS}: to train, to choose and to test",
                hint=_ADVICE,
            )
        steps = columns.random_steps(users)
    else:
        shown = read.tried[read.time]
        steps = columns.steps_of(read.times, shown, read.horizon_days)
        _check_newest(steps, read.tried[read.label], read.labels)
    horizon = steps.horizon_days
    timeframe = Timeframe(lookback_days=1, horizon_days=horizon, settle_days=0)
    if len(steps.days) < FEWEST_SNAPSHOTS:
        raise NotEnoughData(
            f"column {read.time} has only {plural(len(steps.days), 'value')}. You need "
            f"at least {FEWEST_SNAPSHOTS}: to train, to choose and to test",
            hint=f"{_ADVICE}, or leave --time out",
        )
    if not timeframe.are_enough(steps.days):
        raise NotEnoughData(
            f"column {read.label} is known too late: {horizon} days after {read.time}, "
            f"whose values are from {steps.names[0]} to {steps.names[-1]}",
            hint=f"{_ADVICE}, or lower --horizon-days",
        )
    return steps, timeframe


def _card(
    read: ReadTable,
    steps: Steps,
    leaks: Mapping[str, str],
    use_case: UseCase,
    trained: Trained,
) -> UserCard:
    """Return a card as every model version has one, with the names of steps."""
    reason = gate.beside_baseline(trained, f"{use_case.baseline.feature} alone")
    for column, why in leaks.items():
        reason += f"; LIKELY LEAK: {column} {why}"
    verdict = gate.Verdict(promoted=not leaks, reason=reason)
    origin = Origin(
        rows=trained.parts.every.rows,
        as_of=steps.days[-1],
        trained_at=SYSTEM.now(),
    )
    card = user_card(use_case, trained, verdict, origin)
    names = dict(zip(map(str, steps.days), steps.names, strict=True))
    for day in card.profile["dates"]:
        day["as_of"] = names[str(day["as_of"])]
    split = {}
    for part, days in card.split.items():
        split[part] = [names[day] for day in days]
    return structs.replace(
        card,
        heading="Test set",
        is_random=read.times is None,
        entity="row" if read.user is None else read.user,
        as_of=steps.names[-1],
        split=split,
    )


def _check_newest(steps: Steps, shown: pd.Series, labels: pd.Series) -> None:
    """Refuse a label that no one has at the newest time, and should by the older."""
    is_newest = pd.Series(steps.step_of_row == steps.step_of_row.max(), labels.index)
    share = labels[~is_newest].mean()
    if labels[is_newest].any() or not share * is_newest.sum() >= _EXPECTED:
        return
    problem = (
        f"is the label of all {is_newest.sum():,} rows of {steps.names[-1]}, and of "
        f"{percent(1 - share)} of the older ones: it is not known yet"
    )
    hint = "remove these rows, or leave their label empty"
    refuse(shown, is_newest, problem, hint=hint)


# -- what a column tells alone --------------------------------------------------------


def _with_baseline(parts: Parts, use_case: UseCase) -> tuple[Parts, UseCase]:
    """Make the column that alone ranks the judged rows best the baseline."""
    older = parts.before.between(0, parts.blocks[0].fit_end)
    every = parts.every
    areas = dict[str, float]()
    for name, kind in use_case.features.items():
        areas[name] = _area(older, parts.choosing, name, kind)
    best = max(areas, key=lambda name: abs(areas[name] - 0.5))
    baseline = Baseline(feature=best, ascending=areas[best] < 0.5)
    if use_case.features[best] == CATEGORY:
        rates = ranks_alone(older, every, best, CATEGORY)
        baseline = Baseline(feature=f"{best} (rate)", ascending=False)
        rows = every.rows.append_column(baseline.feature, pa.array(rates))
        every = replace(every, rows=rows)
        parts = replace(
            parts,
            every=every,
            before=every.between(0, len(parts.before)),
            fitting=every.between(0, len(parts.fitting)),
            holdout=every.between(len(parts.before)),
        )
    return parts, structs.replace(use_case, baseline=baseline)


def _leaks(parts: Parts, read: ReadTable) -> dict[str, str]:
    """Return columns that alone nearly decide the label, or are written after it."""
    fit_end = parts.blocks[0].fit_end
    every = parts.every
    older = every.between(0, fit_end)
    later = every.between(fit_end)
    leaks = {}
    for name, kind in read.use_case.features.items():
        column = read.columns[name]
        area = _area(older, later, name, kind)
        # A column may rank the other way round.
        area = max(area, 1 - area)
        filled = _filled(parts.before, name)
        newest = _filled(parts.holdout, name)
        in_every = _filled(every, name)
        in_open = columns.filled(read.features[column], read.open_rows[column])
        is_expected = in_every * len(read.open_rows) >= _EXPECTED
        sure = _sure(every, name, _open_values(read, column))
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
    """Return the share of rows in which a column is filled."""
    return 1 - int(part.rows[name].null_count) / len(part)


def _area(older: Slice, part: Slice, name: str, kind: str) -> float:
    """Return the ROC AUC of a column alone; 0.5 where there is one class."""
    area = part.roc_auc(ranks_alone(older, part, name, kind))
    return 0.5 if area is None else area


def _sure(every: Slice, name: str, open_values: pd.Series) -> str:
    """
    Say which value has the rarer label only, if one has; a gap is a value.

    A value that the open rows have as well was not written after the outcome.
    """
    values = every.rows[name].to_pandas()
    texts = _as_texts(values)
    open_texts = _as_texts(open_values)
    if texts.nunique() > _MOST_VALUES:
        usual = texts.mode()[0]
        texts = texts.where(texts == usual, f"not {usual}")
        open_texts = open_texts.where(open_texts == usual, f"not {usual}")
    rarer = int(2 * every.conversions < len(every))
    rates = pd.Series(every.label == rarer).groupby(texts).agg(["size", "mean"])
    sure = rates[(rates["size"] >= _SURE_ROWS) & (rates["mean"] >= _SURE_SHARE)]
    for value, count in sure["size"].items():
        expected = count * len(open_texts) / len(texts)
        if (open_texts == value).sum() < max(1, expected / 2):
            return f"is {value} in {count:,} rows, nearly all of label {rarer}"
    return ""


def _as_texts(values: pd.Series) -> pd.Series:
    return values.astype("str").where(values.notna(), "empty")


def _open_values(read: ReadTable, column: str) -> pd.Series:
    """Return the values of a column in the open rows; none if one of them is wrong."""
    feature = read.features[column]
    try:
        return columns.read_as(feature, read.open_rows[column], read.open_times)
    except SchemaError:
        # It is refused once the rows are scored.
        return pd.Series(dtype="object")
