"""Try a use case: train, compare with the live version, and write the report."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from propensity import whole_files
from propensity.cli.progress import announced
from propensity.clock import SYSTEM
from propensity.kinds.training import training_steps
from propensity.learning.report import version_page
from propensity.runs import export, train
from propensity.runs.run import Overrides, RunRequest, begun, clients


def try_use_case(name: str, *, as_of: date | None, report: Path) -> dict[str, Any]:
    """
    Train a use case on the deployment's rows, and write the report to a file.

    It is a trial of 00-ModelTraining with your rights: of the folder as it is on this
    machine, before a deploy.

    Args:
        as_of: Today by default.
    """
    whole_files.check_output(report, ".html", option="report", others=[])
    day = SYSTEM.now().date() if as_of is None else as_of
    overrides = Overrides.of(force=False, trial=True)
    request = RunRequest(use_case=name, as_of=day, overrides=overrides, trial=True)
    run = export.digest_training_days(begun(request, "try", clock=SYSTEM))
    steps = training_steps(run.use_case)
    try:
        with announced(f"reading the rows of {name} as of {run.as_of}"):
            rows = steps.rows(run)
        labelled = f"training on {len(rows):,} rows, comparing with the live version"
        with announced(labelled):
            card = train.card_of(run, train.train(run, steps, rows))
    finally:
        for client in clients()[1:]:
            client.close()
        clients.cache_clear()
    whole_files.write_whole(report, version_page(card).encode())
    return {
        **train.trial_answer(card, {"report.html": str(report)}),
        **export.answer(run),
    }
