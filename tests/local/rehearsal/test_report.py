"""The page of a rehearsal, specified: what it says, and whose name it never says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from local.rehearsal import report
from local.rehearsal.ground import Emulated
from local.rehearsal.probes import NO, Finding, Probe
from local.rehearsal.run import PROBES
from propensity import folders

TOLD = (
    "propensity-local denies ana@example.com tables of projects/123456789012, looked "
    "up at https://rehearse1-get-proba-1.run.app for 1035595905.1742250600"
)


@pytest.fixture
def ground():
    ground = Emulated()
    yield ground
    ground.take_away()


def result_of(ground, probe: Probe, seen: str) -> report.Result:
    return report.Result(
        ground=ground,
        began=datetime(2026, 3, 2, 9, tzinfo=UTC),
        minutes=31.4,
        findings=[Finding(probe=probe, answer=NO, seen=seen)],
        bill=report.Bill(bigquery_usd=0.1, run_usd=0.2, build_usd=0.18),
        user="1035595905.1742250600",
    )


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_an_assumption_is_a_sentence_of_a_page(probe):
    page = (folders.ROOT / probe.page).read_text("utf-8")

    assert probe.sentence
    assert probe.sentence in page


def test_each_probe_has_a_name_of_its_own():
    assert len({probe.name for probe in PROBES}) == len(PROBES)


def test_a_page_tells_nobodys_name(ground, tmp_path):
    """It goes to people outside."""
    result = result_of(ground, PROBES[0], TOLD)
    answer = report.answer_of(result, with_names=False)
    for file in report.write(answer, tmp_path):
        text = file.read_text()
        for name in (
            "propensity-local",
            "ana@",
            "123456789012",
            "run.app",
            "1035595905",
        ):
            assert name not in text


def test_names_are_told_where_they_are_asked_for(ground):
    answer = report.answer_of(result_of(ground, PROBES[0], TOLD), with_names=True)

    assert answer["findings"][0]["seen"] == TOLD


def test_a_page_says_what_is_wrong_what_to_do_and_the_bill(ground, tmp_path):
    probe = PROBES[0]
    answer = report.answer_of(result_of(ground, probe, "a refusal"), with_names=False)
    html, data = report.write(answer, tmp_path)
    text = html.read_text()

    assert "1 assumption is wrong here." in text
    assert "a refusal" in text
    assert probe.remedy.partition(".")[0] in text
    assert "About 0.48 USD" in text
    assert json.loads(data.read_text())["counts"] == {"yes": 0, "no": 1, "not tried": 0}
