"""
Parse command lines as gcloud and bq do, and run none: by the Cloud SDK's own code.

Run by the Python of the SDK, with its folder as the argument; reads a JSON list of
commands, prints a JSON list of what is wrong with them.
"""

# ruff: noqa: PLC0415 - what is imported is found through the folder that is given

import contextlib
import io
import json
import sys
from pathlib import Path


def gcloud_parser(sdk):
    """The parser of the whole command tree; commands are loaded as they are named."""
    sys.path[:0] = [str(sdk / "lib"), str(sdk / "lib" / "third_party")]
    from googlecloudsdk import gcloud_main

    command_line = gcloud_main.CreateCLI([])
    return command_line._CLI__parser.parse_args


def bq_parser(sdk):
    """bq's global flags, then those of the command: what its own main does."""
    folder = sdk / "platform" / "bq"
    sys.path[:0] = [str(folder), str(folder / "third_party")]
    for name in [
        module for module in sys.modules if module.split(".")[0] in ("google", "absl")
    ]:
        del sys.modules[name]
    import bq
    from absl import flags
    from pyglib import appcommands

    known = flags.FLAGS

    def parse(words):
        known.set_gnu_getopt(False)
        rest = known(["bq", *words])
        bq.main([])
        command = appcommands.GetCommandByName(rest[1])
        if command is None:
            raise ValueError(f"bq has no command {rest[1]}")
        own = command._command_flags
        known.append_flag_values(own)
        try:
            known.set_gnu_getopt(True)
            names = known(rest[1:])[1:]
        finally:
            known.remove_flag_values(own)
            for name in own:
                own[name].unparse()
            known.unparse_flags()
        if "--encryption_service_account" in rest:
            return
        if len(names) != 1:
            raise ValueError(f"one name is wanted, not {names}")

    return parse


def problem(parse, words):
    """What is wrong with a command line; empty if nothing is."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            parse(words)
    except SystemExit:
        return told.getvalue().strip() or "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main():
    sdk = Path(sys.argv[1])
    commands = json.load(sys.stdin)
    found = [""] * len(commands)
    for program, make in (("gcloud", gcloud_parser), ("bq", bq_parser)):
        ours = [place for place, one in enumerate(commands) if one[0] == program]
        if ours:
            parse = make(sdk)
            for place in ours:
                found[place] = problem(parse, commands[place][1:])
    json.dump(found, sys.stdout)


main()
