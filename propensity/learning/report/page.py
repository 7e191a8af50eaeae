"""
The page of a model: the answer first, details after it.

What stands on it is gathered by ``users`` or ``events``, as plain texts and charts; the
templates say where it stands, and escape it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from propensity.learning.report.events import EventsPage
from propensity.learning.report.users import UsersPage
from propensity.learning.report.words import cleaned

Card = Mapping[str, Any]


def training_page(card: Card) -> str:
    """
    Write the page of a trained model: the answer first, details after it.

    Args:
        card: What ``card.json`` holds. A figure that is None or absent is a dash with
            its reason.

    Returns:
        An HTML document without scripts or references to anything outside it.
    """
    card = cleaned(card)
    page = EventsPage(card) if card.get("outcomes") else UsersPage(card)
    return _templates().get_template(page.template).render(page.content())


@cache
def _templates() -> Environment:
    """Read the templates once; they escape what they are given, and miss nothing."""
    folder = resources.files(__package__) / "templates"
    texts = {
        entry.name: entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".html")
    }
    return Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
