"""
The page of a model: the answer first, details after it.

What stands on it is gathered by ``users`` or ``events``, as plain texts and charts; the
templates say where it stands, and escape it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from propensity.learning.report.events import EventsPage
from propensity.learning.report.users import UsersPage
from propensity.pages.page import filled
from propensity.pages.words import cleaned

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
    return filled(__package__, page.template, page.content())
