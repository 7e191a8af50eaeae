"""
The first commands of docs/deploy.md, on a machine where nothing was set up.
"""

from __future__ import annotations

import re
import shutil

import pytest

from deploy.functions import ROOT
from tests.programs import execute

SOURCED = {"common.sh", "terraform.sh"}
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for glob in ("deploy/*.sh", "0*/*.sh")
    for path in ROOT.glob(glob)
    if path.name not in SOURCED
)
TOOLS = (
    *("bash", "env", "sed", "dirname", "basename", "cat", "tr", "grep", "sort", "cut"),
    *("mkdir", "sha256sum", "python3"),
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory, project):
    """A checkout, and beside it ``bin`` with what every machine has."""
    folder = tmp_path_factory.mktemp("clean")
    shutil.copytree(project, folder / "clone", symlinks=True)
    (folder / "clone" / ".venv").unlink()
    (folder / "bin").mkdir()
    for tool in TOOLS:
        (folder / "bin" / tool).symlink_to(shutil.which(tool))
    return folder / "clone"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_names_make_setup_in_one_line_where_it_has_not_run(clone, script):
    words = [] if script.endswith("lock.sh") else ["--dry-run"]
    environment = {"PATH": str(clone.parent / "bin"), "HOME": str(clone.parent)}
    done = execute([clone / script, *words], cwd=clone, env=environment, status=None)

    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("#")]
    assert len(lines) == 1, done.stderr
    assert "make setup" in lines[0]
    assert not (clone / ".local").exists()


def test_the_page_names_make_setup_before_what_needs_it():
    page = (ROOT / "docs" / "deploy.md").read_text()
    commands = "\n".join(re.findall(r"^```\w*\n(.*?)^```", page, re.M | re.S))

    assert commands.index("make setup") < commands.index("deploy/setup.sh")
    assert not re.search(r"\bpython3? -m", page.replace(".venv/bin/python -m", ""))
    assert "deploy/deploy_all.sh" in commands
