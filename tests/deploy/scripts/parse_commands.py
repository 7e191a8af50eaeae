"""
Parse command lines as gcloud does, and run none: by the Cloud SDK's own code.

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


parse = gcloud_parser(Path(sys.argv[1]))
json.dump([problem(parse, words[1:]) for words in json.load(sys.stdin)], sys.stdout)
