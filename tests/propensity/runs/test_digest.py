"""
The digest of the export as a step of runs: which days it reads, and when it reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from offline import digest as digest_command
from propensity import usecases
from propensity.clock import SYSTEM
from propensity.errors import (
    DigestNotAgreed,
    DigestUnfinished,
    RunInProgress,
    Unavailable,
)
from propensity.ga4.view import events_view
from propensity.gcp.warehouse import Warehouse
from propensity.registry.leases import leased
from propensity.runs import digest, digest_state, setup
from propensity.runs.run import Overrides, Run
from propensity.tables.export import DIGEST, DIGESTED_DAYS
from propensity.tables.export_names import VIEW
from propensity.tables.stream import SUPPRESSED_USERS
from propensity.timeframe import midnight
from propensity.trying import new_use_case as new
from propensity.usecases import UseCase
from propensity.usecases.prices import TIB
from tests.offline.forgetting import row_of
from tests.support import own_use_cases, shop
from tests.support.clocks import ManualClock
from tests.support.deployment import KEY, Deployment, entered
from tests.support.shop import DAY, microseconds

FIRST = date(2026, 1, 1)
DAYS = [FIRST + n * DAY for n in range(11)]
LAST = DAYS[-1]


@pytest.fixture(scope="module")
def site(module_deployment) -> Deployment:
    """The deployment of all these tests: statements are translated for it once."""
    load(module_deployment, FIRST)
    setup.prepare(module_deployment.warehouse, module_deployment.settings)
    return module_deployment


@pytest.fixture
def export(site) -> Deployment:
    """A deployment with an export of eleven days, each with one purchase."""
    site.empty(DIGEST)
    dataset = site.ga4_dataset
    for table in site.warehouse.tables_of(dataset):
        site.warehouse.client.delete_table(f"{dataset}.{table}")
    load(site, *DAYS)
    setup.prepare_export(site.warehouse, site.settings)
    return site


def load(export: Deployment, *days: date) -> None:
    rows = []
    for day in days:
        rows.append(shop.purchase("u", microseconds(day), 5.0, transaction=f"{day}"))
    shop.load(export, rows)


def run_of(export: Deployment, as_of: date = LAST, **changed: Any) -> Run:
    clock = ManualClock()
    run = Run(
        function="f",
        run_id="a run",
        settings=export.settings,
        use_case=usecases.load("ga4_purchase"),
        as_of=as_of,
        overrides=Overrides(),
        began_at=clock.now(),
        warehouse=export.warehouse.for_run(),
        artifacts=export.artifacts,
        clock=clock,
    )
    return replace(run, **changed)


def statements(monkeypatch, *, fails: Callable[[int], bool] = lambda _: False) -> list:
    """Note the days of each statement that digests; some fail before they begin."""
    read: list[list[date]] = []
    execute = Warehouse.execute

    def noted(self: Warehouse, sql: str, parameters: Any = None) -> int:
        if parameters and "modified" in parameters:
            if fails(len(read)):
                raise Unavailable("killed")
            read.append(list(parameters["days"]))
        return execute(self, sql, parameters)

    monkeypatch.setattr(Warehouse, "execute", noted)
    return read


def digested(export: Deployment) -> set[date]:
    return {row["export_day"] for row in export.rows("SELECT * FROM ga_digested_days")}


def bring(run: Run) -> None:
    view = run.warehouse.view_text(VIEW)
    tables = digest_state.read_export_tables(run.warehouse, view)
    digest.bring_up_to_date(run, view, tables, oldest=run.as_of, last=run.as_of)


def test_each_day_is_read_once_in_statements_of_a_month(export, monkeypatch, capfd):
    """The log says before how many there are, and how far it is. What was killed
    between two statements is continued; a further run reads none."""
    monkeypatch.setattr(digest, "DAYS_AT_ONCE", 4)
    with monkeypatch.context() as context:
        first = statements(context, fails=lambda done: done == 1)
        with pytest.raises(Unavailable):
            bring(run_of(export))
    read = statements(monkeypatch)
    for _ in range(2):
        bring(run_of(export))

    assert first + read == [DAYS[:4], DAYS[4:8], DAYS[8:]]
    assert digested(export) == set(DAYS)
    log = capfd.readouterr().err
    assert "11 days of the export to digest" in log
    assert "digested 4 of 7 days" in log
    assert export.count("ga_conversions") == len(DAYS)


MODIFIED = datetime(2026, 3, 1, tzinfo=UTC)
RULES = digest_state.Rules(
    statement="s",
    consent="ads",
    event_names=frozenset(["purchase", "refund"]),
)
TABLE = digest_state.ExportTable(
    name="t", day=FIRST, modified=MODIFIED, size_bytes=5, row_count=7
)
DIGESTED = digest_state.DigestedTable(
    export_day=FIRST,
    source_modified=MODIFIED,
    size_bytes=5,
    row_count=7,
    statement="s",
    consent="ads",
    event_names=["purchase", "refund"],
)


@pytest.mark.parametrize(
    ("table", "rules", "is_due"),
    [
        ({}, {}, False),
        # A label, an expiry or a policy has changed the time of all tables.
        ({"modified": MODIFIED + DAY}, {}, False),
        ({"modified": MODIFIED + DAY, "row_count": 8}, {}, True),
        # Analytics may have written other rows that are as large.
        ({"modified": datetime(2026, 1, 3, tzinfo=UTC)}, {}, True),
        ({}, {"statement": "of another release"}, True),
        ({}, {"consent": ""}, True),
        ({}, {"event_names": frozenset(["purchase", "sign_up"])}, True),
        # The digest has more than it needs.
        ({}, {"event_names": frozenset(["purchase"])}, False),
    ],
)
def test_a_day_is_read_again_where_it_or_the_question_is_another(table, rules, is_due):
    now = replace(TABLE, **table)
    state = digest_state.State(
        rules=replace(RULES, **rules),
        tables={FIRST: now},
        digested={FIRST: DIGESTED},
        settled=FIRST,
        visits_from=FIRST,
        utc_offset_hours=0,
    )

    assert state.due(FIRST, LAST) == ([now] if is_due else [])
    assert state.due(FIRST + DAY, LAST) == []


def test_a_day_that_was_read_before_it_had_ended_is_read_again_at_once():
    """It lacks the rest of the day, whatever else Analytics changes later."""
    before = replace(DIGESTED, source_modified=midnight(FIRST))
    changed = replace(TABLE, modified=midnight(FIRST + DAY))
    state = digest_state.State(
        rules=RULES,
        tables={FIRST: changed},
        digested={FIRST: before},
        settled=FIRST - DAY,
        visits_from=FIRST,
        utc_offset_hours=0,
    )

    assert state.due(FIRST, LAST) == [changed]


def test_runs_read_a_changed_day_once_more_from_the_fourth_day_on(export, monkeypatch):
    """Not at each change, also with daily predictions."""
    bring(run_of(export))
    late = shop.purchase("u", microseconds(LAST) + 1, 5.0, transaction="late")
    shop.load(export, [late, shop.purchase("u", microseconds(LAST), 5.0)])
    read = statements(monkeypatch)
    for days_later in (1, 3, 4, 5):
        now = midnight(LAST + days_later * DAY)
        bring(run_of(export, clock=ManualClock(now)))
        assert read == ([] if days_later < 4 else [[LAST]])


def large_tables(monkeypatch) -> None:
    """Have each row be as large as a TiB, in tables that Analytics wrote in time."""
    tables_of = digest_state.read_export_tables

    def enlarged(*arguments: Any) -> dict[date, digest_state.ExportTable]:
        tables = tables_of(*arguments)
        return {
            day: replace(
                table,
                modified=midnight(day + 3 * DAY),
                size_bytes=table.row_count * TIB,
            )
            for day, table in tables.items()
        }

    monkeypatch.setattr(digest_state, "read_export_tables", enlarged)


def test_days_are_not_read_again_for_much_money_before_a_person_agrees(
    export, monkeypatch
):
    """As after an upgrade. The command reads them; a new day needs no agreement."""
    large_tables(monkeypatch)
    bring(
        run_of(export, settings=replace(export.settings, maximum_bytes_billed=50 * TIB))
    )
    export.warehouse.execute(
        "UPDATE ga_digested_days SET statement = 'of another release' WHERE TRUE"
    )
    settings = replace(export.settings, maximum_bytes_billed=10 * 1024**2)
    read = statements(monkeypatch)
    with pytest.raises(DigestNotAgreed) as raised:
        bring(run_of(export, settings=settings))

    said = str(raised.value)
    assert "11 days of the export to read, at most 11.00 TiB, about 69 USD" in said
    assert "by another release" in said
    assert read == []

    with entered(export.environment):
        digest_command.run(is_agreed=True)
    load(export, LAST + DAY)
    bring(run_of(export, as_of=LAST + DAY, settings=settings))
    assert digested(export) == {*DAYS, LAST + DAY}


def test_a_first_reading_is_agreed_to_and_again_after_half_of_it(export, monkeypatch):
    """Whichever run comes first asks. What an export brings between two runs is
    read."""
    settings = replace(export.settings, maximum_bytes_billed=10 * 1024**2)
    large_tables(monkeypatch)
    asked = "11.00 TiB, about 69 USD on demand. Nobody has agreed to so many new days"
    with pytest.raises(DigestNotAgreed, match=asked):
        bring(run_of(export, settings=settings))
    assert digested(export) == set()

    with monkeypatch.context() as context:
        statements(context, fails=lambda done: done == 5)
        with entered(export.environment), pytest.raises(Unavailable):
            digest_command.run(is_agreed=True)
    with pytest.raises(DigestNotAgreed, match="run it again") as raised:
        bring(run_of(export, settings=settings))
    assert "6 days of the export to read" in str(raised.value)

    with entered(export.environment):
        digest_command.run(is_agreed=True)
    assert digested(export) == set(DAYS)


def test_a_digest_that_was_lost_is_read_again(export):
    """Not before somebody agrees: else it says for how much, and changes nothing."""
    bring(run_of(export))
    before = export.rows("SELECT * FROM ga_digested_days ORDER BY export_day")
    export.warehouse.execute("DELETE FROM ga_user_days WHERE TRUE")
    with entered(export.environment):
        [left] = digest_command.run(is_agreed=True)["exports"].values()
        [asked] = digest_command.run(is_again=True)["exports"].values()
        assert (left["read"], export.count("ga_user_days")) == (0, 0)
        assert (
            export.rows("SELECT * FROM ga_digested_days ORDER BY export_day") == before
        )
        again = digest_command.run(is_again=True, is_agreed=True)
        [done] = again["exports"].values()

    assert asked["to_read"].startswith("11 days of the export to read")
    assert done["read"] == len(DAYS)
    assert done["to_read"].startswith("0 days")
    assert export.count("ga_user_days") == len(DAYS)


def test_a_run_without_time_for_all_days_ends_and_the_next_one_goes_on(
    export, monkeypatch
):
    """Before Cloud Run ends it; it says how far it is, and asks to be called again."""
    monkeypatch.setattr(digest, "DAYS_AT_ONCE", 4)
    run = run_of(export)
    replace_days = digest.replace_days

    def slow(*arguments: Any, **named: Any) -> None:
        run.clock.advance(26 * 60)
        replace_days(*arguments, **named)

    monkeypatch.setattr(digest, "replace_days", slow)
    with pytest.raises(DigestUnfinished, match="digested 8 of 11 days") as raised:
        bring(run)
    bring(run_of(export))

    assert raised.value.retryable
    assert digested(export) == set(DAYS)


def in_digest(export: Deployment) -> set[str | None]:
    users = set[str | None]()
    for table in ("ga_user_days", "ga_conversions", "ga_refusals"):
        for row in export.rows(f"SELECT user_pseudo_id, user_id FROM {table}"):
            users.update(row.values())
    return users - {None}


def test_who_is_suppressed_for_each_use_case_is_not_in_the_digest(export, monkeypatch):
    """Nor where a run was killed before they were left out: the next one reads the day
    again. Who is suppressed for some of them stays: the digest is one for all."""
    suppressing = export.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
    run = run_of(suppressing, warehouse=Warehouse.open(suppressing.settings))
    suppressing.suppress("u", use_case="ga4_purchase")
    bring(run)
    assert in_digest(export) == {"u"}

    def killed(*_: Any) -> None:
        raise Unavailable("killed")

    suppressing.suppress("u", use_case="ga4_value")
    export.empty(DIGEST)
    with monkeypatch.context() as context:
        context.setattr(digest, "leave_out", killed)
        with pytest.raises(Unavailable):
            bring(run)
    bring(run)
    assert in_digest(export) == set()
    export.empty([SUPPRESSED_USERS])


def drop(export: Deployment, *days: date) -> None:
    for day in days:
        name = f"{export.settings.export}.events_{day:%Y%m%d}"
        export.warehouse.client.delete_table(name)


@pytest.mark.parametrize("how", ["gone", "withdrawn"])
def test_no_table_of_the_digest_keeps_rows_of_a_day_that_goes(export, how):
    """Ids of those who said No are in one of them as well."""
    for table in DIGEST:
        for day in (FIRST, LAST):
            export.append(table, row_of(table, "u", export_day=day, consent=""))
    if how == "gone":
        digest.remove_days(export.warehouse, [FIRST])
    else:
        view = export.warehouse.view_text(VIEW)
        state = digest_state.state_of(export.warehouse, view, {}, today=LAST)
        rules = replace(state.rules, consent="ads")
        of_first = {FIRST: state.digested[FIRST]}
        state = replace(state, rules=rules, digested=of_first)
        digest.withdraw_days(export.warehouse, state)

    for table in DIGEST:
        days = {row["export_day"] for row in export.rows(f"SELECT * FROM {table.name}")}
        stays = how == "withdrawn" and table is DIGESTED_DAYS
        assert days == ({FIRST, LAST} if stays else {LAST}), table.name


def test_an_export_that_was_linked_anew_takes_the_digest_along_only_after_a_yes(export):
    """The digest is then the only copy of what was before."""
    bring(run_of(export))
    drop(export, *DAYS[:-1])
    with pytest.raises(DigestNotAgreed, match="10 days no more, of 11 days"):
        bring(run_of(export))

    assert digested(export) == {*DAYS}

    with entered(export.environment):
        digest_command.run(is_agreed=True)
    assert digested(export) == {LAST}


def test_a_longer_lookback_reads_days_again_whose_visits_had_gone(export, monkeypatch):
    """By agreement, where that costs much. Orders of these days were kept, and no run
    read the days again for them."""
    old = FIRST - 10 * DAY
    load(export, old, *DAYS)
    bring(run_of(export))
    reached = date(2026, 1, 1)
    monkeypatch.setattr(digest_state, "visits_from", lambda *_, **__: reached)
    monkeypatch.setattr(UseCase, "first_visit_day", lambda *_: reached)
    load(export, LAST + DAY)
    bring(run_of(export, as_of=LAST + DAY))
    everything = {old, *DAYS, LAST + DAY}
    assert visited(export) == everything - {old}
    assert digested(export) == everything
    assert export.count("ga_conversions") == len(everything)

    read = statements(monkeypatch)
    bring(run_of(export, as_of=LAST + DAY))
    assert read == []
    reached = old
    settings = replace(export.settings, maximum_bytes_billed=1)
    with pytest.raises(DigestNotAgreed, match="1 day of the export to read"):
        bring(run_of(export, as_of=LAST + DAY, settings=settings))
    bring(run_of(export, as_of=LAST + DAY))
    assert read == [[old]]
    assert visited(export) == everything


def test_visits_are_kept_as_far_back_as_a_use_case_of_ones_own_reads_them(tmp_path):
    """Shared statements read visits of two lookbacks, and of the history orders."""
    with own_use_cases.in_folder(tmp_path / "own") as own:
        new.write_use_case("loyal", lookback_days=60, horizon_days=7)
        as_shared = usecases.load("loyal").first_visit_day(LAST)
        features = own / "loyal/features.sql"
        text = features.read_text("utf-8")
        features.write_text(
            text.replace("@first_export_day AND", "@first_history_day AND")
        )
        usecases.load.cache_clear()

        assert usecases.load("loyal").first_visit_day(LAST) == LAST - 731 * DAY
    assert as_shared == LAST - 121 * DAY


def visited(export: Deployment) -> set[date]:
    return {row["export_day"] for row in export.rows("SELECT * FROM ga_user_days")}


def asking(export: Deployment) -> Deployment:
    return export.with_settings(PROPENSITY_REQUIRE_CONSENT="true")


def test_another_consent_takes_its_events_out_at_once(export):
    """By the set-up, before a day is read again. The other way round, days are read
    again and stay until then."""
    bring(run_of(export))
    setup.prepare_export(export.warehouse, asking(export).settings)
    assert export.count("ga_user_days") == 0
    bring(run_of(asking(export)))
    assert export.count("ga_user_days") == 0
    assert len(digested(export)) == len(DAYS)

    setup.prepare_export(export.warehouse, export.settings)
    assert len(digested(export)) == len(DAYS)
    bring(run_of(export))
    assert export.count("ga_user_days") == len(DAYS)


def test_a_set_up_by_terraform_takes_events_without_consent_out_at_once(export):
    """While a run digests it waits. Defects: they stayed until the next run; a day went
    that a run had just digested."""
    bring(run_of(export))
    asked = asking(export)
    view = events_view(asked.settings.export, require="true")
    export.warehouse.replace_view(VIEW, view)
    with entered(asked.environment):
        with (
            leased(export.artifacts, digest.SCOPE, digest.KIND, clock=SYSTEM.now),
            pytest.raises(RunInProgress, match="digest of ga4_export"),
        ):
            digest_command.run()
        assert export.count("ga_user_days") == len(DAYS)
        digest_command.run()

    assert export.count("ga_user_days") == 0
