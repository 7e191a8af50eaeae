"""What each page shows, specified."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from offline.dashboard.cases import Known
from tests.offline.dashboard.rows import (
    AS_OF,
    HOUR,
    NOW,
    USE_CASE,
    WEEK,
    WINDOW,
    alarm,
    delivered,
    drift,
    evaluation,
    hour_of,
    letters,
    lift,
    members,
    publication,
    version,
)
from tests.offline.dashboard.test_site import pages, words


class TestStream:
    @pytest.mark.parametrize(
        ("messages", "headline"),
        [
            (7, "7 messages came in the last 7 days, and all became dead letters."),
            (1, "1 message came in the last 7 days, and it became a dead letter."),
        ],
    )
    def test_of_dead_letters_alone_is_not_one_that_nothing_came_by(
        self, messages, headline
    ):
        files = pages({"dead_letters": [letters(messages=messages)]})

        assert headline in words(files["stream.html"])
        became = "became dead letters" if messages > 1 else "became a dead letter"
        assert became in words(files["index.html"])

    def test_begins_with_its_first_hour(self):
        """Half a day at least, a week at most."""
        page = pages({"stream": [hour_of(2), hour_of(30)]})["stream.html"]

        first = NOW.replace(minute=0) - 30 * HOUR
        assert f"{first:%d %b %H}h" in page

    def test_adds_up_use_cases_and_leaves_other_sources_out(self):
        """Scores that somebody asked for are no lag of the stream."""
        rows = {
            "stream": [hour_of(), hour_of(use_case="card_fraud", received=50)],
            "latency": [
                {
                    "use_case": "card_fraud",
                    "source": "online",
                    "hour": NOW.replace(minute=0),
                    "scores": 7,
                    "latency_p50_ms": 1.0,
                    "latency_p99_ms": 2.0,
                }
            ],
        }
        page = words(pages(rows)["stream.html"])

        assert "150 messages in the last 7 days" in page
        assert "No event got a score" in page


class TestRuns:
    def test_have_what_a_publication_billed(self):
        """Beside trainings and evaluations; all of them are in the sum."""
        rows = {
            "publications": [publication(bytes_billed=3 * 2**30, seconds=48.0)],
            "versions": [version(bytes_billed=2**30)],
        }
        page = words(pages(rows)["runs.html"])

        assert (
            "2026-03-03 08:30 publication ga4_purchase 2026-03-03, version 3 2,000 "
            "48 s 3.0 GiB"
        ) in page
        assert "2 runs in this time, 4.0 GiB billed." in page

    def test_have_a_publication_once(self):
        """Where no row of it was written, there is what was watched of it."""
        counted = [
            drift("users", "count", value=7.6, as_of=AS_OF - n * WEEK) for n in range(2)
        ]
        page = words(
            pages({"publications": [publication()], "drift": counted})["runs.html"]
        )

        assert page.count(f"{AS_OF}, version 3") == 1
        assert page.count(f"{AS_OF - WEEK}, version 3 1,998 — —") == 1

    def test_bill_what_the_weeks_that_are_shown_have_billed(self):
        """Defect: versions are read of a year more, as one of them may serve, and what
        these had billed was in the sum beside half a year of the other runs."""
        before = WINDOW.days["since"] - timedelta(days=1)
        rows = {
            "publications": [publication(bytes_billed=3 * 2**30)],
            "versions": [
                version(bytes_billed=2**30),
                version(2, training_date=before, bytes_billed=2**40),
            ],
        }

        assert "2 runs in this time, 4.0 GiB billed." in words(pages(rows)["runs.html"])


class TestDrift:
    def test_alarms_are_those_whose_bar_crosses_the_line(self):
        """A bar is the distance as a share of threshold and noise together."""
        rows = [
            drift(name="calm", distance=0.085),
            alarm(name="broken", distance=0.34, noise=0.04, threshold=0.13),
        ]
        page = words(pages({"drift": rows})["use-case-ga4_purchase.html"])

        assert "broken: 200.0%" in page
        assert "calm: 50.0%" in page


class TestUseCase:
    def test_of_a_name_that_no_file_should_have_has_a_page_all_the_same(self):
        """By its hash."""
        files = pages({"evaluations": [evaluation(use_case="a/b")]}, {})

        (file,) = [name for name in files if name.startswith("use-case-")]
        assert re.fullmatch(r"use-case-[0-9a-f]{16}\.html", file)
        assert "a/b" in words(files[file])

    def test_shows_what_serves(self):
        """And that a person has pinned it."""
        known = {USE_CASE: Known(title="P", champion=3, is_pinned=True)}
        rows = {"versions": [version(3), version(2, promoted=False)]}
        page = words(pages(rows, known)["use-case-ga4_purchase.html"])

        assert "Version 3 serves, pinned." in page

    def test_without_a_conversion_has_no_lift_to_draw(self):
        """A tenth of nobody has no lift: it drew ten bars of no length."""
        lift = [
            group | {"lift": None, "conversions": 0.0} for group in evaluation()["lift"]
        ]
        week = evaluation(conversions=0, base_rate=0.0, lift=lift, lift_at_budget=None)
        text = words(pages({"evaluations": [week]})["use-case-ga4_purchase.html"])

        assert "None of those who buy came in the week of 2026-02-24." in text
        assert "—×" not in text


class TestAudiences:
    def test_of_one_name_are_told_apart_by_their_use_case(self):
        """What was sent of one is not added to the other."""
        rows = {
            "audiences": [members(), members(use_case="churn")],
            "deliveries": [delivered(), delivered(use_case="churn", users=70)],
            "lift": [lift(), lift(use_case="churn", revenue_difference=1234567.0)],
        }
        text = words(pages(rows)["audiences.html"])

        assert "winback of churn crm add 2026-02-17 70 70 0" in text
        assert "winback of ga4_purchase crm add 2026-02-17 880 880 0" in text
        assert "Audience winback of churn: not decided yet" in text
        assert "1,234,567.00" in text

    def test_of_whom_nobody_was_held_out_say_so(self):
        """However many of its users convert, there is nobody to compare them with."""
        figures = ("conversion_difference", "revenue_difference")
        ends = [name + end for name in figures for end in ("", "_low", "_high")]
        alone = lift(control_users=0, verdict="no_control", **dict.fromkeys(ends))
        text = words(pages({"lift": [alone]})["audiences.html"])

        assert "What acting on winback did Nobody to compare with." in text
