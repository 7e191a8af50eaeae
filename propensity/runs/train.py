"""
Training as a run: read rows, train, compare with the champion, publish the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from joblib import cpu_count
from msgspec import structs

from propensity.errors import ArtifactError, Conflict, SchemaError
from propensity.learning import gate, value
from propensity.learning.card import MODEL, REPORT, Card, Origin
from propensity.learning.gate import Verdict
from propensity.learning.report import version_page
from propensity.learning.task import Candidate
from propensity.learning.trained import Learned, Rival, Trained
from propensity.learning.training import Training
from propensity.learning.value import Valued
from propensity.registry.announcements import announce
from propensity.registry.records import (
    find_recorded,
    newest_recorded,
    pending,
    recorded,
)
from propensity.registry.serving import loaded
from propensity.registry.versions import (
    HTML,
    Champion,
    Published,
)
from propensity.runs.model_files import files
from propensity.runs.run import Answer, Run
from propensity.runs.training_steps import TrainingSteps
from propensity.tables.models import TRAINING_METADATA


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A model that was trained, with its model of amounts, beside the live version."""

    steps: TrainingSteps
    rows: pa.Table
    training: Training
    trained: Trained
    valued: Valued | None
    champion: Champion | None
    verdict: Verdict


def train(run: Run, steps: TrainingSteps, rows: pa.Table) -> Challenger:
    """Train, choose and measure on rows; compare with the champion."""
    training = steps.training(run, rows, _uploaded_preprocessor(run))
    trained = training.run()
    for suspicion in trained.holdout.suspicions():
        run.log("WARNING", suspicion)
    champion = run.registry.champion()
    return Challenger(
        steps=steps,
        rows=rows,
        training=training,
        trained=trained,
        valued=value.train_value(
            trained, run.use_case.features, seed=run.settings.seed
        ),
        champion=champion,
        verdict=_compare(run, training, trained, champion),
    )


def _uploaded_preprocessor(run: Run) -> Any | None:
    for upload in run.rows("newest_preprocessor"):
        if not upload["is_default"]:
            return run.registry.verified(upload["object"], upload["sha256"])
    return None


def _compare(
    run: Run, training: Training, trained: Trained, champion: Champion | None
) -> Verdict:
    """Compare a challenger with the champion; a pinned champion stays."""
    rival = _rival(run, training, champion) if champion else None
    verdict = gate.compare(trained, rival)
    if run.trial and champion is not None and not verdict.differences:
        recipe_verdict = _beside_its_recipe(run, training, trained, champion)
        verdict = recipe_verdict if recipe_verdict is not None else verdict
    if champion is None or not champion.pinned:
        return verdict
    return replace(
        verdict,
        promoted=False,
        reason=f"version {champion.version} is pinned and stays; {verdict.reason}",
    )


def _rival(run: Run, training: Training, champion: Champion) -> Rival:
    """
    Return the champion with its scores of a challenger's holdout rows.

    A champion cannot score them if it has other features, if its artifacts are lost or
    altered, or if it is not warm.
    """
    rows = training.parts.holdout.rows
    try:
        record = recorded(run.warehouse, run.use_case.name, champion.version)
        model = loaded(
            run.registry,
            run.use_case,
            record,
            settings=run.settings,
            threads=cpu_count(),
        )
        if not model.is_warm:
            raise SchemaError("it has not seen enough events to score")
        scores = [np.empty(0)]
        scores += [score for _, score in model.scorer.score(rows.to_batches())]
    except (SchemaError, ArtifactError) as error:
        run.log("WARNING", f"the live version cannot be compared: {error.message}")
        return training.rival(champion.version, None, Learned())
    learned = Learned(
        until=record.card.trained_until,
        only_ranks=record.card.is_anomaly,
        alert_threshold=record.alert_threshold,
    )
    return training.rival(champion.version, np.concatenate(scores), learned)


def _beside_its_recipe(
    run: Run, training: Training, trained: Trained, champion: Champion
) -> Verdict | None:
    """
    Compare a trial with the live version's features and candidate, trained on its rows.

    After a feature was added the live version itself can score no row, and of a day it
    was trained on it knows all outcomes.

    Returns:
        None where these rows lack one of its features.
    """
    record = find_recorded(run.warehouse, run.use_case.name, champion.version)
    if record is None:
        return None
    card = record.card
    candidates = list[Candidate]()
    for entry in card.candidates:
        if entry.chosen or entry.name in card.members:
            candidate = Candidate(entry.name, entry.algorithm, entry.parameters)
            candidates.append(candidate)
    recipe = structs.replace(
        run.use_case, features=card.features, candidates=candidates
    )
    try:
        retrained = replace(training, task=recipe.task(run.settings)).run()
    except SchemaError as error:
        run.log("WARNING", f"the live version cannot be compared: {error.message}")
        return None
    verdict = gate.compare(trained, training.rival_of(retrained, champion.version))
    how = "trained again on the rows of this trial, with its own features and candidate"
    return replace(verdict, reason=f"{verdict.reason}; that version was {how}")


def report_trial(run: Run, challenger: Challenger) -> Answer:
    """Store the report of a trial, beside its lease, and nothing else."""
    card = card_of(run, challenger)
    name = f"runs/{run.use_case.name}/trial/{run.as_of}.html"
    run.artifacts.overwrite(name, version_page(card).encode(), content_type=HTML)
    return trial_answer(card, {REPORT: name})


def trial_answer(card: Card, objects: Mapping[str, str]) -> Answer:
    """Return the answer about a trial; ``objects`` says where its report is."""
    answer = card.answer(objects)
    answer["would_go_live"] = answer["promoted"]
    answer["promoted"] = False
    answer["trial"] = True
    return answer


def publish_model(run: Run, challenger: Challenger) -> Answer:
    """
    Store a version's files, record it, and let it go live if the verdict says so.

    In this order: every live version is recorded, and every recorded one is stored. A
    run that dies in between leaves a version that nothing points to, or whose record
    does not know whether the pointer has moved.
    """
    run.check_lease()
    _announce_what_was_cut_off(run, challenger.champion)
    version = run.registry.claim(
        run_id=run.run_id,
        at=run.began_at,
        recorded=newest_recorded(run.warehouse, run.use_case.name),
    )
    card = card_of(run, challenger, version=version)
    trained = challenger.trained
    contents = files(card, trained, challenger.rows, valued=challenger.valued)
    published = run.registry.publish(version, contents)
    # The files took a while to store.
    run.check_lease()
    verdict = challenger.verdict
    _record(run, card, published, is_undecided=verdict.promoted)
    if verdict.promoted:
        sha256 = published.checksums[MODEL]
        verdict = _promoted(run, challenger, version, sha256=sha256)
        card = structs.replace(card, verdict=verdict.entry())
        _record(run, card, published)
    return card.answer(published.objects)


def card_of(run: Run, challenger: Challenger, *, version: int | None = None) -> Card:
    """Return the card of a version, or of a trial, which has no number."""
    origin = Origin(
        rows=challenger.rows,
        as_of=run.as_of,
        trained_at=run.began_at,
        version=version,
        data_until=run.data_until,
        settle_days=run.timeframe.settle_days,
        statement_parameters=run.use_case.statement_parameters(run.settings),
        bytes_billed=run.warehouse.bytes_billed,
    )
    return challenger.steps.card(
        challenger.training.task,
        challenger.trained,
        challenger.verdict,
        origin,
        valued=challenger.valued,
    )


def _announce_what_was_cut_off(run: Run, champion: Champion | None) -> None:
    """Announce a champion whose run died before it could; twice is once, by epoch."""
    name = run.use_case.name
    if champion is None:
        return
    recorded = find_recorded(run.warehouse, name, champion.version)
    if recorded is not None and recorded.promoted is None:
        announce(run.settings, name, "promote", champion, at=run.began_at)


def _record(
    run: Run,
    card: Card,
    published: Published,
    *,
    is_undecided: bool = False,
) -> None:
    """Append a row about the version; readers see the newest."""
    row = card.row(
        published.objects,
        published.checksums,
        run_id=run.run_id,
        seconds=run.elapsed_s(),
    )
    if is_undecided:
        row = pending(row)
    run.warehouse.write(TRAINING_METADATA, [row])


def _promoted(
    run: Run, challenger: Challenger, version: int, *, sha256: str
) -> Verdict:
    """
    Let a version go live, and return the verdict.

    If the champion has changed meanwhile, compare again, with the new one.
    """
    verdict = challenger.verdict
    champion = challenger.champion
    while verdict.promoted:
        run.check_lease()
        try:
            serving = run.registry.promote(
                version, model_sha256=sha256, at=run.began_at, instead_of=champion
            )
        except Conflict:
            champion = run.registry.champion()
            training = challenger.training
            verdict = _compare(run, training, challenger.trained, champion)
        else:
            name = run.use_case.name
            announce(run.settings, name, "promote", serving, at=run.began_at)
            break
    return verdict
