"""
Lock files, specified: of the requirements as they are, complete, with a hash each.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

from deploy import functions
from deploy.functions import ROOT, Function

EVERY = functions.load()
RUNS_HERE = sys.version_info[:2] == (3, 11) and sys.platform == "linux"


def lock_of(function: Function) -> Path:
    """What is installed where it is deployed."""
    return ROOT / "deploy" / "locks" / function.folder / function.requirements


def fingerprint(requirements: Path) -> str:
    """What stands for requirements in their lock: comments and order do not count."""
    lines = (
        re.sub(" *#.*", "", line) for line in requirements.read_text().splitlines()
    )
    text = "".join(f"{line}\n" for line in sorted(lines) if line.strip())
    return hashlib.sha256(text.encode()).hexdigest()


def pins(text: str) -> dict[str, str]:
    """Version by package, as a file of requirements pins them."""
    found = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.M)
    return {name.lower().replace("_", "-"): version for name, version in found}


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.target)
class TestLocks:
    def test_locks_are_of_the_requirements_as_they_are(self, function):
        """A line that changed since is found; ``deploy/lock.sh`` writes anew."""
        text = lock_of(function).read_text()
        [of] = re.findall(r"^# Requirements: ([0-9a-f]{64})$", text, re.M)

        assert of == fingerprint(ROOT / function.folder / function.requirements)

    def test_locks_have_what_is_required_and_tested(self, function):
        """Every pin of the function, and of all else the versions that tests run on."""
        locked = pins(lock_of(function).read_text())
        required = pins((ROOT / function.folder / function.requirements).read_text())
        tested = pins((ROOT / "requirements.txt").read_text())

        assert required.items() <= locked.items()
        assert {name: locked[name] for name in locked.keys() & tested.keys()} == {
            name: tested[name] for name in locked.keys() & tested.keys()
        }

    def test_locks_have_a_hash_for_every_package(self, function):
        """And nothing is built when it is installed: wheels only."""
        text = lock_of(function).read_text()
        entries = re.findall(
            r"^[\w.-]+==[\w.]+ \\\n(?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+",
            text,
            re.M,
        )

        assert len(entries) == len(pins(text)) > 30
        assert "\n--only-binary :all:\n" in text
