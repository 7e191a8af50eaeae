"""The dashboard of a past day, specified on the emulators."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from offline.dashboard.reading import Window
from offline.dashboard.site import site as site_of
from propensity import tables
from propensity.registry.versions import Registry
from propensity.timeframe import midnight
from tests.offline.dashboard import rows
from tests.offline.dashboard.rows import KNOWN, alarm, readings
from tests.offline.dashboard.test_run import DAY, NOW, WEEK, site
from tests.offline.dashboard.test_site import pages, words

__all__ = ["site"]

# The day before the newest week of the rows ended.
PAST = DAY - timedelta(days=1)
MIDNIGHT: datetime = midnight(DAY)
WINDOW = Window(as_of=PAST, weeks=26, now=MIDNIGHT, is_past=True)


def test_has_no_week_whose_outcomes_were_not_over(site):
    """Defect: it showed what came of the week that began before it. Nor has it the
    lift of an audience in such a week."""
    site.append(
        tables.AUDIENCE_LIFT,
        {
            "use_case": "ga4_purchase",
            "audience": "winback",
            "week": DAY - WEEK,
            "week_end": DAY,
            "status": "provisional",
        },
    )
    weeks = [row["week"] for row in site.rows("evaluations", WINDOW)]
    lifts = [row["week"] for row in site.rows("lift", WINDOW)]

    assert weeks == [DAY - 2 * WEEK]
    assert lifts == [DAY - 2 * WEEK]


def test_has_no_row_of_the_day_after(site):
    """Defect: it ended with the midnight after the day, and so had that date, too."""
    assert WINDOW.days["until"] == PAST
    assert site.rows("publications", WINDOW) == []


def test_has_no_alarm_of_outcomes_that_came_later():
    """Rows of drift are of the publication; those of its outcomes come a week later."""
    of_outcomes = alarm(thing="outcome", name="roc_auc", message="ranks are off")
    results = readings({"drift": [alarm(message="a tag is lost"), of_outcomes]})

    def shown(window):
        return words(site_of(results, KNOWN, window, place="p")["index.html"])

    today, then = shown(rows.WINDOW), shown(replace(rows.WINDOW, is_past=True))
    assert "tag is lost" in today
    assert "anks are off" in today
    assert "tag is lost" in then
    assert "anks are off" not in then


def test_names_the_version_that_had_been_promoted(site, tmp_path):
    """What serves today may have been trained later."""
    registry = Registry(site.artifacts, "ga4_purchase")
    if registry.find_champion() is None:
        registry.promote(7, model_sha256="0" * 64, at=NOW, instead_of=None)
    assert site.run("--out", str(tmp_path), "--as-of", str(PAST)) == 0
    page = words((tmp_path / "use-case-ga4_purchase.html").read_text())

    assert "Version 0 serves" in page
    assert "as of a past day" in page


def test_names_the_version_of_a_training_that_was_run_later_for_that_day(
    site, tmp_path
):
    """Defect: of weeks that were played afterwards, as the demo's are, it said that no
    version served, beside the figures of that version."""
    played = {"use_case": "first_day_churn", "promoted": True, "training_date": DAY}
    site.append(
        tables.TRAINING_METADATA,
        {**played, "model_version": 3, "as_of": PAST},
        {**played, "model_version": 4, "as_of": DAY},
    )
    assert site.run("--out", str(tmp_path), "--as-of", str(PAST)) == 0
    page = words((tmp_path / "use-case-first_day_churn.html").read_text())

    assert "Version 3 serves" in page


def test_of_today_says_nothing_of_it():
    assert "as of a past day" not in words(pages({})["index.html"])
