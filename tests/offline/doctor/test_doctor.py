"""
doctor, specified: what is healthy is left in peace, what is wrong is named.

Everything is examined: tables, objects and a daily export as they are in a deployment.
A fault is put in by hand, and nothing else may be found.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from google.cloud import bigquery
from msgspec import structs

from local.exports import ga4_export
from local.exports import sources as loading
from offline.doctor import checks, run
from offline.doctor.run import CHECKS
from propensity import usecases
from propensity.cli.answers import Exit
from propensity.gcp.warehouse import Warehouse
from propensity.registry.leases import leased
from propensity.registry.versions import RecordedCard, libraries
from propensity.runs import setup
from propensity.runs.compact import KIND, SCOPE
from propensity.tables.audiences import AUDIENCE_REQUESTS
from propensity.tables.export import CONVERSIONS, USER_DAYS
from propensity.tables.stream import DEAD_LETTERS, SUPPRESSED_USERS
from propensity.usecases.declaration import Events, OwnSource
from tests.offline.doctor.conftest import (
    EXPORT,
    MONDAY,
    NOW,
    POINTER,
    VIEW_IN_THE_EXPORT,
    doctor,
    examination,
    examine,
    flip,
    found,
    note,
    over,
    point,
    repair,
)
from tests.offline.forgetting import row_of
from tests.support import own_use_cases, shop
from tests.support.clocks import ManualClock
from tests.support.deployment import KEY, STREAMED, Deployment
from tests.support.rows import log_request


def missing_table(deployment: Deployment) -> str:
    deployment.warehouse.execute("DROP TABLE postcode_index")
    return r"rights: \w+ lacks the tables postcode_index"


def missing_days(_: Deployment) -> str:
    """Those that ``GAPPED`` lacks."""
    return (
        "export: 2 days of the export .* are missing within .*: 2026-02-17, 2026-02-18"
    )


def late_export(_: Deployment) -> str:
    """A table of a later day is of a clock that was wrong, and not its end."""
    return "export: the export .* ends at 2026-02-28; 3 days are overdue"


def view_in_the_export(deployment: Deployment) -> str:
    name = (
        f"{deployment.settings.project}.{deployment.ga4_dataset}.{VIEW_IN_THE_EXPORT}"
    )
    view = bigquery.Table(name)
    view.view_query = f"SELECT * FROM `{deployment.ga4_dataset}.events_20260303`"
    deployment.warehouse.client.create_table(view)
    return "export: the view ga_events cannot be read: .*[Vv]iews"


def broken_view(deployment: Deployment) -> str:
    deployment.warehouse.execute("DROP VIEW ga_events")
    return "export: the view ga_events cannot be read"


def flipped_model(deployment: Deployment) -> str:
    flip(deployment, f"models/{STREAMED}/0/model.joblib")
    return f"champions: {STREAMED}: .*cannot be loaded: .*has changed since"


def unrecorded(deployment: Deployment) -> str:
    point(deployment, version=7)
    what = "the live version cannot be loaded: version 7 .*recorded"
    return f"champions: {STREAMED}: {what}"


def damaged_pointer(deployment: Deployment) -> str:
    deployment.artifacts.overwrite(POINTER, b"{")
    return f"champions: {STREAMED}: the live version cannot be loaded: .*{POINTER}"


def no_champion(deployment: Deployment) -> str:
    deployment.artifacts.delete(POINTER)
    return f"champions: {STREAMED}: no version is live"


def missed_run(deployment: Deployment) -> str:
    deployment.artifacts.delete(f"runs/{STREAMED}/predict/{MONDAY}.json")
    note(deployment, "predict", MONDAY - timedelta(days=7))
    return f"runs: predictions of {STREAMED} is overdue: .* for 2026-02-23, .* 7 days"


def damaged_leases(deployment: Deployment) -> str:
    """Defect: JSON of another kind, or a name that is no date, was a traceback."""
    flip(deployment, f"runs/{STREAMED}/train/2026-03-01.json")
    texts = {"predict": b"[1]", "evaluate": b'{"state": ["done"]}'}
    for kind, text in texts.items():
        deployment.artifacts.overwrite(f"runs/{STREAMED}/{kind}/{MONDAY}.json", text)
    deployment.artifacts.create(f"runs/{STREAMED}/predict/2026-13-40.json", b"{}")
    return rf"runs: \w+ of {STREAMED} for 2026-03-0[12]: its lease is damaged"


def stuck_run(deployment: Deployment) -> str:
    """Whose lease has no end."""
    name = f"runs/{STREAMED}/train/2026-03-01.json"
    deployment.artifacts.overwrite(name, b'{"state": "running"}')
    return f"runs: model_training of {STREAMED} for 2026-03-01 is stuck"


def dead_letters(deployment: Deployment) -> str:
    letter = {"reason": "bad_amount", "raw": b"secret-user", "received_at": NOW}
    letter["received_on"] = NOW.date()
    rows = [{**letter, "message_id": f"m{number}"} for number in range(3)]
    deployment.append(DEAD_LETTERS, *rows)
    return "dead letters: 3 messages .* became dead letters: bad_amount 3"


GAPPED = [day for day in EXPORT if day not in (date(2026, 2, 17), date(2026, 2, 18))]
LATE = [*(day for day in EXPORT if day < date(2026, 3, 1)), date(2099, 12, 31)]
# These faults occur at the same time, with the days that the export has.
TOGETHER = (
    (GAPPED, [missing_days, missing_table, flipped_model, missed_run, dead_letters]),
    (EXPORT, [broken_view, unrecorded, stuck_run]),
    (LATE, [late_export, damaged_pointer, damaged_leases]),
    (EXPORT, [view_in_the_export, no_champion]),
)


def test_the_doctor_finds_nothing_where_all_is_well(healthy, capsys):
    """Every check ran and found nothing; the command exits with 0."""
    report = examine(healthy)
    status = doctor(healthy)
    written = capsys.readouterr()

    assert (report.findings, report.failed) == ([], {})
    assert report.checks == ["settings", *CHECKS]
    assert (report.status, status) == (0, 0), written.out
    assert "Nothing is wrong." in written.out


@pytest.mark.parametrize(("days", "faults"), TOGETHER)
def test_the_doctor_names_each_fault(deployment, subscriber, days, faults):
    """Whatever is wrong is found, with what to do, and nothing else is."""
    wrong = deployment if days == EXPORT else over(deployment, days)
    patterns = [fault(wrong) for fault in faults]
    subscriber.waiting = 3
    patterns.append("dead letters: 3 messages wait in dead-letters-replay")
    report = examine(wrong)
    repair(deployment)
    found = [f"{finding.check}: {finding.what}" for finding in report.findings]

    assert report.failed == {}
    for pattern in patterns:
        assert any(re.match(pattern, one) for one in found), (pattern, found)
    for one in found:
        assert any(re.match(pattern, one) for pattern in patterns), one
    assert report.status == 1
    assert all(len(finding.advice) > 10 for finding in report.findings)
    assert "secret-user" not in str(report)


class TestRuns:
    def test_a_run_that_failed_is_named_by_the_word_of_the_documents(self, deployment):
        """What operate.md does not know is looked for in the log; a run that waits for
        the export has not failed, until it has waited long enough."""
        note(deployment, "evaluate", MONDAY, "failed", error="SchemaError")
        since = {"waiting_since": NOW - timedelta(minutes=119)}
        note(
            deployment, "predict", MONDAY, "failed", error="ZeroDivisionError", **since
        )
        note(
            deployment, "train", date(2026, 3, 1), "failed", error="ExportLate", **since
        )
        exam = examination(deployment)
        trained, predicted, evaluated = checks.check_runs(exam)
        later = found(deployment, "runs", now=NOW + timedelta(minutes=2))[0]

        assert "waits for the export" in trained.what
        assert "failed" not in trained.what
        assert "failed: export_late" in later
        assert "failed: schema" in evaluated.what
        assert evaluated.advice == "docs/operate.md#schema says what to do"
        assert "failed: ZeroDivisionError" in predicted.what
        assert predicted.advice.startswith("see the log of predictions of that run")

    def test_runs_that_nothing_calls_are_missed_in_a_deployment_alone(self, deployment):
        """Locally there is no schedule; what failed is a fault all the same."""
        for name in deployment.artifacts.names(f"runs/{STREAMED}/evaluate/"):
            deployment.artifacts.delete(name)
        note(deployment, "predict", NOW.date(), "failed", error="MissingTable")
        failed = f"predictions of {STREAMED} for {NOW.date()} failed: missing_table"
        never = f"model_evaluation of {STREAMED} has never run"

        assert found(deployment, "runs", is_local=True) == [failed]
        assert found(deployment, "runs") == [failed, never]

    @pytest.mark.parametrize(("days", "is_overdue"), [("MON", False), ("daily", True)])
    def test_predictions_are_overdue_by_their_days(self, deployment, days, is_overdue):
        """Defect: daily ones were overdue after a week."""
        due = deployment.with_settings(PROPENSITY_PREDICTION_DAYS=days)
        overdue = f"predictions of {STREAMED} is overdue"

        assert any(one.startswith(overdue) for one in found(due, "runs")) == is_overdue

    def test_a_compaction_is_overdue_a_day_after_its_last_one(self, deployment):
        """All compactions have one lease, whose date says nothing."""
        for days, overdue in ((1, 0), (2, 1)):
            at = NOW - timedelta(days=days)
            with leased(deployment.artifacts, SCOPE, KIND, clock=ManualClock(at).now):
                pass
            what = found(deployment, "runs")
            assert len(what) == overdue
            assert all(one.startswith("compact_features of stream is") for one in what)
            assert all(f"was for {at.date()}" in one for one in what)


class TestCommand:
    def test_the_doctor_says_what_is_wrong_with_the_settings(self, healthy, capsys):
        """A setting that stops every function is found without asking anybody."""
        assert doctor(healthy, PROPENSITY_NO_SUCH_SETTING="1") == 1
        assert "unknown setting PROPENSITY_NO_SUCH" in capsys.readouterr().out

    def test_the_doctor_looks_at_every_use_case_with_a_champion(
        self, deployment, capsys
    ):
        """Whatever use case the settings name, and whatever another's pointer has."""
        pointer = "models/card_fraud/champion.json"
        deployment.artifacts.create(pointer, b"{}")
        deployment.damage(pointer, b"[]")
        doctor(deployment, "--as-of", "2026-06-01", PROPENSITY_USE_CASE="ga4_purchase")

        printed = capsys.readouterr().out
        assert f"predictions of {STREAMED} is overdue" in printed
        assert f"{pointer} is damaged" in printed

    def test_the_doctor_names_a_wrong_folder(self, healthy, capsys, tmp_path):
        """Defect: it ended with the fault of the folder, and examined nothing."""
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_broken(folder)
            doctor(healthy, PROPENSITY_USE_CASE="broken")

        printed = capsys.readouterr().out
        assert "use cases: broken/usecase.toml" in printed
        assert "dead letters" in printed

    def test_the_doctor_asks_no_service_of_a_state_whose_process_has_ended(self):
        """Defect: each of four checks waited a minute for the same one, and there were
        two advices."""
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
        """As of a forget that was broken off; it names nobody."""
        suppressing = deployment.with_settings(PROPENSITY_SUPPRESSION_KEY=KEY)
        for user in ("secret-user", "another"):
            suppressing.suppress(user)
        for user in ("secret-user", "kept"):
            row = row_of(USER_DAYS, "", user_id=None, user_pseudo_id=user)
            suppressing.append(USER_DAYS, row | {"export_day": MONDAY})
        with contextlib.closing(Warehouse.open(suppressing.settings)) as warehouse:
            [what] = found(
                suppressing,
                "digest",
                warehouse=warehouse,
                use_cases=[usecases.load("ga4_purchase")],
            )
        deployment.empty_tables([USER_DAYS, SUPPRESSED_USERS])

        assert what.endswith("has 1 suppressed user")

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

    def test_the_doctor_says_what_all_properties_cost_together(
        self, healthy, other_property, monkeypatch
    ):
        """By dry runs: a tebibyte for new days, a training, a prediction and an
        evaluation of two weeks. Days of an export count once; the free tebibyte, too.

        Defect: a use case that nobody had trained yet had no price.
        """
        monkeypatch.setattr(Warehouse, "dry_run", lambda *_: 1024**4)
        monkeypatch.setattr(run, "CHECKS", {})
        names = ("ga4_purchase", "ga4_value", "shop_uk")
        examined = [usecases.load(name) for name in names]
        costs = examine(healthy, use_cases=examined).costs

        for name in ("ga4_purchase", "shop_uk"):
            assert costs[name].startswith("16.02 TiB a month, about 94 USD")
        assert "of the export to read, at most" in costs["the digest"]
        assert f"the digest of {other_property}" in costs
        # Thrice 14 for runs, and twice 2.02 for new days.
        assert costs["these 3 together"].startswith("46.03 TiB a month")
        assert examine(healthy, use_cases=examined, is_local=True).costs == {}

    def test_the_doctor_looks_at_the_export_of_each_property(
        self, healthy, other_property
    ):
        shop_uk = usecases.load("shop_uk")
        named = rf"{other_property} ends at 2026-01-05"
        [end] = found(healthy, "export", use_cases=[shop_uk])
        assert re.search(named, end)
        healthy.warehouse.execute(f"DROP TABLE ga_conversions_{other_property}")
        [lacks] = found(healthy, "rights", use_cases=[shop_uk])
        assert f"lacks the tables ga_conversions_{other_property}" in lacks

    @pytest.fixture
    def other_property(self, healthy, tmp_path) -> Iterator[str]:
        """The dataset of a property whose export has ended, and which a use case is
        of."""
        name = f"{healthy.ga4_dataset}_uk"
        healthy.warehouse.create_dataset(name)
        rows = [shop.event("british", date(2026, 1, 5))]
        ga4_export.load_tables(healthy.warehouse.client, name, shop.shards(rows))
        with own_use_cases.in_folder(tmp_path / "own") as folder:
            own_use_cases.write_instance(folder, "shop_uk", ga4_dataset=name)
            settings = usecases.load("shop_uk").settings(healthy.settings)
            setup.prepare_export(healthy.warehouse.for_run(settings), settings)
            yield name


def test_an_export_that_is_not_set_or_has_no_day_is_named(healthy):
    """Settings that do not go together are told; a dataset may be another one."""
    none = replace(healthy.settings, ga4_dataset="")
    ga4 = [usecases.load("ga4_purchase")]
    [needed] = found(healthy, "export", settings=none, use_cases=ga4)
    dataset = healthy.settings.dataset
    other = replace(healthy.settings, ga4_dataset=dataset)
    [empty] = found(healthy, "export", settings=other)

    assert "PROPENSITY_GA4_DATASET is not set, and ga4_pur" in needed
    assert empty == f"{dataset} has no daily table, such as events_20260301"


def test_a_live_version_that_is_not_warm_is_named(healthy, monkeypatch):
    record = SimpleNamespace(card=RecordedCard(libraries=libraries()))
    cold = SimpleNamespace(is_warm=False, record=record)
    monkeypatch.setattr(checks, "loaded", lambda *_, **__: cold)

    [named] = found(healthy, "champions")
    assert named.endswith("the live version has not seen enough events to score")


def test_a_live_version_that_another_scikit_learn_reads_is_named(healthy, monkeypatch):
    """Defect: scikit-learn warns, nobody reads it, and scores may be others."""
    monkeypatch.setattr(checks, "libraries", lambda: {"scikit-learn": "0.1"})

    [named] = found(healthy, "champions")
    assert f"{STREAMED}: the live version was written by scikit-learn 1." in named


def test_days_that_no_use_case_reads_are_not_missed(healthy):
    """A use case of events of its own looks back further than the export is read."""
    ga4, cards = (usecases.load(name) for name in ("ga4_purchase", "card_fraud"))
    assert cards.lookback_days > 30

    gapped = over(healthy, GAPPED)
    reading = structs.replace(ga4, lookback_days=7)
    assert found(gapped, "export", use_cases=[ga4, cards])
    assert found(gapped, "export", use_cases=[reading, cards]) == []


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


class Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)


@pytest.fixture
def no_secrets() -> Iterator[str]:
    """The address of a service that has none."""
    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


TOP = 'destination = "crm"\ntop = 1\n'


def delivered(healthy: Deployment, audience: str, status: str) -> None:
    about = {"use_case": STREAMED, "audience": audience, "as_of": date(2025, 12, 29)}
    log_request(healthy.warehouse, "u", **about, status=status, recorded_at=NOW)


def test_an_audience_that_cannot_be_sent_is_named(healthy, audiences, no_secrets):
    healthy.extra["SECRET_MANAGER_EMULATOR_HOST"] = no_secrets
    (audiences / "destinations").mkdir()
    (audiences / "best.toml").write_text('destination = "crm"\ntop = 5\n')
    (audiences / "winback.toml").write_text('destination = "crm"\nnumber = 7\n')
    for name, secret in (("crm", "NO_TOKEN"), ("unused", "OTHER_TOKEN")):
        file = audiences / "destinations" / f"{name}.toml"
        file.write_text(f'url = "${{{secret}}}"\n')

    first, file, second, secret = found(healthy, "audiences")
    assert f"audience best of {STREAMED} was never sent" in first
    assert "winback.toml: unknown entry number" in file
    assert f"audience winback of {STREAMED} was never sent" in second
    assert "there is no secret NO_TOKEN" in secret


def test_a_list_of_an_audience_that_has_ended_is_named(healthy, audiences):
    """Whether its file is gone, or its last day is over."""
    (audiences / "going_on.toml").write_text(TOP)
    (audiences / "over.toml").write_text(f"{TOP}until = 2026-01-01\n")
    for name in ("going_on", "over", "gone"):
        delivered(healthy, name, "accepted")

    gone, over = found(healthy, "audiences")
    assert f"1 users of audience gone of {STREAMED}, which has ended, are on" in gone
    assert "1 users of audience over of" in over


def test_an_audience_that_has_ended_is_not_to_be_sent(healthy, audiences):
    """Defect: for users who were pending, and for one that was never sent, the advice
    was `send`, which refuses an audience that is over."""
    for name in ("interrupted", "unsent"):
        (audiences / f"{name}.toml").write_text(f"{TOP}until = 2026-01-01\n")
    delivered(healthy, "interrupted", "pending")

    [finding] = checks.check_audiences(examination(healthy))
    advice = f"propensity audience end interrupted --use-case {STREAMED}"
    assert finding.advice == advice


def test_what_the_doctor_says_about_dead_letters_can_be_run(deployment):
    """Defect: `replay --refused` was without the days that it needs."""
    dead_letters(deployment)
    [finding] = checks.check_dead_letters(examination(deployment))
    repair(deployment)
    _, line, _ = finding.advice.split("`")

    assert deployment.command(*line.split()[1:], "--dry-run") == Exit.DONE


def test_tables_that_runs_could_not_read_are_named(healthy):
    """Sources and events of one's own, as a run would say it, before one does: by
    their column, with its type and what it must be."""
    own = Events(table="crm-project.doctored.events", user_id="user", time="at")
    rows = pa.table({"user": ["a"], "at": ["2026-01-05"], "day": [date(2026, 1, 5)]})
    loading.load(healthy.warehouse.client, own, rows)
    loading.load(healthy.warehouse.client, LOYALTY, loading.table_of(LOYALTY, []))
    shop = usecases.load(STREAMED)

    def read(**changes: Any) -> str:
        sources = {"loyalty": structs.replace(LOYALTY, **changes)}
        use_case = structs.replace(shop, sources=sources)
        return "; ".join(found(healthy, "sources", use_cases=[use_case]))

    def read_events(**changes: Any) -> str:
        use_case = structs.replace(shop, own_events=structs.replace(own, **changes))
        return "; ".join(found(healthy, "sources", use_cases=[use_case]))

    assert read() == read_events(time="day") == ""
    for reading in (read, read_events):
        assert "doctored.none" in reading(table="crm-project.doctored.none")
    assert "shoe_size" in read(columns={"shoe_size": "INT64"})
    wrong = "column at, the time of [events], is STRING, but must be"
    assert wrong in read_events()
    missing = "column when, the time of [events], is missing among user, at, day"
    assert missing in read_events(time="when")
