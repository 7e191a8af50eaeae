"""Metadata of data sets and tables in memory."""

from __future__ import annotations

from typing import Any

# The lines of local-bigquery that this replaces, by module.
REPLACES = {
    "local_bigquery.catalog.metadata": (
        "def list_[R: Resource](",
        "def save[R: Resource](",
        "def delete(model:",
    ),
}


def keep_resources(database: Any) -> None:
    """
    Keep the metadata of data sets and tables in dictionaries beside the catalog.

    A statement reads it several times for each of its tables, and parses its JSON.
    """
    from local_bigquery.catalog import metadata

    save = metadata.save
    delete = metadata.delete
    kept: dict[Any, dict[tuple[str, ...], Any]] = {}
    for model, kind in metadata.KINDS.items():
        keys = ", ".join(database.RESOURCES[kind])
        stored = database.fetch(f"SELECT resource, {keys} FROM emulator.{kind}")
        kept[model] = {
            tuple(key): model.model_validate_json(text) for text, *key in stored
        }

    def listed(model: Any, *keys: str) -> list[Any]:
        if (resource := kept[model].get(keys)) is not None:
            return [resource]
        if len(keys) == len(database.RESOURCES[metadata.KINDS[model]]):
            return []
        return [kept[model][key] for key in _beginning(kept[model], keys)]

    def keep(resource: Any, *keys: str) -> Any:
        kept[type(resource)][keys] = saved = save(resource, *keys)
        return saved

    def forget(model: Any, *keys: str) -> None:
        delete(model, *keys)
        for key in _beginning(kept[model], keys):
            kept[model].pop(key, None)

    metadata.list_ = listed
    metadata.save = keep
    metadata.delete = forget


def _beginning(resources: dict[tuple[str, ...], Any], keys: tuple[str, ...]) -> Any:
    return [key for key in list(resources) if key[: len(keys)] == keys]
