"""What has changed in a sketch, in a sentence."""

from __future__ import annotations

from propensity.drift.distance import Bin
from propensity.drift.sketch import NUMBER, Sketch, Value

# Characters of a value in a sentence.
_LONGEST = 60


def changed(name: str, now: Sketch, top: Bin, before: Sketch) -> str:
    """Say what has changed in a sketch."""
    shares = f"{100 * top.now:.3g}% of users ({100 * top.before:.3g}% before)"
    if top.is_missing:
        return f"{name} is missing for {shares}"
    if now.kind == NUMBER:
        if top.first == top.last == 0.0:
            return f"{name} is 0 for {shares}"
        median, earlier = _median(now), _median(before)
        if _are_apart(median, earlier):
            return (
                f"the median of {name} is {_figure(median)} ({_figure(earlier)} before)"
            )
        if top.first == top.last:
            return f"{name} is about {_figure(top.first)} for {shares}"
        ends = f"{_figure(top.first)} to {_figure(top.last)}"
        return f"{name} is from {ends} for {shares}"
    value = "a rare value"
    if top.first is not None:
        text = str(top.first)
        value = repr(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")
    return f"{name} is {value} for {shares}"


def _figure(value: Value) -> str:
    """Write the value of a number, a large one without its power of ten."""
    assert isinstance(value, float)
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _median(sketch: Sketch) -> float | None:
    """Return the bucket of a number's median; None where no user has a value."""
    half, held = sum(sketch.counts.values()) / 2, 0
    for value in sorted(value for value in sketch.counts if isinstance(value, float)):
        held += sketch.counts[value]
        if held >= half:
            return value
    return None


def _are_apart(now: float | None, before: float | None) -> bool:
    """Tell whether a median moved so far that it says by itself what has changed."""
    # Where about half of the users have 0 the median is 0 or not by chance.
    return not 0.5 < now / before < 2 if now and before else False
