"""
The choice of a candidate, in words for the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from propensity.pages.words import DASH, count, decimals, percent, present

_LOSS = decimals(4)


def facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how a model of users was chosen, name by name; none in older cards."""
    choice = card.get("choice")
    if not isinstance(choice, Mapping):
        return []
    members = choice.get("members") or ()
    half_life = choice.get("half_life_weeks")
    named = [("Choice", _comparison(choice))]
    if len(members) > 1:
        weights = [f"{m['name']} {percent(m['weight'])}" for m in members]
        named.append(("Weights", ", ".join(weights)))
    ageing = "none: rows of all dates weigh the same"
    if present(half_life):
        ageing = f"a row weighs half as much after {count(half_life)} weeks"
    half_lives = _half_lives(choice.get("half_lives") or ())
    named.append(("Half-life", ageing + half_lives))
    if present(card.get("fits")):
        named.append(("Fits", count(card["fits"])))
    if choice.get("is_refitted"):
        named.append(
            (
                "Fitted again",
                "on all dates above, the same way: that model serves. All figures are "
                "of the one before, which has not learned from the dates held out",
            )
        )
    return named


def _half_lives(tried: Sequence[Mapping[str, Any]]) -> str:
    """Say what half-lives were worth, by the candidate that is quickest to fit."""
    if not tried:
        return ""
    losses = ", ".join(
        f"{half_life['weeks']} {_LOSS(half_life['log_loss'])}" for half_life in tried
    )
    return f". Log loss by weeks, of the candidate that is quickest to fit: {losses}"


def _comparison(choice: Mapping[str, Any]) -> str:
    """Say what was compared on what, and how sure the choice is."""
    blocks = choice.get("blocks") or ()
    text = (
        f"log loss {_LOSS(choice.get('log_loss'))} on {count(choice.get('rows'))} rows "
        f"in {len(blocks) or DASH} block{'s' if len(blocks) != 1 else ''} of dates, "
        "each scored by a model of the dates before it"
    )
    if not present(choice.get("difference")):
        return f"{text}: the least of all candidates"
    low, high = choice.get("difference_low"), choice.get("difference_high")
    return (
        f"{text}. {choice.get('best')} had {_LOSS(choice.get('best_log_loss'))}; the "
        f"difference of {_LOSS(choice['difference'])} may be chance ({_LOSS(low)} to "
        f"{_LOSS(high)}), and then the mean or the simpler one is taken"
    )
