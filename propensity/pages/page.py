"""
The templates of pages, filled.

A template extends ``page.html`` and takes parts from ``look.html``; both stand here.
Those of one kind of page stand in a folder ``templates`` of their own package.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from propensity.pages import words

# Pages have styles of their own, an empty icon, and no script. So whatever a text may
# bring in, a browser runs and loads nothing.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">"
)


def filled(package: str, template: str, content: Mapping[str, object]) -> str:
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
        loader=ChoiceLoader([PackageLoader(one) for one in (__package__, package)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals |= {
        "policy": Markup(POLICY),
        "infinitive": words.infinitive,
        "percent": words.percent,
        "money": words.money,
        "places": words.decimals,
    }
    for write in (words.percent, words.count, words.money, words.compact, words.plural):
        templates.filters[write.__name__] = write
    templates.filters["decimals"] = lambda value, n: words.decimals(n)(value)
    templates.filters["interval"] = words.interval
    return templates
