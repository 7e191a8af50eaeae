"""The page of a model version: the answer first, details after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from propensity import drift
from propensity.learning import season
from propensity.measures.intervals import rate_interval
from propensity.pages.charts import Line, histogram_svg, lines_svg
from propensity.pages.page import filled
from propensity.pages.words import cleaned

Entry = Mapping[str, Any]

# Features whose histograms are drawn, the most important ones.
_DRAWN = 24


def version_page(card: Entry) -> str:
    """
    Write the page of a version, by its card.

    Returns:
        An HTML document without scripts or references to anything outside it.
    """
    # Models that are loaded from elsewhere have cards of earlier releases.
    plain: Entry = {"unit": "the events' currency", **cleaned(card)}
    number, is_promoted = plain["model_version"], plain["verdict"]["promoted"]
    heading = "Went live" if is_promoted else "Did not go live"
    if number is None:
        heading = "Would go live" if is_promoted else "Would not go live"
    content = {
        "card": plain,
        "heading": plain.get("heading", heading),
        "name": "trial" if number is None else f"model version {number}",
        "noun": plain["entity"].removesuffix("_id"),
        "who": "that" if plain["outcomes"] else "who",
        "follows_season": (plain["horizon_days"] or 0) <= season.LONGEST_DAYS,
        "rate_interval": rate_interval,
        "curves": _curves(plain["curves"], plain["metrics"]["base_rate"]),
        "histograms": _histograms(plain),
        "constant": drift.constant(plain["drift"]),
    }
    return filled(__package__, "version.html", content)


def _curves(shown: Entry, base: float | None) -> dict[str, Markup]:
    """
    Draw ``roc``, ``pr`` and ``calibration``, where they exist.

    Args:
        shown: As ``metrics.curves`` has them.
        base: The base rate: the precision of a coin.
    """
    bins = shown.get("calibration") or ()
    points = {
        "roc": shown.get("roc"),
        "pr": shown.get("pr"),
        "calibration": [(one["mean_probability"], one["rate"]) for one in bins],
    }
    drawn = {}
    for name, curve in points.items():
        if curve:
            x, y = zip(*curve, strict=True)
            last = max(*x, *y) if name == "calibration" else 1.0
            guide = (base, base) if name == "pr" else (0.0, last)
            beside = Line(x=(0.0, last), y=guide, style="guide")
            lines = [beside, Line(name=name, x=x, y=y)]
            drawn[name] = lines_svg(lines, title=name, starts_at_zero=True)
    return drawn


def _histograms(card: Entry) -> list[tuple[Entry, Markup]]:
    """Draw the most important numbers, of label 0 behind those of label 1."""
    order = {one["feature"]: n for n, one in enumerate(card["importance"])}
    numbers = [one for one in card["profile"]["numbers"] if one["edges"]]
    numbers.sort(key=lambda one: order.get(one["feature"], len(order)))
    drawn = []
    for one in numbers[:_DRAWN]:
        shares = [one["negative"], one["positive"]]
        drawn.append((one, histogram_svg(one["edges"], shares, title=one["feature"])))
    return drawn
