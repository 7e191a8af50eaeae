"""The exports that the use cases of a deploy read: the deployment's, and others'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from propensity import folders
from propensity.errors import UseCaseError
from propensity.settings import Settings
from propensity.usecases import UseCase, declaration, load, load_all, names


def of_export(settings: Settings) -> list[UseCase]:
    """
    Return the use cases of this deploy that read the export of the settings.

    Raises:
        UseCaseError: One reads another export whose dataset has the same name.
    """
    readers = []
    use_cases, _ = load_all()
    for use_case in use_cases.values():
        if settings.export_suffix and not use_case.ga4_property:
            continue
        export = use_case.settings(settings)
        if export.export_suffix == settings.export_suffix:
            _check_same_export(use_case, export, settings)
            readers.append(use_case)
    return readers


def by_export(
    settings: Settings, use_cases: Iterable[UseCase]
) -> list[tuple[Settings, list[UseCase]]]:
    """
    Return the settings of each export, with the use cases of its property.

    Args:
        settings: Of the deployment, whose own export comes first, also without any.

    Raises:
        UseCaseError: Two exports have datasets of the same name.
    """
    groups: dict[str, tuple[Settings, list[UseCase]]] = {"": (settings, [])}
    for use_case in use_cases:
        export = use_case.settings(settings)
        other, group = groups.setdefault(export.export_suffix, (export, []))
        _check_same_export(use_case, export, other)
        group.append(use_case)
    return list(groups.values())


def settings_of_exports(
    settings: Settings, only: Sequence[str] | None = None
) -> list[Settings]:
    """Return the settings of each export; ``only`` as of ``load_all``."""
    use_cases, _ = load_all(only)
    groups = by_export(settings, use_cases.values())
    return [export for export, _ in groups if export.ga4_dataset]


def _check_same_export(use_case: UseCase, export: Settings, other: Settings) -> None:
    if export.export != other.export:
        raise UseCaseError(
            f"{use_case.name}/{folders.FILE}: property.ga4_dataset is "
            f"{export.export}, and another use case reads {other.export}: the tables "
            "of both would have the same names. Copy one export to a dataset of "
            "another name"
        )


def export_values() -> list[declaration.Value]:
    """
    Return the values of the export that the use cases of this deploy name, each once.

    Raises:
        UseCaseError: A use case is wrong, or two give a column different types.
    """
    return declaration.merged(
        value for name in names() for value in load(name).export_values
    )
