"""
doctor, specified: what is healthy is left in peace, what is wrong is named.

Everything is examined: tables, objects and a daily export as they are in a deployment.
A fault is put in by hand, and nothing else may be found.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from commands.cli import main
from local.exports import sources as loading
from offline import dead_letters
from offline.doctor import checks, run
from offline.doctor.checks import Examination
from offline.doctor.run import CHECKS
from propensity import usecases
from propensity.cli.answers import Exit
from propensity.gcp.warehouse import Warehouse
from propensity.registry.leases import Lease
from propensity.runs import digest_state, setup
from propensity.tables.audiences import AUDIENCE_REQUESTS
from propensity.tables.export import CONVERSIONS, USER_DAYS
from propensity.tables.stream import DEAD_LETTERS, POSTCODE_INDEX, SUPPRESSED_USERS
from propensity.timeframe import midnight
from propensity.usecases.declaration import OwnSource
from tests.offline.forgetting import row_of
from tests.support import own_use_cases, shop
from tests.support.deployment import KEY, STREAMED, Deployment, entered
from tests.support.golden import same_as_golden
from tests.support.rows import log_request

# A Wednesday, at noon: the week's runs were on Monday, the month's on the first.
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
MONDAY = date(2026, 3, 2)
FIRST = NOW.date() - timedelta(days=22)
EXPORT = [FIRST + timedelta(days=n) for n in range((NOW.date() - FIRST).days)]
POINTER = f"models/{STREAMED}/champion.json"


def flip(deployment: Deployment, name: str) -> None:
    """Flip a bit of an object's first byte."""
    first, *rest = deployment.artifacts.read(name).data
    deployment.artifacts.overwrite(name, bytes([first ^ 1, *rest]))


def note(
    deployment: Deployment,
    kind: str,
    as_of: date,
    state: str = "done",
    *,
    error: str = "",
    waiting_since: datetime | None = None,
) -> None:
    """Let a run be done, have failed, or have begun."""
    name = f"runs/{STREAMED}/{kind}/{as_of}.json"
    at = midnight(as_of) + timedelta(hours=13)
    stored = deployment.artifacts.find(name)
    lease = Lease(artifacts=deployment.artifacts, name=name, run_id="r", began_at=at)
    lease.waiting_since = waiting_since
    lease.write(state, stored, at=at, error=error)


def examination(deployment: Deployment, **changed: Any) -> Examination:
    given = {
        "settings": deployment.settings,
        "warehouse": deployment.warehouse,
        "artifacts": deployment.artifacts,
        "now": NOW,
        "use_cases": [usecases.load(STREAMED)],
    }
    return Examination(**given | changed)


def examine(deployment: Deployment, **changed: Any) -> run.Report:
    """Run every check."""
    with entered(deployment.environment):
        return run.examine(examination(deployment, **changed))


def found(deployment: Deployment, check: str, **changed: Any) -> list[str]:
    with entered(deployment.environment):
        findings = [*run.CHECKS[check](examination(deployment, **changed))]
    return [finding.what for finding in findings]


def doctor(deployment: Deployment, *arguments: str, **extra: str) -> int:
    """Run the command."""
    with entered({**deployment.environment, **extra}):
        return main(["doctor", "--as-of", "2026-03-03", *arguments])


def let_statements_read(monkeypatch, size: int) -> None:
    """Have each dry run say so many bytes of a digest that is there; check nothing."""
    monkeypatch.setattr(Warehouse, "dry_run", lambda *_: size)
    monkeypatch.setattr(run, "CHECKS", {})
    monkeypatch.setattr(digest_state, "read_digested_days", lambda _: {"a day": None})


def repair(deployment: Deployment) -> None:
    """Put back views and tables."""
    deployment.warehouse.create(POSTCODE_INDEX)
    deployment.empty_tables([DEAD_LETTERS])
    setup.prepare_export(deployment.warehouse, deployment.settings)


class Subscriber:
    """Pub/Sub, as Google's client has it, with messages that wait."""

    waiting = 0

    def pull(self, **_: Any) -> SimpleNamespace:
        received = []
        for number in range(self.waiting):
            message = SimpleNamespace(message_id=number, data=b"secret-user")
            received.append(SimpleNamespace(message=message, ack_id=number))
        return SimpleNamespace(received_messages=received)

    def modify_ack_deadline(self, **_: Any) -> None:
        """Give messages back, which wait on."""


@pytest.fixture(autouse=True)
def subscriber(monkeypatch) -> Subscriber:
    """The subscription of dead letters, of which there are none."""
    subscriber = Subscriber()
    opened = contextlib.nullcontext(subscriber)
    monkeypatch.setattr(dead_letters, "open_client", lambda *_: opened)
    return subscriber


@pytest.fixture(scope="module")
def healthy() -> Deployment:
    """A deployment as healthy as can be, that no test changes: all is there, and ran
    when it was due."""
    settings = {"PROPENSITY_USE_CASE": STREAMED, "PROPENSITY_DEADLINE_S": "5"}
    deployment = Deployment(**settings)
    shop.load(deployment, [shop.event("ana", day) for day in EXPORT])
    setup.prepare(deployment.warehouse, deployment.settings)
    deployment.load_model()
    note(deployment, "train", date(2026, 3, 1))
    for kind in ("predict", "evaluate"):
        note(deployment, kind, MONDAY)
    note(deployment, "audiences", NOW.date())
    return deployment


@pytest.fixture
def deployment(healthy) -> Iterator[Deployment]:
    """The same, whose objects are put back after a test."""
    with healthy.putting_objects_back():
        yield healthy


def break_tables(deployment: Deployment) -> None:
    """Also a live version, a run, and messages: as many as a person is shown, of each
    reason the newest, a repeated one once."""
    deployment.warehouse.execute("DROP VIEW ga_events")
    deployment.warehouse.execute("DROP TABLE postcode_index")
    flip(deployment, f"models/{STREAMED}/0/model.joblib")
    deployment.artifacts.delete(f"runs/{STREAMED}/predict/{MONDAY}.json")
    note(deployment, "predict", MONDAY - timedelta(days=7))
    letter = {"raw": b"secret-user", "received_on": NOW.date(), "received_at": NOW}
    rows = [letter | {"message_id": "m", "reason": "bad_json"}]
    for number in range(5):
        rows.append({
            **letter, "message_id": f"m{number}", "reason": "bad_value",
            "field": "amount", "detail": f"'{number} EUR' is no number",
            "received_at": NOW - timedelta(minutes=number),
        })  # fmt: skip
    deployment.append(DEAD_LETTERS, *rows, rows[-1])


def break_objects(deployment: Deployment) -> None:
    """By none, JSON of another kind, and a name that is no date."""
    deployment.artifacts.delete(POINTER)
    flip(deployment, f"runs/{STREAMED}/train/2026-03-01.json")
    texts = {"predict": b"[1]", "evaluate": b'{"state": ["done"]}'}
    for kind, text in texts.items():
        deployment.artifacts.overwrite(f"runs/{STREAMED}/{kind}/{MONDAY}.json", text)
    deployment.artifacts.create(f"runs/{STREAMED}/predict/2026-13-40.json", b"{}")


def test_the_doctor_finds_nothing_where_all_is_well(healthy, capsys):
    """Every check ran and found nothing; the command exits with 0."""
    report = examine(healthy)
    status = doctor(healthy)
    written = capsys.readouterr()

    assert (report.findings, report.failed) == ([], {})
    assert report.checks == ["settings", *CHECKS]
    assert (report.status, status) == (0, 0), written.out
    assert "Nothing is wrong." in written.out


def test_the_doctor_names_each_fault(deployment, subscriber):
    """Whatever is wrong is found, with what to do, and nothing else is."""
    subscriber.waiting = 3
    reports = {}
    for broken in (break_tables, break_objects):
        with deployment.putting_objects_back():
            broken(deployment)
            report = examine(deployment)
        repair(deployment)
        reports[broken.__name__] = str(report)
        assert (report.status, report.failed) == (1, {})
        assert "secret-user" not in str(report)

    same_as_golden("doctor", reports)


class TestRuns:
    def test_a_run_that_failed_is_named_by_the_word_of_the_documents(self, deployment):
        """What operate.md does not know is looked for in the log; a run that waits for
        the export has not failed, until it has waited long enough."""
        since = {"waiting_since": NOW - timedelta(minutes=119)}
        note(deployment, "evaluate", MONDAY, "failed", error="SchemaError")
        note(deployment, "predict", MONDAY, "failed", error="ZeroDivisionError")
        note(
            deployment, "train", date(2026, 3, 1), "failed", error="ExportLate", **since
        )
        trained, predicted, evaluated = checks.check_runs(examination(deployment))
        later = found(deployment, "runs", now=NOW + timedelta(minutes=2))[0]

        assert "waits for the export" in trained.what
        assert "failed: export_late" in later
        assert "failed: schema" in evaluated.what
        assert evaluated.advice == "docs/operate.md#schema says what to do"
        assert predicted.advice.startswith("see the log of predictions of that run")

    def test_daily_predictions_are_overdue_after_a_day(self, deployment):
        daily = deployment.with_settings(PROPENSITY_PREDICTION_DAYS="daily")

        assert found(daily, "runs")[0].startswith(f"predictions of {STREAMED} is over")


class TestCommand:
    def test_the_doctor_looks_at_every_use_case_with_a_champion(
        self, deployment, capsys, tmp_path
    ):
        """Whatever use case the settings name, and whatever another's pointer or folder
        has."""
        pointer = "models/card_fraud/champion.json"
        deployment.artifacts.create(pointer, b"{}")
        deployment.damage(pointer, b"[]")
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_broken(folder)
            named = {"PROPENSITY_USE_CASE": "broken"}
            doctor(deployment, "--as-of", "2026-06-01", **named)

        printed = capsys.readouterr().out
        assert "use cases: broken/usecase.toml" in printed
        assert f"predictions of {STREAMED} is overdue" in printed
        assert f"{pointer} is damaged" in printed

    def test_the_doctor_asks_no_service_where_that_is_useless(self, healthy, capsys):
        """Of a setting that stops every function, and of a state whose process has
        ended. There is one advice."""
        assert doctor(healthy, PROPENSITY_NO_SUCH_SETTING="1") == 1
        assert "unknown setting PROPENSITY_NO_SUCH" in capsys.readouterr().out
        report = run.run(is_local=True, ended=["bigquery", "score"])

        assert str(report).count("start it again with make up") == 1
        assert "ended by themselves: bigquery, score" in str(report)

    def test_the_doctor_says_that_it_could_not_examine(self, healthy, capsys):
        """Services that do not answer are no finding: nothing is known of them."""
        away = {"BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9"}
        away["BIGQUERY_STORAGE_EMULATOR_HOST"] = "127.0.0.1:9"
        status = doctor(healthy, "--json", **away, PROPENSITY_DEADLINE_S="1")
        report = json.loads(capsys.readouterr().out)

        assert status == 4
        assert {"rights", "export"} <= report["failed"].keys()

    def test_the_doctor_counts_suppressed_users_in_the_digest(self, deployment):
        """As of a forget that was broken off; it names nobody, and once the user is
        forgotten again it is over."""
        suppressing = deployment.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
        for user in ("secret-user", "another"):
            suppressing.suppress(user)
        for user in ("secret-user", "kept"):
            row = row_of(USER_DAYS, "", user_id=None, user_pseudo_id=user)
            suppressing.append(USER_DAYS, row | {"export_day": MONDAY})

        def named() -> list[str]:
            with contextlib.closing(Warehouse.open(suppressing.settings)) as warehouse:
                return found(
                    suppressing,
                    "digest",
                    warehouse=warehouse,
                    use_cases=[usecases.load("ga4_purchase")],
                )

        [what] = named()
        status = suppressing.command("forget", "secret-user")
        after = named()
        deployment.empty_tables([USER_DAYS, SUPPRESSED_USERS])

        assert what.endswith("has 1 suppressed user")
        assert (status, after) == (Exit.DONE, [])

    @pytest.mark.parametrize(
        ("currency", "dollars", "is_named"),
        [("EUR", 25, True), ("EUR", "22.01", False), ("USD", 25, False)],
    )
    def test_the_doctor_names_a_sum_of_several_currencies(
        self, healthy, currency, dollars, is_named
    ):
        """By the rates of a day. Of dollars there is one currency, as Google converts
        all others."""
        paid = {"export_day": MONDAY, "event_name": "purchase", "purchase_revenue": 20}
        for amount in (22, dollars):
            row = {**paid, "purchase_revenue_in_usd": Decimal(amount)}
            healthy.append(CONVERSIONS, row_of(CONVERSIONS, "u", **row))
        shop = structs.replace(usecases.load("ga4_purchase"), currency=currency)
        named = found(healthy, "currencies", use_cases=[shop])
        healthy.empty_tables([CONVERSIONS])

        assert bool(named) == is_named
        assert all("are added up as EUR" in finding for finding in named)

    @pytest.mark.parametrize(
        ("declared", "named", "rate", "is_found"),
        [
            ("USD", ["GBP", "GBP"], None, True),
            # Each is an export that 03 evaluates.
            pytest.param("USD", ["GBP", "EUR"], None, False, marks=pytest.mark.long),
            pytest.param("USD", ["GBP", "GBP"], 1.25, False, marks=pytest.mark.long),
        ],
    )
    def test_the_doctor_names_pounds_that_are_called_dollars(
        self, declared, named, rate, is_found
    ):
        """With the line to write. Not where Google has converted them."""
        rows = []
        for number, currency in enumerate(named):
            row = shop.paid(f"u{number}", MONDAY, 20.0, currency, rate=rate)
            if rate is None:
                row["event_value_in_usd"] = None
                row["ecommerce"]["purchase_revenue_in_usd"] = None
            rows.append(row)
        site = Deployment()
        shop.load(site, rows)
        setup.prepare(site.warehouse, site.settings)
        site.run("model_evaluation", NOW.date())
        buying = structs.replace(usecases.load("ga4_purchase"), currency=declared)
        with entered(site.environment):
            exam = examination(site, use_cases=[buying])
            advices = [each.advice for each in checks.check_currencies(exam)]

        # A shipped one is in the package, where nobody should write.
        line = 'write currency = "GBP" into usecases/my_shop/usecase.toml'
        assert [line in advice for advice in advices] == [True] * is_found

    def test_the_doctor_says_what_a_month_costs(self, healthy, monkeypatch, tmp_path):
        """By dry runs: a tebibyte for four weeks of new days, a training, a prediction
        and an evaluated week; also of a use case that nobody has trained yet. With
        daily ones new days are read twice, and a prediction is read each day."""
        let_statements_read(monkeypatch, 1024**4)
        costs = examine(healthy).costs
        daily = replace(healthy.settings, prediction_days="daily")
        more = examine(healthy, settings=daily).costs

        assert costs["ga4_purchase"].startswith("15.55 TiB a month, about 91 USD")
        assert more["ga4_purchase"].startswith("42.17 TiB a month, about 257 USD")
        with own_use_cases.in_folder(tmp_path / "own") as own:
            folder = own / "ga4_purchase/audiences"
            folder.mkdir(parents=True)
            text = 'top = 10\ncontrol = "0%"\ndestination = "csv"\n'
            (folder / "best.toml").write_text(text)
            (folder / "next.toml").write_text(text)
            sent = examine(healthy).costs

        # Each send reads the log, and once a day it is read who is on lists.
        assert "3.00 a week's audiences with their log" in sent["ga4_purchase"]
        assert sent["ga4_purchase"].startswith("28.55 TiB a month")
        assert "1.00 a prediction (daily)" in more["ga4_purchase"]
        assert "1.00 a prediction (MON)" in more["ga4_value"]
        assert examine(healthy, is_local=True).costs == {}

    def test_before_the_first_reading_a_price_is_an_estimate(
        self, healthy, monkeypatch
    ):
        """A dry run of an empty digest would say that all of it is free."""
        let_statements_read(monkeypatch, 0)
        table = digest_state.ExportTable(
            name="t",
            day=date(2026, 3, 1),
            modified=NOW,
            size_bytes=0,
            row_count=60_000_000,
        )
        monkeypatch.setattr(digest_state, "read_digested_days", lambda _: {})
        monkeypatch.setattr(
            digest_state, "read_export_tables", lambda *_: {table.day: table}
        )
        cost = examine(healthy).costs["ga4_purchase"]

        assert cost.startswith("an estimate before the first reading: ")
        assert "0.09 a prediction" in cost

    def test_the_doctor_looks_at_the_export_of_each_property(self, healthy, tmp_path):
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_instance(folder, "shop_uk", ga4_dataset="none_uk")
            shop_uk = usecases.load("shop_uk")
            [finding] = checks.check_export(examination(healthy, use_cases=[shop_uk]))
            [lacks] = found(healthy, "rights", use_cases=[shop_uk])

        assert "correct property.ga4_dataset of shop_uk" in finding.advice
        assert "ga_conversions_none_uk" in lacks


def test_an_export_that_is_late_or_not_set_or_has_no_day_is_named(healthy):
    """Settings that do not go together are told; a dataset may be another one."""
    [late] = found(healthy, "export", now=NOW + timedelta(days=3))
    none = replace(healthy.settings, ga4_dataset="")
    ga4 = [usecases.load("ga4_purchase")]
    [needed] = found(healthy, "export", settings=none, use_cases=ga4)
    dataset = healthy.settings.dataset
    other = replace(healthy.settings, ga4_dataset=dataset)
    [empty] = found(healthy, "export", settings=other)

    assert late.endswith("ends at 2026-03-03; 3 days are overdue")
    assert "PROPENSITY_GA4_DATASET is not set, and ga4_pur" in needed
    assert empty == f"{dataset} has no daily table, such as events_20260301"


def test_a_live_version_that_another_scikit_learn_reads_is_named(healthy, monkeypatch):
    """scikit-learn warns, nobody reads it, and scores may be others."""
    monkeypatch.setattr(checks, "libraries", lambda: {"scikit-learn": "0.1"})

    [named] = found(healthy, "champions")
    assert f"{STREAMED}: the live version was written by scikit-learn 1." in named


LOYALTY = OwnSource(
    table="crm-project.doctored.loyalty",
    user_id="customer_id",
    valid_from="changed_at",
    columns={"points": "INT64"},
)


@pytest.fixture
def audiences(healthy, tmp_path, monkeypatch) -> Iterator[Path]:
    """The folder of the audiences of a use case, in which there is none."""
    own = {**healthy.extra, "PROPENSITY_USE_CASES": str(tmp_path)}
    monkeypatch.setattr(healthy, "extra", own)
    folder = tmp_path / STREAMED / "audiences"
    folder.mkdir(parents=True)
    yield folder
    healthy.empty_tables([AUDIENCE_REQUESTS])


TOP = 'destination = "crm"\ntop = 1\n'


def test_an_audience_that_cannot_be_sent_or_has_ended_is_named(healthy, audiences):
    """Whether its file is gone, or its last day is over, and also where users are
    pending: `send` refuses an audience that is over."""
    (audiences / "best.toml").write_text(TOP)
    (audiences / "going_on.toml").write_text(TOP)
    (audiences / "winback.toml").write_text('destination = "crm"\nnumber = 7\n')
    for name in ("over", "unsent"):
        (audiences / f"{name}.toml").write_text(f"{TOP}until = 2026-01-01\n")
    crm = audiences / "destinations" / "crm.toml"
    crm.parent.mkdir()
    crm.write_text('url = "${NO_TOKEN}"\n')
    for name, status in (
        ("going_on", "accepted"),
        ("gone", "accepted"),
        ("over", "pending"),
    ):
        about = {"use_case": STREAMED, "audience": name, "as_of": date(2025, 12, 29)}
        log_request(healthy.warehouse, "u", **about, status=status, recorded_at=NOW)

    same_as_golden("doctor-audiences", {"audiences": str(examine(healthy))})


@pytest.mark.parametrize("is_there", [True, False], ids=["damaged", "deleted"])
def test_a_pointer_that_is_lost_is_set_again(deployment, is_there):
    """By what the doctor says of it, with the version that the bucket has."""
    deployment.artifacts.delete(POINTER)
    if is_there:
        deployment.artifacts.create(POINTER, b"[]")
    with entered(deployment.environment):
        [finding] = checks.check_champions(examination(deployment))
    line = finding.advice.partition("`propensity ")[2].partition("`")[0]
    if is_there:
        assert f"delete {POINTER}" in finding.advice
        deployment.artifacts.delete(POINTER)
    version = line.replace("VERSION", "0")

    assert deployment.command(*version.split()) == Exit.DONE
    assert found(deployment, "champions") == []


def test_a_table_that_runs_could_not_read_is_named(healthy):
    """As a run would say it, before one does."""
    loading.load(healthy.warehouse.client, LOYALTY, loading.table_of(LOYALTY, []))
    missing = structs.replace(LOYALTY, table="crm-project.doctored.none")
    shop = usecases.load(STREAMED)
    [what] = found(
        healthy,
        "sources",
        use_cases=[
            structs.replace(shop, sources={"loyalty": LOYALTY}),
            structs.replace(shop, sources={"loyalty": missing}),
        ],
    )

    assert "doctored.none" in what
