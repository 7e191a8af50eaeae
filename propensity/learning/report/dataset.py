"""
What a page says of the data that a model has learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from propensity.pages.charts import (
    Bar,
    Line,
    bars_svg,
    heatmap_svg,
    histogram_svg,
    line_svg,
)
from propensity.pages.words import (
    DASH,
    NAME_LENGTH,
    Number,
    compact,
    count,
    decimals,
    ordered,
    percent,
    plural,
    present,
    round_up,
    shown_of,
)

Card = Mapping[str, Any]
Content = dict[str, Any]

# Features drawn one by one; tables name all of them.
DRAWN_FEATURES = 60
MAPPED_FEATURES = 36
CLOSEST_PAIRS = 8

_SCALES = {
    "constant": "one value",
    "integer": "a bar a value",
    "linear": "linear scale",
    "log": "logarithmic scale",
    "symmetric log": "logarithmic on both sides of zero",
}


def of_users(card: Card, *, outcome: str) -> Content | None:
    """
    Return what is said of labelled snapshots.

    Args:
        outcome: What users are expected to do, after *who*.
    """
    dataset: Card = card.get("dataset") or {}
    if not dataset:
        return None
    numbers, categories = dataset.get("numbers") or (), dataset.get("categories") or ()
    rows: Card = card.get("rows") or {}
    used = ", ".join(
        f"{count(rows.get(part))} {name}"
        for part, name in (
            ("train", "to fit"),
            ("calibrate", "to choose and calibrate"),
            ("holdout", "held out"),
        )
        if rows.get(part) is not None
    )
    ranked = _ranked(card, numbers)
    return {
        "intro": f"{count(dataset.get('rows'))} rows of "
        f"{plural(dataset.get('users'), 'user')}, one for each user and date, with "
        f"{plural(len(numbers) + len(categories), 'feature')}. "
        f"{count(dataset.get('conversions'))} rows are of users who {outcome}: a base "
        f"rate of {percent(dataset.get('base_rate'))}."
        + (f" Of all rows, training used {used}." if used else "")
        + (
            " Rows are weighted: some of the users were left out, and those kept stand "
            "for them. Shares, means and rates are those of all users."
            if dataset.get("is_weighted")
            else ""
        ),
        "snapshots": _snapshots(card, dataset, outcome),
        "fewest_users": count(dataset.get("fewest_users")),
        "correlations": _correlations(ranked, dataset, f"who {outcome}"),
        **_features(numbers, categories, ranked, "user", f"those who {outcome}"),
    }


def of_events(card: Card, *, noun: str, outcome: str) -> Content:
    """
    Return the text about scored events and their labels.

    Args:
        outcome: The meaning of label 1, after *that*.
    """
    dataset: Card = card.get("dataset") or {}
    outcomes: Card = card.get("outcomes") or {}
    rows: Card = card.get("rows") or {}
    numbers, categories = dataset.get("numbers") or (), dataset.get("categories") or ()
    return {
        "intro": f"{plural(dataset.get('rows'), noun)}, each once, with "
        f"{plural(len(numbers) + len(categories), 'feature')}. The truth of "
        f"{count(outcomes.get('known'))} is known, and "
        f"{count(dataset.get('conversions'))} of them {outcome}; "
        f"{count(outcomes.get('conflicting'))} were told to be both, and the latest "
        f"counts. {count(outcomes.get('unknown'))} stay unknown, "
        f"{count(outcomes.get('pending'))} are too young to tell; none of these is "
        "taken for label 0. Training used "
        f"{count(rows.get('train'))} rows to fit, and of those whose truth is known "
        f"{count(rows.get('calibrate'))} to choose and {count(rows.get('holdout'))} "
        "to hold out.",
        **_features(
            numbers, categories, _ranked(card, numbers), noun, f"those that {outcome}"
        ),
    }


def _features(
    numbers: Sequence[Card],
    categories: Sequence[Card],
    ranked: Sequence[Card],
    noun: str,
    yes: str,
) -> Content:
    """Return what is said of the features, whatever a row is."""
    return {
        "yes": yes,
        "missing": _missing(numbers, categories),
        "histograms": [_histogram(n, noun) for n in ranked[:DRAWN_FEATURES]],
        "drawn": DRAWN_FEATURES,
        "undrawn": max(0, len(ranked) - DRAWN_FEATURES),
        "numbers": _numbers(numbers),
        "categories": [_category(c) for c in categories],
    }


def _ranked(card: Card, numbers: Sequence[Card]) -> list[Card]:
    """Order features by importance, as read before; unknown ones come last."""
    important = card.get("importance") or ()
    order = {f.get("feature"): ordered(f.get("mean")) for f in important}
    return sorted(numbers, key=lambda n: -order.get(n.get("feature"), -math.inf))


def _snapshots(card: Card, dataset: Card, outcome: str) -> Content | None:
    dates = dataset.get("as_ofs") or ()
    if not dates:
        return None
    split: Card = card.get("split") or {}
    role = {
        str(date): name
        for part, name in (
            ("train", "fit"),
            ("calibrate", "choose, calibrate"),
            ("holdout", "hold out"),
        )
        for date in split.get(part) or ()
    }
    rates = ((i, date.get("base_rate")) for i, date in enumerate(dates))
    points = [(float(i), float(rate)) for i, rate in rates if present(rate)]
    last = len(dates) - 1
    ends = [str(dates[i].get("as_of")) for i in (0, last)]
    # A date is wide: the first would otherwise reach over the axis.
    ticks = (
        [(0.13 * last, ends[0]), (float(last), ends[1])] if last else [(0.3, ends[0])]
    )
    lowest = min((y for _, y in points), default=None)
    highest = max((y for _, y in points), default=None)
    return {
        "svg": line_svg(
            [Line(points, has_dots=last < 40)],
            title="Base rate by date",
            description=f"Share of users who {outcome}, by the date their features are "
            f"true for, from {ends[0]} to {ends[1]}.",
            x_label="Date that features are true for",
            y_label=f"Share who {outcome}",
            x_range=(0, last) if last else (-1, 1),
            y_range=(0, round_up(1.0 if highest is None else highest)),
            x_ticks=ticks,
        ),
        "caption": f"From {percent(lowest)} to {percent(highest)}.",
        "rows": [
            {
                "date": str(date.get("as_of")),
                "cells": (
                    role.get(str(date.get("as_of")), DASH),
                    count(date.get("rows")),
                    count(date.get("conversions")),
                    percent(date.get("base_rate")),
                ),
            }
            for date in dates
        ],
    }


def _missing(numbers: Sequence[Card], categories: Sequence[Card]) -> Content | None:
    features = (*numbers, *categories)
    lacking = sorted(
        (f for f in features if (f.get("missing") or 0) > 0),
        key=lambda f: -f["missing"],
    )
    if not lacking:
        return None
    listed = ", ".join(f"{f['feature']} {percent(f['missing'])}" for f in lacking)
    return {
        "summary": f"{len(lacking)} of {plural(len(features), 'feature')} have missing "
        "values. Shares of all rows.",
        "svg": bars_svg(
            [
                Bar(str(f["feature"]), f["missing"], percent(f["missing"]))
                for f in lacking
            ],
            title="Missing values by feature",
            description=f"Share of rows without a value: {listed}.",
        ),
    }


def _histogram(number: Card, noun: str) -> Content:
    name, histogram = str(number.get("feature")), number.get("histogram")
    if not histogram:
        return {"name": name, "svg": None, "caption": f"{DASH} It has no finite value."}
    by_label = [histogram.get("share_0"), histogram.get("share_1")]
    scale = str(histogram.get("scale"))
    described = _SCALES.get(scale, scale)
    return {
        "name": name,
        "svg": histogram_svg(
            histogram["edges"],
            by_label if any(by_label) else [histogram.get("share")],
            title=f"Distribution of {name}",
            description=f"Share of {noun}s by value, {described}, from "
            f"{compact(number.get('min'))} to {compact(number.get('max'))}, "
            f"median {compact(number.get('median'))}.",
            is_discrete=scale == "integer",
        ),
        "caption": f"{described}, {percent(number.get('missing'))} missing",
    }


def _numbers(numbers: Sequence[Card]) -> Content | None:
    if not numbers:
        return None
    infinite = any((n.get("infinite") or 0) > 0 for n in numbers)
    shares = ["missing", *(["infinite"] if infinite else []), "zeros"]
    sizes = ["min", "q25", "median", "mean", "q75", "max"]
    return {
        "columns": (
            "Feature",
            *(share.capitalize() for share in shares),
            "Lowest",
            "25%",
            "Median",
            "Mean",
            "75%",
            "Highest",
            "With label",
        ),
        "rows": [
            (
                str(n.get("feature")),
                *(percent(n.get(key)) for key in shares),
                *(compact(n.get(key)) for key in sizes),
                decimals(2)(n.get("label_correlation")),
            )
            for n in numbers
        ],
    }


def _category(category: Card) -> Content:
    def figures(entry: Card) -> tuple[str, str, str]:
        return (
            count(entry.get("rows")),
            percent(entry.get("share")),
            percent(entry.get("rate")),
        )

    rest = category.get("rest")
    return {
        "name": str(category.get("feature")),
        "caption": f"{plural(category.get('n_values'), 'value')}, "
        f"{percent(category.get('missing'))} missing.",
        "rows": [
            (str(value.get("value")) or "(empty)", *figures(value))
            for value in category.get("values") or ()
        ],
        "rest": (plural(rest.get("n_values"), "other value"), *figures(rest))
        if rest
        else None,
    }


def _correlations(ranked: Sequence[Card], dataset: Card, label: str) -> Content | None:
    correlations: Card = dataset.get("correlations") or {}
    place = {name: i for i, name in enumerate(correlations.get("features") or ())}
    matrix = correlations.get("matrix") or ()
    shown = [n for n in ranked if n.get("feature") in place][:MAPPED_FEATURES]
    if len(place) < 2 or len(matrix) != len(place) or not shown:
        return None
    names = [label, *(str(n["feature"]) for n in shown)]
    rows: list[list[Number]] = [[1.0, *(n.get("label_correlation") for n in shown)]]
    for n in shown:
        at = matrix[place[n["feature"]]]
        rows.append(
            [n.get("label_correlation"), *(at[place[m["feature"]]] for m in shown)]
        )
    features = list(place)
    pairs = sorted(
        (
            (matrix[i][j], features[j], features[i])
            for i in range(len(features))
            for j in range(i)
            if present(matrix[i][j])
        ),
        key=lambda pair: -abs(pair[0]),
    )
    closest = [(str(a), str(b), decimals(2)(r)) for r, a, b in pairs[:CLOSEST_PAIRS]]
    listed = "; ".join(f"{a} and {b} {r}" for a, b, r in closest)
    return {
        "rows": plural(correlations.get("rows"), "row"),
        "shown": len(shown) if len(place) > len(shown) else 0,
        "width": 15 * len(names) + 7 * max(min(len(n), NAME_LENGTH) for n in names) + 8,
        "closest": closest,
        "closest_shown": shown_of(len(closest), len(pairs)),
        "svg": heatmap_svg(
            names,
            rows,
            title="Rank correlations of the numeric features",
            description=f"Each feature with each other one and with {label}. Closest: "
            f"{listed}.",
        ),
    }
