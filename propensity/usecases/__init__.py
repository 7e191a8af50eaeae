"""
Use cases, each in a folder of its own.

``usecase.toml`` says what a row is and which features it has; ``features.sql``,
``labels.sql`` and ``days.sql`` compute features, labels and days in BigQuery;
``model.py`` is optional. A new use case is a new folder, of the package or of your own:
no other code need name it.

- ``declaration``: what a ``usecase.toml`` may say; tables of the user's own
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, convert, field
from msgspec.structs import replace

from propensity import folders, statements
from propensity.errors import RequestError, SettingsError, UseCaseError
from propensity.folders import names as names
from propensity.settings import Budget
from propensity.statements import Line
from propensity.suggestions import instead
from propensity.timeframe import TRUTH_DELAY_DAYS, Timeframe, first_suffix
from propensity.usecases import declaration
from propensity.usecases.declaration import (
    CATEGORY,
    FOREST,
    MEAN,
    NUMBER,
    SOURCE_TABLE,
    TABLE_FORM,
    Baseline,
    Candidate,
    Events,
    Stream,
    Value,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from propensity.settings import Settings

__all__ = ["CATEGORY", "NUMBER", "Baseline", "Candidate", "Stream", "UseCase", "Value"]

# The input of a model: numbers and categories by feature.
Features = Mapping[str, float | str | None]

# Statements of a use case whose rows are users; use cases of events have none.
STATEMENTS = ("features", "labels", "days")


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
        stride_days: Days between two dates of a training; 0 for the horizon.
        index_days: Days of predictions that lookups are answered from; 0 for the
            lookback.
    """

    name: declaration.Name
    title: declaration.Text
    outcome: declaration.Text
    lookback_days: declaration.Days
    horizon_days: declaration.Days
    threshold: declaration.Probability
    features: Mapping[declaration.Column, declaration.FeatureKind]
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
    span: declaration.Text = ""
    sources: Mapping[declaration.Name, declaration.Source] = {}
    # A file calls both [events]: ``parse`` tells the two apart.
    own_events: Events | None = field(default=None, name=declaration.OWN_EVENTS)
    stride_days: declaration.DaysOrNone = 0
    index_days: declaration.DaysOrNone = 0

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        return folders.place(self.name)

    @property
    def index_span(self) -> int:
        """Days of predictions that lookups are answered from."""
        return self.index_days if self.index_days else self.lookback_days

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
        return not self.scores_events and declaration.VIEW in self.statement("features")

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
                lines = statements.lines(part, folder=self.folder, **parts)
                parts[part] = declaration.reading(lines, tables)
            if part == name:
                break  # what is wrong in the next one is told of that one
        return statements.lines(name, folder=self.folder, **parts)

    def tables(self, name: str) -> dict[str, str]:
        """Return the SQL of the own tables that a statement reads, by name there."""
        tables = {}
        if name == "features":
            for key, source in self.sources.items():
                tables[key] = source.text()
        if self.own_events:
            days = self.horizon_days
            tables["events"] = self.own_events.text(name, horizon_days=days)
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

        Returns:
            Values by name. Features and labels have their own suffix bounds, so that
            each pays for the days that it needs.
        """
        first = min(as_ofs)
        last = max(as_ofs)
        lookback = self.lookback_days
        return {
            **self.statement_parameters(settings),
            "use_case": self.name,
            "as_ofs": sorted(as_ofs),
            "today": last if today is None else today,
            "known_before": last,
            "earliest": first - timedelta(days=lookback + 2),
            "lookback_days": lookback,
            "horizon_days": self.horizon_days,
            "first_suffix": first_suffix(first, days=lookback),
            "first_repeat_suffix": first_suffix(first, days=2 * lookback),
            "last_suffix": first_suffix(last, days=-1),
            "first_label_suffix": first_suffix(first, days=0),
            "last_label_suffix": first_suffix(last, days=-self.horizon_days - 1),
        }

    def statement_parameters(self, settings: Settings) -> dict[str, str | int]:
        """Return its parameters; settings name another user column or label event."""
        chosen = dict(self.parameters)
        for name in ("user_column", "label_event"):
            setting = getattr(settings, name)
            if name in chosen and setting:
                chosen[name] = setting
        return chosen

    def with_label_event(self, settings: Settings) -> UseCase:
        """
        Return the use case in words about the predicted outcome.

        Its own words are of its own label event: where a setting names another one,
        pages would say of those who sign up that they buy.
        """
        event = self.statement_parameters(settings).get("label_event")
        if event == self.parameters.get("label_event"):
            return self
        return replace(
            self,
            title=f"Who will have {event} in the next {self.horizon_days} days?",
            outcome=f"have the event {event}",
        )

    def chosen_budget(self, settings: Settings) -> Budget:
        """Return the budget of the settings, or the use case's own."""
        return Budget.parse(settings.budget if settings.budget else self.budget)

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

    @property
    def model(self) -> ModuleType | None:
        """The use case's ``model.py``, or None where it has none."""
        if not (self.folder / "model.py").is_file():
            return None
        return importlib.import_module(f"{__name__}.{self.name}.model")


def load_all(
    only: Sequence[str] | None = None,
) -> tuple[dict[str, UseCase], list[UseCaseError]]:
    """
    Return use cases of this deploy by name, and the errors of those that are wrong.

    Args:
        only: The names of those that are wanted; None for all.

    Raises:
        RequestError: There is none of a name in ``only``.
    """
    use_cases = {}
    wrong = []
    for name in names() if only is None else only:
        try:
            use_cases[name] = load(name)
        except UseCaseError as error:
            wrong.append(error)
    return use_cases, wrong


@cache
def load(name: str) -> UseCase:
    """
    Return the use case ``name``.

    Raises:
        RequestError: There is none of that name.
        UseCaseError: Its folder is wrong; the message says where.
    """
    if name not in names():
        raise RequestError(
            f"there is no use case {name[:64]!r}",
            hint=instead(name[:64], names(), kind="Use cases"),
            field="use_case",
        )
    # A model that is loaded may name classes of a model.py.
    if str(folders.own()) not in __path__:
        __path__.append(str(folders.own()))
    use_case = parse(name, statements.read(folders.place(name), declaration.FILE))
    for stem in () if use_case.scores_events else STATEMENTS:
        if not use_case.has_statement(stem):
            raise UseCaseError(
                f"{name}/{stem}.sql is missing; every use case of users needs one"
            )
    return use_case


def require_default(settings: Settings) -> None:
    """Raise SettingsError if PROPENSITY_USE_CASE names no use case of this deploy."""
    if settings.use_case not in names():
        raise SettingsError(
            f"PROPENSITY_USE_CASE is {settings.use_case!r}, which is not a use case",
            hint=instead(settings.use_case, names(), kind="Use cases"),
            field="PROPENSITY_USE_CASE",
        )


def parse(name: str, text: str) -> UseCase:
    """
    Return the use case that the text of a ``usecase.toml`` describes.

    Raises:
        UseCaseError: The text is wrong; the message says where.
    """
    entries: dict[str, object] = {}
    try:
        entries = tomllib.loads(text)
        if "name" in entries:
            raise ValueError("name is unknown: remove it, the folder has the name")
        entries["name"] = name
        declaration.tell_events_apart(entries)
        use_case = convert(entries, UseCase)
        problems = list(_contradictions(use_case))
    except ValueError as error:
        from propensity.entries import explained  # only a wrong file needs it

        problems = [explained(error, entries, UseCase)]
    except RecursionError:
        problems = ["its tables are nested too deeply"]
    if problems:
        file = f"{name}/{declaration.FILE}"
        raise UseCaseError("\n".join(f"{file}: {problem}" for problem in problems))
    return use_case


def _contradictions(use_case: UseCase) -> Iterator[str]:
    """Yield mistakes among entries that are right by themselves."""
    features = use_case.features
    stream = use_case.stream
    try:
        Budget.parse(use_case.budget)
    except ValueError as error:
        yield f"budget is {use_case.budget!r}: {error}"
    for name in features:
        if name.lower() in declaration.RESERVED:
            yield f"features.{name}: training has a column of this name; rename it"
    yield from _one_in_sql("features", features)
    yield from _one_in_sql("parameters", use_case.parameters)
    yield from _one_in_sql("sources", use_case.sources)
    for name in sorted(set(use_case.parameters) & declaration.RUN_PARAMETERS):
        yield f"parameters.{name}: every run sets @{name}; rename it"
    baseline = use_case.baseline.feature
    # That of users may be a column of features.sql that no model reads.
    is_feature = baseline in features or bool(stream.events)
    numbers = {"baseline.feature": baseline} if is_feature else {}
    for name in ("amount", "elapsed"):
        feature = getattr(stream, name)
        if feature:
            numbers[f"stream.{name}"] = feature
    for at, name in numbers.items():
        if features.get(name) != NUMBER:
            yield f"{at}: {name} is not a numeric feature"
    earlier: list[str] = []
    for candidate in use_case.candidates:
        name = candidate.name
        algorithm = candidate.algorithm
        if name in earlier:
            yield f"candidates: two are named {name}; rename one"
        if algorithm == FOREST and not stream.scored:
            yield f"candidates: {name} is a {FOREST}, which scores events, not users"
        if algorithm == MEAN and not _is_mean_of(candidate.parameters, earlier):
            listed = ", ".join(earlier) if earlier else "there is none"
            yield (
                f"candidates: {name} needs one parameter, of: a list of candidates "
                f"before it, each once ({listed})"
            )
        earlier.append(name)
    yield from declaration.wrong_stride(use_case.stride_days, use_case.horizon_days)
    yield from _wrong_tables(use_case)


def _one_in_sql(at: str, names: Iterable[str]) -> Iterator[str]:
    """Yield names that differ in capitals alone, which BigQuery does not tell apart."""
    first = dict[str, str]()
    for name in names:
        other = first.setdefault(name.lower(), name)
        if other != name:
            yield f"{at}.{name}: BigQuery takes it for {other}; rename one of them"


def _is_mean_of(parameters: Mapping[str, object], earlier: Sequence[str]) -> bool:
    members = parameters.get("of")
    if parameters.keys() != {"of"} or not isinstance(members, list):
        return False
    return 0 < sum(name in members for name in earlier) == len(members)


def _wrong_tables(use_case: UseCase) -> Iterator[str]:
    own_events = use_case.own_events
    if own_events:
        if not SOURCE_TABLE.fullmatch(own_events.table):
            yield f"events.table is {own_events.table!r}; use {TABLE_FORM}"
        if use_case.stream.events or "events" in use_case.sources:
            yield "events: a use case has one source of events, a table or the stream"
    for name, source in use_case.sources.items():
        if name == "ga_events" or name.startswith(("ma_", "stream_")):
            yield f"sources.{name}: a deployment has a table of this name; rename it"
        if not SOURCE_TABLE.fullmatch(source.table):
            yield f"sources.{name}.table is {source.table!r}; use {TABLE_FORM}"
        columns = [source.user_id, source.valid_from] + list(source.columns)
        yield from _one_in_sql(f"sources.{name}.columns", columns)
        for column in sorted(set(source.plans) - set(source.columns)):
            yield f"sources.{name}.plans: {column} is not among its columns"


def export_values() -> list[Value]:
    """
    Return the values of the export that the use cases of this deploy name, each once.

    Raises:
        UseCaseError: A use case is wrong, or two give a column different types.
    """
    return declaration.merged(
        value for name in names() for value in load(name).export_values
    )
