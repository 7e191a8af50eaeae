"""
The dashboard, specified: pages complete, escaped, and clear where there is nothing;
what the command reads, and where it writes.

Rows are those that the functions write, in the tables as they are set up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from offline.write_dashboard import run
from propensity import whole_files
from propensity.cli.answers import Exit
from propensity.dashboard import reading
from propensity.dashboard.cases import FIRST, Facts
from propensity.dashboard.pages import PAGES, Dashboard, cases
from propensity.dashboard.reading import SQL, TITLES, QueryResult, Window
from propensity.registry.versions import Registry
from propensity.statements import statement
from propensity.tables.audiences import (
    AUDIENCE_LIFT,
    AUDIENCE_MEMBERS,
    AUDIENCE_PLANS,
    PROGRAMME_LIFT,
)
from propensity.tables.models import DRIFT, EVALUATION, PUBLICATIONS, TRAINING_METADATA
from propensity.tables.stream import DEAD_LETTERS
from propensity.usecases.kind import EVENTS
from propensity.weeks.evaluations import report_name
from tests.propensity.learning.report_pages import parse
from tests.support import own_use_cases
from tests.support.clocks import ManualClock
from tests.support.deployment import Deployment, entered
from tests.support.golden import same_as_golden, visible
from tests.support.rows import log_request

USE_CASE = "ga4_purchase"
CARDS = "card_fraud"
DAY = date(2026, 3, 3)
WEEK = timedelta(days=7)
NOW = datetime(2026, 3, 3, 8, 30, tzinfo=UTC)
WINDOW = Window(as_of=DAY, weeks=26, until=DAY)
KNOWN = {
    USE_CASE: Facts(
        title="Purchase within the horizon", outcome="buy", unit="USD", champion=3
    ),
    CARDS: Facts(
        title="Card fraud",
        outcome="are fraud",
        unit="EUR",
        kind=EVENTS,
        champion=3,
    ),
}
# Whatever a page is about, it is not about one of these.
SOMEBODY = "somebody-4711"

Row = dict[str, Any]


def words(page: str) -> str:
    return " ".join(" ".join(parse(page).words).split())


def of_week(weeks_ago: int, **changed: Any) -> Row:
    week = DAY - weeks_ago * WEEK
    return {"use_case": USE_CASE, "week": week, "week_end": week + WEEK} | changed


@cache
def read(deployment: Deployment, window: Window = WINDOW) -> dict[str, QueryResult]:
    """What all statements give, by their names."""
    return reading.readings_of(deployment.warehouse, window)


def given(deployment: Deployment, name: str, window: Window = WINDOW) -> list[Row]:
    """What a statement gives."""
    return [dict(row) for row in read(deployment, window)[name].rows]


def one(deployment: Deployment, name: str, **changed: Any) -> Row:
    """The newest row of a statement about the shop, with other values."""
    rows = given(deployment, name)
    return next(r for r in rows if r.get("use_case") == USE_CASE) | changed


def everything(deployment: Deployment) -> dict[str, list[Row]]:
    """What all statements give."""
    return {name: given(deployment, name) for name in TITLES}


def fill_models(deployment: Deployment) -> None:
    trained = {"training_date": DAY - 5 * WEEK, "as_of": DAY - 5 * WEEK}
    verdict = {"promoted": True, "verdict": "not worse", "algorithm": "Trees"}
    version = {"use_case": USE_CASE, "model_version": 0, **trained, **verdict}
    deployment.append(TRAINING_METADATA, version)
    lift = [
        {"decile": n, "users": 200.0, "conversions": 90.0 / n,
         "mean_probability": 0.4 / n, "lift": 5.0 / n}
        for n in range(1, 11)
    ]  # fmt: skip
    scored = {"model_version": 0, "status": "final", "outcome": "evaluated"}
    shop = {
        **scored,
        "users": 2_000, "conversions": 170, "unscored_converters": 12,
        "base_rate": 0.085, "mean_probability": 0.08, "lift": lift,
        "roc_auc": 0.8, "roc_auc_low": 0.78, "roc_auc_high": 0.82,
        "budget": "10%", "recall_at_budget": 0.53, "lift_at_budget": 5.3,
        "users_at_budget": 200.0, "true_positives_at_budget": 90.0,
        "pr_auc": 0.3, "log_loss": 0.22, "calibration_error": 0.02,
        "value_promised": Decimal("12000.5"), "value_observed": Decimal("13050.5"),
        "purchases": 200, "purchases_without_id": 16,
        "revenue": 14_100.0, "revenue_without_id": 1_050.0,
    }  # fmt: skip
    # A day of 20 alerts, 15 of them right.
    day = {
        "use_case": CARDS, "week_end": DAY, "users": 900, "conversions": 25,
        "alerted": 20, "alerted_conversions": 15, "review_cost": Decimal(5),
        "cost": 200.0, "cost_without": 1000.0, "saved": Decimal(800),
    }  # fmt: skip
    deployment.append(
        EVALUATION,
        *(of_week(n, **shop) for n in (1, 2, 40)),
        {**scored, **day, "week": DAY - timedelta(days=1)},
    )
    published = {"use_case": USE_CASE, "model_version": 0, "scored_at": NOW}
    published |= {"users": 2_000, "value_promised": Decimal("14000.25")}
    published |= {"mean_probability": 0.09, "conversions_low": 150}
    published |= {"conversions_high": 220}
    days = (DAY, DAY - 40 * WEEK)
    deployment.append(PUBLICATIONS, *({**published, "as_of": day} for day in days))
    drift = {"use_case": USE_CASE, "as_of": DAY, "bound": 0.2, "written_at": NOW}
    score = {"kind": "score", "name": "probability", "psi": 0.05, "is_alarm": False}
    bins = [{"value": "0% to 5%", "observed": 0.1, "expected": 0.09}]
    message = "source is 'google' for 2% of users"
    alarm = {"kind": "feature", "name": "source", "psi": 0.6, "is_alarm": True}
    deployment.append(
        DRIFT,
        {**drift, **score, "bins": bins},
        {**drift, **score, "bins": [], "written_at": NOW - WEEK},
        {**drift, **alarm, "cause": "feature", "message": message},
    )


def fill_letters(deployment: Deployment) -> None:
    at = NOW - timedelta(hours=2)
    letter = {"received_at": at, "received_on": at.date(), "raw": SOMEBODY.encode()}
    deployment.append(
        DEAD_LETTERS,
        {**letter, "message_id": "1", "reason": "bad_value"},
        {**letter, "message_id": "1", "reason": "bad_value"},
        {**letter, "message_id": "2", "reason": "malformed_json"},
    )


def fill_audiences(deployment: Deployment) -> None:
    key = {"use_case": USE_CASE, "audience": "winback"}
    member = {**key, "as_of": DAY - 2 * WEEK, "selection": "top 2"}
    member["probability"] = 0.5
    deployment.append(
        AUDIENCE_MEMBERS,
        {**member, "user_id": SOMEBODY, "is_control": False},
        {**member, "user_id": "another", "is_control": True},
    )
    decile = {"decile": 1, "users": 20.0, "conversions": 9.5, "value": 3810.0}
    power = {"weeks": 1, "members": 2, "smallest_lift": 0.47}
    plan = {
        "as_of": DAY - 2 * WEEK, "planned_at": NOW, "control_group": "winback",
        "control_share": 0.5, "control_by": "user_id", "control_key": "k",
        "new_members_a_week": 1.0, "power": [power],
        "deciles": [decile | {"cost": 38.0, "pays_from": 0.02}],
    }  # fmt: skip
    deployment.append(AUDIENCE_PLANS, key | plan)
    sent = {**key, "as_of": DAY - 2 * WEEK, "recorded_at": NOW}
    log_request(deployment.warehouse, SOMEBODY, **sent, status="pending")
    reason = f"{SOMEBODY} is unknown"
    log_request(
        deployment.warehouse, SOMEBODY, **sent, status="rejected", reason=reason
    )
    lift = {
        "audience": "winback", "status": "final", "verdict": "open",
        "treated_users": 900, "control_users": 100,
        "treated_conversions": 90, "control_conversions": 8,
        "conversion_difference": 0.02, "conversion_difference_low": -0.01,
        "conversion_difference_high": 0.05, "conversion_lift": 0.25,
    }  # fmt: skip
    deployment.append(
        AUDIENCE_LIFT,
        of_week(2, **lift),
        of_week(1, **lift | {"status": "provisional"}),
    )
    programme = {
        "control_group": "winback", "period": "all", "status": "final",
        "verdict": "helps", "audiences": ["winback"],
        "treated_users": 1_800, "control_users": 200, "conversion_difference": 0.02,
        "revenue_difference": 3.0, "revenue_difference_low": 0.5,
        "revenue_difference_high": 5.5,
    }  # fmt: skip
    deployment.append(PROGRAMME_LIFT, of_week(2, **programme))


# Of amounts, an interval of which makes a sum.
MORE = {
    "revenue_difference": 10.0,
    "revenue_difference_low": 5.0,
    "revenue_difference_high": 15.0,
}


def readings(
    rows: Mapping[str, Sequence[Row]], **missing: str
) -> dict[str, QueryResult]:
    """What the statements gave, all of them: no rows where a test names none."""
    return {
        name: QueryResult(
            name=name,
            text=statement(name, folder=SQL),
            rows=rows.get(name, ()),
            missing=missing.get(name, ""),
        )
        for name in TITLES
    }


def pages(
    rows: Mapping[str, Sequence[Row]],
    known: Mapping[str, Facts] = KNOWN,
    **missing: str,
) -> dict[str, str]:
    read = readings(rows, **missing)
    listed = cases(read, known, WINDOW)
    return Dashboard(
        dataset="p.propensity", window=WINDOW, readings=read, cases=listed
    ).pages()


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    """The deployment; tests read it."""
    deployment = Deployment(PROPENSITY_GA4_DATASET="")
    deployment.prepare()
    fill_models(deployment)
    fill_letters(deployment)
    fill_audiences(deployment)
    return deployment


SHOP = f"use-case-{USE_CASE}.html"
FRAUD = f"use-case-{CARDS}.html"


def attributes(page: str, *names: str) -> set[str]:
    """The values of attributes of a page's elements."""
    tags = parse(page).tags
    return {of[name] for _, of in tags for name in names if name in of}


def with_texts(row: Row, word: str) -> Row:
    """Return a row of the use case whose texts are all a word."""
    changed = {key: word for key, value in row.items() if isinstance(value, str)}
    return row | changed | {"use_case": USE_CASE}


@pytest.fixture(scope="module")
def whole(deployment):
    """The pages of a deployment with something in every table."""
    return pages(everything(deployment))


class TestPages:
    def test_pages_lead_to_no_dead_end(self, whole):
        """Every link is one of these pages, and its anchor is there."""
        anchors = {name: attributes(page, "id") for name, page in whole.items()}
        assert {*whole} == {*(file for _, file in PAGES), SHOP, FRAUD}
        for name, page in whole.items():
            for link in attributes(page, "href", "src") - {"data:,"}:
                file, _, anchor = link.partition("#")
                assert (file or name) in whole, link
                assert not anchor or anchor in anchors[file or name], link

    def test_pages_load_nothing(self, whole):
        """So that they work from a file, and tell nobody who reads them."""
        for page in whole.values():
            tags = parse(page).tags
            assert not {"script", "iframe", "img", "object"} & {tag for tag, _ in tags}
            assert not any(name.startswith("on") for _, of in tags for name in of)
            assert not re.search(r"url\(|@import|https?://", page)

    def test_pages_say_what_every_table_has(self, whole):
        """Or that there is nothing: then a use case without a row, a shipped model for
        example, has no page, and neither have audiences."""
        empty = pages({})
        texts = {name: visible(page) for name, page in whole.items()}
        del texts["sql.html"]
        texts["index.html of an empty deployment"] = visible(empty["index.html"])

        assert {*empty} == {"index.html", "sql.html"}
        same_as_golden("dashboard", texts)

    def test_a_sum_that_may_still_change_is_told_from_a_final_one(self, deployment):
        """On the tile, and wherever else a sum of contacting stands."""
        said = {}
        for status in ("provisional", "final"):
            lift = one(deployment, "lift", status=status, **MORE)
            files = pages({"lift": [lift]})
            said[status] = {name: words(page) for name, page in files.items()}

        for name, page in said["final"].items():
            with_sum = "What contacting brought" in page
            assert with_sum == (page != said["provisional"][name]), name
            assert "brought, up to 17 Feb (provisional)" not in page
        assert "(provisional)" in said["provisional"]["index.html"]

    def test_pages_take_texts_for_words(self, deployment):
        """The tags of the pages are those of an ordinary text."""

        def tags(word: str) -> list[list[str]]:
            rows = {}
            for of, found in everything(deployment).items():
                rows[of] = [with_texts(row, word) for row in found]
            known = {USE_CASE: Facts(title=word, outcome=word, champion=3)}
            files = pages(rows, known, plans=word)
            return [
                [tag for tag, _ in parse(files[name]).tags] for name in sorted(files)
            ]

        ordinary = tags("Ordinary text")
        for name in ("<script>alert(1)</script>", '"><img src=x>'):
            assert tags(name) == ordinary


# The day before the newest week of the rows ended.
PAST = DAY - timedelta(days=1)


def weeks_of(rows: list[reading.Row]) -> list[date]:
    return [row["week"] for row in rows if row["use_case"] == USE_CASE]


class TestStatements:
    def test_statements_read_the_weeks_of_the_window_alone(self, deployment):
        """Newest first, and nothing of after a past day."""
        longer = Window(as_of=DAY, weeks=50, until=DAY)

        assert len(weeks_of(given(deployment, "evaluations", longer))) == 3
        past = Window(as_of=PAST, weeks=26, until=PAST)
        for name in ("evaluations", "lift"):
            assert weeks_of(given(deployment, name, past)) == [DAY - 2 * WEEK]
        assert given(deployment, "publications", past) == []

    def test_statements_give_the_same_by_the_text_that_is_shown(self, deployment):
        """With its parameters as values. Where tables are is what the emulator is told
        beside it: it has no system variables."""
        for name in TITLES:
            text = reading.runnable(
                statement(name, folder=SQL),
                WINDOW.parameters(name),
                deployment.warehouse,
            )
            _, dataset, *lines = text.splitlines()

            assert dataset == f"SET @@dataset_id = '{deployment.settings.dataset}';"
            rows = deployment.warehouse.table("\n".join(lines)).to_pylist()
            written = [reading.page_row(row) for row in rows]
            assert written == given(deployment, name), name


@pytest.fixture
def known(deployment, monkeypatch) -> None:
    """What is read is known: the test is about what is done with it."""
    readings = read(deployment)
    monkeypatch.setattr(
        "propensity.dashboard.pages.readings_of", lambda *_, **__: readings
    )


class TestCommand:
    def test_the_dashboard_writes_a_folder(self, deployment, tmp_path, capsys):
        """Every page, and answers a program; again replaces what is there. No id of a
        user is in one: neither from a table of users, nor in words of a receiver."""
        registry = Registry(deployment.artifacts, USE_CASE)
        registry.promote(7, model_sha256="0" * 64, at=NOW, instead_of=None)
        report = report_name(USE_CASE, DAY - WEEK)
        link = f'<a href="../../models/{USE_CASE}/7/report.html">'.encode()
        deployment.artifacts.overwrite(report, link, content_type="text/html")
        folder = tmp_path / "new" / "site"
        command = ("dashboard", "--out", str(folder), "--as-of", str(DAY))
        for how in ((), ("--json",)):
            assert deployment.command(*command, *how) == Exit.DONE
        output, _, answer = capsys.readouterr().out.partition("{")

        names = {file.name for file in folder.iterdir()}
        assert "Model version 7 is live" in words((folder / SHOP).read_text())
        assert str(folder / "index.html") in output
        assert json.loads("{" + answer)["pages"].keys() == names
        for file in folder.iterdir():
            assert SOMEBODY not in file.read_text(), file.name
        # A report has a policy of its own, before anything that it says, and leads to
        # the use case where there is no report of its model.
        (copy,) = folder.glob("report-*.html")
        assert copy.read_text() == f'{FIRST}<a href="{SHOP}">'
        assert f'href="{copy.name}"' in (folder / SHOP).read_text()

    def test_a_damaged_pointer_or_a_wrong_folder_hides_no_other_use_case(
        self, deployment, known, tmp_path, capsys
    ):
        deployment.artifacts.create(f"models/{CARDS}/champion.json", b"[]")
        words = ("dashboard", "--out", str(tmp_path / "out"), "--as-of", str(DAY))
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_broken(folder)
            assert deployment.command(*words, "--json") == Exit.DONE
        deployment.artifacts.delete(f"models/{CARDS}/champion.json")

        [wrong] = json.loads(capsys.readouterr().out)["wrong"]
        assert wrong.startswith("broken/usecase.toml")
        assert (tmp_path / "out" / SHOP).is_file()
        page = (tmp_path / "out" / f"use-case-{CARDS}.html").read_text()
        assert "champion.json" in page


def test_missing_tables_are_sentences(module_deployment, tmp_path):
    """In a dataset without a table every page is written, and says so."""
    with entered(module_deployment.environment):
        written = run(str(tmp_path), weeks=26, clock=ManualClock(NOW))

    assert {*written["missing"]} == {*TITLES}
    assert "What could not be read" in (tmp_path / "index.html").read_text()


def test_a_file_on_a_full_disk_stays_what_it_was(tmp_path, monkeypatch):
    """No run leaves what it has of a page under a name of its own."""
    file = tmp_path / "new" / "index.html"
    whole_files.write_whole(file, b"old")
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[:1])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as caught:
        whole_files.write_whole(file, b"new")
    assert caught.value.filename == str(file)

    assert list(file.parent.iterdir()) == [file]
    assert file.read_bytes() == b"old"
