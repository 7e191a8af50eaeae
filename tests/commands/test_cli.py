"""
The one command, specified: what it lists, the flags that all share, how it ends.

What each command does is specified with the program that does it, by its command line.
"""

from __future__ import annotations

import io
import json
import os
import sys

import click
import pytest

from commands import cli
from commands.cli import main
from local.processes import Process, start_time
from local.stack.stack import Stack
from local.stack.state import ROOT, Record, State
from local.venvs import write_path
from offline.doctor.run import Report
from propensity.cli import answers
from propensity.cli.answers import Exit
from propensity.errors import RequestError
from propensity.gcp.log import log
from propensity.settings import Settings
from tests.support.programs import execute

# The commands that do something, and those that are groups of some, by whole names.
LEAVES: dict[str, click.Command] = {}
GROUPS: dict[str, click.Group] = {}
for top in cli.root.commands.values():
    if isinstance(top, click.Group):
        GROUPS[top.name] = top
        LEAVES |= {f"{top.name} {name}": one for name, one in top.commands.items()}
    else:
        LEAVES[top.name] = top
# A command that needs nothing but its files.
HARMLESS = ("usecase", "new", "some_use_case", "--dry-run")
# Python writes what is in its buffer once more as it ends.
PYTHON = f"env -u PYTHONUNBUFFERED {sys.executable}"


WRONG_NAMES = [
    "versions --use-case nothere",
    "audience preview nothere",
    "usecase check nothere",
    "try nothere",
    "up --state nothere",
]


class TestHelp:
    def test_every_command_answers_in_json_and_explains_its_options(self):
        """Examples are on the page of commands, whose lines are typed there."""
        for command in LEAVES.values():
            names = {opt for parameter in command.params for opt in parameter.opts}
            assert "--json" in names
            assert all(parameter.help for parameter in command.params)

    def test_help_and_wrong_names_come_without_a_library_that_takes_long(self):
        """The libraries of a training take seconds to import."""
        lines = ["--help", "forget --help", *WRONG_NAMES]
        program = f"""
import sys
from commands.cli import main
for line in {lines}:
    main(line.split())
heavy = {{"google.auth", "grpc", "numpy", "pandas", "pyarrow", "requests", "sklearn"}}
print("loaded:", heavy & {{*sys.modules}})
"""
        environment = {**os.environ, "GOOGLE_CLOUD_PROJECT": "some-project"}
        process = execute([sys.executable, "-c", program], env=environment)

        assert process.stdout.endswith("loaded: set()\n")
        assert process.stderr.count("'nothere'") >= len(WRONG_NAMES)


def test_a_number_that_is_wrong_is_told_with_what_is_allowed(capsys):
    assert main(["try", "x.csv", "--horizon-days", "0"]) == Exit.UNKNOWN
    assert "0 is too low; use 1 or more" in capsys.readouterr().err


class TestNames:
    def test_a_mistyped_state_starts_nothing(self, monkeypatch, capsys):
        """No empty state is created."""
        monkeypatch.setattr("local.stack.commands.up", pytest.fail)

        assert main(["up", "--state", "nix"]) == Exit.FAILED
        assert "there is no state 'nix'" in capsys.readouterr().err


class TestExit:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["promote", "9" * 5000],
            ["pin", "3", "--off"],
            # A module of the package, beside the folders of the use cases.
            ["usecase", "new", "declaration", "--dry-run"],
            ["demo", "--data", "x", "--cards", "y"],
        ],
        ids=lambda words: " ".join(words)[:60],
    )
    def test_the_exit_status_of_a_wrong_command_line_is_2(self, arguments, capsys):
        """It says what is wrong on standard error, and nothing was begun."""
        assert main(arguments) == Exit.UNKNOWN
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(("propensity", "Usage: propensity [OPTIONS]"))
        assert "\nhint: `propensity" in printed.err or not arguments

    def test_the_exit_status_of_a_failure_is_1_in_words(self, monkeypatch, capsys):
        """The command and the reason, and no trace of the program; or JSON."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

        assert main(["versions"]) == Exit.FAILED
        printed = capsys.readouterr()
        assert printed.out == ""
        problem, hint = printed.err.splitlines()
        assert problem == "propensity versions: GOOGLE_CLOUD_PROJECT is not set"
        # The settings of this machine, and those of a deployment.
        assert hint.startswith("hint: On this machine, run `make up`")
        assert "export PROPENSITY_DEPLOYMENT=" in hint
        assert main(["versions", "--json"]) == Exit.FAILED
        answer = json.loads(capsys.readouterr().out)
        assert answer["status"] == Exit.FAILED
        assert "make up" in answer["error"]["hint"]

    def test_a_closed_pipe_is_no_traceback(self):
        """`| head` ends a command quietly."""
        process = execute(["bash", "-c", f"{PYTHON} -m commands --help | head -n 0"])
        assert process.stderr == ""

    def test_a_doctor_looks_at_this_machine_if_its_emulators_are_set(
        self, monkeypatch, tmp_path
    ):
        """On a laptop there is no Cloud Scheduler to look for."""
        state = State(home=tmp_path)
        me = os.getpid()
        mine = Process("bigquery", me, str(start_time(me)), 8090, "some.log")
        state.write(Record(base=8080, is_up=True, processes=[mine]))
        monkeypatch.setattr("local.stack.state.states", lambda: [state])
        address = Stack(state, base=8080).url("bigquery")
        seen = []

        def examined(*, is_local: bool, **_: object) -> Report:
            seen.append(is_local)
            return Report("some project", "some day")

        monkeypatch.setattr("offline.doctor.run.run", examined)
        for host in (address, "http://127.0.0.1:9999"):
            monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", host)
            main(["doctor"])

        assert seen == [True, False]


class TestAnswer:
    def test_an_answer_in_json_is_all_that_is_on_standard_output(
        self, monkeypatch, capsys
    ):
        """Whatever a command says to a person besides: a program reads the answer."""
        show = answers.show

        def warned(*_: object, **named: object) -> None:
            log("WARNING", "the change was not announced")
            show({"n": 1}, **named)

        monkeypatch.setattr("propensity.cli.answers.show", warned)
        main([*HARMLESS, "--json"])
        printed = capsys.readouterr()
        assert json.loads(printed.out) == {"n": 1}
        assert json.loads(printed.err)["severity"] == "WARNING"

    def test_an_answer_has_nothing_that_a_terminal_obeys(self, monkeypatch, capsys):
        """Also in a pipe, which may end in one, and in a message of failure. Others'
        texts are in it: categories, and the words of receivers."""
        text = "clear \x1b[2J, name \x1b]0;x\x07, rewrite\rdone\x9b2J\n\tend"

        def fail(*_, **__):
            raise RequestError(text)

        with monkeypatch.context() as patched:
            patched.setattr(Settings, "from_environment", fail)
            assert main(["versions"]) == Exit.FAILED
        shown = io.StringIO()
        monkeypatch.setattr(sys, "stdout", shown)
        answers.show({"n": text}, as_json=True)
        answers.show({"n": text}, as_json=False)
        answers.show({"rows": [{"n": "a\nsecond row"}]}, as_json=False)
        assert shown.getvalue().endswith("\nn\na second row\n")

        for printed in (shown.getvalue(), capsys.readouterr().err):
            assert not set("\x1b\x07\r\x9b") & set(printed)
            assert "\n\tend" in printed


# Options that contradict, or of which one needs another, and what names them.
CONTRADICTIONS = {
    "try my-project.analytics_1 --scores l --control half": "share of up to 90%",
    "forget u1 --dry-run --allow-again": "at most one of --dry-run",
    "dead-letters replay --from 2026-03-01": "only be used with --refused",
    "dead-letters replay --refused --from 2026-03-02": "needs --from and --to",
    "dead-letters replay --refused --from 2026-03-02 --to 2026-03-01": "must be later",
    "audience stop": "Name one audience, or add --all",
    "audience resume winback --all": "Name one audience, or add --all",
    "pin": "either VERSION or --off",
    "pin 3 --off": "either VERSION or --off",
    "dashboard": "give --out",
    "demo --data a --cards b": "only one of --data, --events and --cards",
}


@pytest.mark.parametrize("words", CONTRADICTIONS)
def test_options_that_contradict_are_named_before_anything_is_done(words, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settings, "from_environment", None)
        assert main(words.split()) == Exit.UNKNOWN

    assert CONTRADICTIONS[words] in " ".join(capsys.readouterr().err.split())


class TestScript:
    def test_python_imports_the_package_from_any_folder(self, tmp_path):
        """Also around a clone, and in it, where folders are called propensity as
        well."""
        clone = tmp_path / "propensity"
        clone.mkdir()
        (clone / "propensity").symlink_to(ROOT / "propensity")
        write_path(tmp_path, root=clone)
        program = (
            f"import site; site.addsitedir({str(tmp_path)!r})\n"
            "import propensity; print(propensity.__file__)"
        )
        process = execute([sys.executable, "-S", "-c", program], cwd=tmp_path, env={})
        assert process.stdout == f"{clone}/propensity/__init__.py\n"
