"""
Statements that score in BigQuery, from the files of ``propensity/sql``.

What BigQuery takes no parameter for is put in the place of a name between backticks:
names of models, tables and columns, none of which comes from a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from propensity.models.encoding import Kind
from propensity.statements import statement

# The part of a statement that gives a graph a feature, by what its column holds.
_PARTS = {
    "number": "graph_number",
    "flag": "graph_flag",
    "category": "graph_category",
}

# A name between backticks.
_NAMED = re.compile(r"`([^`\n]+)`")

# BigQuery's names of the type of a truth value.
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
    return _filled("import_model", {"model": _quoted(model), "uri": uri})


def scoring_statement(
    text: str,
    *,
    model: str,
    features: Mapping[str, Kind],
    flags: frozenset[str],
    rows: str = "",
    source: str = "",
) -> str:
    """
    Return a statement that scores, with its placeholders filled.

    Args:
        text: Of ``score_by_model`` or ``score_table``.
        model: Name of the model, with or without a dataset.
        flags: Features whose columns are truth values.
        rows: For ``score_by_model``: the statement that gives the features.
        source: For ``score_table``: name of the table.
    """
    # Before any feature is in the text: it may be named like a placeholder.
    text = _in_place(text, {"model": _quoted(model), "source": _quoted(source)})
    inputs = "".join(
        _filled(_PARTS["flag" if name in flags else kind], {"feature": _quoted(name)})
        for name, kind in features.items()
    )
    text = text.replace("        `inputs`\n", inputs)
    # A statement may end in a comment, and without the end of its line.
    return text.replace("          `features`\n", rows.rstrip("\n") + "\n")


def table_statement(model: str, *, features: Mapping[str, Kind], source: str) -> str:
    """Return the statement that scores any table with columns of these names."""
    return scoring_statement(
        _without_comments(statement("score_table")),
        model=model,
        features=features,
        flags=frozenset(),
        source=source,
    )


def _filled(name: str, texts: Mapping[str, str]) -> str:
    """Return a statement by name, without its comments, its placeholders filled."""
    return _in_place(_without_comments(statement(name)), texts)


def _without_comments(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("--"))


def _in_place(text: str, texts: Mapping[str, str]) -> str:
    """Return a statement, its placeholders filled; what is put in is left as it is."""
    return _NAMED.sub(lambda named: texts.get(named[1], named[0]), text)


def _quoted(name: str) -> str:
    """Return a name in backticks; of a table it may have had some already."""
    return f"`{name.replace('`', '')}`"


# -- the scorer's own code, as a function ----------------------------------------------


def function_statement(
    name: str,
    *,
    connection: str,
    bundle: str,
    checksum: str,
    features: Mapping[str, Kind],
    libraries: Mapping[str, str],
) -> str:
    """
    Return the statement that creates a scoring function.

    Args:
        name: Of the function, with its dataset.
        connection: Name of a connection whose account may read the bucket.
        bundle: ``gs://…`` of the version's code, preprocessor and model.
        checksum: SHA-256 of the bundle, in hexadecimal.
        features: Kind of each by name, in the order of the arguments.
        libraries: Versions that training recorded; Python's own is BigQuery's.
    """
    bucket, _, blob = bundle.removeprefix("gs://").partition("/")
    types = {"number": "FLOAT64", "category": "STRING"}
    arguments = ", ".join(
        f"{_quoted(name)} {types[features[name]]}" for name in features
    )
    pins = {**libraries, **FURTHER_PACKAGES}
    packages = ", ".join(
        f"'{package}=={version}'"
        for package, version in pins.items()
        if package != "python"
    )
    texts = {
        "function": _quoted(name),
        "connection": _quoted(connection),
        "arguments": arguments,
        "packages": packages,
        "features": repr(dict(features)),
        "bucket": bucket,
        "bundle": blob,
        "sha256": checksum,
    }
    return _filled("create_scoring_function", texts)


def function_call_statement(
    name: str, *, features: Mapping[str, Kind], source: str
) -> str:
    """Return the statement that scores a table by a scoring function."""
    values = ", ".join(
        f"CAST({_quoted(name)} AS FLOAT64)" if kind == "number" else _quoted(name)
        for name, kind in features.items()
    )
    texts = {"function": _quoted(name), "values": values, "source": _quoted(source)}
    return _filled("score_table_by_function", texts)


# What the function needs beside the libraries that training records.
FURTHER_PACKAGES = {
    "google-cloud-storage": "3.17.1",
    "scipy": "1.17.1",
    "threadpoolctl": "3.8.0",
}
