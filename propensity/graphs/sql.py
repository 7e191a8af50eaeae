"""
Statements that score in BigQuery, from the files of ``propensity/sql``.

What BigQuery takes no parameter for is put in the place of a name between backticks:
names of models, tables and columns, none of which comes from a request.
"""

from __future__ import annotations

from collections.abc import Mapping

from propensity.models.encoding import Kind
from propensity.statements import statement

# Types of columns, as BigQuery's API names them, by the part that casts them.
FLAG_TYPES = frozenset({"BOOL", "BOOLEAN"})


def model_name(use_case: str, version: int, *, checksum: str) -> str:
    """
    Return the name of a version's model in the dataset.

    It holds the beginning of the SHA-256 of its graph: a model of that name is of these
    bytes, whatever was in the dataset before.
    """
    return f"model_{use_case}_{version}_{checksum[:12]}"


def import_statement(model: str, *, uri: str) -> str:
    """Return the statement that imports the graph at ``gs://…`` as a model."""
    return (
        statement("import_model")
        .replace("`uri`", uri)
        .replace("`model`", _quoted(model))
    )


def scoring_statement(
    text: str, *, model: str, features: Mapping[str, Kind], flags: frozenset[str]
) -> str:
    """
    Return a statement that scores, with its placeholders filled.

    Args:
        text: Of ``score_by_model`` or ``score_table``.
        model: Name of the model, with or without a dataset.
        features: Kind of each by name.
        flags: Features whose columns are truth values.
    """
    parts = {name: statement(f"graph_{kind}") for name, kind in _kinds(features, flags)}
    inputs = "".join(
        _without_comments(part).replace("`feature`", _quoted(name))
        for name, part in parts.items()
    )
    return text.replace("        `inputs`\n", inputs).replace("`model`", _quoted(model))


def table_statement(model: str, *, features: Mapping[str, Kind], source: str) -> str:
    """Return the statement that scores any table with columns of these names."""
    text = statement("score_table").replace("`source`", _quoted(source))
    return scoring_statement(text, model=model, features=features, flags=frozenset())


def _kinds(
    features: Mapping[str, Kind], flags: frozenset[str]
) -> list[tuple[str, str]]:
    return [
        (name, "flag" if name in flags and kind == "number" else kind)
        for name, kind in features.items()
    ]


def _without_comments(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("--"))


def _quoted(name: str) -> str:
    return f"`{name}`"
