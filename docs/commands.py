"""
Write ``commands.md``: every command with its options, and the exit codes.

    python -m docs.commands > docs/commands.md

Read from the commands themselves.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import click

from commands import cli
from commands.exits import MEANINGS

HEAD = """# Commands

`propensity` is the one command: `.venv/bin/propensity` after `make setup`, or `python -m propensity` in the project's folder with the environment active.
`propensity --help` lists all commands, `propensity COMMAND --help` says what one does.

They read the same environment as the functions ([settings](settings.md)); `make up` prints the environment of local mode.
The same flags mean the same everywhere: `--json` prints the answer for a program, `--dry-run` changes nothing, `--use-case` says for which use case and `--as-of` for which date.
The answer is on standard output, and progress and errors are on standard error; a progress bar is drawn on a terminal only.

`make demo`, `make up`, `make down`, `make status` and `make doctor` first set up what they need, then run the command of that name.

## Exit codes

| code | meaning |
|--:|---|
"""  # noqa: E501


def page() -> str:
    """Return the page."""
    codes = "".join(f"| {int(code)} | {text} |\n" for code, text in MEANINGS.items())
    parts = [HEAD + codes]
    for title, commands in cli.GROUPS.items():
        if commands:
            parts.append(f"\n## {title}\n")
            parts += [section(command, "propensity", "###") for command in commands]
    return "".join(parts)


def section(command: click.Command, before: str, heading: str) -> str:
    """Return the part of a command, and of those below it."""
    name = f"{before} {command.name}"
    words = [name, *(_usage(command))]
    text = f"\n{heading} {name}\n\n```text\n{' '.join(words)}\n```\n"
    text += f"\n{_prose(command.help or '')}\n"
    if isinstance(command, click.Group):
        below = command.commands.values()
        return text + "".join(
            section(subcommand, name, f"{heading}#") for subcommand in below
        )
    rows = "".join(_rows(command))
    return f"{text}\n| option | |\n|---|---|\n{rows}"


def _usage(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    yield from command.collect_usage_pieces(context)


def _prose(text: str) -> str:
    """Return a docstring as Markdown: a line each paragraph."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).replace(
        "<", "&lt;"
    )


def _rows(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if isinstance(option, click.Option) and record and "--help" not in option.opts:
            cells = (f"`{record[0]}`", " ".join(record[1].split()))
            names, meaning = (cell.replace("|", r"\|") for cell in cells)
            yield f"| {names} | {meaning} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
