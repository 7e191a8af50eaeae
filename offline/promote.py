"""
Change the champion: promote, roll back, or pin.

Every change raises the epoch of the pointer ``champion.json``. A version must have been
recorded by training, and its files must be those that were recorded; it is loaded here
before anything changes. Every change is published to the topic model-updates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from propensity import usecases
from propensity.errors import NoChampion, OldEpoch, RequestError, UnknownVersion
from propensity.gcp.artifacts import Artifacts
from propensity.gcp.warehouse import Warehouse
from propensity.registry import announcements
from propensity.registry.champion import ANYTHING, Champion
from propensity.registry.loading import Serving, find_recorded, loaded
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.statements import statement
from propensity.usecases import UseCase

WITH_VERSION = ("promote", "pin")

# Versions in the list.
SHOWN = 50


class Unwritten(Artifacts):
    """The bucket for a dry run: it writes nothing."""

    def replace(
        self,
        name: str,
        data: bytes,
        *,
        generation: int,
        content_type: str = "application/json",
    ) -> int:
        """Write nothing; return the present generation."""
        return generation


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Clients and use case that a command works with."""

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    use_case: UseCase

    @property
    def registry(self) -> Registry:
        """The registry of the use case."""
        return Registry(self.artifacts, self.use_case.name)

    def rows(self, sql: str, **parameters: object) -> list[Any]:
        """Return the rows of a statement about the use case, named by columns."""
        named = {"use_case": self.use_case.name, **parameters}
        return self.warehouse.rows(sql, named)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The champion after a command, whether it changed, and a summary."""

    champion: Champion
    is_changed: bool
    summary: str

    def __str__(self) -> str:
        return self.summary


@contextlib.contextmanager
def opened(
    use_case: str | None = None, *, is_dry: bool = False
) -> Iterator[Deployment]:
    """
    Open the deployment that the environment names.

    Args:
        use_case: By its name; the setting's by default.
    """
    settings = Settings.from_environment()
    chosen = usecases.load(use_case or settings.use_case).titled(settings)
    artifacts = (Unwritten if is_dry else Artifacts).open(settings)
    with contextlib.closing(artifacts):
        warehouse = Warehouse.open(settings)
        with contextlib.closing(warehouse):
            yield Deployment(
                settings=settings,
                warehouse=warehouse,
                artifacts=artifacts,
                use_case=chosen,
            )


def run(
    action: str,
    *,
    use_case: str | None = None,
    version: int | None = None,
    epoch: int | None = None,
    force: bool = False,
    is_dry: bool = False,
) -> Outcome:
    """
    Change the champion, and publish the change.

    Args:
        action, version, epoch, force: See ``change``.
        use_case: By its name; the setting's by default.

    Raises:
        PropensityError: The version can not serve, or an edge failed.
    """
    at = datetime.now(UTC)
    with opened(use_case, is_dry=is_dry) as deployment:
        outcome = change(
            deployment, action, version=version, epoch=epoch, at=at, force=force
        )
    name, note = deployment.use_case.name, ""
    if is_dry:
        note = "\nNothing was written."
    elif outcome.is_changed and not announcements.announce(
        deployment.settings, name, action, outcome.champion, at=at
    ):
        note = "\nIt was not published; the functions follow all the same."
    return replace(outcome, summary=outcome.summary + note)


def change(
    deployment: Deployment,
    action: str,
    *,
    version: int | None = None,
    epoch: int | None = None,
    at: datetime,
    force: bool = False,
) -> Outcome:
    """
    Change what serves.

    Args:
        action: One of WITH_VERSION, or rollback or unpin.
        version: The version of the action; None for those without.
        epoch: The command's own, or None for the next.
        force: Whether a first version may serve that is no better than chance.

    Raises:
        UnknownVersion, ArtifactError, SchemaError: The version can not serve.
        NoChampion: There is nothing to change, or nothing to go back to.
        Conflict: Another command was quicker.
        RequestError: The version takes force.
    """
    registry = deployment.registry
    before = registry.find_champion()
    # An old command is about versions of its time: do not even read today's.
    if before is not None and epoch is not None and epoch <= before.epoch:
        return _too_old(before, epoch)
    notes: list[str] = []
    try:
        if action in WITH_VERSION:
            assert version is not None
            serving = verified(deployment, version, notes)
            if not force:
                _check_proved(serving, before)
            champion = _with_version(registry, action, serving, epoch, at)
        elif action == "rollback":
            if before is None or before.previous is None:
                raise NoChampion(
                    f"no version of {registry.use_case} served before: there is none "
                    "to roll back to. Name one: promote VERSION"
                )
            serving = verified(deployment, before.previous, notes)
            champion = registry.roll_back(
                serving.version,
                model_sha256=serving.metadata["model_sha256"],
                at=at,
                epoch=epoch,
            )
            if not champion.pinned:
                notes.append("Training may promote again; to keep it there, pin it.")
        else:
            champion = registry.unpin(epoch=epoch)
    except OldEpoch:
        assert epoch is not None
        return _too_old(registry.champion(), epoch)
    if champion == before:
        return Outcome(
            champion=champion,
            is_changed=False,
            summary=f"Nothing to change: {described(registry.use_case, champion)}",
        )
    summary = "\n".join([described(registry.use_case, champion), *notes])
    return Outcome(champion=champion, is_changed=True, summary=summary)


def _check_proved(serving: Serving, before: Champion | None) -> None:
    """Raise RequestError for a first version that training did not let serve."""
    metadata = serving.metadata
    is_first = metadata["promoted"] is False and metadata["compared_version"] is None
    if is_first and not (before and before.version == serving.version):
        raise RequestError(
            f"version {serving.version} was the first and was not promoted: "
            f"{metadata['verdict']}. To let it serve all the same, add --force",
            field="force",
        )


def _too_old(champion: Champion, epoch: int) -> Outcome:
    return Outcome(
        champion=champion,
        is_changed=False,
        summary=f"Nothing was changed: the epoch is {champion.epoch}, and {epoch} is "
        "not above it.",
    )


def _with_version(
    registry: Registry, action: str, serving: Serving, epoch: int | None, at: datetime
) -> Champion:
    checksum = serving.metadata["model_sha256"]
    if action == "promote":
        return registry.promote(
            serving.version,
            model_sha256=checksum,
            at=at,
            instead_of=ANYTHING,
            epoch=epoch,
        )
    return registry.pin(serving.version, model_sha256=checksum, at=at, epoch=epoch)


def verified(deployment: Deployment, version: int, notes: list[str]) -> Serving:
    """
    Load a version as a function would, to know that it can serve.

    Args:
        notes: Gets a line where it serves, but has not seen enough to score.

    Raises:
        UnknownVersion: Training recorded no such version.
        ArtifactError: Its files are not those that were recorded.
        SchemaError: Its features or parameters are not those of today.
    """
    use_case = deployment.use_case
    metadata = None
    if 0 <= version < 2**63:
        metadata = find_recorded(deployment.warehouse, use_case, version)
    if metadata is None:
        raise UnknownVersion(
            f"version {version} of {use_case.name} was never recorded; "
            "`propensity versions` has those that were",
            field="version",
        )
    serving = loaded(
        deployment.registry,
        use_case,
        metadata,
        chosen=use_case.chosen(deployment.settings),
    )
    if not serving.is_warm:
        notes.append(f"Version {version} has not seen enough to score: it gives none.")
    return serving


def described(use_case: str, champion: Champion) -> str:
    """Return a line on the champion."""
    parts = [f"version {champion.version} serves"]
    if champion.pinned:
        parts.append("pinned")
    return f"{use_case}: {', '.join(parts)}; epoch {champion.epoch}."


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The champion, None without one, and the newest versions with their figures."""

    use_case: str
    champion: Champion | None
    versions: Sequence[Mapping[str, Any]]

    def __str__(self) -> str:
        champion = self.champion
        lines = [f"{self.use_case}: nothing serves yet."]
        if champion is not None:
            before = ", ".join(map(str, champion.earlier)) or "none"
            lines = [
                described(self.use_case, champion),
                f"Since {champion.promoted_at}; served before: {before}.",
            ]
        if not self.versions:
            return "\n".join(lines)
        rows = [
            ["", "version", "as of", "algorithm", "ROC AUC", "PR AUC", "log loss"],
            *(_row(version, champion) for version in self.versions),
        ]
        rows[0].append("verdict")
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines.extend(
            "  ".join(
                text.ljust(width) for text, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in rows
        )
        return "\n".join(lines)


def versions(deployment: Deployment) -> Versions:
    """Return the champion, and the newest versions with their figures."""
    registry = deployment.registry
    rows = deployment.rows(statement("recorded_versions"), at_most=SHOWN)
    return Versions(
        use_case=registry.use_case,
        champion=registry.find_champion(),
        versions=[dict(row.items()) for row in rows],
    )


def _row(row: Mapping[str, Any], champion: Champion | None) -> list[str]:
    version = row["model_version"]
    marks = {}
    if champion is not None:
        marks[champion.version] = "pinned" if champion.pinned else "champion"
    is_cold = row["is_warm"] is False
    return [
        marks.get(version, ""),
        str(version),
        str(row["as_of"] or ""),
        str(row["algorithm"] or "") + (" (not warm)" if is_cold else ""),
        *(
            "-" if row[name] is None else f"{row[name]:.4f}"
            for name in ("roc_auc", "pr_auc", "log_loss")
        ),
        str(row["verdict"] or ""),
    ]
