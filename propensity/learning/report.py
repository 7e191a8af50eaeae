"""
The report of a version: a page, one HTML file that needs nothing else.

The texts are in ``templates/``; look, charts and formats are those of ``pages``.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from propensity.learning.card import Card, UserCard
from propensity.measures.intervals import rate_interval
from propensity.pages.page import ChartLine, bins_svg, fill_template, lines_svg
from propensity.pages.words import Plain, cleaned
from propensity.timeframe import LONGEST_DAYS

# Features whose histograms are drawn: the most important ones.
_DRAWN = 24


def version_page(
    card: Card,
    *,
    template: str | None = None,
    name: str = "",
    duel: object = None,
    who: Sequence[object] = (),
    **more: object,
) -> str:
    """
    Return the report of a version.

    Args:
        template: One that extends that of the card's kind; None for this.
        name: What the page calls the version; empty for its number.
        duel: Its list beside another, with a sentence and a picture, if there is one.
        who: What tells the chosen from the others, a line each.
        more: What else the template shows.
    """
    plain: Plain = cleaned(card.plain())
    number = card.model_version
    is_promoted = card.verdict["promoted"]
    heading = "Went live" if is_promoted else "Did not go live"
    if number is None:
        heading = "Would go live" if is_promoted else "Would not go live"
    if not name:
        name = "trial" if number is None else f"model version {number}"
    is_of_users = isinstance(card, UserCard)
    is_published = not card.heading
    days = 0 if card.horizon_days is None else card.horizon_days
    content = {
        "card": plain,
        "m": plain["metrics"],
        "heading": card.heading if card.heading else heading,
        "name": name,
        "noun": plain["entity"].removesuffix("_id"),
        "who": "who" if is_of_users else "that",
        "follows_season": is_published and days <= LONGEST_DAYS,
        "rate_interval": rate_interval,
        "duel": duel,
        "lines_of_who": who,
        "curves": _curves(plain["curves"], plain["metrics"]["base_rate"]),
        "directions": _directions(plain),
        "histograms": _histograms(plain),
        "correlations": _correlations(plain),
        **more,
    }
    if template is None:
        template = "users.html" if is_of_users else "events.html"
    return fill_template(__package__, template, content)


def _curves(shown: Plain, base: float | None) -> dict[str, Markup]:
    """Draw ``roc``, ``pr`` and ``calibration``; the base rate is a coin's precision."""
    calibration = []
    for point in shown.get("calibration", ()):
        calibration.append((point["mean_probability"], point["rate"]))
    points = {
        "roc": shown.get("roc"),
        "pr": shown.get("pr"),
        "calibration": calibration,
    }
    drawn = {}
    for name, curve in points.items():
        if curve:
            x, y = zip(*curve, strict=True)
            last = max(x + y) if name == "calibration" else 1.0
            guide = (base, base) if name == "pr" else (0.0, last)
            guide_line = ChartLine(x=(0.0, last), y=guide, style="guide")
            lines = [guide_line, ChartLine(name=name, x=x, y=y)]
            drawn[name] = lines_svg(lines, title=name, starts_at_zero=True)
    return drawn


def _directions(card: Plain) -> list[tuple[Plain, Markup]]:
    """Draw the mean probability by the value of a feature."""
    drawn = []
    for direction in card.get("directions", ()):
        line = ChartLine(name=direction["feature"], y=direction["probabilities"])
        svg = lines_svg(
            [line],
            title=direction["feature"],
            times=direction["values"],
            starts_at_zero=True,
        )
        drawn.append((direction, svg))
    return drawn


def _histograms(card: Plain) -> list[tuple[str, Markup]]:
    """Draw the most important features, by the order in which the page lists them."""
    ranks = {entry["feature"]: n for n, entry in enumerate(card["importance"])}
    described = card.get("distributions") or []
    ordered = sorted(described, key=lambda each: ranks.get(each["feature"], len(ranks)))
    drawn = []
    for feature in ordered[:_DRAWN]:
        name = feature["feature"]
        svg = bins_svg(feature["bins"], feature["shares"], feature["rates"], title=name)
        drawn.append((name, svg))
    return drawn


def _correlations(card: Plain) -> list[tuple[str, float]]:
    """Return numbers with their correlations with the label, the strongest first."""
    correlations = []
    for feature in card.get("distributions") or []:
        if feature["correlation"] is not None:
            correlations.append((feature["feature"], feature["correlation"]))
    return sorted(correlations, key=lambda each: -abs(each[1]))
