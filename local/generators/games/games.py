"""
A gaming operator's stream of events from a process that is known.

The process
-----------
Players register over ``days`` days, more in the evening and at weekends; a fixed share
of them churns. What is known of a player at registration differs between those who
churn and those who stay, but overlaps: age, country, campaign, and the socioeconomic
index of the postcode, from 1 to 7. Then they play:

1. in the first 24 hours, a log-normal number of times, in a session right after the
   registration and in some later in the day, at the hours when people play;
2. who churns plays on the second day at most, who stays comes back for up to two weeks,
   with ``maximum_events`` events at most, the registration among them;
3. every play is a purchase, a bet or a win, with probability 0.10, 0.89 and 0.01 for
   those who churn and 0.10, 0.85 and 0.05 for those who stay;
4. amounts are log-normal around a stake of the player's own, a little higher for those
   who stay; some bets are free.

The last registration is a day before ``end``, so that everyone's first 24 hours are
complete; later play ends there.

The truth
---------
Every density above is known, so the probability that a player churns, given all that
the first 24 hours and the registration say, follows from Bayes' rule in closed form
(``Games.true_probabilities``): hours and sessions do not differ between the groups. It
ranks as well as anything can; ``Games.optimum_roc_auc`` says how well that is.

What is sent
------------
``Games.deliveries`` is the stream as a producer sends it: a little out of order, some
of it twice, some of it days late, and some messages that can never be accepted, each
marked with what it is.

Names, streets, towns and postcodes are invented. Everything follows from the seed: the
same arguments give the same bytes. Only raw uniform numbers are drawn, whose sequence
numpy keeps from release to release, and whatever is computed from them is rounded, so
that the last bit of a logarithm makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property

import numpy as np

from local.generators.delivery import Delivery, Event, check_shares, encode
from local.generators.drawing import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Ints,
    floor,
    milliseconds,
    moments,
    normal,
    pick,
    random_of,
    require,
    shuffled,
    uuids,
)
from local.generators.games import world
from local.generators.games.messages import (
    AMOUNT_FIELDS,
    PLAYS,
    REGISTRATION,
    USE_CASE,
    attributes_of,
)
from local.generators.games.registrations import Players, postcode_log_odds, registered
from local.generators.games.sending import sent
from local.generators.games.towns import ABROAD, INDEX, INDEX_LEVELS, gazetteer

DEFAULT_END = datetime(2026, 6, 30, tzinfo=UTC)


@dataclass(frozen=True)
class _Play:
    """One row per play: whose, on which day since registration, when, what, cents."""

    player: Ints
    day: Ints
    time_ms: Ints
    kind: Ints
    cents: Ints


@dataclass(frozen=True, kw_only=True)
class Games:
    """
    A gaming operator's players and what they did.

    Args:
        seed: Everything follows from it.
        users: Players who register.
        churn_rate: Share of them that churns; their number is exact.
        days: From the first possible registration to ``end``.
        maximum_events: Of one player, with the registration.
        end: Aware; no event is at this time or later, and no registration in the 24
            hours before.

    Raises:
        ValueError: An argument leaves nothing to generate.
    """

    seed: int = 42
    users: int = 2_000
    churn_rate: float = 0.7
    days: int = 84
    maximum_events: int = 1_000
    end: datetime = DEFAULT_END

    def __post_init__(self) -> None:
        conditions = {
            "a seed of 0 or more": self.seed >= 0,
            "at least 1 user": self.users >= 1,
            "a churn rate from 0 to 1": 0 <= self.churn_rate <= 1,
            "at least 2 days": self.days >= 2,
            "at least 3 events a player": self.maximum_events >= 3,
            "an end with a time zone": self.end.tzinfo is not None,
        }
        require(conditions, of=self)

    @property
    def first_date(self) -> date:
        """UTC day of the first possible registration."""
        return (self.end - timedelta(days=self.days)).astimezone(UTC).date()

    @property
    def user_ids(self) -> list[str]:
        """Every player's id, by time of registration."""
        return [f"player-{number:06d}" for number in range(1, self.users + 1)]

    @cached_property
    def _players(self) -> Players:
        random, n = random_of(self.seed, "players"), self.users
        churns = np.zeros(n, np.int64)
        churns[shuffled(random, n)[: round(n * self.churn_rate)]] = world.CHURNS
        youngest, oldest = np.array(world.AGES).T[:, pick(random, world.AGE[churns])]
        age = youngest + floor(random.random(n) * (oldest - youngest + 1))
        country = pick(random, world.COUNTRY[churns])
        level = 1 + pick(random, INDEX[churns])
        unit = np.zeros(n, np.int64)
        where = random.random(n)
        for nation in range(ABROAD):
            for of_level in range(1, INDEX_LEVELS + 1):
                units = gazetteer().in_place(nation, of_level)
                is_theirs = (country == nation) & (level == of_level)
                unit[is_theirs] = units[floor(where[is_theirs] * len(units))]
        known = random.random(n)
        at_home = country != ABROAD
        return Players(
            registered_ms=self._registrations(),
            churns=churns,
            country=country,
            channel=pick(random, world.CHANNEL[churns]),
            age=age,
            unit=unit,
            is_unit_known=at_home
            & (known >= world.UNKNOWN_UNIT + world.UNKNOWN_OUTWARD),
            is_outward_known=at_home & (known >= world.UNKNOWN_OUTWARD),
            stake=np.array(world.STAKE)[churns]
            + world.STAKE_SPREAD * normal(random, n),
        )

    def _registrations(self) -> Ints:
        """Draw the moments of registration, in order, by hour and day of the week."""
        random = random_of(self.seed, "registrations")
        hours = np.arange((self.days - 1) * 24)
        start_ms = milliseconds(self.end) - self.days * DAY_MS
        clock = start_ms // HOUR_MS + hours
        # 1970 began on a Thursday.
        weight = world.HOURS[clock % 24] * world.WEEKDAYS[(clock // 24 + 3) % 7]
        return moments(random, self.users, start_ms=start_ms, weight=weight)

    @cached_property
    def _first_day_maximum(self) -> int:
        return max(1, int(world.FIRST_DAY_SHARE * (self.maximum_events - 1)))

    @cached_property
    def _play(self) -> _Play:
        """Everything that is played, in order of player."""
        random, players = random_of(self.seed, "play"), self._players
        registered, n = players.registered_ms, self.users
        first = np.minimum(
            world.log_normal_count(random, world.FIRST_DAY, players.churns),
            self._first_day_maximum,
        )
        later = np.minimum(
            world.log_normal_count(random, world.LATER, players.churns),
            self.maximum_events - 1 - first,
        )
        stays = players.churns == world.STAYS
        again = stays | (random.random(n) < world.SECOND_DAY)
        # Who stays is there after two days; that is what staying means.
        later = np.where(again, np.maximum(later, stays), 0)
        last_day = np.where(
            stays, 2 + floor(random.random(n) * (world.PLAY_DAYS - 2)), 1
        )

        player = np.repeat(np.arange(n), first + later)
        place = (
            np.arange(len(player)) - (np.cumsum(first + later) - first - later)[player]
        )
        is_later = place >= first[player]
        final = last_day[player]
        day = 1 + floor(random.random(len(player)) ** 1.2 * final)
        day = np.where(place == first[player], final, np.minimum(day, final))
        day = np.where(is_later, day, 0)

        starts = self._session_starts(random)
        session = pick(random, np.broadcast_to(world.SESSIONS, (len(player), 3)))
        start = starts[player, day, session]
        room = np.minimum(world.SESSION_MS, DAY_MS - start)
        time = start + floor(random.random(len(player)) ** 1.5 * room)
        time += registered[player] + day * DAY_MS
        kind = pick(random, world.MIX[players.churns[player]])
        stake = players.stake[player] + world.SHIFT[kind]
        amount = np.exp(stake + world.SPREAD[kind] * normal(random, len(player)))
        cents = np.clip(np.rint(100 * amount), 1, world.MAXIMUM_CENTS).astype(np.int64)
        free = (kind == world.BET) & (random.random(len(player)) < world.FREE_BETS)
        cents[free] = 0
        kept = time < milliseconds(self.end)
        return _Play(player[kept], day[kept], time[kept], kind[kept], cents[kept])

    def _session_starts(self, random: np.random.Generator) -> Ints:
        """
        Return players × days × sessions: milliseconds from the start of the day.

        A player's day begins at the hour of registration, and with it the first session
        of the first one; the others are when people play.
        """
        shape = (self.users, world.PLAY_DAYS, len(world.SESSIONS))
        hour = np.searchsorted(
            np.cumsum(world.HOURS) / world.HOURS.sum(),
            random.random(shape),
            side="right",
        )
        clock = np.minimum(hour, 23) * HOUR_MS + floor(random.random(shape) * HOUR_MS)
        starts = (clock - self._players.registered_ms[:, None, None]) % DAY_MS
        seconds = 5 + floor(random.random(self.users) * 240)
        starts[:, 0, 0] = seconds * SECOND_MS
        return starts

    # The truth --------------------------------------------------------------------

    def labels(self) -> dict[str, int]:
        """Return 1 for every user who churns and 0 for the others."""
        return dict(zip(self.user_ids, self._players.churns.tolist(), strict=True))

    def true_probabilities(self) -> dict[str, float]:
        """
        Compute P(churn | the registration and the first 24 hours) of every user.

        Bayes' rule on the process's own densities: of country, channel, age band, the
        postcode (the index of a unit; the outward code alone where the unit is not in
        the table; the city where that is not either), the number of plays, their mix,
        and their amounts given a stake that is normal around its group's mean. What
        rounding to the cent does to amounts is left out.
        """
        players, play = self._players, self._play
        first = play.day == 0
        player, kind = play.player[first], play.kind[first]
        cents = play.cents[first]
        count = np.bincount(player, minlength=self.users)
        band = np.searchsorted([oldest for _, oldest in world.AGES], players.age)
        log_odds = (
            world.churn_log_odds(world.COUNTRY)[players.country]
            + world.churn_log_odds(world.CHANNEL)[players.channel]
            + world.churn_log_odds(world.AGE)[band]
            + postcode_log_odds(players)
            + world.churn_log_odds(world.count_density(self._first_day_maximum))[count]
            + np.bincount(player, world.churn_log_odds(world.MIX)[kind], self.users)
        )
        paid = cents > 0
        player, kind, weight = player[paid], kind[paid], world.SPREAD[kind[paid]] ** -2
        level = np.log(cents[paid] / 100) - world.SHIFT[kind]
        precision = np.bincount(player, weight, self.users)
        has_paid = precision > 0
        precision[~has_paid] = 1
        mean = np.bincount(player, weight * level, self.users) / precision
        variance = world.STAKE_SPREAD**2 + 1 / precision
        distance = (mean - world.STAKE[world.STAYS]) ** 2 - (
            mean - world.STAKE[world.CHURNS]
        ) ** 2
        log_odds += np.where(has_paid, distance / (2 * variance), 0)
        rate = players.churns.mean()
        # A group without users is impossible, and some players leave no doubt.
        with np.errstate(divide="ignore", over="ignore"):
            log_odds += np.log(rate) - np.log1p(-rate)
            probability = 1 / (1 + np.exp(-log_odds))
        return dict(zip(self.user_ids, probability.tolist(), strict=True))

    def optimum_roc_auc(self) -> float:
        """
        Return the ROC AUC of the true probabilities on the labels.

        No model of the first 24 hours ranks better but by chance.

        Raises:
            ValueError: All users are of one group.
        """
        from sklearn.metrics import roc_auc_score

        labels = self._players.churns
        if not 0 < labels.sum() < len(labels):
            raise ValueError("a ROC AUC needs users who churn and users who stay")
        return float(roc_auc_score(labels, list(self.true_probabilities().values())))

    # The events -------------------------------------------------------------------

    @property
    def n_events(self) -> int:
        """Events in all, registrations among them."""
        return self.users + len(self._play.player)

    def events(self) -> Iterator[Event]:
        """
        Yield every event as its JSON object, in order of time.

        Times are text in UTC to the millisecond, amounts Decimal with two decimals, the
        rest text, None, or for the label int. Each event is a new dict.
        """
        play, players, n = self._play, self._players, self.users
        time = np.concatenate([players.registered_ms, play.time_ms])
        # Stable: who registers in the millisecond of another's play comes first.
        order = np.argsort(time, kind="stable")
        player = np.concatenate([np.arange(n), play.player])[order].tolist()
        kind = np.concatenate([np.full(n, len(PLAYS)), play.kind])[order].tolist()
        cents = np.concatenate([np.zeros(n, np.int64), play.cents])[order].tolist()
        moments = np.datetime_as_string(time[order].astype("datetime64[ms]")).tolist()
        ids = uuids(random_of(self.seed, "event ids"), len(order))
        registrations, user_ids = registered(self._players, self.seed), self.user_ids
        types = (*PLAYS, REGISTRATION)
        for i, event_id in enumerate(ids):
            event_type = types[kind[i]]
            event: Event = {
                "event_id": event_id,
                "use_case": USE_CASE,
                "user_id": user_ids[player[i]],
                "event_type": event_type,
                "event_time": moments[i] + "Z",
            }
            if event_type == REGISTRATION:
                event |= registrations[player[i]]
            else:
                event[AMOUNT_FIELDS[event_type]] = Decimal(cents[i]).scaleb(-2)
            yield event

    def payloads(self) -> Iterator[tuple[bytes, dict[str, str]]]:
        """Yield every event as a message's data and attributes, in order of time."""
        for event in self.events():
            yield encode(event), attributes_of(event)

    def deliveries(
        self,
        *,
        duplicates: float = 0.10,
        late: float = 0.05,
        broken: float = 0.01,
        seed: int = 0,
    ) -> list[Delivery]:
        """
        Return what a producer sends, in the order of sending.

        Every event is sent once, some after up to ten minutes without a connection.
        Beside them are exact repetitions, most within minutes and some after days, and
        messages that can never be accepted; those are made from events, under ids of
        their own, so that no event is lost with them.

        Args:
            duplicates: Repetitions, as a share of the events.
            late: Share of the events that are sent one to five days late.
            broken: Messages that cannot be accepted, as a share of the events. All
                ``FAULTS`` take turns, the huge ones for three turns.
            seed: With ``self.seed``, of everything that is drawn here.

        Raises:
            ValueError: A share is negative, or more than all events are to be late.
        """
        shares = {"duplicates": duplicates, "late": late, "broken": broken}
        check_shares(**shares)
        random = random_of(self.seed, f"deliveries {seed}")
        return sent(random, list(self.events()), **shares)
