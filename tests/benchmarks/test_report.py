"""The lines of benchmarks: what is met, and the one table of all."""

from __future__ import annotations

import sys

import pytest

from benchmarks import __main__ as runner
from benchmarks import report
from benchmarks.report import Line
from tests.programs import execute


class TestLine:
    @pytest.mark.parametrize(
        ("bounds", "is_met"),
        [
            ({"least": 2.0}, True),
            ({"least": 2.1}, False),
            ({"most": 2.0}, True),
            ({"most": 1.9}, False),
            ({"least": 5.0, "bounds_ours": True}, True),
            ({"most": 5.0, "bounds_ours": True}, False),
            ({"most": 6.0, "bounds_ours": True}, True),
            ({}, None),
        ],
    )
    def test_holds_the_ratio_of_the_medians_against_its_target(self, bounds, is_met):
        """Ours over the peer's, or our median where the target says so; one odd round
        changes neither."""
        line = Line(what="x", ours=[6, 1, 99], peer="y", theirs=[3, 3, 0.1], **bounds)

        assert line.ratio == 2.0
        assert line.is_met is is_met

    @pytest.mark.parametrize(("most", "is_met"), [(4.0, True), (3.9, False)])
    def test_holds_our_median_against_its_target_without_a_peer(self, most, is_met):
        """A figure alone is its own measure."""
        assert Line(what="x", ours=[4.0], most=most).is_met is is_met

    def test_misses_where_the_peer_has_no_figure(self):
        """A peer of 0 proves nothing."""
        assert Line(what="x", ours=[1], peer="y", theirs=[0], most=9).is_met is False

    def test_shows_medians_and_quartiles(self):
        """Both sides with their spread, the ratio, the target and whether it is met."""
        line = Line(
            what="lookups",
            unit="/s",
            ours=[100.0, 300.0, 200.0],
            peer="empty",
            theirs=[400.0, 400.0, 400.0],
            least=0.9,
        )

        assert line.cells() == [
            "lookups", "200 /s", "150 to 250", "empty", "400 /s", "400 to 400",
            "0.50", "≥ 0.90", "**missed**",
        ]  # fmt: skip


class TestFinish:
    def test_says_which_targets_are_missed(self, capsys):
        """The status and a line for each; a problem is a target that is missed."""
        met, missed = Line(what="a", ours=[1], most=1), Line(what="b", ours=[2], most=1)

        assert report.finish([met]) == 0
        assert report.finish([met, missed]) == 1
        assert report.finish([met], problems=["three lookups failed"]) == 1
        messages = capsys.readouterr().err.splitlines()
        assert messages == ["missed: b, ≤ 1", "missed: three lookups failed, ≤ 0"]

    def test_leaves_its_lines_to_the_table_of_all(self, tmp_path, monkeypatch):
        """A file that the environment names gets them, figure by figure."""
        line = Line(what="a", ours=[1.5, 2.5], peer="b", theirs=[0.1], least=1.0)
        monkeypatch.setenv(report.FILE_VARIABLE, str(tmp_path / "lines"))
        report.finish([line])
        report.finish([line])

        [first, second] = report.read(tmp_path / "lines")
        assert first.cells() == second.cells() == line.cells()


def test_the_page_says_what_the_figures_depend_on():
    """Machine, load, Python and libraries, and a row for each line."""
    facts = report.machine()
    page = report.page(
        facts, {"one": [Line(what="a", ours=[3.0])], "two": []}, notes=["two: 1 s"]
    )

    assert {"processor", "memory", "load at the start", "Python", "numpy"} <= {*facts}
    assert all(f"- {name}: {value}\n" in page for name, value in facts.items())
    assert "| one | a | 3 | |" in page.replace("  ", " ")
    assert page.endswith("- two: 1 s\n")


def test_runs_benchmarks_in_processes_of_their_own(tmp_path, monkeypatch):
    """One table of all, 1 if one misses; one that breaks is told, and stops no other.
    Python stands in for four benchmarks."""
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "NAMES", ("good", "broken", "poor", "silent"))
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    source = (runner.Path(report.__file__)).read_text()
    (folder / "report.py").write_text(source)
    program = "from benchmarks.report import *\nraise SystemExit(finish([Line({})]))"
    (folder / "good.py").write_text(program.format("what='a', ours=[1], most=1"))
    (folder / "poor.py").write_text(program.format("what='b', ours=[2], most=1"))
    (folder / "broken.py").write_text("raise SystemExit(7)")
    (folder / "silent.py").write_text("raise SystemExit(0)")
    out = tmp_path / "made" / "table.md"

    assert runner.main(["--out", str(out)]) == 1
    page = out.read_text()
    assert "| good | a | 1 |" in page
    assert "| poor | b | 2 |" in page
    assert "**missed**" in page
    assert "| silent | the targets of the table that it prints" in page
    assert "- broken did not end: status 7\n" in page
    assert runner.main(["good", "--out", str(out)]) == 0
    assert "poor" not in out.read_text()


def test_takes_the_names_of_benchmarks_only():
    """A name that is none is refused before anything runs."""
    command = [sys.executable, "-m", "benchmarks", "nosuch"]
    process = execute(command, status=2)
    assert "no benchmark nosuch" in process.stderr
