"""The emulator's source, rewritten by patches before it is imported."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType
from typing import Any

from local.emulators.bigquery.patches import (
    commits,
    downloads,
    dry_runs,
    merges,
    older_python,
    pages,
    temporary_tables,
    waiting,
)

EMULATOR_VERSION = "0.4.0"
# Texts in the source of a module, and their replacements.
Rewrites = tuple[tuple[str, str], ...]


# Patches of the source, in the order in which they are made.
PATCHES = (
    dry_runs,
    temporary_tables,
    pages,
    merges,
    commits,
    downloads,
    waiting,
)


def rewrites_of(module: str) -> Rewrites:
    """Return what is rewritten in a module, by all patches."""
    patches: list[Any] = list(PATCHES)
    if sys.version_info < (3, 12):
        patches.append(older_python)
    rewrites: list[tuple[str, str]] = []
    for patch in patches:
        rewrites.extend(patch.REWRITES.get(module, ()))
    return tuple(rewrites)


def rewritten(source: str, rewrites: Rewrites, *, module: str) -> str:
    """Return a module's source rewritten; ImportError where there is nothing to do."""
    for old, new in rewrites:
        if old not in source:
            raise ImportError(
                f"{module} differs from local-bigquery {EMULATOR_VERSION}: "
                f"{old!r} is not in it. Reinstall with `make setup`."
            )
        source = source.replace(old, new)
    return source


class RewritingLoader(SourceFileLoader):
    """Compile one module from its rewritten source, past any cached bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        source = rewritten(source, rewrites_of(fullname), module=fullname)
        return compile(source, path, "exec", dont_inherit=True)


class RewritingFinder(PathFinder):
    """Find the modules that are rewritten for their loader."""

    @classmethod
    def find_spec(cls, fullname: str, *where: Any) -> ModuleSpec | None:
        if not rewrites_of(fullname):
            return None
        spec = super().find_spec(fullname, *where)
        if spec is not None and spec.origin is not None:
            spec.loader = RewritingLoader(fullname, spec.origin)
        return spec


def make_importable() -> None:
    """Have modules imported as ``RewritingFinder`` finds them, in this process."""
    sys.meta_path.insert(0, RewritingFinder)
