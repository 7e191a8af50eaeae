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
from tests.deploy.conftest import ANSWER_S, ROOT, serving
from tests.programs import execute

EVERY = functions.load()
LOCKS = sorted({function.lock for function in EVERY})
RUNS_HERE = sys.version_info[:2] == (3, 11) and sys.platform == "linux"


def fingerprint(requirements: Path) -> str:
    """What stands for requirements in their lock: comments and order do not count."""
    lines = (
        re.sub(" *#.*", "", line) for line in requirements.read_text().splitlines()
    )
    text = "".join(
        f"{line}\n" for line in sorted(line for line in lines if line.strip())
    )
    return hashlib.sha256(text.encode()).hexdigest()


def pins(text: str) -> dict[str, str]:
    """Version by package, as a file of requirements pins them."""
    return {
        name.lower().replace("_", "-"): version
        for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.M)
    }


@pytest.mark.parametrize("function", EVERY, ids=lambda function: function.target)
class TestLocks:
    def test_are_of_the_requirements_as_they_are(self, function):
        """A line that changed since is found; ``deploy/lock.sh`` writes anew."""
        text = function.lock.read_text()
        [of] = re.findall(r"^# Requirements: ([0-9a-f]{64})$", text, re.M)

        assert of == fingerprint(ROOT / function.folder / function.requirements)

    def test_have_what_is_required_and_tested(self, function):
        """Every pin of the function, and of all else the versions that tests run on."""
        locked = pins(function.lock.read_text())
        required = pins((ROOT / function.folder / function.requirements).read_text())
        tested = pins((ROOT / "requirements.txt").read_text())

        assert required.items() <= locked.items()
        different = {
            name: (version, tested[name])
            for name, version in locked.items()
            if name in tested and tested[name] != version
        }
        assert different == {}

    def test_have_a_hash_for_every_package(self, function):
        """And nothing is built when it is installed: wheels only."""
        text = function.lock.read_text()
        entries = re.findall(
            r"^[\w.-]+==[\w.]+ \\\n(?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+",
            text,
            re.M,
        )
        lines = [line for line in text.splitlines() if not line.startswith("#")]

        assert len(entries) == len(pins(text)) > 30
        assert "--only-binary :all:" in lines
        left = [line for line in lines if line and not line.startswith("    ")]
        assert len(left) == len(entries) + 1


@pytest.mark.installs
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not RUNS_HERE, reason="locks are for CPython 3.11 on Linux")
@pytest.mark.parametrize(
    "lock_file", LOCKS, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
class TestArchives:
    def test_install_and_answer_with_nothing_else(self, lock_file, tmp_path):
        """Unpacked into an empty folder, installed into an empty environment under hash
        checking as the buildpack does, started by its command: every function of the
        archive answers."""
        ours = [function for function in EVERY if function.lock == lock_file]
        folder = stage.stage(
            ROOT / ours[0].folder,
            tmp_path / "empty",
            requirements=ours[0].requirements,
            locked=True,
        )
        venv = tmp_path / "venv"
        pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
        for command in (
            [sys.executable, "-m", "venv", "--without-pip", str(venv)],
            [
                *(*pip, "install", "-q", "--require-hashes", "--only-binary=:all:"),
                *("--no-deps", "--no-compile"),
                *("--requirement", "requirements.txt", "--no-input"),
            ],
            [*pip, "check"],
            [str(venv / "bin" / "python"), "-m", "compileall", "-f", "-q", "."],
        ):
            execute(command, cwd=folder)

        for function in ours:
            program, log = venv / "bin" / "functions-framework", tmp_path / "log"
            with serving(function, program=program, folder=folder, log=log) as url:
                answer = requests.put(url, timeout=ANSWER_S)
            is_asynchronous = function.is_asynchronous
            assert answer.status_code == 405
            assert answer.json()["error"] == "method_not_allowed"
            assert answer.headers["server"] == (
                "uvicorn" if is_asynchronous else "gunicorn"
            )
