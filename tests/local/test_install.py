"""
Set-up, specified: what is installed is whole and pinned, from where pip takes it.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from local import install, venvs
from local.stack.state import ROOT

# The emulator runs on an older Python and an older DuckDB than it asks for.
WITHOUT_DEPENDENCIES = {"local-bigquery"}


def pins(file: Path) -> dict[str, str]:
    installed = [line.split("==") for line in venvs.packages(file.read_text())]
    return {name.lower().replace("_", "-"): version for name, version in installed}


class TestRequirements:
    def test_are_installed_as_they_are_pinned(self):
        """All of them are in the environment, and none in another version."""
        pinned = pins(install.REQUIREMENTS) | pins(install.EMULATOR)
        installed = {
            package.name.lower().replace("_", "-").replace(".", "-"): package.version
            for package in distributions()
        }

        assert pinned.items() <= installed.items()

    def test_name_what_they_depend_on(self):
        """Whatever a package needs on this Python is pinned as well: set-up installs
        what is listed, and looks for nothing."""
        pinned = pins(install.REQUIREMENTS)
        missing = []
        for name in pinned.keys() - WITHOUT_DEPENDENCIES:
            for package in distribution_requires(name):
                installed = pinned.get(package.name.lower().replace("_", "-"))
                if installed is None or not package.specifier.contains(
                    installed, prereleases=True
                ):
                    missing.append(f"{name} needs {package}, found {installed}")

        assert missing == []


def distribution_requires(name: str) -> list[Requirement]:
    from importlib.metadata import requires

    requirements = map(Requirement, requires(name) or [])
    return [
        package
        for package in requirements
        if package.marker is None or package.marker.evaluate({"extra": ""})
    ]


class TestEnvironment:
    def test_has_uv_of_the_pin(self):
        """As any other package."""
        assert version("uv") == pins(install.REQUIREMENTS)["uv"]

    def test_of_a_function_is_stored_once(self):
        """uv links files from its cache, beside which they lie."""
        python = venvs.functions_python(ROOT, folder=ROOT / ".local" / "venvs")
        [file] = python.parent.parent.glob("lib/python*/site-packages/flask/app.py")

        assert file.stat().st_nlink > 1


class TestTwoAtOnce:
    """`make` in two shells: one would remove the environment that the other makes."""

    HELD = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from local import install\n"
        "from local.progress import Progress\n"
        "folder, log, word = sys.argv[1:]\n"
        "install.wait_for_others(Progress(sys.stderr), Path(folder))\n"
        "with open(log, 'a') as file: file.write(f'{word} begins\\n')\n"
        'code = f\'import time; time.sleep(0.5); open({log!r}, "a").write({word!r} + '
        '" ends\\\\n")\'\n'
        "os.execv(sys.executable, [sys.executable, '-c', code])\n"
    )

    def test_wait_for_each_other(self, tmp_path):
        """Until the second half ends, which goes on in the environment's own Python."""
        log = tmp_path / "log"
        both = [
            subprocess.Popen(
                [sys.executable, "-c", self.HELD, str(tmp_path), str(log), word],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
            for word in ("one", "other")
        ]
        messages = [process.communicate(timeout=60)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0]
        lines = log.read_text().split("\n")

        assert [line.split()[-1] for line in lines[:4]] == ["begins", "ends"] * 2
        assert lines[0].split()[0] == lines[1].split()[0]
        # Whoever waits is told why.
        assert sorted("another set-up" in text for text in messages) == [False, True]

    def test_are_kept_apart_by_make(self, tmp_path, monkeypatch):
        """Nothing is made before it is this one's turn."""
        steps: list[str] = []
        monkeypatch.setattr(
            install, "wait_for_others", lambda _, folder: steps.append(f"wait {folder}")
        )
        monkeypatch.setattr(install, "begin", lambda *_: steps.append("begin"))
        monkeypatch.setattr(install.os, "execv", lambda *_: steps.append("go on"))
        install.main(["development", str(tmp_path)])

        assert steps == [f"wait {tmp_path}", "begin", "go on"]


class TestIndexes:
    def test_are_those_of_pip(self):
        """A company's index, set for pip alone, is where uv looks, too."""
        variables = venvs.indexes(
            {
                "index-url": "https://pypi.example.com/simple",
                "extra-index-url": "https://a.example.com\nhttps://b.example.com",
                "trusted-host": "pypi.example.com",
                "find-links": "/wheels /more",
                "cert": "/etc/ssl/company.pem",
                "timeout": "180",
            }
        )

        assert variables == {
            "UV_DEFAULT_INDEX": "https://pypi.example.com/simple",
            "UV_INDEX": "https://a.example.com https://b.example.com",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_INSECURE_HOST": "pypi.example.com",
            "UV_FIND_LINKS": "/wheels,/more",
            "SSL_CERT_FILE": "/etc/ssl/company.pem",
        }

    def test_of_uv_come_first(self):
        """Whoever has set uv has set uv."""
        variables = venvs.uv_environment(
            {"UV_DEFAULT_INDEX": "https://mine.example.com"}
        )

        assert variables["UV_DEFAULT_INDEX"] == "https://mine.example.com"
        assert Path(variables["UV_CACHE_DIR"]) == Path(sys.prefix) / "uv-cache"


class TestPythons:
    @pytest.mark.parametrize(
        "page", ["README.md", "CONTRIBUTING.md", "requirements.txt", "pyproject.toml"]
    )
    def test_that_are_tried_are_those_that_are_named(self, page):
        """.ci/run tries the oldest and the newest that is promised."""
        script = (ROOT / ".ci" / "run").read_text()

        assert "\nPYTHONS=(3.11 3.13)\n" in script
        assert "3.11 to 3.13" in (ROOT / page).read_text()

    def test_run_the_commands_of_the_readme(self):
        """What a newcomer is told to run is what .ci/run runs, with loopback alone."""
        script = (ROOT / ".ci" / "run").read_text()
        readme = (ROOT / "README.md").read_text()

        for command in ("make demo", "make test"):
            assert f"\n{command}" in readme
            assert f'"${{offline[@]}}" {command} ' in script
