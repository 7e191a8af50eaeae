"""
A use case: what its folder says, and what a run asks of it.

Its files are read here, and nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from propensity import folders, statements
from propensity.budget import Budget
from propensity.ids import PRESENCE
from propensity.learning.task import (
    CATEGORY,
    NUMBER,
    Baseline,
    Candidate,
    FeatureKind,
    Limits,
    Task,
    Text,
)
from propensity.statements import Line
from propensity.tables.export_names import DIGEST_NAMES, VIEW
from propensity.timeframe import (
    TRUTH_DELAY_DAYS,
    Timeframe,
    first_of_week,
    first_shard,
    first_suffix,
    weekdays_of,
)
from propensity.usecases import declaration
from propensity.usecases.declaration import Events, Property, Stream, Value
from propensity.usecases.kind import EVENTS, USERS, Kind

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.settings import Settings

# The input of a model: numbers and categories by feature.
Features = Mapping[str, float | str | None]

# The column of GA4 by which users are browsers.
BROWSER = "user_pseudo_id"
# The part of features.sql in whose place a training has the users that it has drawn.
DRAWN = "drawn_users"


class UseCase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """
    A use case, as its folder describes it: the entries of its ``usecase.toml``.

    Attributes:
        features: "number" or "category" by column of ``features.sql``, in the order of
            the model's input.
        event_types: Types of events that it declares itself: fields by type.
        event_params, user_properties: Values of the GA4 export that its statements
            read, beyond the columns that ``ga_events`` always has: types by key.
        budget: How many of the best rows, or what share, a team can act on.
        currency: Of its amounts, such as EUR; empty where the file doesn't say.
        span: What the outcome is predicted from, in words; empty for the lookback.
        sources: Tables of the user's own that ``features.sql`` reads, by name.
        own_events: A table of events that all statements read in place of the export.
        history_days: Days of purchases that features know, and that make a user of a
            customer who was away; 0 for two lookbacks, and for no such users.
        stride_days: Days between two dates of a training; 0 for the horizon.
        prediction_days: When the clock has it predicted: ``daily``, or weekdays; empty
            for the deployment's days, or the first of them if the horizon is long.
        compared: Categories by which an evaluated week is compared.
        tell: How people are told of a feature; False where they are not.
        like: The use case that it is an instance of, whose statements it has; empty
            for none.
        ga4_property: Whose export it reads; None for the deployment's.
    """

    name: declaration.Name
    title: Text
    outcome: Text
    lookback_days: declaration.Days
    horizon_days: declaration.Days
    threshold: declaration.Probability
    features: Mapping[declaration.Column, FeatureKind]
    baseline: Baseline
    candidates: Annotated[Sequence[Candidate], Meta(min_length=1)]
    parameters: Mapping[declaration.Column, str | int] = {}
    stream: Stream = Stream()
    event_types: Mapping[
        declaration.Name, Mapping[declaration.Column, declaration.EventKind]
    ] = field(default_factory=dict, name="events")
    event_params: Mapping[declaration.Key, declaration.ValueType] = {}
    user_properties: Mapping[declaration.Key, declaration.ValueType] = {}
    budget: str = declaration.BUDGET
    currency: declaration.Currency = ""
    span: Text = ""
    sources: Mapping[declaration.Name, declaration.OwnSource] = {}
    # A file calls both [events]: ``parse`` tells the two apart.
    own_events: Events | None = field(default=None, name=declaration.OWN_EVENTS)
    history_days: declaration.DaysOrNone = 0
    stride_days: declaration.DaysOrNone = 0
    prediction_days: declaration.PredictionDays = ""
    compared: Annotated[Sequence[declaration.Column], Meta(max_length=3)] = ()
    tell: Mapping[declaration.Column, declaration.Telling | bool] = {}
    like: str = ""
    ga4_property: Property | None = field(default=None, name="property")

    @property
    def tellings(self) -> dict[str, declaration.Telling]:
        """How people are told of each feature that they may be told of."""
        tellings = {}
        for name in self.features:
            telling = self.tell.get(name, True)
            if isinstance(telling, declaration.Telling):
                tellings[name] = telling
            elif telling:
                tellings[name] = declaration.Telling()
        return tellings

    @cached_property
    def folder(self) -> Path:
        """Where its statements are, and its ``model.py``."""
        return folders.place(self.like if self.like else self.name)

    def settings(self, settings: Settings) -> Settings:
        """
        Return the settings that its runs have.

        Args:
            settings: Of the deployment.
        """
        if self.ga4_property is None:
            return settings
        return settings.of_property(
            self.ga4_property.ga4_dataset,
            utc_offset_hours=self.ga4_property.utc_offset_hours,
        )

    @property
    def history_span(self) -> int:
        """Days before a date in which its features know a purchase."""
        return max(self.history_days, 2 * self.lookback_days)

    @property
    def kind(self) -> Kind:
        """What a row is."""
        return EVENTS if self.stream.scored else USERS

    @property
    def scores_events(self) -> bool:
        """Whether a row is an event, whose own fields are the features."""
        return bool(self.stream.scored)

    @cached_property
    def entity(self) -> str:
        """The id of what a row is about: of users, or the identity of events."""
        entity = "user_id"
        for event_type in self.stream.scored:
            for name, kind in self.event_types.get(event_type, {}).items():
                if kind == "identity":
                    entity = name
        return entity

    @property
    def export_values(self) -> list[Value]:
        """The values of the export that its statements read."""
        return [
            Value(record, key, kind)
            for record in declaration.VALUES
            for key, kind in getattr(self, record).items()
        ]

    def feature_schema(self) -> pa.Schema:
        """Return the features as columns: numbers are floats, categories texts."""
        import pyarrow as pa  # heavy, and only who scores or trains needs it

        kinds = {NUMBER: pa.float64(), CATEGORY: pa.string()}
        return pa.schema([(name, kinds[kind]) for name, kind in self.features.items()])

    def timeframe(self, settings: Settings) -> Timeframe:
        """Return its spans; figures are not final before labels are known."""
        settle_days = TRUTH_DELAY_DAYS
        if not self.scores_events:
            known_days = int(
                self.statement_parameters(settings).get("label_known_days", 0)
            )
            settle_days = max(settings.settle_days, known_days - self.horizon_days)
        return Timeframe(
            lookback_days=self.lookback_days,
            horizon_days=self.horizon_days,
            settle_days=settle_days,
            stride_days=self.stride_days,
        )

    @property
    def own_tables(self) -> list[str]:
        """The tables of the user's own that it reads."""
        tables = {source.table for source in self.sources.values()}
        if self.own_events:
            tables.add(self.own_events.table)
        return sorted(tables)

    @property
    def reads_export(self) -> bool:
        """Whether its features come from the GA4 export."""
        return self.reads_digest or self._names(VIEW)

    @cached_property
    def reads_digest(self) -> bool:
        """Whether its features, labels or days come from the export's digest."""
        return self._names(*DIGEST_NAMES)

    def _names(self, *tables: str) -> bool:
        texts = [self.statement(name) for name in self.kind.statements]
        return any(table in text for table in tables for text in texts)

    @cached_property
    def knows_presence(self) -> bool:
        """Whether its features say who was away."""
        return PRESENCE in self.statement("features")

    def statement(self, name: str) -> str:
        """
        Return ``name.sql``: the use case's own, or the shared one.

        Its includes are looked up in the same order.

        Raises:
            UseCaseError: There is neither, or it is not UTF-8.
        """
        return statements.joined(self.lines(name))

    def lines(self, name: str) -> list[Line]:
        """Return the lines of ``statement``, and where each is written."""
        parts = dict[str, Sequence[Line]]()
        for part in ("features", "labels", "days", "converter_amounts"):
            tables = self.tables(part)
            if tables:
                lines = statements.lines_of(part, folder=self.folder, **parts)
                parts[part] = declaration.reading(lines, tables)
            if part == name:
                break  # what is wrong in the next one is told of that one
        if name == "training_rows" and self.knows_presence:
            parts["sampled_by"] = statements.lines_of("sampled_by_presence")
        if name == "training_rows" and not self.has_statement(name):
            drawn = self._features_of_drawn(parts)
            if drawn:
                parts["features"] = drawn
                name = "training_rows_drawn"
        return statements.lines_of(name, folder=self.folder, **parts)

    def _features_of_drawn(self, parts: Mapping[str, Sequence[Line]]) -> list[Line]:
        """Return features.sql over the days of drawn users; nothing where it can't."""
        if not self.has_statement("keys"):
            return []
        features = parts.get("features")
        if features is None:
            features = statements.lines_of("features", folder=self.folder)
        condition = statements.lines_of(f"{DRAWN}_of_training", folder=self.folder)
        lines = list[Line]()
        for line in features:
            if line.statement != DRAWN:
                lines.append(line)
            elif line.number == 1:
                lines += condition
        return lines if lines != features else []

    def tables(self, name: str) -> dict[str, str]:
        """Return the SQL of the own tables that a statement reads, by name there."""
        tables = {}
        if name == "features":
            for key, source in self.sources.items():
                tables[key] = source.text()
        if self.own_events:
            days = self.horizon_days
            tables["events"] = self.own_events.text(name, horizon_days=days)
            if name == "features" and self.history_days:
                tables["history"] = self.own_events.history()
        return tables

    def has_statement(self, name: str) -> bool:
        """Return whether the use case has a statement ``name`` of its own."""
        return (self.folder / f"{name}.sql").is_file()

    def window(
        self, settings: Settings, as_ofs: Sequence[date], *, today: date | None = None
    ) -> dict[str, object]:
        """
        Return the parameters of the use case's statements.

        Args:
            settings: They may name another user column or label event.
            as_ofs: As-of dates to compute rows for; at least one.
            today: The run's as-of date, which decides whether a label is known; the
                last of ``as_ofs`` where None.
        """
        parameters = self.run_parameters(as_ofs, today=today)
        return self.statement_parameters(settings) | parameters

    def run_parameters(
        self, as_ofs: Sequence[date], *, today: date | None = None
    ) -> dict[str, object]:
        """
        Return what a run sets of ``window``, by name.

        Features and labels have their own bounds, so that each pays for the days that
        it needs.
        """
        first = min(as_ofs)
        last = max(as_ofs)
        lookback = self.lookback_days
        return {
            "use_case": self.name,
            "currency": self.currency,
            "as_ofs": sorted(as_ofs),
            "today": last if today is None else today,
            "known_before": last,
            "earliest": first - timedelta(days=lookback + 2),
            "lookback_days": lookback,
            "history_days": self.history_span,
            "bought_days": self.history_days,
            "horizon_days": self.horizon_days,
            "first_history_day": self.first_day(first),
            "first_suffix": first_suffix(first, days=lookback),
            "first_repeat_suffix": first_suffix(first, days=2 * lookback),
            "last_suffix": first_suffix(last, days=-1),
            "first_label_suffix": first_suffix(first, days=0),
            "last_label_suffix": first_suffix(last, days=-self.horizon_days - 1),
            "first_export_day": first_shard(first, days=lookback),
            "first_repeat_export_day": first_shard(first, days=2 * lookback),
            "last_export_day": last,
            "first_label_export_day": first_shard(first, days=0),
            "last_label_export_day": last + timedelta(days=self.horizon_days),
        }

    def first_day(self, as_of: date) -> date:
        """Return the first day of the export that any statement reads for a date."""
        return first_shard(as_of, days=self.history_span)

    def first_visit_day(self, as_of: date) -> date:
        """
        Return the first day whose visits any statement reads for a date.

        Shared statements read those of two lookbacks, and of the history purchases.
        """
        for name in self.kind.statements:
            for line in self.lines(name):
                code, _, _ = line.text.partition("--")
                is_own = line.file.startswith(f"{self.folder.name}/")
                if is_own and "@first_history_day" in code:
                    return self.first_day(as_of)
        return first_shard(as_of, days=2 * self.lookback_days)

    def statement_parameters(self, settings: Settings) -> dict[str, str | int]:
        """
        Return its parameters; settings name another user column or label event.

        They are about the deployment's property: an instance's file says its own.
        """
        parameters = dict(self.parameters)
        if self.like:
            return parameters
        for name in ("user_column", "label_event"):
            setting = getattr(settings, name)
            if name in parameters and setting:
                parameters[name] = setting
        return parameters

    def user_column(self, settings: Settings) -> str | None:
        """Return the column of GA4 that names users; None in events of one's own."""
        column = self.statement_parameters(settings).get("user_column")
        return None if column is None else str(column)

    def with_label_event(self, settings: Settings) -> UseCase:
        """
        Return the use case in words about the predicted outcome.

        Its own words are of its own label event: where a setting names another one,
        pages would say of those who sign up that they buy.
        """
        event = self.statement_parameters(settings).get("label_event")
        if event == self.parameters.get("label_event"):
            return self
        return replace(self, **words_of(event, self.horizon_days))

    def chosen_budget(self, settings: Settings) -> Budget:
        """Return the budget of the settings, or the use case's own."""
        return Budget.parse(settings.budget if settings.budget else self.budget)

    def chosen_prediction_days(self, settings: Settings) -> str:
        """Return its own days of predictions, or what the settings say."""
        if self.prediction_days:
            return self.prediction_days
        if self.horizon_days > declaration.WEEKLY_ABOVE_DAYS:
            return first_of_week(weekdays_of(settings.prediction_days))
        return settings.prediction_days

    def serving(
        self, settings: Settings, user_ids: Collection[str], *, first_event_day: date
    ) -> dict[str, object]:
        """
        Return the parameters of the use case's ``stream_rows``.

        Args:
            settings: As in ``window``.
            user_ids: Users to read features of; at least one.
            first_event_day: Day of the oldest event to score.
        """
        return {
            **self.statement_parameters(settings),
            "use_case": self.name,
            "user_ids": sorted(user_ids),
            "first_event_day": first_event_day,
        }

    def task(self, settings: Settings) -> Task:
        """
        Return what a training learns of it.

        Args:
            settings: They may name another budget.
        """
        preprocessor = None
        if self.model is not None:
            preprocessor = self.model.preprocessor(self)
        other_outcome = ""
        if "label_event" in self.parameters:
            other_outcome = "choose another PROPENSITY_LABEL_EVENT"
        return Task(
            name=self.name,
            title=self.title,
            outcome=self.outcome,
            entity=self.entity,
            features=self.features,
            candidates=self.candidates,
            baseline=self.baseline,
            threshold=self.threshold,
            budget=self.chosen_budget(settings),
            preprocessor=preprocessor,
            elapsed=self.stream.elapsed,
            amount=self.stream.amount,
            lookback_days=self.lookback_days,
            horizon_days=self.horizon_days,
            span=self.span,
            currency=self.currency,
            other_outcome=other_outcome,
        )

    @property
    def model(self) -> ModuleType | None:
        """The use case's ``model.py``, or None where it has none."""
        if not (self.folder / "model.py").is_file():
            return None
        return importlib.import_module(f"{__package__}.{self.folder.name}.model")


def limits_of(settings: Settings) -> Limits:
    """Return the limits that the settings of a deployment set to trainings."""
    return Limits(
        rows=settings.minimum_training_rows,
        conversions=settings.minimum_conversions,
        seed=settings.seed,
        review_cost=settings.alert_review_cost,
    )


def words_of(event: object, horizon_days: int) -> dict[str, str]:
    """Return the title and the outcome of a use case that predicts an event."""
    return {
        "title": f"Who will have {event} in the next {horizon_days} days?",
        "outcome": f"have the event {event}",
    }
