"""
The templates of pages, filled.

A template extends ``page.html`` and takes parts from ``look.html``; both stand here.
Those of one kind of page stand in a folder ``templates`` of their own package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from propensity.pages import words

# Pages have styles of their own, an empty icon, and no script. So whatever a text may
# bring in, a browser runs and loads nothing.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">"
)


def filled(package: str, template: str, content: Mapping[str, Any]) -> str:
    """
    Fill a page.

    Args:
        package: Whose folder ``templates`` has the page.
        template: Its file.
        content: What it reads: texts, ``cleaned``, which are escaped, and markup.

    Returns:
        An HTML document without scripts or references to anything outside it.
    """
    return _templates(package).get_template(template).render(content)


@cache
def _templates(package: str) -> Environment:
    """Read the templates once; they escape what they are given, and miss nothing."""
    templates = Environment(
        loader=DictLoader({**dict(_texts(__package__)), **dict(_texts(package))}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals["policy"] = Markup(POLICY)
    templates.filters |= {
        **{
            name: getattr(words, name)
            for name in ("percent", "count", "money", "compact", "plural", "sentence")
        },
        "moment": words.moment,
        "dates": words.listed_dates,
        "decimals": lambda value, places: words.decimals(places)(value),
        "bounded": lambda row, key, form: words.bounded(row, key, getattr(words, form)),
    }
    return templates


def _texts(package: str) -> Iterator[tuple[str, str]]:
    for entry in (resources.files(package) / "templates").iterdir():
        if entry.name.endswith(".html"):
            yield entry.name, entry.read_text("utf-8")
