"""
Print the statements that score a table in BigQuery by a version of the model.

By the version's graph, or by a function of BigQuery with the scorer's own code, for
what no graph can hold. The code goes into a bundle beside the version's files, once.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from offline.promote import Deployment
from propensity import usecases
from propensity.edges.artifacts import sha256
from propensity.errors import Conflict, NoChampion, RequestError
from propensity.graphs import sql
from propensity.registry.loading import recorded

# Modules of the package that a scorer needs, and those that pickles name.
_CODE = ("__init__", "errors", "scoring", "anomaly", "half_space_trees")
_ROOMS = ("models",)
# And what the ``model.py`` of a use case needs, whose functions pickles may name.
_OF_USE_CASES = ("budget", "ids", "numbers", "schema", "statements", "timeframe")
_ROOMS_OF_USE_CASES = ("tables", "usecases")
# The same bytes whenever it is made.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Statements:
    """
    What to run: once, and then as often as one likes.

    Attributes:
        once: Imports the model or creates the function.
        score: Scores the table.
    """

    version: int
    once: str
    score: str

    def __str__(self) -> str:
        return (
            f"-- Version {self.version}. Once:\n{self.once.strip()};\n\n"
            f"-- Then:\n{self.score.strip()};"
        )


def run(
    deployment: Deployment,
    *,
    version: int | None,
    source: str,
    connection: str | None,
    is_dry: bool = False,
) -> Statements:
    """
    Return the statements of a version.

    Args:
        version: Of the model; None for the champion.
        source: Table with the features and a ``user_id``.
        connection: For a Python function, the connection that reads the bucket; None
            for the version's graph.

    Raises:
        NoChampion, ArtifactError: There is no such version.
        RequestError: The version has no graph.
    """
    if version is None:
        champion = deployment.registry.find_champion()
        if champion is None:
            raise NoChampion(f"{deployment.use_case.name} has no champion yet")
        version = champion.version
    record = recorded(deployment.warehouse, deployment.use_case, version)
    features: Any = json.loads(record["features"])
    place = f"{deployment.settings.project}.{deployment.settings.dataset}"
    if connection is not None:
        return _by_function(
            deployment,
            record,
            features=features,
            place=place,
            source=source,
            connection=connection,
            is_dry=is_dry,
        )
    if not record.get("onnx_object"):
        raise RequestError(
            f"version {version} has no graph: use --python. "
            f"{record.get('onnx_note') or 'It is older than graphs'}"
        )
    name = sql.model_name(
        deployment.use_case.name, version, checksum=record["onnx_sha256"]
    )
    uri = deployment.artifacts.uri(record["onnx_object"])
    return Statements(
        version=version,
        once=sql.import_statement(f"{place}.{name}", uri=uri),
        score=sql.table_statement(f"{place}.{name}", features=features, source=source),
    )


def _by_function(
    deployment: Deployment,
    record: Mapping[str, Any],
    *,
    features: Any,
    place: str,
    source: str,
    connection: str,
    is_dry: bool,
) -> Statements:
    version = record["model_version"]
    data = bundle(deployment, record)
    checksum = sha256(data)
    name = f"models/{deployment.use_case.name}/{version}/scorer-{checksum[:12]}.zip"
    try:
        if not is_dry:
            deployment.artifacts.create(name, data, content_type="application/zip")
    except Conflict:
        # Its name has its checksum: it is there already.
        deployment.artifacts.read_verified(name, checksum=checksum)
    function = f"{place}.score_{deployment.use_case.name}_{version}"
    return Statements(
        version=version,
        once=sql.function_statement(
            function,
            connection=connection,
            bundle=deployment.artifacts.uri(name),
            checksum=checksum,
            features=features,
            libraries=json.loads(record["libraries"]),
        ),
        score=sql.function_call_statement(function, features=features, source=source),
    )


def bundle(deployment: Deployment, record: Mapping[str, Any]) -> bytes:
    """Return a version's preprocessor and model, verified, with the code to score."""
    package = resources.files("propensity")
    own: dict[str, bytes] = {}
    modules, rooms = [*_CODE], [*_ROOMS]
    folder = usecases.FOLDER / deployment.use_case.name
    if (folder / "model.py").is_file():
        modules += _OF_USE_CASES
        rooms += _ROOMS_OF_USE_CASES
        place = f"propensity/usecases/{deployment.use_case.name}"
        # Without it a folder in an archive is no package.
        own = {f"{place}/__init__.py": b""} | _code_in(folder, place)
    contents = {
        f"propensity/{name}.py": (package / f"{name}.py").read_bytes()
        for name in modules
    }
    for room in rooms:
        contents |= _code_in(package / room, f"propensity/{room}")
    contents = dict(sorted((contents | own).items()))
    for part in ("preprocessor", "model"):
        contents[f"{part}.joblib"] = deployment.artifacts.read_verified(
            record[f"{part}_object"], checksum=record[f"{part}_sha256"]
        )
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as target:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, date_time=_NO_TIME)
            target.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return whole.getvalue()


def _code_in(folder: Any, place: str) -> dict[str, bytes]:
    """Return the modules of a folder, by their path in the bundle."""
    return {
        f"{place}/{module.name}": module.read_bytes()
        for module in folder.iterdir()
        if module.name.endswith(".py")
    }
