"""Pages as a browser reads them, strictly: their words, and their pictures."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

MONDAY = date(2026, 3, 2)
WEEK = timedelta(days=7)
ALARM = {
    "as_of": MONDAY + 2 * WEEK,
    "kind": "feature",
    "name": "source",
    "cause": "feature",
    "message": "source is 'google' for 2% of users (41% in the training)",
    "is_alarm": True,
}
UPLIFT = {
    "audience": "winback",
    "week": MONDAY + 2 * WEEK,
    "week_end": MONDAY + 3 * WEEK,
    "status": "provisional",
    "run_id": "run",
    "evaluated_at": datetime(2026, 3, 19, 12, tzinfo=UTC),
    "control_share": 0.1,
    "sample_ratio_p": 0.5,
    "treated_users": 900,
    "control_users": 100,
    "treated_conversions": 150,
    "control_conversions": 9,
    "conversion_difference": 0.0513,
    "conversion_difference_low": -0.0111,
    "conversion_difference_high": 0.1129,
    "conversion_lift": 0.518,
    "revenue_difference": 1.37,
    "revenue_difference_low": -0.21,
    "revenue_difference_high": 2.91,
    "verdict": "open",
}

VOID = {"meta", "link", "br", "img", "input", "hr"}
# Each of them begins a line, as people see it.
BLOCKS = {"h1", "h2", "h3", "p", "ul", "dl", "tr", "summary", "caption"}


class StrictParser(HTMLParser):
    """Read HTML, insisting that every element closes in its order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open += [tag] if tag not in VOID else []
        self.words += ["\f"] if tag in BLOCKS else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> out of order at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def parse(page: str) -> StrictParser:
    """Read a page strictly."""
    parser = StrictParser()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def pictures(page: str) -> list[ET.Element]:
    """Read the page's SVG elements as XML."""
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.S)]
