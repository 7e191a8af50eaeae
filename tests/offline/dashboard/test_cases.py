"""
What a use case's rows say in sentences, specified: what changed, what it is worth, what
a person should do.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from offline.dashboard import fraud, run
from offline.dashboard.cases import LONG, Known, audience_sentence, cases, clipped
from propensity.drift.alarms import Thing
from propensity.drift.sketch import Sketch
from propensity.runs.drift import Watched
from propensity.settings import Settings
from tests.offline.dashboard.rows import (
    AS_OF,
    KNOWN,
    USE_CASE,
    WEEK,
    alarm,
    drift,
    evaluation,
    fraud_day,
    lift,
    readings,
    version,
)


def case(known=KNOWN, **rows):
    """The only use case of a deployment with some rows."""
    (shop,) = cases({r.name: r for r in readings(rows)}, known, as_of=AS_OF)
    return shop


def text_of(pairs) -> str:
    return " ".join(text for text, _ in pairs)


def changes(*weeks, **rows) -> str:
    return text_of(case(evaluations=weeks, **rows).changes())


def worth(*weeks, known=KNOWN, **rows) -> str:
    return text_of(case(known, evaluations=weeks, **rows).worth())


def headline(*use_cases) -> str:
    empty = {reading.name: reading for reading in readings({})}
    return fraud.content(empty, use_cases)["headline"]


class TestChanges:
    def test_within_the_intervals_are_chance(self):
        """A ROC AUC whose interval has the one before has not changed."""
        text = changes(evaluation(1), evaluation(2, roc_auc=0.79))

        assert "0.800 (95% interval 0.780 to 0.820), after 0.790" in text
        assert "chance explains that" in text

    @pytest.mark.parametrize(
        ("before", "words"),
        [
            ("0.775", "chance explains that"),
            ("0.825", "chance explains that"),
            ("0.700", "more than chance explains"),
            ("0.900", "more than chance explains"),
        ],
    )
    def test_of_two_weeks_have_the_chance_of_both(self, before, words):
        """Beyond one interval, whichever way it went, and not beyond what both of them
        allow: 0.028."""
        roc_auc = float(before)
        ends = {"roc_auc_low": roc_auc - 0.02, "roc_auc_high": roc_auc + 0.02}
        text = changes(evaluation(1), evaluation(2, roc_auc=roc_auc, **ends))

        assert f"after {before}: {words}" in text

    def test_without_an_interval_are_only_said(self):
        text = changes(evaluation(1), evaluation(2, roc_auc=0.7, roc_auc_high=None))

        assert "after 0.700." in text

    def test_name_the_version_before_where_it_was_another(self):
        """What has changed is then the model."""
        weeks = [evaluation(1), evaluation(2, roc_auc=0.7, model_version=2)]

        assert "after 0.700 by version 2: " in changes(*weeks)

    def test_compare_with_the_newest_week_that_ranks(self):
        """A week of one class between them has no ROC AUC to compare with."""
        unranked = evaluation(2, outcome="one_class", roc_auc=None)

        assert "after 0.810" in changes(
            evaluation(1), unranked, evaluation(3, roc_auc=0.81)
        )

    @pytest.mark.parametrize(
        ("users", "why"),
        [(2_000, "were of one kind alone"), (0, "no outcome is known")],
    )
    def test_say_why_nothing_ranks(self, users, why):
        """Outcomes of one class are another thing than none."""
        week = evaluation(1, outcome="one_class", roc_auc=None, users=users)

        assert why in changes(week)

    def test_say_how_many_users_more(self):
        """The table has the logarithm of their number."""
        rows = [
            drift("users", "count", value=7.6, users=None),
            drift("users", "count", value=7.5, users=None, as_of=AS_OF - WEEK),
        ]

        sentence = "1,998 users got a probability on 2026-03-03, 10.5% more than"
        assert sentence in changes(drift=rows)

    def test_name_a_version_while_it_is_new(self):
        """For a week, with why it serves or does not."""
        new = version(4, as_of=AS_OF, promoted=False, verdict="log loss is worse")
        old = version(3)

        sentence = "Version 4 was trained as of 2026-03-03 and kept aside: log loss"
        assert sentence in changes(versions=[new, old])
        assert "Version" not in changes(versions=[old])

    def test_say_of_a_training_that_was_cut_off_what_is_known(self):
        """It is neither promoted nor kept aside: the pointer says which one serves."""
        row = version(4, as_of=AS_OF, promoted=None, verdict="its training ended")

        assert "2026-03-03 and left undecided: its training" in changes(versions=[row])


class TestWorth:
    def test_is_what_the_budget_reaches_beyond_chance(self):
        """Of 200 users 90 bought, where 17 were to be expected."""
        text = worth(evaluation(1))

        assert "The best 10% (200 users) held 90 of those who buy" in text
        assert "at random would have held 17" in text

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"users_at_budget": 1.0}, "The best 10% (1 user) held 90"),
            (
                {"true_positives_at_budget": 0, "recall_at_budget": None},
                "held 0 of those who buy; as many",
            ),
        ],
    )
    def test_is_a_sentence_for_one_user_and_for_no_buyer(self, changed, words):
        """A share of nobody is no share."""
        assert words in worth(evaluation(1, **changed))

    def test_of_alerts_that_cost_more_is_said_so(self):
        """A negative saving is none."""
        known = {"card_fraud": Known(outcome="are fraud", is_of_events=True)}
        shop = case(known, evaluations=[fraud_day(1, saved=Decimal(-100))])

        sentence = "Alerts cost 100.00 more than they saved over 1 day"
        assert sentence in text_of(shop.worth())
        assert headline(shop).startswith(sentence)

    def test_of_alerts_is_what_they_saved_by_all_versions(self):
        """Two versions may serve on one day: both count, and it is one day."""
        known = {"card_fraud": Known(outcome="are fraud", is_of_events=True)}
        rows = [
            fraud_day(1),
            fraud_day(1, model_version=2, saved=Decimal(100)),
            fraud_day(2),
        ]

        text = worth(*rows, known=known)
        assert "Alerts saved 1,700.00 of 3,000.00 in losses over 2 days" in text

    def test_of_alerts_adds_up_within_a_currency_alone(self):
        """Use cases of one currency are one sum. One that does not say which it has
        stands alone, with its name."""

        def event(name, currency=""):
            known = Known(title=name, is_of_events=True, currency=currency)
            rows = [fraud_day(1, use_case=name, saved=Decimal(100))]
            return case({name: known}, evaluations=rows)

        ours, theirs = event("cards", "EUR"), event("wires", "EUR")
        assert headline(ours, theirs).startswith("Alerts saved 200.00 EUR over 1 day")
        assert "Alerts saved 100.00 EUR of 1,000.00 EUR in losses" in text_of(
            ours.worth()
        )
        assert headline(ours, event("cash", "USD"), event("gifts"), event("coins")) == (
            "Alerts saved 100.00 EUR (cards); saved 100.00 USD (cash); "
            "saved 100.00 (gifts); saved 100.00 (coins), "
            "over 1 day with outcomes, reviews paid."
        )

    @pytest.mark.parametrize(
        ("verdict", "words"),
        [
            ("helps", "acting helps"),
            ("open", "not decided yet"),
            ("no_such_word", "no_such_word"),
        ],
    )
    def test_of_an_audience_has_its_interval(self, verdict, words):
        """The newest week alone speaks for an audience."""
        text = worth(
            evaluation(),
            lift=[lift(2, verdict=verdict), lift(3, conversion_difference=0.9)],
        )

        assert (
            f"Audience winback: {words}; conversions of the treated less those of the "
            "held out are 2.0 percentage points (95% interval −1.0 to 5.0, "
        ) in text
        assert "90.0" not in text

    def test_of_an_audience_where_few_convert_has_two_decimals(self):
        """Beside a verdict no interval may look like nothing."""
        row = lift(
            verdict="helps",
            conversion_difference=0.0006,
            conversion_difference_low=0.0002,
            conversion_difference_high=0.001,
        )

        assert "are 0.06 percentage points (95% interval 0.02 to 0.10, " in (
            audience_sentence(row)
        )

    def test_of_an_audience_without_figures_is_its_verdict(self):
        """No interval is made up."""
        row = lift(verdict="too_few", conversion_difference=None)

        assert audience_sentence(row) == (
            "Audience winback: too few conversions to say."
        )


class TestDeeds:
    def deeds(self, known=KNOWN, **rows):
        return [*case(known, **rows).deeds()]

    def test_are_none_where_all_is_well(self):
        """Fresh figures, a champion, no alarm."""
        assert self.deeds(evaluations=[evaluation()], drift=[drift()]) == []

    def test_look_at_an_alarm(self):
        """With its message, and the statement that has it."""
        (deed,) = self.deeds(evaluations=[evaluation()], drift=[alarm()])

        assert deed.text.startswith("Look: revenue is 0")
        assert (deed.source, deed.is_urgent) == ("drift", True)

    def test_begin_with_what_moved_most(self):
        """As the run's answer does; single numbers, which move otherwise, are last."""
        rows = [
            alarm(thing="users", name="count", value=7.0, distance=0.9, message="c"),
            alarm(name="medium", distance=0.2, message="b"),
            alarm(name="source", distance=0.7, message="a"),
        ]
        deeds = self.deeds(evaluations=[evaluation()], drift=rows)

        assert [deed.text[-2] for deed in deeds] == ["a", "b", "c"]

    @pytest.mark.parametrize("turn", [1, -1])
    def test_that_moved_alike_come_in_the_answer_s_order(self, turn):
        """Twins, such as events and page views, are named alike in both, in whatever
        order they were read."""
        names = ["events", "engagement_s", "page_views", "sessions"][::turn]
        rows = [alarm(name=name, distance=0.5, message=name) for name in names]
        sketch = Sketch(kind="number", users=9, missing=0, counts={})
        answer = Watched(
            things=[
                Thing(
                    thing="feature",
                    name=name,
                    sketch=sketch,
                    distance=0.5,
                    is_alarm=True,
                    message=name,
                )
                for name in names
            ],
            model_version=0,
        )

        assert (
            [row["name"] for row in case(drift=rows).alarms]
            == [alarm.name for alarm in answer.alarms]
            == sorted(names)
        )

    def test_leave_old_alarms_alone(self):
        """Of a publication before the newest there is nothing to do any more."""
        rows = [drift(), alarm(as_of=AS_OF - WEEK)]

        assert self.deeds(evaluations=[evaluation()], drift=rows) == []

    def test_count_alarms_beyond_a_few(self):
        """Forty broken features are not forty lines."""
        rows = [alarm(name=f"feature_{n}") for n in range(40)]
        deeds = self.deeds(evaluations=[evaluation()], drift=rows)

        assert len(deeds) == 4
        assert deeds[-1].text == "See 37 more alarms on its page."

    def test_are_to_look_where_figures_stopped(self):
        """Two horizons without an evaluation are late; one is not."""
        assert self.deeds(evaluations=[evaluation(3)]) == []
        (deed,) = self.deeds(evaluations=[evaluation(4)])
        assert deed.text.startswith("Nothing was evaluated since 2026-02-10")

    def test_are_to_publish_where_probabilities_stopped(self):
        """Though weeks are evaluated, by probabilities that grow old."""
        fresh = [drift(as_of=AS_OF - 2 * WEEK)]
        assert self.deeds(evaluations=[evaluation()], drift=fresh) == []
        (deed,) = self.deeds(
            evaluations=[evaluation()], drift=[drift(as_of=AS_OF - 3 * WEEK)]
        )
        assert deed.text == (
            "Nobody got a probability since 2026-02-10: call 01-Predictions."
        )
        assert deed.is_urgent

    def test_are_to_publish_where_a_week_had_no_probabilities(self):
        """The newest week; unless a later publication waits for its outcomes."""
        missed = evaluation(1, outcome="no_predictions", model_version=-1, users=None)
        (deed,) = self.deeds(evaluations=[missed, evaluation(2)])
        assert deed.text == (
            "The week of 2026-02-24 had no probabilities: call 01-Predictions."
        )
        assert self.deeds(evaluations=[missed, evaluation(2)], drift=[drift()]) == []

    def test_are_none_for_events_without_a_score(self):
        """Events that nothing scored have a row of their own, beside those of the
        day's versions, and 01-Predictions scores no events."""
        known = {"card_fraud": Known(champion=3, is_of_events=True, horizon_days=1)}
        unscored = {"outcome": "no_predictions", "model_version": -1, "saved": None}
        days = [fraud_day(), fraud_day(**unscored)]

        assert self.deeds(known, evaluations=days) == []

    def test_are_to_train_where_nothing_serves(self):
        """The first time, and with the verdict where a version was refused."""
        known = {USE_CASE: replace(KNOWN[USE_CASE], champion=None)}
        (refused,) = self.deeds(
            known, versions=[version(0, promoted=False, verdict="no better")]
        )
        (first,) = self.deeds(known, evaluations=[evaluation()])

        assert (
            refused.text
            == "No version serves. Version 0 was not let through: no better."
        )
        assert "Train a first one" in first.text

    def test_wait_for_the_first_evaluation_without_hurry(self):
        """A new use case is not something wrong."""
        (deed,) = self.deeds(versions=[version()])

        assert "wait for the first evaluation" in deed.text
        assert not deed.is_urgent

    @pytest.mark.parametrize("verdict", ["harms", "sample_ratio"])
    def test_stop_an_audience_that_harms_or_lost_users(self, verdict):
        """Both are urgent."""
        (deed,) = self.deeds(evaluations=[evaluation()], lift=[lift(verdict=verdict)])

        assert "winback" in deed.text
        assert deed.is_urgent

    @pytest.mark.parametrize("verdict", ["harms", "sample_ratio"])
    def test_leave_an_audience_alone_that_was_stopped(self, verdict):
        """Nobody can stop it again: its newest members are of weeks ago."""
        old = lift(5, verdict=verdict)

        assert self.deeds(evaluations=[evaluation()], lift=[old]) == []

    def test_ask_for_nothing_where_the_use_case_was_removed(self):
        """No function knows it any more: its rows grow old, and nobody can help it."""
        known = {USE_CASE: Known(has_folder=False)}
        rows = [alarm(as_of=AS_OF - 6 * WEEK)]
        (deed,) = self.deeds(known, evaluations=[evaluation(6)], drift=rows)

        assert "no folder" in deed.text
        assert not deed.is_urgent


def test_words_are_of_the_event_that_a_setting_has_predicted():
    """And not the use case's own, which are of another event."""
    settings = Settings(project="p", label_event="sign_up")
    facts = run.known([], None, settings=settings)["ga4_purchase"]

    assert facts.title == "sign_up within the horizon"
    assert facts.outcome == "have the event sign_up"


class TestClipped:
    def test_is_never_longer_than_asked(self):
        """Whatever a table holds."""
        assert len(clipped("x" * 10_000)) == LONG
        assert clipped(None) == ""
        assert clipped("short.") == "short"
