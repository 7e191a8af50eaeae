"""A person stops audiences, sees what waits, and lets them go on."""

from __future__ import annotations

from propensity.audience import declared
from propensity.audience.stop_file import ALL, FILE, StopFile, read
from propensity.audience.stopping import listed, waiting
from propensity.gcp.artifacts import content_of, json_of, retried
from propensity.registry.deployment import Deployment
from propensity.registry.leases import ANY_DATE, name_of, read_lease


def change(deployment: Deployment, audience: str | None, *, is_stopped: bool) -> None:
    """
    Stop an audience or let it go on.

    Args:
        audience: Its name; None for all of the deployment.

    Raises:
        RequestError: There is no audience of the name.
    """
    _names(deployment, audience)
    artifacts = deployment.artifacts
    entry = ALL if audience is None else f"{deployment.use_case.name}/{audience}"

    def write() -> None:
        stored = artifacts.find(FILE)
        before = content_of(stored, StopFile, name=FILE) if stored else StopFile()
        entries = set(before.audiences) - {entry}
        if is_stopped:
            entries.add(entry)
        artifacts.replace(FILE, json_of(StopFile(sorted(entries))), stored)

    retried(write)


def states(deployment: Deployment, audience: str | None) -> list[dict[str, object]]:
    """Return of an audience, or of all of the use case, what is stopped and waits."""
    use_case = deployment.use_case.name
    file = read(deployment.artifacts)
    result = []
    for name in _names(deployment, audience):
        state: dict[str, object] = {
            "audience": name,
            "use_case": use_case,
            "is_stopped": file.covers(use_case, name),
            "is_under_way": _is_under_way(deployment, name),
        }
        result.append(state | waiting(deployment, name))
    return result


def _names(deployment: Deployment, audience: str | None) -> list[str]:
    """Return the names of audiences with a file or a list; raises as ``change``."""
    use_case = deployment.use_case
    names = {listing.audience for listing in listed(deployment)}
    names.update(declared.audience_names(use_case))
    if audience is None:
        return sorted(names)
    if audience not in names:
        declared.load_audience(use_case, audience)
    return [audience]


def _is_under_way(deployment: Deployment, audience: str) -> bool:
    name = name_of(deployment.use_case.name, f"audience-{audience}", ANY_DATE)
    _, file = read_lease(deployment.artifacts, name)
    return file.state == "running"
