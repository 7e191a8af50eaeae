"""
What a deploy uploads, specified: the same bytes for the same sources, and lock files of
the requirements as they are, complete, with a hash each.
"""

from __future__ import annotations

import hashlib
import os
import re

import pytest

from deploy import functions
from deploy.functions import ROOT
from deploy.stage import stage

STAGED = ["main.py", "propensity/settings.py", "requirements.txt", "score.py"]
NOT_STAGED = [
    "02-GetProba/README.md",
    "02-GetProba/requirements-score.txt",
    "local/stack/stack.py",
    "propensity/__main__.py",
    "propensity/cli/program.py",
    "propensity/__pycache__/settings.cpython-311.pyc",
]


@pytest.fixture
def function(tmp_path):
    """A function's folder in a project that has much that must not be uploaded."""
    root = tmp_path / "project"
    for name in STAGED + NOT_STAGED:
        folder = root if "/" in name else root / "02-GetProba"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"of {name}")
    return root / "02-GetProba"


def files(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )


def test_staging_copies_what_a_deploy_uploads(function, tmp_path):
    usual = os.umask(0o077)
    staged = stage(function, tmp_path / "staged")
    os.umask(usual)

    assert files(staged) == STAGED
    for path in (staged, *staged.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
    assert (staged / "main.py").read_text() == (function / "main.py").read_text()


def test_use_cases_of_ones_own_travel_with_each_function(
    function, tmp_path, monkeypatch
):
    """From where the setting points; a use case may be a link to a folder elsewhere, as
    of a repository of its own."""
    elsewhere = tmp_path / "ours"
    own = tmp_path / "mine"
    monkeypatch.setenv("PROPENSITY_USE_CASES", str(own))
    (elsewhere / "data").mkdir(parents=True)
    for name in ("usecase.toml", "data/rows.csv"):
        (elsewhere / name).write_text(f"our {name}")
    own.mkdir()
    (own / "shop").symlink_to(elsewhere)
    staged = stage(function, tmp_path / "staged")

    mine = ["usecases/shop/data/rows.csv", "usecases/shop/usecase.toml"]
    assert files(staged) == STAGED + mine
    assert not (staged / "usecases/shop").is_symlink()
    assert files(stage(function, staged)) == STAGED + mine


def pins(text: str) -> dict[str, str]:
    """Version by package, as a file of requirements pins them."""
    found = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.M)
    return {name.lower().replace("_", "-"): version for name, version in found}


ENTRY = r"^[\w.-]+==[\w.]+ \\\n(?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+"


@pytest.mark.parametrize("function", functions.load(), ids=lambda one: one.target)
def test_locks_are_of_the_requirements_and_whole(function):
    """A line that changed since is found; ``deploy/lock.sh`` writes anew. They have the
    versions that tests run on and a hash for every package, and nothing is built."""
    requirements = ROOT / function.folder / function.requirements
    lock = ROOT / "deploy" / "locks" / function.folder / function.requirements
    text = lock.read_text()
    locked = pins(text)
    tested = pins((ROOT / "requirements.txt").read_text())
    named = requirements.read_text()
    lines = sorted(re.sub(" *#.*", "", named).splitlines())
    wanted = "".join(f"{line}\n" for line in lines if line.strip())

    [of] = re.findall(r"^# Requirements: ([0-9a-f]{64})$", text, re.M)
    assert of == hashlib.sha256(wanted.encode()).hexdigest()
    assert pins(named).items() <= locked.items()
    for name in locked.keys() & tested.keys():
        assert locked[name] == tested[name]
    assert len(re.findall(ENTRY, text, re.M)) == len(locked) > 30
    assert "\n--only-binary :all:\n" in text
