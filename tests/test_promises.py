"""What users were promised: each promise of promises.toml names a test that is there,
and a break that can be made; ``make promises`` makes it, and sees the test fail."""

from __future__ import annotations

import ast

import pytest

from tests.promises import FILE, ROOT, read

PROMISES = read(FILE)


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_has_a_test_and_a_break(promise):
    """If the test or the text has moved, correct it in promises.toml."""
    entry = PROMISES[promise]
    file, _, name = entry["test"].partition("::")
    tests = [
        one
        for one in ast.walk(ast.parse((ROOT / file).read_text("utf-8")))
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name
    ]
    broken = (ROOT / entry["file"]).read_text("utf-8")

    assert len(tests) == 1, f"{file} has {len(tests)} tests called {name}"
    assert broken.count(entry["text"]) == 1, f"in {entry['file']}: {entry['text']}"
