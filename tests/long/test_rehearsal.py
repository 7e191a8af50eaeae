"""A rehearsal on the emulators, whole."""

from __future__ import annotations

import json

import pytest

from commands.cli import main
from local.rehearsal.run import PROBES, STEPS


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_rehearsal_on_this_machine_says_yes_to_what_emulators_can_answer(
    tmp_path, monkeypatch
):
    """What only Google can answer is not tried."""
    monkeypatch.delenv("PROPENSITY_USE_CASES", raising=False)
    status = main(["rehearse", "--local", "--out", str(tmp_path)])

    page = json.loads((tmp_path / "rehearsal.json").read_text())
    answers = {row["probe"]: (row["answer"], row["seen"]) for row in page["findings"]}
    played = {probe.name for probe in STEPS}
    wrong = {name: told for name, told in answers.items() if told[0] == "no"}
    assert wrong == {}
    assert status == 0
    assert {name for name, told in answers.items() if told[0] == "yes"} == played
    assert len(answers) == len(PROBES)
