"""Set-up: what is installed is whole and pinned."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

from local import install


def pins(file: Path) -> dict[str, str]:
    found = re.findall(r"(?m)^([\w.-]+)==(\S+)", file.read_text())
    return {name.lower().replace("_", "-"): version for name, version in found}


class TestRequirements:
    def test_requirements_name_what_they_depend_on(self):
        """Set-up installs what is listed, and looks for nothing."""
        pinned = pins(install.REQUIREMENTS)
        missing = []
        for name in pinned:
            for package in map(Requirement, requires(name) or []):
                if package.marker and not package.marker.evaluate({"extra": ""}):
                    continue
                found = pinned.get(package.name.lower().replace("_", "-"))
                if not (found and package.specifier.contains(found, prereleases=True)):
                    missing.append(f"{name} needs {package}, found {found}")

        assert missing == []
