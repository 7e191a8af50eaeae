"""Commands of gcloud: taken apart as a shell does, and parsed as gcloud itself does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.programs import execute

SDK = Path(os.environ.get("CLOUD_SDK", "/usr/lib/google-cloud-sdk"))
BUNDLED = SDK / "platform" / "bundledpythonunix" / "bin" / "python3"
# Parses command lines as gcloud does, and runs none: by the code of the SDK, whose
# folder is the argument. Prints what is wrong with each; nothing where nothing is.
PARSE = """
import contextlib, io, json, sys
sys.path[:0] = [f"{sys.argv[1]}/lib", f"{sys.argv[1]}/lib/third_party"]
from googlecloudsdk import gcloud_main
parse = gcloud_main.CreateCLI([])._CLI__parser.parse_args

def problem(words):
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            parse(words)
    except (Exception, SystemExit) as error:
        return told.getvalue().strip() or repr(error)
    return ""

json.dump([problem(words[1:]) for words in json.load(sys.stdin)], sys.stdout)
"""


def words_of(text: str) -> list[list[str]]:
    """The commands of gcloud in what was printed, taken apart by the shell itself."""
    keep = "gcloud() { printf '%s\\0' gcloud \"$@\"; printf '\\036'; }\n"
    lines = [line for line in text.splitlines() if line.startswith("gcloud ")]
    output = execute(["bash", "-c", keep + "\n".join(lines)]).stdout
    return [words.rstrip("\0").split("\0") for words in output.split("\036") if words]


def flags(words: list[str]) -> dict[str, str]:
    pairs = (word[2:].partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def listed(flag: str) -> list[str]:
    """Return the items of a list of gcloud: ``^|^a|b`` is taken apart at each ``|``."""
    _, separator, items = flag.split("^", 2)
    return items.split(separator)


def problems(commands: list[list[str]], folder: Path) -> list[str]:
    """Return what gcloud's own parser says of each command, "" where it takes it."""
    if not (SDK / "lib" / "googlecloudsdk").is_dir():
        pytest.skip(f"there is no Cloud SDK in {SDK}; CLOUD_SDK names another one")
    done = execute(
        [BUNDLED if BUNDLED.exists() else "python3", "-c", PARSE, SDK],
        input=json.dumps(commands),
        env={"PATH": os.environ["PATH"], "CLOUDSDK_CONFIG": str(folder)},
    )
    answers: list[str] = json.loads(done.stdout)
    return answers
