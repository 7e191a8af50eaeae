"""try: an export is tried with read rights, by a deployment's own statements."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from google.api_core import exceptions as api

from commands.cli import main
from local.ground import Ground
from local.ground.bigquery import Rows
from propensity.errors import RequestError
from propensity.ga4.shards import PREFIXES
from propensity.ga4.view import LATER_COLUMNS
from propensity.timeframe import Timeframe
from propensity.trying import lists
from propensity.trying.export import (
    TriedExport,
    days_needed,
    try_export,
    weeks_of,
)
from tests.support import shop, shops
from tests.support.deployment import Deployment, entered

NOW = datetime(2026, 11, 29, tzinfo=UTC)
# Most tables of Google's own sample, and its first day.
LONG_AGO = date(2020, 11, 4)
OWNER = "somebody-else"
CUT = shop.microseconds(LONG_AGO + timedelta(weeks=12, days=1))
TARGET = f"{OWNER}.analytics_1"


@contextlib.contextmanager
def in_place(deployment: Deployment) -> Iterator[None]:
    """Have commands of this process work there, on a small shop."""
    with entered(deployment.environment), deployment.trains_quickly():
        yield


def tried(deployment: Deployment, target: str, **more: Any) -> TriedExport:
    given = {"jobs_in": None, "agrees": pytest.fail, "now": NOW, **more}
    with in_place(deployment):
        return try_export(target, **given)


def exported(
    rows: list[shop.Row], *, kind: str = "daily", lacking: Collection[str] = ()
) -> Deployment:
    """Return a ground with an export alone, in a project of its own, in Europe."""
    deployment = Deployment(Ground(OWNER))
    deployment.project = OWNER
    bigquery = deployment.ground.bigquery
    bigquery.location = "EU"
    bigquery.create_dataset("analytics_1")
    tables = {}
    for name, table in shop.shards(rows).items():
        tables[name.replace("events_", PREFIXES[kind])] = table
    shop.load_shards(deployment, tables)
    for name in tables:
        for column in lacking:
            bigquery.query(f"ALTER TABLE analytics_1.{name} DROP COLUMN {column}")
    return deployment


def there(ground: Ground) -> dict[str, Any]:
    """All tables with their rows and when they were changed, and all objects."""
    bigquery = ground.bigquery
    names = {path: bigquery.catalog.kind(path) for path in bigquery.catalog.tables}
    buckets = ground.storage.buckets.items()
    objects = {name: sorted(bucket.objects) for name, bucket in buckets}
    return {"tables": names, "changed": dict(bigquery.changed), "objects": objects}


def test_probabilities_are_those_of_a_deployed_training_of_that_date():
    """To the last digit. A deployment is beside it, whose digest ends a month before:
    nothing of it is read or changed, and nothing is there that was not before."""
    beside = shops.a_shop()
    before = there(beside.ground)
    trial = tried(beside, shops.EXPORT)
    after = there(beside.ground)

    deployed = shops.a_shop()
    as_of = trial.trial.as_of
    deployed.run("model_training", as_of)
    deployed.run("predictions", as_of)
    rows = deployed.rows("SELECT user_id, probability FROM ma_predictions_table")
    published = {row["user_id"]: row["probability"] for row in rows}
    people = trial.people
    assert as_of == shops.FIRST + timedelta(weeks=shops.WEEKS - 1, days=1)
    assert dict(zip(people["user_id"], people["probability"], strict=True)) == published
    assert len(published) == 160
    assert before == after


def test_the_list_of_an_export_is_compared_with_todays():
    """By a rule of a feature, as of each tested date; money waits for 40 buyers each
    that only one of the lists has."""
    trial = tried(shops.a_shop(), shops.EXPORT, against="purchase_recency_days < 30")
    rows, _, _ = trial.trained.judged_forward()
    listed = rows.rows.to_pandas().query("purchase_recency_days < 30")

    assert trial.duel.listed == len(listed)
    assert trial.duel.found_on_both + trial.duel.found_today == listed["label"].sum()
    assert trial.duel.paid is None
    assert "; 88 are on both" in trial.page()


def test_who_is_on_a_list_of_an_export_is_told_in_words(long_ago):
    """As the use case names its features; of some it tells nothing."""
    bought = long_ago.features["purchases_28d"].to_numpy() > 0
    lines = long_ago.who(long_ago.people["user_id"][bought])

    assert 20 <= bought.sum() <= 140
    assert lines[0].words == "Purchases in the last four weeks at least 1"
    assert (lines[0].chosen, lines[0].others) == ("100%", "0%")
    assert not any("fading" in line.words for line in lines)


@pytest.fixture(scope="module")
def long_ago() -> TriedExport:
    """The trial of an export with the columns of 2020, which ended years ago."""
    weeks = shop.weekly(LONG_AGO, 13)
    return tried(exported(weeks, lacking=LATER_COLUMNS), TARGET, jobs_in="my-project")


def test_an_export_of_years_ago_is_tried_with_the_days_and_columns_that_it_has(
    long_ago,
):
    """As of the day after its last table, by jobs of another project. The page says
    what shorter spans cost."""
    last = LONG_AGO + timedelta(weeks=12)
    [shortened] = [line for line in long_ago.sentences if "fewer" in line]

    assert long_ago.trial.as_of == last + timedelta(days=1)
    assert "features read 40 days instead of 60, and 6 weeks" in shortened
    assert "With 26 weeks, intervals would be about 2.1 times narrower" in shortened
    assert "PROPENSITY_REQUIRE_CONSENT was false" in long_ago.page()
    assert "Whoever was forgotten" in long_ago.page()
    assert len(long_ago.people) == 160


def problem_of(deployment: Deployment, *words: str, capsys: Any) -> str:
    """Run a try that fails; return what it says."""
    with in_place(deployment):
        assert main(["try", *words]) != 0
    return capsys.readouterr().err


def test_an_export_without_purchases_names_the_events_that_it_has(capsys):
    rows = [row for row in shop.weekly(LONG_AGO, 13) if row["event_name"] != "purchase"]
    said = problem_of(exported(rows), TARGET, capsys=capsys)

    assert "has no event purchase. It has page_view (160 users)" in said
    assert "Predict one of them by --label-event NAME" in said


def test_an_export_of_few_days_says_when_to_try_it(capsys):
    said = problem_of(exported(shop.weekly(LONG_AGO, 6)), TARGET, capsys=capsys)

    assert "has 36 days, 2020-11-04 to 2020-12-09, and a trial needs 60" in said
    assert "Try it in 24 days" in said


@pytest.mark.parametrize("horizon", [1, 7, 30, 90])
@pytest.mark.parametrize("stride", [0, 7])
def test_an_export_that_is_long_enough_has_dates_enough(horizon, stride):
    """Also for outcomes of a month."""
    full = Timeframe(
        lookback_days=60, horizon_days=horizon, settle_days=3, stride_days=stride
    )
    for n_days in range(days_needed(full), days_needed(full) + 200, 7):
        weeks = weeks_of(full, n_days)
        if weeks is not None:
            as_ofs = [LONG_AGO + n * full.stride for n in range(weeks)]
            assert full.are_enough(as_ofs)
            assert n_days - 28 - horizon - 3 >= (weeks - 1) * full.stride.days


def test_a_project_in_which_no_job_can_run_is_answered_with_the_option(capsys):
    deployment = exported([shop.event("u", LONG_AGO)])
    said = "Access Denied: User does not have bigquery.jobs.create permission"
    with patch.object(
        deployment.ground.bigquery, "query", side_effect=api.Forbidden(said)
    ):
        problem = problem_of(deployment, TARGET, "--jobs-in=my-project", capsys=capsys)

    assert "no job can run in my-project" in problem
    assert "by --jobs-in PROJECT" in problem


def test_without_the_right_to_use_the_storage_api_rows_come_by_pages(long_ago):
    """As many of them, with the same values; also of a property that only streams."""

    def paged(self: Rows, **how: Any) -> Any:
        if how.get("bqstorage_client") is not None:
            raise api.PermissionDenied("bigquery.readsessions.create")
        return self.table

    def denied(self: Rows, **_: Any) -> Any:
        raise api.PermissionDenied("bigquery.readsessions.create")

    with (
        patch.object(Rows, "to_arrow", paged),
        patch.object(Rows, "to_arrow_iterable", denied),
        patch("propensity.gcp.queries.SMALL_ROWS", 0),
    ):
        streamed = exported(shop.weekly(LONG_AGO, 13), kind="intraday")
        trial = tried(streamed, TARGET)

    assert trial.trial.warehouse.is_paged
    assert trial.people.equals(long_ago.people)


def test_more_than_the_free_month_is_read_only_if_agreed(capsys):
    """The price is said first."""
    deployment = exported(shop.weekly(LONG_AGO, 13))
    asked = list[str]()
    with (
        patch("propensity.trying.export.TIB", 1),
        pytest.raises(RequestError, match="add --yes"),
    ):
        tried(deployment, TARGET, agrees=asked.append)

    [question] = asked
    assert re.match(rf"13 days of {TARGET} to read: .* USD on demand", question)
    assert capsys.readouterr().err == f"{question}\n"
    assert not deployment.ground.bigquery._sessions


def test_a_trial_that_could_not_end_is_refused(monkeypatch):
    """Whatever a person agrees to: it would be ended on the way, and billed."""
    deployment = exported(shop.weekly(LONG_AGO, 13))
    monkeypatch.setattr("propensity.trying.export.MOST_TRIED", 1)
    with pytest.raises(RequestError, match="Deploy, which reads some days at a time"):
        tried(deployment, TARGET, agrees=lambda _: True)

    assert not deployment.ground.bigquery._sessions


def test_a_folder_judges_a_list_by_the_event_that_it_is_of(
    tmp_path, monkeypatch, capsys
):
    """Neither by purchases, nor by the ids of another export, and only a list whose
    groups are as they were drawn. The folder goes on with the list's key."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / lists.KEY).write_text("07" * 32)
    rows = shop.weekly(LONG_AGO, 17)
    for row in rows:
        # A spreadsheet takes such ids for formulas.
        row["user_pseudo_id"] = f"@{row['user_pseudo_id']}"
        if row["event_name"] == "purchase":
            row["event_name"] = "sign_up"
            row["ecommerce"] = None
    before = [row for row in rows if row["event_timestamp"] < CUT]
    words = ["try", TARGET, "--scores", "best.csv", "--control", "30%"]
    with in_place(exported(before)):
        assert main([*words, "--label-event", "sign_up"]) == 0
    listed = pd.read_csv("best.csv")
    is_contact = listed["group"] == "contact"
    others = listed["user_id"].str.replace("'@", "@").add("x")
    drawn = [
        "control"
        if lists.is_held_out(user, lists.draw_control(0.3, tmp_path))
        else "contact"
        for user in others
    ]
    listed.assign(user_id=others, group=drawn).to_csv("wrong.csv", index=False)
    swapped = listed["group"].where(listed.index > 9, "contact")
    listed.assign(group=swapped).to_csv("edited.csv", sep=";", index=False)
    listed[is_contact].to_csv("half.csv", index=False)
    capsys.readouterr()
    judge = ["try", TARGET, "--folder", "weekly", "--judge"]
    with in_place(exported(rows)):
        assert [main([*judge, name]) for name in ("wrong.csv", "edited.csv")] == [1, 1]
        wrong = capsys.readouterr().err
        assert main([*judge, "half.csv"]) == 1
        half = capsys.readouterr().err
        assert main([*judge, "best.csv", "--json"]) == 0

    together = json.loads(capsys.readouterr().out)["together"]
    [week] = json.loads((tmp_path / "weekly/propensity-lists.json").read_text())[
        "weeks"
    ]
    signed_up = set()
    as_of = LONG_AGO + timedelta(weeks=12, days=1)
    for row in rows:
        when = datetime.fromtimestamp(row["event_timestamp"] / 1e6, UTC).date()
        is_within = as_of <= when < as_of + timedelta(days=7)
        if row["event_name"] == "sign_up" and is_within:
            signed_up.add(f"'{row['user_pseudo_id']}")
    did = listed["user_id"].isin(signed_up)
    contacted, control = week["counted"]["sums"]
    assert contacted["conversions"] == (did & is_contact).sum()
    assert control["conversions"] == (did & ~is_contact).sum() > 0
    assert together["lists"] == 1
    # Nobody pays by signing up: 0 is not what they paid.
    assert together["amount"] is None
    assert "has no event of the users of wrong.csv" in wrong
    assert "did not draw them" in wrong
    assert "needs both contact and control" in half
    assert (tmp_path / "weekly" / lists.KEY).read_text() == "07" * 32


def test_a_list_is_judged_by_its_control_group(tmp_path, monkeypatch, capsys):
    """The next list of the folder holds out the same people. What contacting brought
    is said by a file of orders."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / lists.KEY).write_text("07" * 32)
    rows = shop.weekly(LONG_AGO, 17)
    before = [row for row in rows if row["event_timestamp"] < CUT]
    words = ["try", TARGET, "--scores", "best.csv", "--control", "30%"]
    with in_place(exported(before)):
        assert main(words) == 0
    first = pd.read_csv("best.csv")
    told = capsys.readouterr().out
    with in_place(exported(rows)):
        assert main([*words, "--json"]) == 0
        capsys.readouterr()
        second = pd.read_csv("best.csv")
        first.to_csv("first.csv", index=False)
    bought = []
    for row in rows:
        if row["event_name"] == "purchase" and row["event_timestamp"] >= CUT:
            paid = row["ecommerce"]["purchase_revenue"]
            bought.append({"who": row["user_pseudo_id"], "paid": paid})
    pd.DataFrame(bought).to_csv("orders.csv", index=False)
    orders = ["try", "orders.csv", "--judge=first.csv", "--user=who", "--amount=paid"]
    assert main(orders) == 0
    by_orders = capsys.readouterr().out

    groups = first.merge(second, on="user_id")
    held_out = (first["group"] == "control").sum()
    assert (groups["group_x"] == groups["group_y"]).all()
    assert 20 < held_out < 80
    assert f"{held_out} of 160 users are the control group" in told
    buyers = re.search(
        r"(\d+) of (\d+) users who were contacted .*and (\d+) of", by_orders
    )
    assert int(buyers[1]) + int(buyers[3]) == len({row["who"] for row in bought})
    assert int(buyers[2]) == 160 - held_out
    first.loc[2, "group"] = "kontrol"
    first.to_csv("first.csv", index=False)
    assert main(orders) == 1
    assert "column group, row 3: 'kontrol' is no group" in capsys.readouterr().err
    first.head(0).to_csv("first.csv", index=False)
    assert main(orders) == 1
    assert "first.csv has no users" in capsys.readouterr().err
    second.to_csv("first.csv", index=False)
    pd.DataFrame(bought).assign(at="2021-01-05").to_csv("orders.csv", index=False)
    assert main([*orders, "--time=at"]) == 1
    assert "the newest order of orders.csv is of 2021-01-05" in capsys.readouterr().err
