"""Which image a function runs in, and whether it was built of what is staged here."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deploy import DeploymentError, stage
from deploy.configuration import DeploymentSettings

# Its versions differ in what follows. Source: slsa.dev/provenance, of Cloud Build.
BUILDER = "https://cloudbuild.googleapis.com/GoogleHostedWorker"
# Of an image: the ``sources`` that it was built of, and ``flags`` that deploy it.
Image = Mapping[str, Any]


def of_service(service: Mapping[str, Any], repository: str) -> Image:
    """
    Return the image that a service runs; nothing if it is no digest of a repository.

    The label alone says nothing: who may change a service may keep the label.
    """
    template = service["spec"]["template"]
    name: str = template["spec"]["containers"][0]["image"]
    if (
        not name.startswith((f"{repository}/", f"{repository}@"))
        or "@sha256:" not in name
    ):
        return {}
    words = [f"--image={name}"]
    # An image without an operating system has Google's put beneath.
    annotations = template["metadata"].get("annotations", {})
    bases = json.loads(annotations.get("run.googleapis.com/base-images", "{}"))
    for base in bases.values():
        words.append(f"--base-image={base}")
    if not bases:
        words.append("--clear-base-image")
    labels = service["metadata"].get("labels", {})
    return {"sources": labels.get("sources", ""), "flags": words}


def of_another(
    d: DeploymentSettings,
    services: Iterable[Mapping[str, Any]],
    *,
    repository: str,
    file: Path,
) -> dict[str, Image]:
    """
    Return the images of functions, as another deployment of ``file`` runs them.

    Raises:
        DeploymentError: One was built of other sources than it would be here, or is
            not in that deployment's repository.
    """
    made = dict[str, Image]()
    for service in services:
        # The other deployment has a prefix of its own.
        _, _, part = service["metadata"]["name"].partition("-")
        made[part.replace("-", "_")] = of_service(service, repository)
    for function in d.functions:
        with tempfile.TemporaryDirectory() as folder:
            sources = stage.locked(function, Path(folder, function.target))
        check(made, function.target, sources=sources, file=file)
    return {function.target: made[function.target] for function in d.functions}


def check_builder(image: Image, said: str) -> bool:
    """
    Check who built an image, by its provenance in the registry, which Google signs.

    Returns:
        Whether the registry says so.

    Raises:
        DeploymentError: It was somebody else than Cloud Build.
    """
    # The field's place differs by the kind of statement.
    builders = set(re.findall(r'"builder":\s*\{[^}]*?"id":\s*"([^"]+)"', said))
    others = [builder for builder in builders if not builder.startswith(BUILDER)]
    if others:
        raise DeploymentError(
            f"{image['flags'][0]} was built by {', '.join(sorted(others))}, and not by "
            "Cloud Build. Find out who wrote it to the repository"
        )
    return bool(builders)


def check(
    images: Mapping[str, Image], target: str, *, sources: str, file: Path
) -> None:
    """Raise DeploymentError if a function's image was built of something else."""
    if images.get(target, {}).get("sources") != sources:
        raise DeploymentError(
            f"{file} has no {target} of your code, use cases and audiences, in an "
            "image of its own repository. First deploy them to the test environment "
            "(deploy/deploy_all.sh --deployment FOLDER/test.env), then plan again"
        )
