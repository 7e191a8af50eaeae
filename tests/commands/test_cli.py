"""
The one command, specified: what it lists, the flags that all share, how it ends.

What each command does is specified with the program that does it, by its command line.
"""

from __future__ import annotations

import ast
import errno
import io
import json
import math
import os
import re
import sys
from pathlib import Path

import click
import pytest

from commands import answers, cli
from commands.cli import main
from commands.exits import MEANINGS, Exit
from local.install import write_command
from local.stack.state import ROOT
from propensity.errors import RequestError
from propensity.gcp.log import log
from propensity.settings import Settings
from tests.programs import execute


def leaves(command: click.Command, name: str = "") -> dict[str, click.Command]:
    """Return the commands that do something, by their whole name."""
    if not isinstance(command, click.Group):
        return {name: command}
    subcommands = {}
    for subcommand in command.commands.values():
        subcommands |= leaves(subcommand, f"{name} {subcommand.name}".strip())
    return subcommands


LEAVES = leaves(cli.root)
# What changes nothing that a dry run could spare: they read, or start and stop
# processes of this machine, or write files where they are told to.
WITHOUT_DRY_RUN = {
    *("demo", "up", "down", "status", "versions", "doctor"),
    *("dead-letters list", "check-usecase"),
    # A delivery has a preview in its place.
    *("audience preview", "audience send", "audience ledger"),
}
PERIOD = ("--from", "--to")
# A file, and for pages a folder or a bucket.
PLACE = ("--out",)
OF_A_USE_CASE = {
    *("promote", "rollback", "pin", "versions"),
    *("load-model", "build-preprocessor", "load-transactions"),
    *("forget", "doctor", "demo"),
    *("audience preview", "audience send", "audience ledger"),
}


def options(command: click.Command) -> set[str]:
    """Return the long options of a command."""
    return {
        name
        for parameter in command.params
        for name in parameter.opts
        if name[:2] == "--"
    }


class TestHelp:
    def test_lists_every_command_in_its_group(self, capsys):
        """With one line each, which is not cut short."""
        assert main(["--help"]) == Exit.DONE
        output = capsys.readouterr().out
        lines = dict(re.findall(r"^  ([a-z][a-z-]+)  +(\S.*)$", output, re.MULTILINE))

        assert {*lines} == {*cli.root.commands}
        assert all(line.endswith(".") for line in lines.values()), lines
        for title, commands in cli.GROUPS.items():
            assert f"{title}:\n" in output or not commands

    @pytest.mark.parametrize("name", LEAVES)
    def test_says_what_a_command_and_its_options_do(self, name, capsys):
        """Of every command, on a page of its own."""
        assert main([*name.split(), "--help"]) == Exit.DONE
        output = capsys.readouterr().out

        assert f"Usage: propensity {name} " in output
        for parameter in LEAVES[name].params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts[0]}"

    def test_comes_without_a_library_that_takes_long(self):
        """Clients and numerical libraries are imported by the command that needs them,
        so that help and a wrong option come at once."""
        heavy = "{'google.auth', 'grpc', 'numpy', 'pandas', 'pyarrow', 'requests'}"
        program = (
            "import sys; from commands.cli import main; main(['--help']); "
            f"sys.exit(repr({heavy} & {{*sys.modules}}))"
        )
        process = execute([sys.executable, "-c", program], status=None)

        assert process.stderr.strip() == "set()"


class TestFlags:
    @pytest.mark.parametrize("name", LEAVES)
    def test_are_the_same_everywhere(self, name):
        """``--json`` always, ``--dry-run`` where something changes, ``--use-case``
        where there may be one."""
        flags = options(LEAVES[name])

        assert "--json" in flags
        assert ("--dry-run" in flags) == (name not in WITHOUT_DRY_RUN)
        assert ("--use-case" in flags) == (name in OF_A_USE_CASE)

    def test_mean_the_same_everywhere(self):
        """An option of one name has one kind of value."""
        kinds: dict[str, set[str]] = {}
        for command in LEAVES.values():
            for parameter in command.params:
                # A file of one command, and periods: of days, or of moments.
                if not isinstance(parameter, click.Option):
                    continue
                if parameter.opts[0] not in PERIOD + PLACE:
                    kinds.setdefault(parameter.opts[0], set()).add(parameter.type.name)

        assert {name: types for name, types in kinds.items() if len(types) > 1} == {}


class TestExit:
    def test_codes_are_those_that_are_documented(self):
        """Each has its meaning, and no module returns a number of its own."""
        assert {*MEANINGS} == {*Exit}
        for path in sorted((ROOT / "commands").glob("*.py")):
            returned = [
                node.value.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Return)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, int)
            ]
            assert returned == [], path

    @pytest.mark.parametrize(
        "arguments",
        [
            ["no-such-command"],
            ["promote"],
            ["promote", "x"],
            ["doctor", "--soon"],
            ["pin"],
            ["pin", "3", "--off"],
            ["new-usecase", "2nd"],
            # Modules of the package, beside the folders of the use cases.
            ["new-usecase", "export", "--dry-run"],
            ["doctor", "--as-of", "0001-01-05"],
            ["up", "--state", "../x"],
            ["down", "--state", "a/b"],
            ["doctor", "--local", "--state", ".."],
            ["up", "--port", "a=1"],
            ["up", "--port", "bigquery=65536"],
            ["up", "--port", "bigquery=9000", "--port", "storage=9000"],
            ["up", "--port-base", "0"],
            # Too many digits.
            ["load-transactions", "x.csv", "--limit", "9" * 5000],
            # A folder of time zones.
            [],
        ],
    )
    def test_of_a_wrong_command_line_is_2(self, arguments, capsys):
        """It says what is wrong on standard error, and nothing was begun."""
        assert main(arguments) == Exit.UNKNOWN
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "Usage: propensity" in printed.err
        # What Python says of thousands of digits.
        assert "set_int_max_str_digits" not in printed.err

    def test_of_a_failure_is_1_in_words(self, monkeypatch, capsys):
        """The command and the reason, and no trace of the program."""
        monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

        assert main(["versions"]) == Exit.FAILED
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("propensity versions: GOOGLE_CLOUD_PROJECT")
        # Where the settings are to be had, of a deployment and on this machine.
        assert "`python -m deploy environment`" in printed.err
        assert "`make up` prints" in printed.err
        assert "Traceback" not in printed.err

    def test_of_a_failure_has_nothing_that_a_terminal_obeys(self, monkeypatch, capsys):
        """A receiver's words, or a table's, stand in it."""

        def fail(*_, **__):
            raise RequestError("403 \x1b]0;owned\x07 sent\rall is well")

        monkeypatch.setattr(Settings, "from_environment", fail)

        assert main(["versions"]) == Exit.FAILED
        assert not set("\x1b\x07\r") & set(capsys.readouterr().err)

    def test_of_a_file_that_can_not_be_is_1(self, tmp_path, capsys):
        """Its path and the reason, wherever a command finds out."""
        (tmp_path / "file").touch()

        place = tmp_path / "file" / "staged"
        assert main(["stage", "02-GetProba", str(place)]) == Exit.FAILED
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"propensity stage: {tmp_path}")
        assert printed.err.endswith(("Not a directory\n", "File exists\n"))

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has it")
    def test_of_a_copy_that_has_no_place_names_where_it_was_to_be(self):
        """Defect: `make up` on a full disk named the file that it was copying, which
        is on another disk."""
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "from", None, "to")
        missing = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "from", None, "to")

        assert cli.reason(full) == "to: No space left on device"
        assert cli.reason(missing) == "from: No such file or directory"

    def test_of_a_help_that_has_no_place_is_1(self):
        """Defect: a full disk was a traceback."""
        # Python writes what is in its buffer once more as it ends.
        python = f"env -u PYTHONUNBUFFERED {sys.executable}"
        full = f"{python} -m propensity --help > /dev/full"
        process = execute(["bash", "-c", full], status=1)
        assert process.stderr == "propensity: No space left on device\n"

    def test_of_a_reader_that_has_read_enough_is_no_traceback(self):
        """Defect: `| head` left a traceback behind."""
        python = f"env -u PYTHONUNBUFFERED {sys.executable}"
        process = execute(["bash", "-c", f"{python} -m propensity --help | head -n 0"])
        assert process.stderr == ""

    def test_of_ctrl_c_is_130(self, monkeypatch, capsys):
        """Wherever a command is."""

        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(answers, "json", None)
        monkeypatch.setattr("commands.deployment.show", interrupted)

        assert main(["stage", "02-GetProba", "x", "--dry-run"]) == Exit.INTERRUPTED
        assert capsys.readouterr().err == "propensity stage: interrupted\n"


class TestJson:
    def test_is_all_that_is_on_standard_output(self, tmp_path, capsys):
        """Whatever a command says to a person besides."""
        assert main(["down", "--state", "nobody-has-this", "--json"]) == Exit.DONE
        printed = capsys.readouterr()
        assert json.loads(printed.out) == {"stopped": []}
        assert "Nothing is up." in printed.err

        arguments = ["stage", "02-GetProba", str(tmp_path / "staged"), "--json"]
        assert main(arguments) == Exit.DONE
        staged = json.loads(capsys.readouterr().out)
        assert {"main.py", "requirements.txt"} <= {*staged["files"]}

    def test_has_no_line_of_the_log_before_it(self, monkeypatch, capsys):
        """Defect: a warning of what a command runs was in front of the answer, which no
        program could read then."""

        def warned(*_: object, **named: object) -> None:
            log("WARNING", "the change was not announced")
            answers.show({"n": 1}, **named)

        monkeypatch.setattr("commands.deployment.show", warned)
        main(["stage", "02-GetProba", "x", "--dry-run", "--json"])
        printed = capsys.readouterr()

        assert json.loads(printed.out) == {"n": 1}
        assert json.loads(printed.err)["severity"] == "WARNING"
        # A function's lines are on standard output.
        log("INFO", "trained")
        assert json.loads(capsys.readouterr().out)["message"] == "trained"

    def test_is_nothing_that_a_terminal_obeys(self, monkeypatch):
        """Others' texts are in it: categories, and the words of receivers."""
        text = "clear \x1b[2J, name \x1b]0;x\x07, rewrite\rdone\x9b2J\n\tend"
        shown = io.StringIO()
        monkeypatch.setattr(shown, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdout", shown)

        answers.show({"n": text}, as_json=True)
        answers.show(text, as_json=False)

        assert not set("\x1b\x07\r\x9b") & set(shown.getvalue())
        assert "\n\tend" in shown.getvalue()

    def test_is_the_very_text_for_a_program(self, capsys):
        """Which may be a statement with whatever a category has."""
        answers.show("SELECT '\u200e'", as_json=False)

        assert capsys.readouterr().out == "SELECT '\u200e'\n"

    def test_has_null_for_what_is_no_number(self, capsys):
        """A feature may be NaN in BigQuery, and JSON has no word for it."""
        answers.show({"features": {"share": math.nan, "n": 1}}, as_json=True)

        read = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert read == {"features": {"share": None, "n": 1}}


class TestScript:
    def test_runs_from_anywhere(self, tmp_path):
        """Set-up puts it into the environment; it finds the project and its Python,
        whose folders may have names with blanks."""
        folder = tmp_path / "my environment"
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)
        write_command(folder, python=Path(sys.executable))
        process = execute(
            [
                folder / "bin" / "propensity",
                "stage",
                ROOT / "02-GetProba",
                "x",
                "--dry-run",
            ],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
        )
        assert "main.py" in process.stdout

    def test_is_there_as_a_module(self):
        """``python -m propensity``, where the script is not."""
        process = execute([sys.executable, "-m", "propensity", "promote"], status=2)
        assert "Missing" in process.stderr

    def test_prints_what_a_locale_has_no_letters_for(self):
        """A demo in such a locale ended at its first dots."""
        program = (
            "import click; from commands import cli\n"
            "say = click.Command('say', callback=lambda: print('\\u2026'))\n"
            "cli.root.add_command(say); cli.main(['say'])"
        )
        process = execute(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"LC_ALL": "C", "PYTHONUTF8": "0"},
        )
        assert process.stdout == "\\u2026\n"


class TestAdvice:
    def test_names_commands_that_there_are(self):
        """What messages tell somebody to run can be run as it stands there."""
        pattern = re.compile(r"\bpropensity ([a-z]+(?:[-_][a-z]+)*)(?: ([a-z_-]+))?")
        advised = set()
        for room in ("propensity", "offline", "commands", "local", "deploy"):
            for file in (ROOT / room).rglob("*.py"):
                for node in ast.walk(ast.parse(file.read_text())):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        advised.update(pattern.findall(node.value))
        wrong = {
            (first, second)
            for first, second in advised
            # A plain word may be plain English.
            if (first not in cli.root.commands and re.search("[-_]", first))
            or (first in cli.root.commands and first == second)
        }

        assert ("check-usecase", "") in advised
        assert not wrong
