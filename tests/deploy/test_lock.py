"""
Lock files, specified: of the requirements as they are, complete, with a hash each.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest
import requests

from deploy import functions, stage
from deploy.functions import ROOT, Function
from tests.deploy.conftest import ANSWER_S, serving
from tests.programs import execute

EVERY = functions.load()
RUNS_HERE = sys.version_info[:2] == (3, 11) and sys.platform == "linux"


def lock_of(function: Function) -> Path:
    """What is installed where it is deployed."""
    return ROOT / "deploy" / "locks" / function.folder / function.requirements


BY_LOCK = {
    lock: [one for one in EVERY if lock_of(one) == lock] for lock in map(lock_of, EVERY)
}


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
    def test_are_of_the_requirements_as_they_are(self, function):
        """A line that changed since is found; ``deploy/lock.sh`` writes anew."""
        text = lock_of(function).read_text()
        [of] = re.findall(r"^# Requirements: ([0-9a-f]{64})$", text, re.M)

        assert of == fingerprint(ROOT / function.folder / function.requirements)

    def test_have_what_is_required_and_tested(self, function):
        """Every pin of the function, and of all else the versions that tests run on."""
        locked = pins(lock_of(function).read_text())
        required = pins((ROOT / function.folder / function.requirements).read_text())
        tested = pins((ROOT / "requirements.txt").read_text())

        assert required.items() <= locked.items()
        assert {name: locked[name] for name in locked.keys() & tested.keys()} == {
            name: tested[name] for name in locked.keys() & tested.keys()
        }

    def test_have_a_hash_for_every_package(self, function):
        """And nothing is built when it is installed: wheels only."""
        text = lock_of(function).read_text()
        entries = re.findall(
            r"^[\w.-]+==[\w.]+ \\\n(?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+",
            text,
            re.M,
        )

        assert len(entries) == len(pins(text)) > 30
        assert "\n--only-binary :all:\n" in text


@pytest.mark.installs
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not RUNS_HERE, reason="locks are for CPython 3.11 on Linux")
@pytest.mark.parametrize(
    "ours", BY_LOCK.values(), ids=lambda ours: f"{ours[0].folder}-{ours[0].target}"
)
def test_archives_install_and_answer_with_nothing_else(ours, tmp_path):
    """Unpacked into an empty folder, installed into an empty environment under hash
    checking as the buildpack does, started by its command: every function of the
    archive answers."""
    folder = stage.stage(
        ROOT / ours[0].folder,
        tmp_path / "empty",
        requirements=ours[0].requirements,
        locked=True,
    )
    venv = tmp_path / "venv"
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python"]
    install = [*pip, "install", "-q", "--require-hashes", "--only-binary=:all:"]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", venv],
        [*install, "--no-deps", "--requirement", "requirements.txt", "--no-input"],
        [*pip, "check"],
    ):
        execute(command, cwd=folder)

    for function in ours:
        program, log = venv / "bin" / "functions-framework", tmp_path / "log"
        with serving(function, program=program, folder=folder, log=log) as url:
            answer = requests.put(url, timeout=ANSWER_S)
        assert answer.status_code == 405
        assert answer.json()["error"] == "method_not_allowed"
