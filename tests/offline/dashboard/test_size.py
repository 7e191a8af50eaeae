"""The size of the overview, where many use cases have much to say."""

from __future__ import annotations

import pytest

from tests.offline.dashboard.rows import (
    PROMISE,
    VALUE,
    alarm,
    evaluation,
    lift,
    publication,
    version,
)
from tests.offline.dashboard.test_site import LARGEST, pages, words


@pytest.mark.parametrize("sign", ["a", "&", "大"])
def test_is_at_most_500_kb_whatever_use_cases_have_to_say(sign):
    """A sign that a page escapes takes five bytes, and a Chinese one three."""
    long, names = sign * 300, [f"case_{n}" for n in range(40)]
    rows = {
        "evaluations": [
            evaluation(n, use_case=name, budget=long, **VALUE)
            for name in names
            for n in (1, 2)
        ],
        "versions": [version(use_case=name, verdict=long) for name in names],
        "drift": [
            alarm(use_case=name, name=f"{long}{n}", message=long)
            for name in names
            for n in range(4)
        ],
        "publications": [publication(use_case=name, **PROMISE) for name in names],
        "lift": [
            lift(1, use_case=name, audience=f"{n}{long}", verdict="harms")
            for name in names
            for n in range(5)
        ],
    }

    overview = pages(rows)["index.html"]

    assert len(overview.encode()) <= LARGEST
    # The others have a line.
    assert "More use cases" in words(overview)
    assert all(f'href="use-case-{name}.html"' in overview for name in names)
