"""
Say which version serves: promote, roll back, pin, or let one score in the shadow.

    python -m offline.promote status
    python -m offline.promote promote 3
    python -m offline.promote promote 0 --force
    python -m offline.promote rollback
    python -m offline.promote pin 2
    python -m offline.promote unpin
    python -m offline.promote shadow 4 --use-case card_fraud
    python -m offline.promote unshadow

Functions that serve follow within PROPENSITY_CHAMPION_TTL_S, without a restart.

``promote`` lets a version serve, whatever training thinks of it. One that was the first
and was not shown to be better than chance and the use case's baseline takes ``--force``
for that, with ``pin`` as well. ``rollback`` lets the
version serve that did before, as if the last never had: a second one goes one further
back. Training may promote again after both; ``pin`` lets a version serve and keeps it
there until ``unpin``, while training goes on to record new ones. Where a version is
pinned, a promotion or a roll back by hand changes what is pinned. ``shadow`` lets a
version score beside the champion: the champion answers, both are logged.

A version must have been recorded by training and its files must be those that were
recorded; it is loaded here before anything changes.

Every change raises the epoch. With ``--epoch N`` a command is followed only if N is
above the present epoch, so that one that was sent before, or comes twice, changes
nothing. What was changed is published to the topic model-updates.

Reads the same environment as the functions (``docs/settings.md``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from propensity import usecases
from propensity.edges.artifacts import Artifacts
from propensity.edges.warehouse import Warehouse
from propensity.errors import (
    NoChampion,
    OldEpoch,
    PropensityError,
    RequestError,
    UnknownVersion,
)
from propensity.registry import announcements
from propensity.registry.champion import ANYTHING, Champion
from propensity.registry.loading import Serving, find_recorded, loaded
from propensity.registry.versions import Registry
from propensity.settings import Settings
from propensity.statements import statement
from propensity.usecases import UseCase

STATUS = "status"
WITH_VERSION = {
    "promote": "let a version serve, whatever training thinks of it",
    "pin": "let a version serve and keep it there, whatever is trained",
    "shadow": "let a version score beside the champion, for the log alone",
}
# Of those, what makes a version the champion.
SERVING = ("promote", "pin")
WITHOUT_VERSION = {
    "rollback": "let the version serve that did before",
    "unpin": "let training promote again",
    "unshadow": "let no version score beside the champion",
}

# Versions that status shows.
SHOWN = 50


class Unwritten(Artifacts):
    """The bucket for a dry run: what would be changed is not."""

    def replace(
        self,
        name: str,
        data: bytes,
        *,
        generation: int,
        content_type: str = "application/json",
    ) -> int:
        """Change nothing; return the generation that the object has."""
        return generation


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What a command works on."""

    settings: Settings
    warehouse: Warehouse
    artifacts: Artifacts
    use_case: UseCase

    @property
    def registry(self) -> Registry:
        """The registry of the use case."""
        return Registry(self.artifacts, self.use_case.name)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the pointer says now, whether this command changed it, and what to tell."""

    champion: Champion
    is_changed: bool
    told: str

    def __str__(self) -> str:
        return self.told


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0 where an epoch was too old, too."""
    options = parse(arguments)
    try:
        print(run(options))
    except PropensityError as error:
        print(f"promote: {error.message}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--use-case", help="default: PROPENSITY_USE_CASE")
    changing = argparse.ArgumentParser(add_help=False, parents=[shared])
    changing.add_argument(
        "--epoch", type=int, metavar="N", help="follow only above the present epoch"
    )
    changing.add_argument(
        "--dry-run", action="store_true", help="check and tell, and change nothing"
    )
    parser = argparse.ArgumentParser(
        prog="python -m offline.promote",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")
    commands.add_parser(STATUS, parents=[shared], help="versions, and what serves")
    for action, meaning in WITH_VERSION.items():
        command = commands.add_parser(
            action, parents=[changing], help=meaning, description=f"{meaning}."
        )
        command.add_argument("version", type=int, metavar="VERSION")
        if action in SERVING:
            command.add_argument(
                "--force",
                action="store_true",
                help="even a first version that is no better than chance",
            )
    for action, meaning in WITHOUT_VERSION.items():
        commands.add_parser(
            action, parents=[changing], help=meaning, description=f"{meaning}."
        )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """
    Run a command; return what to tell.

    Raises:
        PropensityError: The version can not serve, or an edge failed.
    """
    settings = Settings.from_environment()
    use_case = usecases.load(options.use_case or settings.use_case)
    is_dry = getattr(options, "dry_run", False)
    artifacts = (Unwritten if is_dry else Artifacts).open(settings)
    warehouse = Warehouse.open(settings)
    deployment = Deployment(
        settings=settings, warehouse=warehouse, artifacts=artifacts, use_case=use_case
    )
    try:
        if options.action == STATUS:
            return status(deployment)
        at = datetime.now(UTC)
        outcome = change(
            deployment,
            options.action,
            version=getattr(options, "version", None),
            epoch=options.epoch,
            at=at,
            force=getattr(options, "force", False),
        )
    finally:
        warehouse.close()
        artifacts.close()
    if is_dry:
        return f"{outcome.told}\nNothing was written."
    if outcome.is_changed and not announcements.announce(
        settings, use_case.name, options.action, outcome.champion, at=at
    ):
        return (
            f"{outcome.told}\nIt was not published; the functions follow all the same."
        )
    return outcome.told


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
        deployment: Where.
        action: One of WITH_VERSION and WITHOUT_VERSION.
        version: Whom it is about; None for those without.
        epoch: The command's own, or None for the next.
        at: Now.
        force: Whether a first version may serve that is no better than chance.

    Raises:
        UnknownVersion, ArtifactError, SchemaError: The version can not serve.
        NoChampion: There is nothing to change, or nothing to go back to.
        Conflict: Another command was quicker.
        RequestError: The champion is to be its own shadow, or the version takes force.
    """
    registry = deployment.registry
    before = registry.find_champion()
    # An old message says nothing about today's versions: they are not even looked at.
    if before is not None and epoch is not None and epoch <= before.epoch:
        return _too_old(before, epoch)
    notes: list[str] = []
    try:
        if action in WITH_VERSION:
            assert version is not None
            if action == "shadow" and before and before.version == version:
                raise RequestError(
                    f"version {version} serves, and would score twice as its own "
                    "shadow",
                    field="version",
                )
            serving = verified(deployment, version, notes)
            if action in SERVING and not force:
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
        elif action == "unpin":
            champion = registry.unpin(epoch=epoch)
        else:
            champion = registry.unshadow(epoch=epoch)
    except OldEpoch:
        assert epoch is not None
        return _too_old(registry.champion(), epoch)
    if before is not None and champion.epoch == before.epoch:
        return Outcome(
            champion=champion,
            is_changed=False,
            told=f"Nothing to change: {described(registry.use_case, champion)}",
        )
    told = "\n".join([described(registry.use_case, champion), *notes])
    return Outcome(champion=champion, is_changed=True, told=told)


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
        told=f"Nothing was changed: the epoch is {champion.epoch}, and {epoch} is not "
        "above it.",
    )


def _with_version(
    registry: Registry,
    action: str,
    serving: Serving,
    epoch: int | None,
    at: datetime,
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
    if action == "pin":
        return registry.pin(serving.version, model_sha256=checksum, at=at, epoch=epoch)
    return registry.shadow(serving.version, epoch=epoch)


def verified(deployment: Deployment, version: int, notes: list[str]) -> Serving:
    """
    Load a version as a function would, to know that it can serve.

    Args:
        deployment: Where.
        version: Any.
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
            f"version {version} of {use_case.name} was never recorded; status has "
            "those that were",
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
    """Say in a line what serves."""
    parts = [f"version {champion.version} serves"]
    if champion.pinned:
        parts.append("pinned")
    if champion.shadow is not None:
        parts.append(f"with version {champion.shadow} in its shadow")
    return f"{use_case}: {', '.join(parts)}; epoch {champion.epoch}."


def status(deployment: Deployment) -> str:
    """Say what serves, and list the newest versions with their figures."""
    registry = deployment.registry
    champion = registry.find_champion()
    lines = []
    if champion is None:
        lines.append(f"{registry.use_case}: nothing serves yet.")
    else:
        lines.append(described(registry.use_case, champion))
        before = ", ".join(map(str, champion.earlier)) or "none"
        lines.append(f"Since {champion.promoted_at}; served before: {before}.")
    found = deployment.warehouse.rows(
        statement("recorded_versions"),
        {"use_case": registry.use_case, "at_most": SHOWN},
    )
    rows = [
        [
            "",
            "version",
            "as of",
            "algorithm",
            "ROC AUC",
            "PR AUC",
            "log loss",
            "verdict",
        ]
    ]
    rows.extend(_row(dict(one.items()), champion) for one in found)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines.extend(
        "  ".join(
            text.ljust(width) for text, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def _row(found: dict[str, Any], champion: Champion | None) -> list[str]:
    version = found["model_version"]
    marks = {}
    if champion is not None:
        marks[champion.shadow] = "shadow"
        marks[champion.version] = "pinned" if champion.pinned else "champion"
    is_cold = found["is_warm"] is False
    return [
        marks.get(version, ""),
        str(version),
        str(found["as_of"] or ""),
        str(found["algorithm"] or "") + (" (not warm)" if is_cold else ""),
        *(
            "-" if found[name] is None else f"{found[name]:.4f}"
            for name in ("roc_auc", "pr_auc", "log_loss")
        ),
        str(found["verdict"] or ""),
    ]


if __name__ == "__main__":
    sys.exit(main())
