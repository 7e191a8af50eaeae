"""
The generated card transactions, specified: their facts, their truth, what is sent.

A large draw serves what is said of moments and odds, a small one the rest. What is
statistical fixes the seed and says why the tolerance is what it is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from pyarrow import parquet as pq
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import roc_auc_score

from local.generators.cards.__main__ import main
from local.generators.cards.cards import AMOUNT, KINDS, UNUSUAL, UNUSUAL_SPREAD, Cards
from local.generators.cards.files import CardsError, read_cards
from local.generators.cards.transactions import (
    COLUMNS,
    COMPONENTS,
    FAULTS,
    FEATURES,
    TRUTH_FAULTS,
    Transactions,
)
from local.generators.delivery import Delivery
from propensity import usecases
from propensity.events.catalogue import Catalogue
from propensity.events.messages import Message
from propensity.events.reading import accept
from propensity.events.rows import Rules

DAY = timedelta(days=1)
GOLDEN = "9b0afc26ef3abba48328c408bcd2b0e0e894ac4393bf504c4f81e55f2686a7f2"


def small(**parameters: Any) -> Cards:
    return Cards(**{"transactions": 1_000, "fraud_rate": 0.03} | parameters)


def digest(transactions: Transactions) -> str:
    """Of all that is sent, and so of all that is drawn."""
    found = hashlib.sha256()
    for sent in (transactions.deliveries(), transactions.truths().deliveries()):
        for delivery in sent:
            found.update(delivery.data)
            found.update(delivery.sent_time.isoformat().encode())
    return found.hexdigest()


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def cards() -> Transactions:
    return small().drawn


@pytest.fixture(scope="module")
def sent(cards) -> list[Delivery]:
    return cards.deliveries()


@pytest.fixture(scope="module")
def truths(cards):
    return cards.truths()


@pytest.fixture(scope="module")
def told(truths) -> list[Delivery]:
    return truths.deliveries()


@pytest.fixture(scope="module")
def process() -> Cards:
    """Enough transactions to measure with, half of them fraud."""
    return Cards(transactions=60_000, fraud_rate=0.5, days=10)


@pytest.fixture(scope="module")
def many(process) -> Transactions:
    return process.drawn


class TestSeed:
    def test_the_same_arguments_give_the_same_bytes(self, cards):
        """In one process as in any other: the digest is of an earlier one."""
        assert digest(cards) == digest(small().drawn) == GOLDEN

    def test_another_seed_gives_other_transactions(self, cards):
        """With none in common."""
        other = small(seed=1).drawn

        assert not set(other.ids) & set(cards.ids)
        assert not (other.components == cards.components).any()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"seed": -1},
            {"transactions": 0},
            {"fraud_rate": 1.5},
            {"fraud_rate": -0.1},
            {"days": 0},
            {"drift": 2.0},
            {"end": datetime(2026, 1, 1)},  # noqa: DTZ001 - what is refused
        ],
    )
    def test_what_leaves_nothing_to_draw_is_refused(self, wrong):
        """With words for what is wanted."""
        with pytest.raises(ValueError, match="wanted"):
            small(**wrong)


class TestTransactions:
    @pytest.mark.parametrize(
        ("rate", "count", "frauds"),
        [(0.01, 6_000, 60), (0.0017, 6_000, 10), (0.0, 500, 0), (1.0, 50, 50)],
    )
    def test_the_base_rate_is_exact(self, rate, count, frauds):
        """To the next whole transaction, that of the public data set included."""
        assert small(transactions=count, fraud_rate=rate).drawn.is_fraud.sum() == frauds

    def test_are_in_order_of_time_and_before_the_end(self, cards):
        """Within the days asked for, in whichever zone the end is given."""
        zone = timezone(timedelta(hours=-5))
        ends = datetime(2026, 3, 1, tzinfo=zone)
        drawn = small(end=ends, days=3).drawn
        first, last = (instant_of(drawn, row) for row in (0, -1))

        assert (np.diff(drawn.time_ms) >= 0).all()
        assert ends - 3 * DAY <= first < ends - 2 * DAY
        assert ends - DAY < last < ends

    def test_have_ids_of_their_own(self, cards):
        """Each another one."""
        assert len(set(cards.ids)) == len(cards) == 1_000

    def test_have_money_to_the_cent(self, cards):
        """At least one."""
        cents = cards.amounts * 100

        assert np.allclose(cents, np.rint(cents), rtol=0, atol=1e-6)
        assert cards.amounts.min() >= 0.01

    def test_have_components_of_six_decimals(self, cards):
        """So that the last bit of a logarithm makes no difference."""
        assert (np.round(cards.components, 6) == cards.components).all()

    def test_are_events_of_all_fields(self, cards):
        """Bare: no type, no use case and no user is among them."""
        events = list(cards.events())
        first = events[0]

        assert len(events) == len(cards)
        assert list(first) == ["transaction_id", *FEATURES, "event_time", "ingest_ts"]
        assert instant(first["event_time"]) == instant_of(cards, 0)
        assert instant(first["ingest_ts"]) > instant(first["event_time"])
        assert [one["Amount"] for one in events] == cards.amounts.tolist()

    def test_can_be_cut_stretched_and_named(self, cards):
        """Each leaves the rest as it was."""
        start, end = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 3, tzinfo=UTC)
        made = cards.first(300).stretched(start, end).named("t-")

        assert len(made) == 300
        assert made.ids[-1] == "t-0000300"
        assert instant_of(made, 0) == start
        assert end - timedelta(seconds=1) < instant_of(made, -1) < end
        assert (made.components == cards.components[:300]).all()
        assert list(made.labels().values()) == cards.is_fraud[:300].astype(int).tolist()

    def test_cannot_be_stretched_backwards(self, cards):
        """Nor over nothing."""
        with pytest.raises(ValueError, match="is not before"):
            cards.stretched(datetime(2026, 2, 1, tzinfo=UTC), cards_end())


def instant_of(cards: Transactions, row: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        milliseconds=int(cards.time_ms[row])
    )


def cards_end() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


class TestProcess:
    def test_components_are_correlated_as_declared(self, process):
        """
        At either end of the drift.

        Of 6,000 rows a correlation has a standard error of 0.013 at most; of 378 the
        largest error is below five of them.
        """
        for drift in (0.0, 1.0):
            # The last tenth of a drift of ten days, without frauds.
            rows = Cards(
                transactions=60_000 if drift else 6_000,
                fraud_rate=0.0,
                days=10,
                drift=drift,
            )
            late = rows.drawn.time_ms >= np.quantile(rows.drawn.time_ms, 1 - 1e-1)
            kept = rows.drawn.components[late if drift else slice(None)]
            usual = kept[np.abs(kept / kept.std(axis=0)).max(axis=1) < 6]
            covariance = process.covariance(0.95 * drift)
            scale = np.sqrt(np.diag(covariance))
            declared = covariance / scale / scale[:, None]

            assert np.abs(np.corrcoef(usual.T) - declared).max() < 0.065
            assert np.abs(declared - np.eye(28)).max() > 0.4

    def test_means_and_spreads_drift(self, process):
        """And without drift they do not."""
        since = np.array([0.0, 0.5, 1.0])
        still = replace(process, drift=0.0).drawn
        halves = np.array_split(still.components[~still.is_fraud], 2)

        assert np.abs(process.means(since)[0]).max() == 0
        assert np.abs(process.means(since)[1]).max() > 0.4
        assert np.abs(process.scales(since)[2] / process.scales(since)[0] - 1).max() > (
            0.1
        )
        assert np.abs(process.covariance(0.0) - process.covariance(1.0)).max() > 0.3
        # Of 15,000 rows each, in standard errors of a difference.
        error = halves[0].std(axis=0) * math.sqrt(2 / len(halves[0]))
        assert (
            np.abs(halves[0].mean(axis=0) - halves[1].mean(axis=0)) < 5 * error
        ).all()

    def test_the_kind_of_fraud_moves(self, process, many):
        """
        From card testing, seen in V14, to made-up identities, seen in V8.

        Their shares go from 0.55 to 0.25 and from 0.05 to 0.40, and the shift of a
        component's mean with them, by that share of -3.0 and of 2.8. Of 3,000 frauds
        it has a standard error of 0.04 at most.
        """
        shares = process.kind_shares(np.array([0.0, 1.0]))
        frauds = np.flatnonzero(many.is_fraud)
        first, last = frauds[:3_000], frauds[-3_000:]
        v8, v14 = COMPONENTS.index("V8"), COMPONENTS.index("V14")
        spread = process.scales(np.zeros(1))[0]

        def shift(rows: np.ndarray, component: int) -> float:
            genuine = ~many.is_fraud & (
                np.abs(many.time_ms - np.median(many.time_ms[rows])) < 12 * 3_600_000
            )
            away = many.components[rows, component].mean()
            return (away - many.components[genuine, component].mean()) / spread[
                component
            ]

        assert np.allclose(shares.sum(axis=1), 1)
        assert np.allclose(shares.T, [kind.share for kind in KINDS])
        assert shift(first, v14) < -1.4
        assert shift(last, v14) > -1.0
        assert shift(first, v8) < 0.4
        assert shift(last, v8) > 0.9


class TestTruth:
    def test_the_true_probabilities_are_true(self, many):
        """
        In every tenth of them as many are fraud as they say, to 4 standard errors.

        And all over the days.
        """
        p, y = many.true_probabilities, many.is_fraud
        by_odds = np.array_split(np.argsort(p, kind="stable"), 10)

        for rows in (*by_odds, *np.array_split(np.arange(len(p)), 10)):
            error = math.sqrt((p[rows] * (1 - p[rows])).sum()) + 1
            assert abs(p[rows].sum() - y[rows].sum()) < 4 * error

    def test_are_bayes_rule_on_the_densities(self, process, many):
        """As scipy has them, for some transactions one at a time."""
        for row in (17, 20_000, 59_999):
            since = process._progress(many.time_ms[[row]])
            mean, scale = process.means(since)[0], process.scales(since)[0]
            covariance = process.covariance(float(since[0]))
            shares = process.kind_shares(since)[0].tolist()
            usual, unusual = AMOUNT
            # Of fraud or not: share, shift, spread, amount.
            groups = [
                (False, 1 - UNUSUAL, np.zeros(28), 1.0, usual),
                (False, UNUSUAL, np.zeros(28), UNUSUAL_SPREAD, unusual),
            ] + [
                (True, share, kind.shifts, kind.spread, kind.amount)
                for share, kind in zip(shares, KINDS, strict=True)
            ]
            densities = {False: 0.0, True: 0.0}
            for is_fraud, share, shift, spread, amount in groups:
                of_components = multivariate_normal(
                    mean + scale * shift, spread**2 * covariance
                ).pdf(many.components[row])
                of_amount = norm(*amount).pdf(math.log(many.amounts[row]))
                densities[is_fraud] += share * of_components * of_amount

            expected = densities[True] / sum(densities.values())
            assert many.true_probabilities[row] == pytest.approx(expected, rel=1e-6)

    def test_the_optimum_is_what_the_probabilities_reach(self, many):
        """
        High, and not 1: some frauds look as their victims do.

        From the probabilities alone follows the same, since they are those of the
        labels: the expected ROC AUC weighs each row by them.
        """
        p = many.true_probabilities
        order = np.argsort(p, kind="stable")
        below = np.cumsum((1 - p)[order]) - (1 - p)[order] / 2
        expected = (p[order] * below).sum() / (p.sum() * (1 - p).sum())

        assert many.optimum_roc_auc() == roc_auc_score(many.is_fraud, p)
        assert many.optimum_roc_auc() == pytest.approx(expected, abs=0.003)
        assert 0.96 < many.optimum_roc_auc() < 0.99

    def test_nothing_ranks_better(self, many):
        """Neither the amount nor any component, nor all of their squares."""
        standard = (many.components - many.components.mean(0)) / many.components.std(0)
        tried = [*standard.T, (standard**2).sum(axis=1), many.amounts]

        best = max(roc_auc_score(many.is_fraud, score) for score in tried)
        assert best < many.optimum_roc_auc() - 0.03

    def test_a_slice_of_one_class_has_no_optimum(self, cards):
        """Nor has one of transactions whose probabilities nobody knows."""
        real = replace(cards, true_probabilities=None)

        assert cards.optimum_roc_auc(cards.is_fraud) is None
        assert real.optimum_roc_auc() is None
        assert cards.optimum_roc_auc() > 0.9


class TestDeliveries:
    def test_every_transaction_is_sent(self, cards, sent):
        """Once, but for the repetitions."""
        once = [one for one in sent if one.event and not one.is_duplicate]

        assert sorted(one.event["transaction_id"] for one in once) == sorted(cards.ids)
        assert Counter(one.is_duplicate for one in sent)[True] == 50
        assert sum(one.is_late for one in once) == 20

    def test_are_in_the_order_of_sending(self, cards, sent):
        """Which is not quite that of the transactions."""
        moments = [one.sent_time for one in sent]
        happened = [instant(one.event["event_time"]) for one in sent if one.event]

        assert moments == sorted(moments)
        assert happened != sorted(happened)
        assert all(
            one.sent_time >= instant(one.event["event_time"])
            for one in sent
            if one.event
        )

    def test_a_repetition_is_of_the_same_bytes(self, sent):
        """And comes later."""
        first = {
            one.event["transaction_id"]: one
            for one in sent
            if one.event and not one.is_duplicate
        }
        for again in (one for one in sent if one.is_duplicate):
            assert again.data == first[again.event["transaction_id"]].data
            assert again.sent_time > first[again.event["transaction_id"]].sent_time

    def test_payloads_are_bare(self, sent):
        """All that is said is in the payload, and that names no type."""
        for one in sent:
            assert one.attributes == {}
            if one.event:
                assert set(json.loads(one.data)) - {"ingest_ts"} == {
                    *("transaction_id", "event_time"),
                    *FEATURES,
                }

    def test_some_write_numbers_as_text(self, sent):
        """All numbers of a payload then, and each reads as the same number."""
        payloads = [(json.loads(one.data), one.event) for one in sent if one.event]
        texts = [
            (found, event) for found, event in payloads if found["V1"] != event["V1"]
        ]

        assert 20 <= len(texts) <= 100
        for found, event in texts:
            assert all(isinstance(found[name], str) for name in FEATURES)
            assert {name: float(found[name]) for name in FEATURES} == {
                name: event[name] for name in FEATURES
            }

    def test_ingestion_is_written_in_every_way(self, sent):
        """ISO 8601, seconds, milliseconds, as number and text; or not at all."""
        found = [json.loads(one.data).get("ingest_ts") for one in sent if one.event]
        kinds = Counter(
            "iso" if isinstance(one, str) and "T" in one else type(one).__name__
            for one in found
        )

        assert set(kinds) == {"iso", "int", "float", "str", "NoneType"}
        assert kinds["iso"] > 700

    def test_the_broken_take_turns(self, sent):
        """Under ids of no transaction, so that none is lost with them."""
        broken = [one for one in sent if one.event is None]

        assert len(broken) == 10
        assert {one.fault for one in broken} == set(list(FAULTS)[:10])
        assert all(one.reason == FAULTS[one.fault].reason for one in broken)

    def test_every_fault_is_refused_for_its_reason(self, cards):
        """And nothing else is, by the stream itself; truths among them."""
        sent = [
            *cards.deliveries(broken=0.03),
            *cards.truths().deliveries(broken=0.02),
        ]
        messages = [
            Message(data=one.data, message_id=str(place))
            for place, one in enumerate(sent)
        ]
        accepted = accept(
            messages,
            Catalogue([usecases.load("card_fraud")]),
            None,
            received_at=datetime(2026, 8, 1, tzinfo=UTC),
            rules=Rules(
                maximum_bytes=2**18,
                clock_skew=timedelta(0),
                lateness=timedelta(days=36_500),
                keeps_personal=False,
            ),
        )
        refused = {place: one.reason for place, one in accepted.refused.items()}

        assert refused == {
            place: one.reason for place, one in enumerate(sent) if one.event is None
        }
        assert {one.fault for one in sent if one.event is None} == {
            *FAULTS,
            *TRUTH_FAULTS,
        }

    @pytest.mark.parametrize(
        "wrong", [{"late": 1.1}, {"duplicates": -0.1}, {"broken": -1.0}]
    )
    def test_shares_that_cannot_be_are_refused(self, cards, truths, wrong):
        """Of transactions and of truths."""
        for one in (cards, truths):
            with pytest.raises(ValueError, match="is a share"):
                one.deliveries(**wrong)


class TestTruths:
    def test_of_most_transactions_one_is_found_out(self, cards, truths):
        """Of one in twenty nobody ever learns."""
        assert len(set(truths.ids)) == 950
        assert len(truths) == 950 + truths.is_wrong.sum()

    def test_the_latest_is_true(self, cards, truths):
        """Whatever was said before."""
        labels = cards.labels()
        latest: dict[str, tuple[str, bool]] = {}
        for event in truths.events():
            found = (event["truth_time"], event["is_fraud"])
            latest[event["transaction_id"]] = max(
                found, latest.get(event["transaction_id"], ("", False))
            )

        assert all(labels[which] == said for which, (_, said) in latest.items())

    def test_a_tenth_of_the_frauds_is_cleared_first(self, cards, truths):
        """And as many genuine ones are disputed first; a correction comes later."""
        known = cards.is_fraud[np.unique(truths.row)].sum()
        wrong = truths.row[truths.is_wrong]
        said = Counter(truths.ids)
        both = {which for which, count in said.items() if count == 2}

        assert known >= 25
        assert Counter(cards.is_fraud[wrong].tolist()) == {
            True: round(known / 10),
            False: round(known / 10),
        }
        assert both == {cards.ids[row] for row in wrong}
        assert max(said.values()) == 2

    def test_come_after_their_transactions(self, cards, truths):
        """By the delay asked for, on average: 18 hours, to 5 standard errors."""
        wrong = np.isin(truths.row, truths.row[truths.is_wrong])
        waits = (truths.time_ms - cards.time_ms[truths.row])[~wrong] / 3.6e6

        assert waits.min() > 0
        assert abs(np.mean(waits) - 18) < 5 * 18 / math.sqrt(950)

    def test_are_found_out_in_another_order(self, truths):
        """Not that of the transactions."""
        assert (np.diff(truths.time_ms) < 0).mean() > 0.2

    def test_are_sent_twice_late_and_out_of_order(self, cards, told):
        """A correction may come before what it corrects."""
        large = small(transactions=5_000, fraud_rate=0.3).drawn.truths()
        arrived: dict[str, list[str]] = {}
        for one in large.deliveries():
            if one.event and not one.is_duplicate:
                arrived.setdefault(one.event["transaction_id"], []).append(
                    one.event["truth_time"]
                )
        twice = [times for times in arrived.values() if len(times) == 2]

        assert sum(one.is_duplicate for one in told) == 48
        assert any(times != sorted(times) for times in twice)
        assert any(times == sorted(times) for times in twice)

    def test_are_bare_payloads_too(self, told):
        """A label is a flag, or a number now and then."""
        found = [json.loads(one.data) for one in told if one.event]

        assert all(
            set(one) == {"transaction_id", "is_fraud", "truth_time"} for one in found
        )
        assert {type(one["is_fraud"]) for one in found} == {bool, int}

    def test_the_broken_are_of_their_own_kinds(self, cards):
        """Each in its turn."""
        broken = [
            one for one in cards.truths().deliveries(broken=0.02) if one.event is None
        ]

        assert {one.fault for one in broken} == set(TRUTH_FAULTS)

    @pytest.mark.parametrize(
        "wrong", [{"never": 1.5}, {"wrong_first": -0.1}, {"delay": -DAY}]
    )
    def test_what_cannot_be_is_refused(self, cards, wrong):
        """Shares beyond 1, and truths before the transaction."""
        with pytest.raises(ValueError, match="is a share|not negative"):
            cards.truths(**wrong)

    def test_nobody_need_learn_anything(self, cards):
        """All may stay unknown."""
        assert len(cards.truths(never=1.0)) == 0
        assert cards.truths(never=1.0).deliveries() == []


@pytest.fixture
def table(cards) -> pa.Table:
    return cards.first(200).table()


class TestRealTransactions:
    @pytest.mark.parametrize("ending", ["parquet", "csv"])
    def test_are_read_from_parquet_and_csv(self, cards, table, tmp_path, ending):
        """With the values that were written, and times as far apart."""
        file = tmp_path / f"cards.{ending}"
        (pq.write_table if ending == "parquet" else csv.write_csv)(table, file)
        read = read_cards(file)

        assert (read.components == cards.components[:200]).all()
        assert (read.amounts == cards.amounts[:200]).all()
        assert (read.is_fraud == cards.is_fraud[:200]).all()
        assert (np.diff(read.time_ms) == np.diff(cards.time_ms[:200])).all()
        assert read.optimum_roc_auc() is None
        assert read.notes == (f"200 transactions of cards.{ending}, 7 frauds",)

    def test_end_before_the_moment_asked_for(self, table, tmp_path):
        """By a millisecond."""
        pq.write_table(table, tmp_path / "cards.parquet")
        read = read_cards(tmp_path / "cards.parquet", end=cards_end())

        assert instant_of(read, -1) == cards_end() - timedelta(milliseconds=1)

    def test_are_sent_as_the_generated_are(self, table, tmp_path):
        """With truths, repetitions and all."""
        pq.write_table(table, tmp_path / "cards.parquet")
        read = read_cards(tmp_path / "cards.parquet")

        assert len(read.deliveries()) == 200 + 10 + 2
        assert len(set(read.truths().ids)) == 190

    def test_classes_in_quotes_are_read(self, table, tmp_path):
        """As the public data set has them, its columns' names in quotes too."""
        lines = [",".join(f'"{name}"' for name in COLUMNS)]
        for row in table.slice(0, 20).to_pylist():
            *values, label = row.values()
            lines.append(",".join(map(repr, values)) + f',"{label}"')
        (tmp_path / "creditcard.csv").write_text("\n".join(lines) + "\n")

        assert len(read_cards(tmp_path / "creditcard.csv")) == 20

    def test_a_tail_of_frauds_is_left_out(self, table, tmp_path):
        """And that is said."""
        frauds = table.filter(pa.compute.equal(table["Class"], 1)).slice(0, 1)
        later = frauds.set_column(0, "Time", pa.array([table["Time"][-1].as_py() + 9]))
        pq.write_table(
            pa.concat_tables([table, *[later] * 40]), tmp_path / "cards.parquet"
        )
        read = read_cards(tmp_path / "cards.parquet")

        assert len(read) == 200
        assert read.notes[1] == (
            "40 more of the file are left out: the last 40 are frauds only"
        )

    def test_two_frauds_at_the_end_are_no_tail(self, table, tmp_path):
        """That may happen."""
        label = pa.array([0] * 198 + [1, 1])
        pq.write_table(table.set_column(30, "Class", label), tmp_path / "cards.parquet")

        assert len(read_cards(tmp_path / "cards.parquet")) == 200

    def test_what_goes_back_in_time_is_left_out(self, table, tmp_path):
        """With all that comes after it."""
        again = pa.concat_tables([table, table])
        pq.write_table(again, tmp_path / "cards.parquet")
        read = read_cards(tmp_path / "cards.parquet")

        assert len(read) == 200
        assert read.notes[1] == (
            "200 more of the file are left out: Time goes back after them"
        )

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda t: t.drop_columns(["V7", "Class"]), "lacks V7, Class"),
            (
                lambda t: t.rename_columns([c.lower() for c in COLUMNS]),
                "lacks Time, V1",
            ),
            (lambda t: t.slice(0, 0), "holds no transactions"),
            (
                lambda t: t.set_column(3, "V3", pa.array(["high"] * 200)),
                "columns that are no numbers",
            ),
            (
                lambda t: t.set_column(4, "V4", pa.array([math.nan] * 200)),
                "without a finite number in V4",
            ),
            (
                lambda t: t.set_column(4, "V4", pa.array([None] * 200, pa.float64())),
                "without a finite number in V4",
            ),
            (
                lambda t: t.set_column(30, "Class", pa.array([2] * 200)),
                "other values than 0 and 1",
            ),
            (
                lambda t: t.set_column(30, "Class", pa.array([1] * 200)),
                "holds frauds only",
            ),
        ],
    )
    def test_another_file_is_refused(self, table, tmp_path, change, says):
        """In words that name what is wrong."""
        pq.write_table(change(table), tmp_path / "cards.parquet")

        with pytest.raises(CardsError, match=says):
            read_cards(tmp_path / "cards.parquet")

    def test_what_is_no_table_is_refused(self, tmp_path):
        """Nor is a file that is not there one."""
        (tmp_path / "cards.parquet").write_text("Time")

        with pytest.raises(CardsError, match="cannot be read as Parquet or CSV"):
            read_cards(tmp_path / "cards.parquet")
        with pytest.raises(CardsError, match="cannot be read"):
            read_cards(tmp_path / "nothing.csv")

    def test_the_first_day_is_used_as_far_as_it_is_a_stream(self, data_folder):
        """6,942 transactions with 25 frauds, and not the 256 frauds after them."""
        read = read_cards(data_folder / "creditcard_day1.parquet")

        assert (len(read), read.is_fraud.sum()) == (6_942, 25)
        assert read.notes[1] == (
            "256 more of the file are left out: the last 256 are frauds only"
        )
        assert list(read.events())[0]["Amount"] == 149.62

    def test_the_first_transactions_are_used_whole(self, data_folder):
        """2 frauds in 3,972."""
        read = read_cards(data_folder / "creditcard_first3972.parquet")

        assert (len(read), read.is_fraud.sum(), len(read.notes)) == (3_972, 2, 1)


class TestCommand:
    def test_writes_events_and_truths(self, cards, tmp_path):
        """One JSON object a line."""
        events, truths = tmp_path / "cards.ndjson", tmp_path / "truths.ndjson"
        arguments = ["--transactions", "1000", "--fraud-rate", "0.03"]
        main([str(events), *arguments, "--truths", str(truths)])
        found = [json.loads(line) for line in events.read_text().splitlines()]

        assert found == list(cards.events())
        assert len(truths.read_text().splitlines()) == len(cards.truths())

    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_writes_the_public_columns(self, tmp_path, ending):
        """Which can be read again."""
        file = tmp_path / f"cards.{ending}"
        main([str(file), "--transactions", "300", "--days", "2"])

        assert len(read_cards(file)) == 300

    def test_says_what_is_wrong(self, tmp_path, capsys):
        """As a usage error."""
        with pytest.raises(SystemExit):
            main([str(tmp_path / "cards.csv"), "--transactions", "0"])

        assert "at least 1 transaction" in capsys.readouterr().err
