"""Champions: their pointer, their files, and their training."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from offline.doctor.examination import RESTORE, Examination
from offline.doctor.report import WARNING
from propensity import tables
from propensity.edges.artifacts import sha256
from propensity.errors import ArtifactError
from propensity.registry.champion import Champion
from propensity.registry.loading import find_promoted, find_recorded, trained_otherwise
from propensity.registry.versions import Registry
from propensity.usecases import UseCase

# A champion that is older knows little of today's users; as the alert champion_age.
CHAMPION_OLD = timedelta(days=45)

# Running instances ignore a lower epoch than they have seen.
PROMOTE = (
    "promote by an epoch above the last: "
    "propensity promote N --use-case {use_case} --epoch $(date +%s)"
)
ANOTHER = "promote another version, or train again"


def check_champions(exam: Examination) -> None:
    """Whether champions are recorded, unaltered, loadable here, and not too old."""
    for use_case in exam.use_cases:
        registry = Registry(exam.artifacts, use_case.name)
        try:
            champion = registry.find_champion()
        except ArtifactError as error:
            exam.error(
                f"{use_case.name}: the pointer {registry.pointer} is damaged: "
                f"{error.message}",
                f"{RESTORE}, or delete it and {PROMOTE.format(use_case=use_case.name)}",
            )
            continue
        if champion is None:
            _check_nothing(exam, use_case, registry.pointer)
            continue
        _check_version(exam, use_case, champion.version)
        _check_pointer(exam, use_case, champion)


def _check_nothing(exam: Examination, use_case: UseCase, pointer: str) -> None:
    """Say why nothing serves: a pointer that was deleted, or no promotion yet."""
    version = find_promoted(exam.warehouse, use_case.name)
    if version is not None:
        exam.error(
            f"{use_case.name}: no model serves: version {version} was promoted, and "
            f"since then {pointer} was deleted",
            f"{RESTORE}, or {PROMOTE.format(use_case=use_case.name)}",
        )
        return
    exam.lack(
        f"{use_case.name}: no model serves",
        f"run 00-ModelTraining with use_case {use_case.name}, or load the shipped "
        "model: propensity load-model. Where one was trained, propensity versions says "
        "why it was not promoted",
        locally=exam.call_of("model_training", use_case),
    )


def _check_pointer(exam: Examination, use_case: UseCase, champion: Champion) -> None:
    recorded = find_recorded(exam.warehouse, use_case, champion.version)
    if recorded and recorded["model_sha256"] != champion.model_sha256:
        exam.warn(
            f"{use_case.name}: the pointer has another SHA-256 for version "
            f"{champion.version} than was recorded; functions go by what was recorded",
            "find out who wrote champion.json; promote the version again",
        )
    with contextlib.suppress(ValueError):
        promoted = datetime.fromisoformat(champion.promoted_at)
        if exam.now - promoted > CHAMPION_OLD and not champion.pinned:
            exam.lack(
                f"{use_case.name}: version {champion.version} has served for "
                f"{(exam.now - promoted).days} days",
                "see in ma_model_training_metadata why newer versions were not "
                "promoted, or whether training still runs",
                locally=exam.call_of("model_training", use_case),
                severity=WARNING,
            )


def _check_version(exam: Examination, use_case: UseCase, version: int) -> None:
    name = f"{use_case.name}: the champion, version {version},"
    recorded = find_recorded(exam.warehouse, use_case, version)
    if recorded is None:
        exam.error(
            f"{name} is not recorded in {tables.TRAINING_METADATA.name}: no function "
            "loads it",
            "promote a recorded version (propensity versions "
            f"--use-case {use_case.name}), or train",
        )
        return
    for part in ("model", "preprocessor"):
        try:
            stored = exam.artifacts.find(recorded[f"{part}_object"])
            checksum = sha256(stored.data) if stored else ""
        except ArtifactError:
            # Not even those that Cloud Storage took a checksum of.
            checksum = "damaged"
        if not checksum:
            exam.error(
                f"{name} has lost its {part}: {recorded[f'{part}_object']} is gone",
                f"{RESTORE}, or {ANOTHER}",
            )
        elif checksum != recorded[f"{part}_sha256"]:
            exam.error(
                f"{name} has a {part} whose bytes are not those that were recorded; "
                "no function loads it",
                f"find out who wrote to the bucket; {RESTORE}, or {ANOTHER}",
            )
    if json.loads(recorded["features"]) != dict(use_case.features):
        exam.error(
            f"{name} was trained on other features than usecase.toml has today",
            "run 00-ModelTraining",
        )
    chosen = use_case.chosen(exam.settings)
    if otherwise := trained_otherwise(recorded, use_case, chosen):
        exam.error(f"{name} {otherwise}", "train again, or set them back")
    if recorded["is_warm"] is False:
        exam.warn(
            f"{name} has not seen enough to score",
            "train again once more events have come",
        )
    others = _other_libraries(json.loads(recorded["libraries"] or "{}"))
    if others:
        exam.warn(
            f"{name} was written with other libraries than are installed here: "
            f"{', '.join(others)}",
            "if functions run with these, too, train again before they are deployed",
        )


def _other_libraries(recorded: Mapping[str, str]) -> list[str]:
    differences = []
    for name, version in recorded.items():
        if name == "python":
            continue
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "none"
        if installed != version:
            differences.append(f"{name} {version} there and {installed} here")
    return differences
