"""The page of an evaluated week: it says what the rows say, and nothing of a user."""

from __future__ import annotations

import re

import numpy as np
import pytest

from propensity.learning import metrics
from propensity.learning.report import promise
from propensity.learning.report.week import Report, evaluation_page
from propensity.learning.report.weeks import charts
from tests.propensity.learning.model_cards import HOSTILE
from tests.propensity.learning.report_pages import parse, pictures
from tests.propensity.learning.weeks import (
    ALARM,
    LIFT,
    card_row,
    of_cards,
    quarter,
    report,
    row,
)


def words(of: Report) -> str:
    """Return the page's text, its spaces as one."""
    return " ".join(" ".join(parse(evaluation_page(of)).words).split())


class TestPage:
    def test_is_the_same_each_time(self):
        assert evaluation_page(report()) == evaluation_page(report())

    def test_begins_with_what_was_promised_and_what_came(self):
        week = row(2)
        text = words(report(newest=week))

        promised, came = (100 * week[k] for k in ("mean_probability", "base_rate"))
        assert (
            f"It was promised that {promised:.1f}% of 3,000 users buy; it was "
            f"{came:.1f}%." in text
        )
        assert "week 2026-03-16 to 2026-03-22 · model version 3 · final" in text

    def test_has_the_figures_of_the_row(self):
        """With intervals, beside what was trained, and seen in the weeks before."""
        week = row(2)
        text = words(report(newest=week))

        low, high = week["roc_auc_low"], week["roc_auc_high"]
        assert (
            f"ROC AUC {week['roc_auc']:.3f} {low:.3f} to {high:.3f} "
            "0.781 (0.764 to 0.799)" in text
        )
        assert f"{week['calibration_error']:.4f}" in text
        for part in week["lift"]:
            assert f"{100 * part['conversions'] / part['users']:.1f}%" in text

    @pytest.mark.parametrize(
        ("status", "may_change"), [("final", False), ("provisional", True)]
    )
    def test_says_whether_it_is_final(self, status, may_change):
        text = words(report(newest=row(2, status=status)))

        assert f"· {status}" in text
        assert ("may still come late" in text) is may_change

    def test_has_the_weeks_before_it_and_none_after(self):
        """Newest first; charts draw them, with the training to compare with."""
        page = evaluation_page(report())
        titles = [picture[0].text for picture in pictures(page)]

        weeks = re.findall(
            r'<th scope="row" class="text name"><span class="date">(2026-\S+?)</span>',
            page,
        )
        assert weeks == ["2026-03-16", "2026-03-09", "2026-03-02"]
        assert "Promised and came, by week" in titles
        assert "ROC AUC by week" in titles
        assert "Lift of the budget by week" in titles

    @pytest.mark.parametrize(
        ("key", "low", "high"),
        [("lift_at_budget", 2.36, 4.66), ("roc_auc", 0.71, 0.74), ("roc_auc", 0.9, 1)],
    )
    def test_has_axes_whose_lines_are_where_their_labels_say(self, key, low, high):
        """Defect: lines at 2.75 and 4.25 were labelled 2.8 and 4.2."""
        rows = [{"week": "a", key: low}, {"week": "b", key: high}]
        [*_, chart] = charts(rows, trained={}, period="week", outcome="buy")
        labels = re.findall(
            r'<text class="tick end" x="44" [^>]*>([\d.]+)<', chart["svg"]
        )
        values = [float(label) for label in labels]

        assert np.diff(values) == pytest.approx([values[1] - values[0]] * 4)
        assert values[0] <= low < high <= values[-1]
        assert key == "lift_at_budget" or values[-1] <= 1

    @pytest.mark.parametrize(
        ("versions", "begins"), [((1, 1, 1), 0.0), ((2, 1, 2), 1.5), ((1, 1, 2), 1.5)]
    )
    def test_compares_a_training_with_the_weeks_of_its_version(self, versions, begins):
        """Those of an earlier version had a training of their own."""
        rows = [
            {"week": str(version), "roc_auc": 0.7, "model_version": version}
            for version in versions
        ]
        trained = {"roc_auc": 0.8}
        [*_, chart] = charts(rows, trained=trained, period="week", outcome="buy")
        dashed, drawn = (
            [float(x) for x in re.findall(r"[ML]?([\d.]+)[ ,]", path)]
            for style in ("guide", "line")
            for path in re.findall(rf'class="{style}" d="([^"]+)"', chart["svg"])
        )

        week = (drawn[-1] - drawn[0]) / 2
        assert dashed[0] == pytest.approx(drawn[0] + begins * week, abs=0.1)
        assert dashed[-1] == drawn[-1]

    def test_of_a_first_week_has_nothing_to_compare_with(self):
        week = row(0)
        text = words(report(newest=week, weeks=[week], trained={}, alarms=[]))

        assert "This is the first week that was evaluated." in text
        assert "The newest week up to this one" in text

    def test_marks_the_fixed_threshold_that_says_little(self):
        """Beside the budget and the best threshold, where outcomes are rare."""
        text = words(report())

        assert "Of the best 10%, 300 users," in text
        assert "0.200 was the threshold with the best F1 on earlier rows" in text
        assert "The fixed threshold 0.500 says little here" in text
        assert "From 0.500 on, says little" in text

    def test_says_by_how_much_the_season_has_moved_the_promise(self):
        text = words(report(newest=row(2, log_odds_shift=0.472)))

        assert "Season log-odds of all users shifted by +0.47" in text
        assert "Season" not in words(report())

    def test_says_whom_nobody_would_have_found(self):
        """Defect: who came back after the lookback was said to have come first."""
        week = row(2)
        missed = week["conversions"] - week["true_positives_at_budget"]
        text = words(report(newest=week))

        assert f"Of {week['conversions']} who buy, " in text
        assert re.search(
            rf"{missed:,.1f}|{missed:,.0f} were outside the best 10%", text
        )
        why = "they were new, or had long been away."
        assert f"12 more had no probability: {why}" in text

    def test_has_the_alarms(self):
        text = words(report(alarms=[ALARM]))

        assert "source is 'google' for 2% of users (41% before)" in text
        assert "1 alarm of drift." in text
        assert "No alarm in this week." in words(report())

    def test_has_what_acting_was_worth(self):
        text = words(report(lifts=[LIFT]))

        assert (
            "winback 150 of 900 9 of 100 5.1% (−1.1% to 11.3%) 51.8% "
            "1.37 (−0.21 to 2.91) still open" in text
        )
        assert "No audience of this week has been evaluated." in words(report())

    def test_tells_what_is_not_known_from_what_is_not_there(self):
        """Where a table could not be read nobody knows that there was no alarm."""
        text = words(report(alarms=[], has_read_alarms=False, has_read_lifts=False))

        assert "Whether anything has drifted could not be read" in text
        assert "What acting was worth could not be read" in text
        assert "No alarm" not in text
        assert "No audience" not in text

    def test_of_one_class_says_why_there_is_no_ranking(self):
        week = row(2)
        nothing = dict.fromkeys(
            (name for name, value in week.items() if isinstance(value, float)), None
        )
        week |= nothing | {
            "outcome": "one_class",
            "conversions": 0,
            "base_rate": 0.0,
            "mean_probability": 0.09,
            "lift": [
                {**part, "conversions": 0.0, "lift": None} for part in week["lift"]
            ],
        }
        text = words(report(newest=week))

        assert "all rows are of one class" in text
        assert "nan" not in text.lower().split()

    @pytest.mark.parametrize(
        ("changed", "sentence"),
        [
            ({"conversions": 0}, "There are none who buy. 12 more had no"),
            ({"conversions": 61, "true_positives_at_budget": 60}, "1 was outside the"),
            (
                {"users_at_best": 0, "precision_at_best": None},
                "with the best F1 on earlier rows. No user was there.",
            ),
        ],
    )
    def test_is_in_sentences_for_one_and_for_none(self, changed, sentence):
        assert sentence in words(report(newest=row(2, **changed)))

    def test_without_figures_is_refused(self):
        with pytest.raises(ValueError, match="no row of 2026-03-16 has figures"):
            evaluation_page(report(newest=row(2, users=0)))

    def test_holds_no_markup_of_anybody_else(self):
        """Names of use cases, audiences and alarms are text."""
        page = evaluation_page(
            report(
                use_case=HOSTILE,
                title=HOSTILE,
                outcome=HOSTILE,
                alarms=[{**ALARM, "message": HOSTILE, "cause": HOSTILE}],
                lifts=[{**LIFT, "audience": HOSTILE}],
            )
        )
        parser = parse(page)

        assert "script" not in {tag for tag, _ in parser.tags}
        assert '<script>alert("1")</script>' in "".join(parser.words)
        assert page.encode("utf-8")
        pictures(page)

    def test_is_small(self):
        """Of a quarter of a year it can be sent by mail."""
        weeks = quarter()

        page = evaluation_page(report(newest=weeks[-1], weeks=weeks))

        assert len(page.encode()) < 100_000


class TestEvents:
    def test_have_the_cost_of_their_alerts(self):
        text = words(of_cards(card_row()))

        assert "saved 4,614.34 of 5,401.99 (85.4%)" in text
        assert "Its alerts 76 41 787.65 4,614.34 2,614.27 to 7,676.87" in text
        assert "38 stay unknown" in text

    def test_are_fraud_and_are_nobody_who_buys(self):
        """The nouns are the use case's own."""
        text = words(of_cards(card_row()))

        assert "transactions are fraud; it was" in text
        assert "That are fraud" in text
        assert "who" not in text.lower().split()
        assert not re.search(r"conver|\bbuy\b|\busers?\b", text.lower())

    def test_of_two_versions_have_a_part_each(self):
        """The one that scored most comes first."""
        few = card_row(1, users=10, saved=None)
        text = words(of_cards(few, card_row()))

        assert "model version 2" in text
        assert text.index("Version 2") < text.index("Version 1")
        assert text.count("What its alerts saved") == 1

    def test_of_two_versions_have_tables_that_are_told_apart(self):
        """No two regions of a page have one name."""
        page = evaluation_page(of_cards(card_row(1), card_row()))
        labels = re.findall(r'aria-label="(.*?)"', page)

        assert len(labels) == len(set(labels)) == 9

    def test_of_anomaly_scores_promise_nothing(self):
        score = card_row()
        for name in ("mean_probability", "threshold", "calibration_error"):
            score[name] = None
        score["residual_log_odds"] = None
        score["lift"] = [{**part, "mean_probability": None} for part in score["lift"]]
        text = words(of_cards(score))

        assert "% of 3,000 transactions are fraud." in text
        assert "A score that is no probability promises none." in text
        assert "As promised" not in text


class TestPromise:
    @pytest.mark.parametrize(
        ("promised", "word"),
        [
            (0.10, "As promised"),
            (0.15, "Fewer than promised are fraud"),
            (0.05, "More than promised are fraud"),
        ],
    )
    def test_of_events_is_by_the_share_that_came(self, promised, word):
        """300 of 3,000 are between 9.0% and 11.1%; odds that lacked are not kept."""
        verdict = promise.verdict(
            {"users": 3_000, "conversions": 300, "mean_probability": promised},
            noun="transaction",
            outcome="are fraud",
        )

        assert verdict["word"] == word
        assert "10.0% came (9.0% to 11.1%)" in verdict["reason"]

    @pytest.mark.parametrize(
        ("moved", "word"),
        [
            (0.0, "As promised"),
            (0.8, "More than promised buy"),
            (-0.8, "Fewer than promised buy"),
        ],
    )
    def test_is_broken_where_the_season_moved(self, moved, word):
        """On average, and in groups that are named; else chance explains the rest."""
        week = row(0, moved=moved)
        verdict = promise.verdict(week, noun="user", outcome="buy")
        groups = promise.groups(week)

        assert (verdict["good"], verdict["word"]) == (not moved, word)
        assert "chance" in verdict["reason"]
        assert ("Group 1" in groups["missed"]) == bool(moved)

    def test_of_a_group_beyond_its_interval_is_explained(self):
        """The reader sees the mark outside, and reads that it is chance."""
        week = row(0)
        groups = [
            {"decile": n, "users": 200.0, "conversions": 20.0, "mean_probability": 0.1}
            for n in range(1, 11)
        ]
        groups[2] |= {"conversions": 11.0}
        text = words(report(newest=week | {"lift": groups}))

        assert "In no group are the two apart by more than chance." in text
        assert "beyond its interval now and then, as here of Group 3." in text
        assert "beyond" not in words(report(newest=week | {"lift": groups[:2]}))

    def test_of_calibrated_groups_is_seldom_called_broken(self):
        """All groups share one chance of 5%: of 200 weeks in which every promise is
        kept, 10 are expected to name a group, and fewer than 20 do."""
        named = 0
        generator = np.random.default_rng(5)
        for _ in range(200):
            probability = generator.beta(1, 9, 3_000)
            label = (generator.random(3_000) < probability).astype(int)
            observed = metrics.outcomes(probability, label)
            groups = promise.groups(
                {
                    "lift": metrics.lift_by_decile(observed),
                    "base_rate": label.mean(),
                    "mean_probability": probability.mean(),
                }
            )
            named += bool(groups["missed"])

        assert named < 20
