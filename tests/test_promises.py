"""What users were promised is tested: each line of promises.toml names a test that is
collected, and asserts something."""

from __future__ import annotations

import ast
import tomllib

import pytest

from local.stack.state import ROOT

PROMISES = tomllib.loads((ROOT / "tests" / "promises.toml").read_text("utf-8"))
UNRUN = {"skip", "xfail", "skipif"}


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_has_a_test_that_asserts_something(promise):
    """If the test has another place or name, correct its line in promises.toml."""
    file, _, name = PROMISES[promise].partition("::")
    path = ROOT / file
    assert path.exists(), file
    assert path.name.startswith("test_"), file
    found = [
        one
        for one in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name
    ]
    assert len(found) == 1, f"{file} has {len(found)} tests called {name}"
    marks = {
        one.attr
        for mark in found[0].decorator_list
        for one in ast.walk(mark)
        if isinstance(one, ast.Attribute)
    }
    assert not marks & UNRUN
    # ``assert True`` and the like tell nothing; numpy has functions that assert.
    asserted = [
        one
        for one in ast.walk(found[0])
        if (isinstance(one, ast.Assert) and not isinstance(one.test, ast.Constant))
        or (isinstance(one, ast.Attribute) and one.attr.startswith("assert_"))
    ]
    assert asserted
