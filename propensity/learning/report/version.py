"""
The page of a model version: the answer first, details after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from propensity.learning.report import parts
from propensity.pages.charts import Bar, bars_svg, histogram_svg
from propensity.pages.page import filled
from propensity.pages.words import cleaned, decimals

if TYPE_CHECKING:
    from propensity.learning.card import Card

Entry = Mapping[str, Any]

# Features whose histograms are drawn, the most important ones.
_DRAWN = 24


def version_page(card: Card) -> str:
    """
    Write the page of a version.

    Returns:
        An HTML document without scripts or references to anything outside it.
    """
    plain: Entry = cleaned(asdict(card))
    metrics = plain["metrics"]
    content = {
        "card": plain,
        "noun": str(plain["entity"]).removesuffix("_id"),
        "who": "that" if plain["outcomes"] else "who",
        "tiles": parts.tiles(metrics),
        "metrics": parts.metrics(metrics),
        "selected": parts.selected(metrics),
        "groups": parts.groups(metrics),
        "curves": parts.curves(plain["curves"], metrics["base_rate"] or 0.0),
        "importance": _importance(plain["importance"]),
        "histograms": _histograms(plain),
    }
    return filled(__package__, "version.html", content)


def _importance(features: list[Entry]) -> Markup | None:
    """Draw the fall of ROC AUC by feature, with a standard deviation."""
    write = decimals(4)
    bars = [
        Bar(
            one["feature"],
            one["mean"],
            f"{write(one['mean'])} ± {write(one['std'])}",
            one["mean"] - one["std"],
            one["mean"] + one["std"],
        )
        for one in features
    ]
    described = ", ".join(f"{bar.name} {bar.shown}" for bar in bars)
    title = "Importance of features"
    return bars_svg(bars, title=title, description=described) if bars else None


def _histograms(card: Entry) -> list[tuple[Entry, Markup]]:
    """Draw the most important numbers, of positives and of the others."""
    order = {one["feature"]: n for n, one in enumerate(card["importance"])}
    numbers = [one for one in card["profile"]["numbers"] if one["edges"]]
    numbers.sort(key=lambda one: order.get(one["feature"], len(order)))
    return [
        (
            one,
            histogram_svg(
                one["edges"],
                [one["negative"], one["positive"]],
                title=one["feature"],
                description=f"Shares by value of {one['feature']}, of label 1 and 0.",
            ),
        )
        for one in numbers[:_DRAWN]
    ]
