"""
Staging, specified: exactly what a deploy uploads, the same bytes for the same sources.
"""

from __future__ import annotations

import json
import sys

import pytest

from commands.cli import main
from deploy.stage import ROOT, StageError, digest, sources, stage
from tests.programs import execute


@pytest.fixture
def root(tmp_path):
    """A project with one function, and with all that must not be uploaded."""
    root = tmp_path / "project"
    for name, text in {
        "02-GetProba/main.py": "def get_proba(request): ...\n",
        "02-GetProba/score.py": "def score(request): ...\n",
        "02-GetProba/requirements.txt": "functions-framework==3.10.2\n",
        "02-GetProba/requirements-score.txt": "scikit-learn==1.9.1\n",
        "02-GetProba/README.md": "about\n",
        "02-GetProba/deploy.sh": "gcloud\n",
        "propensity/__init__.py": "",
        "propensity/settings.py": "A = 1\n",
        "propensity/runs/features.sql": "SELECT 1\n",
        "propensity/__pycache__/settings.cpython-311.pyc": "x",
        "propensity/tests/test_settings.py": "",
        "propensity/.hidden": "",
        "local/stack/stack.py": "",
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.fixture
def function(root):
    return root / "02-GetProba"


STAGED = [
    "main.py",
    "propensity/__init__.py",
    "propensity/runs/features.sql",
    "propensity/settings.py",
    "requirements.txt",
    "score.py",
]


def files(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )


class TestStage:
    def test_copies_what_a_deploy_uploads(self, root, function, tmp_path):
        """Entry points, their requirements and the package: nothing beside them."""
        staged = stage(function, tmp_path / "staged", root=root)

        assert files(staged) == STAGED
        assert (staged / "main.py").read_text() == (function / "main.py").read_text()

    def test_copies_what_links_lead_to(self, root, function, tmp_path):
        """Defect: a use case that is a link to a folder elsewhere, as of a repository
        of its own, was there on this machine and in no deploy."""
        own = tmp_path / "ours"
        own.mkdir()
        (own / "features.sql").write_text("SELECT 2\n")
        (root / "propensity" / "usecases").mkdir()
        (root / "propensity" / "usecases" / "shop").symlink_to(own)
        (root / "propensity" / "usecases" / "gone").symlink_to(tmp_path / "gone")
        staged = stage(function, tmp_path / "staged", root=root)

        copy = staged / "propensity" / "usecases" / "shop"
        assert files(staged) == sorted(
            [*STAGED, "propensity/usecases/shop/features.sql"]
        )
        assert (copy / "features.sql").read_text() == "SELECT 2\n"
        assert not copy.is_symlink()

    def test_replaces_what_was_staged_before(self, root, function, tmp_path):
        """A file that the source no longer has is gone from the staged folder."""
        staged = stage(function, tmp_path / "staged", root=root)
        (staged / "__pycache__").mkdir()
        (root / "propensity" / "settings.py").unlink()

        stage(function, staged, root=root)

        assert files(staged) == [
            name for name in STAGED if name != "propensity/settings.py"
        ]

    def test_refuses_a_folder_with_something_else(self, root, function, tmp_path):
        """A folder that holds other things is not emptied by mistake."""
        (tmp_path / "propensity").mkdir()
        (tmp_path / "thesis.tex").write_text("years of work")

        with pytest.raises(StageError, match=r"thesis\.tex"):
            stage(function, tmp_path, root=root)

        assert (tmp_path / "thesis.tex").exists()

    @pytest.mark.parametrize("missing", ["main.py", "requirements.txt"])
    def test_names_what_is_missing(self, root, function, tmp_path, missing):
        """A folder that is no function is refused by what it lacks."""
        (function / missing).unlink()

        with pytest.raises(StageError, match=missing):
            stage(function, tmp_path / "staged", root=root)

        assert not (tmp_path / "staged").exists()


# As a deploy calls it, where Python is all that there is.
COMMAND = (sys.executable, "-S", "-m", "deploy.stage")


class TestCommandLine:
    def test_says_what_is_wrong(self, tmp_path):
        """A mistake is one line on standard error and an exit status."""
        done = execute([*COMMAND, "99-Nothing", tmp_path / "staged"], status=1)
        assert "99-Nothing" in done.stderr
        assert "Traceback" not in done.stderr

    def test_of_propensity_lists_what_it_stages_or_would(self, tmp_path, capsys):
        """``propensity stage``: every file, and what names the whole of them."""
        folder, target = ROOT / "02-GetProba", tmp_path / "staged"
        listed = []
        for words in (["--dry-run"], []):
            assert main(["stage", str(folder), str(target), "--json", *words]) == 0
            listed.append(json.loads(capsys.readouterr().out))
            assert target.exists() == (words == [])

        assert listed[0] == listed[1]
        assert listed[0]["sha256"] == digest(sources(folder))
        assert [one["file"] for one in listed[0]["files"]] == files(target)
