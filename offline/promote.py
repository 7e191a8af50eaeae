"""
Change the champion: promote, roll back, or pin.

Every change raises the epoch of the pointer ``champion.json``. A version must have been
recorded by training, and its files must be the recorded ones; it is loaded here
before anything changes. Every change is published to the topic model-updates.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from msgspec.structs import asdict

from propensity.errors import MissingTable, NoChampion, RequestError, UnknownVersion
from propensity.folders import ROOT
from propensity.registry.announcements import announce
from propensity.registry.deployment import Deployment, open_deployment
from propensity.registry.records import find_recorded
from propensity.registry.serving import Serving, loaded
from propensity.registry.versions import Champion, Registry

# Versions in the list, and their columns.
SHOWN = 50
COLUMNS = ("model_version", "as_of", "algorithm", "roc_auc", "pr_auc", "log_loss")


def run(
    action: str,
    *,
    use_case: str | None = None,
    version: int | None = None,
    force: bool = False,
    publishes: bool = False,
    is_dry: bool = False,
) -> dict[str, Any]:
    """
    Change the live version and announce it; return the champion and what was done.

    Args:
        action: promote or pin, which have a version; rollback or unpin.
        force: Whether a first version may go live that is not better than chance.
        publishes: Whether 01-Predictions then publishes predictions of that version.
        is_dry: Whether to check alone, and write nothing.

    Raises:
        UnknownVersion, ArtifactError, SchemaError: The version cannot go live.
        NoChampion: There is nothing to change, or nothing to go back to.
        Conflict: Another command was quicker.
        RequestError: The version takes force; or it is live, and its predictions were
            not published.
    """
    at = datetime.now(UTC)
    notes = list[str]()
    with open_deployment(use_case) as deployment:
        registry = deployment.registry
        before = champion = registry.champion()
        if version is None and before is None:
            raise NoChampion(
                f"{registry.use_case} has no live version",
                hint="Make one live: `propensity promote VERSION`",
            )
        if action == "rollback" and before:
            version = before.previous
            if version is None:
                raise NoChampion(
                    f"{registry.use_case} has no earlier live version to go back to",
                    hint="Name one: `propensity promote VERSION`",
                )
        serving = None if version is None else verified(deployment, version)
        if serving and action != "rollback" and not force:
            _check_proved(serving, before)
        if serving and not serving.is_warm:
            notes.append("it has not seen enough events to score yet")
        if not is_dry:
            champion = _changed(registry, action, before, serving, at)
        elif serving:
            notes.append(f"version {version} can go live")
        is_changed = champion != before
        if champion is None or not is_changed:
            notes.append("nothing was changed")
        else:
            if action == "rollback" and not champion.pinned:
                notes.append("training may promote again; pin it to keep it there")
            if action == "rollback" and not publishes:
                notes += _of_another(deployment, champion, today=at.date())
            if not announce(
                deployment.settings, registry.use_case, action, champion, at=at
            ):
                notes.append(
                    "not announced on model-updates; the functions follow all the same"
                )
    if publishes and is_changed:
        _publish(registry.use_case)
    return {
        "use_case": registry.use_case,
        **(asdict(champion) if champion else {}),
        "is_changed": is_changed,
        "notes": notes,
    }


def _of_another(
    deployment: Deployment, champion: Champion, *, today: date
) -> Iterator[str]:
    """Yield what to do if published predictions are of another version."""
    name = deployment.use_case.name
    # A deployment of the stream alone publishes nothing.
    with contextlib.suppress(MissingTable):
        rows = deployment.rows("newest_publication", since=date.min, until=today)
        if rows and rows[0]["model_version"] != champion.version:
            request = json.dumps({"use_case": name, "force": True})
            yield (
                f"the published predictions, of {rows[0]['as_of']}, are still of "
                f"version {rows[0]['model_version']}: lookups and audiences use them. "
                f"Publish new ones: deploy/call.sh predictions '{request}'"
            )


def _publish(use_case: str) -> None:
    """
    Let the deployment's 01-Predictions publish the live version's predictions.

    Raises:
        RequestError: It did not; its line in the log, which is shown, says why.
    """
    request = json.dumps({"use_case": use_case, "force": True})
    words = [str(ROOT / "deploy" / "call.sh"), "predictions", request]
    if subprocess.run(words, check=False).returncode:
        raise RequestError(
            f"the earlier version of {use_case} is live, but its predictions were not "
            "published",
            hint=f"Once that is mended: deploy/call.sh predictions '{request}'",
        )


def _changed(
    registry: Registry,
    action: str,
    before: Champion | None,
    serving: Serving | None,
    at: datetime,
) -> Champion:
    """Change the pointer; return the champion."""
    checksum = serving.record.model_sha256 if serving else ""
    if before and action == "unpin":
        return registry.unpin(before)
    if before and action == "rollback":
        return registry.roll_back(before, model_sha256=checksum, at=at)
    assert serving is not None
    return registry.promote(
        serving.version,
        model_sha256=checksum,
        at=at,
        instead_of=before,
        pinned=action == "pin",
    )


def _check_proved(serving: Serving, before: Champion | None) -> None:
    """Raise RequestError for a first version that training rejected."""
    record = serving.record
    is_first = record.promoted is False and record.compared_version is None
    if is_first and not (before and before.version == serving.version):
        raise RequestError(
            f"version {serving.version} was the first and was not promoted: "
            f"{record.verdict}",
            hint="To make it live all the same, add --force",
            field="force",
        )


def verified(deployment: Deployment, version: int) -> Serving:
    """
    Load a version as a function would, to know that it can go live.

    Raises:
        UnknownVersion: Training recorded no such version.
        ArtifactError: Its files are not the recorded ones.
        SchemaError: Its features or parameters are not those of today.
    """
    use_case = deployment.use_case
    record = find_recorded(deployment.warehouse, use_case.name, version)
    if record is None:
        raise UnknownVersion(
            f"{use_case.name} has no version {version}",
            hint="`propensity versions` lists them",
            field="version",
        )
    settings = deployment.settings
    return loaded(deployment.registry, use_case, record, settings=settings)


def versions(use_case: str | None = None) -> dict[str, Any]:
    """Return the champion, None without one, and the newest versions."""
    with open_deployment(use_case) as deployment:
        champion = deployment.registry.champion()
        rows = deployment.rows("recorded_versions", at_most=SHOWN)
    serving = {}
    if champion:
        serving[champion.version] = "pinned" if champion.pinned else "yes"
    return {
        "use_case": deployment.use_case.name,
        "champion": asdict(champion) if champion else None,
        "versions": [
            {
                **{name: row[name] for name in COLUMNS},
                "serves": serving.get(row["model_version"], ""),
                "is_warm": row["is_warm"],
                "verdict": row["verdict"],
            }
            for row in rows
        ],
    }
