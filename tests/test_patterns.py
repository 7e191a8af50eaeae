"""Patterns, specified: none takes longer than its text, whatever somebody sends."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from tests.support.events import (
    DEPLOYED,
    EXAMPLES,
    accept,
    message,
    transaction,
    truth,
    written,
)
from tests.support.programs import ROOT

# Texts that patterns begin to match, again and again, and an end that none matches.
SEEDS = ("9", "a", "é", "購", "A1", "1.", "-", ".", "a.", " ", "a=1,", "at `$.", "e+1")
END = "\0 "
# A time that grows by powers does not end with a text of the first length, one that
# grows by squares not with one of the second.
LENGTHS = (60, 200_000)

# No test measures a time: what takes no longer than its text ends in a fraction of
# this on any machine, and what grows by squares does not.
pytestmark = pytest.mark.timeout(20)


def patterns() -> list[tuple[re.Pattern[Any], str]]:
    """The patterns of the package, each with the methods that it may be used by."""
    files = [*(ROOT / "propensity").rglob("*.py")]
    texts = {file: file.read_text("utf-8") for file in files}
    used = {*re.findall(r"(\w+)\.(fullmatch|match|search|findall|sub)\b", str(texts))}
    found = []
    for file, text in texts.items():
        if "re.compile(" not in text:
            continue
        path = file.relative_to(ROOT).with_suffix("")
        module = importlib.import_module(".".join(path.parts).removesuffix(".__init__"))
        for name, method in sorted(used):
            pattern = getattr(module, name, None)
            if isinstance(pattern, re.Pattern):
                found.append((pattern, method))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pattern_takes_no_longer_than_its_text(seed):
    for pattern, method in patterns():
        for length in LENGTHS:
            text: Any = seed * (length // len(seed)) + END
            text = text.encode() if isinstance(pattern.pattern, bytes) else text
            getattr(pattern, method)(*([""] if method == "sub" else []), text)


# These have a quarter of a mebibyte, nearly as the longest event.
HOSTILE = ["9" * 250_000 + end for end in ("", "x", ".x", "e", " ", "e-5")]
HOSTILE += ["2026-03-01T12:00:00." + "1" * 250_000 + "x", " " * 250_000, "é" * 125_000]


@pytest.mark.parametrize("event", [*EXAMPLES.values(), transaction(), truth()])
def test_an_event_takes_no_longer_than_its_text(event):
    """As a text and as a number; the other events of its group wait for it."""
    for field in event.keys() - {f"V{n}" for n in range(2, 29)}:
        for text in HOSTILE:
            accept(message(written({**event, field: text})), catalogue=DEPLOYED)
            accept(message(written(event, **{field: text})), catalogue=DEPLOYED)
