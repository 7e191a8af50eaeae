"""
Rows of every table by partition, by the size of a deployment.

A statement reads the partitions that its constants leave: ``days`` says how many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from propensity import tables, usecases
from propensity.settings import Settings

# A month is like any other, and so is its first day.
TODAY = date(2026, 3, 1)

EXPORT = "events_*"

KEPT = "kept"

# What a run of 03 looks back for, of steps.CATCH_UP; held by a test.
CATCH_UP = timedelta(weeks=13)

# What it reads of evaluations before the oldest of these; held by a test.
MEMORY = timedelta(days=28)
# Weeks that a report shows before its own, of report.LOOK_BACK; the same.
LOOK_BACK = 12

# Days that one statement of the compaction takes on; held by a test.
AT_ONCE = 7

MONTH = 31

# Days of the export that a weekly run of 01 finds changed: those of the week, three
# that Analytics has written anew, and today's, which is streaming.
CHANGED_DAYS = 7 + 3 + 1

# Events of a user on a day with any; taken, not measured.
EVENTS_A_USER_DAY = 10


@dataclass(frozen=True, kw_only=True)
class Size:
    """
    How large a deployment is.

    Args:
        users: With an event in the lookback of the export, or players of the stream.
        events_a_day: Of the GA4 export; 0 for none.
        stream_events_a_day: Of the stream; 0 for none.
        days_kept: Age of the history, in all tables without an expiry.
        late_days: How long after it happened an event of the stream may come.
        use_cases: Those on the GA4 export.
        returning: Share of a lookback's users who are there in the next one, too. The
            rest stay in ``ma_predictions_table``, and new ones come.
        scores_users: Whether the stream's events are scored by features of their
            users, and not by their own fields.
        lookups, scorings: Requests a month, of ``get_proba`` and of ``score``.
        lookups_a_query: Users that a lookup asks for.
        has_index: Whether lookups are answered from the prediction index, and not by
            queries.
        sums_all_days: Whether a run of 01 sums up all days of the export that it needs,
            as the first of a month does; otherwise those that have changed in a week.
    """

    users: int
    events_a_day: int
    stream_events_a_day: int = 0
    days_kept: int = 365
    late_days: int = 30
    use_cases: int = 1
    returning: float = 0.0
    scores_users: bool = True
    lookups: int = 0
    scorings: int = 0
    lookups_a_query: int = 1
    has_index: bool = True
    sums_all_days: bool = True

    @property
    def on_export(self) -> int:
        """Use cases on the GA4 export, where there is one."""
        return self.use_cases if self.events_a_day else 0

    @property
    def trained(self) -> int:
        """Use cases with a model: those, and the one of the stream."""
        return self.on_export + bool(self.stream_events_a_day)

    @property
    def publishing(self) -> int:
        """Use cases whose users get probabilities: on the export, and of players."""
        has_players = bool(self.stream_events_a_day) and self.scores_users
        return self.on_export + has_players


def days(size: Size, settings: Settings) -> dict[str, int]:
    """
    Return the days of partitions that constants leave, by their names.

    As the code sets the constants of a run on ``TODAY``. ``kept`` is all of them.
    """

    def window(name: str, as_ofs: int) -> dict[str, date]:
        use_case = usecases.load(name)
        chosen: tuple[date, ...] = (TODAY,)
        if as_ofs > 1:
            chosen = use_case.timeframe(settings).snapshots(
                today=TODAY, earliest=date(1971, 1, 1), at_most=as_ofs
            )
        made = use_case.window(settings, chosen, today=TODAY)
        shards = {name: made[name] for name in made if name.endswith("_suffix")}
        return {
            **{name: date.fromisoformat(text) for name, text in shards.items()},
            "earliest": made["earliest"],
        }

    def shards(as_ofs: int, kind: str = "") -> int:
        made = window("ga4_purchase", as_ofs)
        return (made[f"last_{kind}suffix"] - made[f"first_{kind}suffix"]).days + 1

    def since(first: date) -> int:
        return (TODAY - first).days + 1

    churn = usecases.load("first_day_churn")
    hours = settings.first_day_hours
    first_day = timedelta(days=hours // 24)
    week = TODAY - churn.timeframe(settings).horizon
    evaluated = churn.window(settings, (week,), today=TODAY)["earliest"]
    cards = usecases.load("card_fraud")
    day = TODAY - cards.timeframe(settings).horizon
    late = TODAY - timedelta(days=size.late_days)
    months = 12 * (TODAY.year - late.year) + TODAY.month - late.month + 1
    horizon = usecases.load("ga4_purchase").timeframe(settings).horizon
    lookback = max(usecases.load(name).lookback_days for name in usecases.names())
    return {
        KEPT: size.days_kept,
        "one": 1,
        "features": shards(1),
        "summed": shards(1) if size.sums_all_days else CHANGED_DAYS,
        "week_labels": shards(1, "label_"),
        "training_features": shards(settings.training_snapshots),
        "training_labels": shards(settings.training_snapshots, "label_"),
        "lookback": lookback,
        "in_force": lookback + 1,
        "catch_up": CATCH_UP.days + 1,
        "published": CATCH_UP.days + lookback + 1,
        # Weeks of that time, each a partition.
        "evaluated": CATCH_UP.days // 7 + 1,
        "members_evaluated": 1,
        # What a report has beside its week's row, and the weeks that it shows before.
        "reported": (CATCH_UP + horizon).days,
        "compared": (CATCH_UP + LOOK_BACK * horizon).days + 1,
        "remembered": (CATCH_UP + MEMORY).days + horizon.days + 1,
        # The watermark is of the run before, a day ago.
        "since_watermark": since(TODAY - timedelta(days=1)),
        # A step of the compaction, after a while in which it did not run.
        "counted": AT_ONCE,
        # Of today's events and of those that are late. One of another month costs that
        # month's tiles, those of six months in a step at most.
        "touched_months": MONTH * months,
        # The day before, for a wrong clock; so many days, and how late they can come.
        "exported": 1 + min(AT_ONCE, size.late_days) + size.late_days,
        "buckets": tables.USER_BUCKETS,
        "first_day": since(TODAY - timedelta(days=(hours + 47) // 24)),
        "first_day_late": since(late - timedelta(days=(hours + 47) // 24)),
        "registrations_found": since(
            churn.timeframe(settings).first_read(
                today=TODAY, at_most=settings.training_snapshots
            )
        ),
        "players_trained": since(
            window("first_day_churn", settings.training_snapshots)["earliest"]
            - first_day
        ),
        "players_scored": since(window("first_day_churn", 1)["earliest"] - first_day),
        "players_evaluated": since(evaluated - first_day),
        "cards_trained": cards.lookback_days + 2,
        "cards_evaluated": since(day - CATCH_UP - timedelta(days=1)),
    }


def players(size: Size) -> int:
    """Return the users who have an event of the stream on a day, at most."""
    return min(size.users, size.stream_events_a_day)


def _predicted(size: Size, kept: float) -> tuple[float, ...]:
    """
    Return the rows of ``ma_predictions_table`` in each of its partitions.

    Of the newest week those who were scored in it; of each week before, those who have
    not been since. Nothing removes them but the table's expiry.
    """
    lookback = usecases.load("ga4_purchase").lookback_days
    scored = float(size.users * size.use_cases)
    gone = scored * (1 - size.returning) * 7 / lookback
    weeks = max(0, math.ceil((kept - lookback) / 7))
    return (scored, *[gone] * (weeks if gone else 0))


def _known(size: Size, _: float) -> tuple[float, ...]:
    """Return the rows of ``stream_users``, of all who ever played, in each bucket."""
    lookback = usecases.load("ga4_purchase").lookback_days
    left = (1 - size.returning) * max(0, size.days_kept - lookback) / lookback
    known = size.users * (1 + left) * bool(size.scores_users)
    return (known / tables.USER_BUCKETS,) * tables.USER_BUCKETS


def _daily(rows: Callable[[Size], float]) -> Callable[[Size, float], tuple[float, ...]]:
    return lambda size, days: (rows(size),) * math.ceil(days)


def _every(
    step: int, rows: Callable[[Size], float]
) -> Callable[[Size, float], tuple[float, ...]]:
    return lambda size, days: (rows(size),) * max(1, math.ceil(days / step))


# By table: the rows of each partition in so many days.
PARTITIONS: Mapping[str, Callable[[Size, float], tuple[float, ...]]] = {
    EXPORT: _daily(lambda size: size.events_a_day),
    "export_user_days": _daily(
        lambda size: min(size.users, size.events_a_day / EVENTS_A_USER_DAY)
    ),
    "ma_predictions_table": _predicted,
    "ma_predictions_history": _every(7, lambda size: size.users * size.use_cases),
    "ma_predictions_staging": _daily(lambda size: size.users * size.use_cases),
    "ma_publications": _every(7, lambda size: size.use_cases),
    # A version a month; a row a week, or a day and version of a stream, twice.
    "ma_model_training_metadata": _every(30, lambda size: size.use_cases),
    "ma_preprocessors": lambda size, _: (float(size.use_cases),),
    "ma_model_evaluation": _daily(lambda size: 2 * size.use_cases),
    "ma_model_evaluation_staging": _daily(lambda size: 2 * size.use_cases),
    # Forty features and what else is watched of a week.
    "ma_drift": _every(7, lambda size: 45.0 * size.use_cases),
    # A tenth of the users is an audience, each week.
    "ma_audience_members": _every(7, lambda size: size.users * size.use_cases / 10),
    "ma_audience_lift": _every(7, lambda size: size.use_cases),
    "ma_audience_lift_staging": _daily(lambda size: size.use_cases),
    "stream_events": _daily(lambda size: size.stream_events_a_day),
    "stream_features_daily": _every(
        MONTH, lambda size: float(MONTH) * players(size) if size.scores_users else 0
    ),
    "stream_users": _known,
    "inference_log": _daily(lambda size: size.stream_events_a_day + size.scorings / 30),
    # What came of each event, at most.
    "truth_events": _daily(
        lambda size: 0 if size.scores_users else size.stream_events_a_day
    ),
    # Postcodes of the United Kingdom, former ones among them, by
    # https://geoportal.statistics.gov.uk (ONS Postcode Directory).
    "postcode_index": lambda _, __: (2_700_000.0,),
}
