"""
``python -m docs``, specified: one command writes every page that is made from the code.
"""

from __future__ import annotations

import importlib
import re

import pytest

from docs import __main__ as program
from docs import tables


class TestPages:
    def test_are_all_that_say_how_they_are_written(self):
        """Every page that names its module is one that the command writes."""
        written = {
            page
            for page in [*program.FOLDER.glob("*.md"), *program.FOLDER.glob("*.yaml")]
            if re.search(r"ritten by `?python -m docs\.", page.read_text("utf-8")[:400])
        }

        targets = {*program.targets().values()}

        assert written
        assert written <= targets
        assert all(target.is_file() for target in targets)

    @pytest.mark.parametrize("name", sorted(program.targets()))
    def test_are_what_their_modules_make_now(self, name):
        """What is kept is what ``python -m docs NAME`` would write."""
        page = importlib.import_module(f"docs.{name}").page()

        assert program.targets()[name].read_text("utf-8") == page

    def test_are_written_as_their_modules_make_them(self, tmp_path, monkeypatch):
        """Those that are named, and no other."""
        page = tmp_path / "tables.md"
        known = {"tables": page, "security": tmp_path / "security.md"}
        monkeypatch.setattr(program, "targets", lambda: known)

        assert program.main(["tables"]) == 0
        assert page.read_text("utf-8") == tables.page()
        assert [*tmp_path.iterdir()] == [page]

    def test_that_fail_keep_their_text(self, tmp_path, monkeypatch):
        """A page is written only when all of it is made."""
        page = tmp_path / "tables.md"
        page.write_text("as before")
        monkeypatch.setattr(program, "targets", lambda: {"tables": page})
        monkeypatch.setattr(tables, "WRITTEN", {})

        with pytest.raises(KeyError):
            program.main(["tables"])

        assert page.read_text() == "as before"


class TestCommandLine:
    def test_an_unknown_page_is_refused_before_anything_is_written(self, capsys):
        """The message has the pages that there are."""
        assert program.main(["tables", "poems"]) == 2
        assert "no page poems; there are " in capsys.readouterr().err

    def test_help(self, capsys):
        """It lists the pages."""
        assert program.main(["--help"]) == 0
        assert capsys.readouterr().out.startswith("usage: python -m docs [")
