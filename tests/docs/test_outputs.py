"""What pages quote of the demo: compared with what it printed, and written anew."""

from __future__ import annotations

import pytest

from docs import outputs

PRINTED = [
    "2025-06-10  predict   2,143 users by version 1, mean probability 0.0700",
    "      week  version  users  ROC AUC       status",
    "2025-06-17        1  2,144    0.754        final",
    '  200 in 28 ms  {"user_id":"a.1","probability":0.3641,"stale":true}',
]
PAGE = """Some words.

```text
      week  version  users  ROC AUC       status
------------------------------------------------
2025-06-17        1  2,144    {area}        final
```

```json
{{"user_id":"a.1","probability":{chance},"stale":true}}
```

```
make demo
```
"""


def page(area: str = "0.754", chance: str = "0.3641") -> str:
    return PAGE.format(area=area, chance=chance)


def test_a_page_may_quote_what_the_demo_prints_but_for_rounding():
    assert [*outputs.problems("page.md", page("0.755"), PRINTED)] == []


@pytest.mark.parametrize(
    "text",
    [
        page("0.774"),
        page(chance="0.399"),
        page().replace("2025-06-17", "2025-06-18"),
        page().replace("final", "provisional"),
    ],
    ids=["a figure", "a probability", "a date", "a word"],
)
def test_a_page_that_quotes_something_else_is_reported(text):
    assert len([*outputs.problems("page.md", text, PRINTED)]) == 1


def test_a_page_is_written_with_what_the_demo_has_printed():
    wrong = page("0.7", "0.39912")

    assert outputs.written(wrong, PRINTED) == (page(), [])
