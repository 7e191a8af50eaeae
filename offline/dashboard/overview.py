"""The page of all use cases: what changed, what it is worth, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from markupsafe import escape

from offline.dashboard.cases import Case, clipped
from offline.dashboard.parts import Tile
from offline.dashboard.reading import STREAM_DAYS, Readings, total
from offline.dashboard.stream import reasons_of
from propensity.pages.words import compact, count, decimals, percent, plural

# Use cases with all their sentences, as far as the page has room for these; the others
# have a line.
CARDS, OTHERS = 40, 400
ROOM = 380_000
# Bytes of a sentence beside its words, and of a card beside its sentences.
_SENTENCE, _CARD = 150, 2_000


def content(readings: Readings, cases: Sequence[Case]) -> dict[str, Any]:
    """Return what the page reads."""
    cards = [(_card(case), case) for case in cases]
    # Use cases that need attention come first.
    cards.sort(key=lambda entry: -len(entry[0]["urgent"]))
    shown = _shown([card for card, _ in cards[:CARDS]])
    urgent = sum(bool(card["urgent"]) for card, _ in cards)
    missing = [reading for reading in readings.values() if reading.missing]
    return {
        "headline": _headline(cases, urgent),
        "tiles": _tiles(readings, cases),
        "stream": _stream(readings),
        "cards": [card for card, _ in cards[:shown]],
        "others": [
            (clipped(case.title, 64), case.page)
            for _, case in cards[shown : shown + OTHERS]
        ],
        "missing": [
            {
                "title": reading.title,
                "why": clipped(reading.missing),
                "source": reading.name,
            }
            for reading in missing
        ],
    }


def _shown(cards: Sequence[dict[str, Any]]) -> int:
    """Return how many of the first cards the page has room for, one at least."""
    ends = accumulate(map(_bytes, cards))
    return max(sum(end <= ROOM for end in ends), min(len(cards), 1))


def _bytes(card: dict[str, Any]) -> int:
    """Return about how large a card is; a link to SQL repeats its sentence."""
    deeds = [deed.text for deed in (*card["urgent"], *card["deeds"])]
    texts = [*deeds, *(text for text, _ in (*card["changes"], *card["worth"]))]
    words = sum(len(escape(text).encode(errors="replace")) for text in texts)
    return _CARD + 2 * words + _SENTENCE * len(texts)


def _stream(readings: Readings) -> tuple[str, str] | None:
    """Say what somebody should do about dead letters; nothing without any."""
    reasons = reasons_of(readings["dead_letters"].rows)
    if not reasons:
        return None
    (reason, most), total = reasons.most_common(1)[0], sum(reasons.values())
    became, of_them = "became a dead letter", ""
    if total > 1:
        became, of_them = "became dead letters", f"{count(most)} of them "
    return (
        f"{plural(total, 'message')} {became} in the last {STREAM_DAYS} days, "
        f"{of_them}for {clipped(reason, 60)}: correct the producer, and replay what "
        "can be.",
        "dead_letters",
    )


def _headline(cases: Sequence[Case], urgent: int) -> str:
    if not cases:
        return "Nothing has been trained or evaluated yet."
    served = plural(len(cases), "use case")
    if not urgent:
        return f"{served}. Nothing needs your attention."
    return f"{served}. {urgent} {'needs' if urgent == 1 else 'need'} your attention."


def _card(case: Case) -> dict[str, Any]:
    deeds = [*case.deeds()]
    version = case.known.champion
    return {
        "title": case.title,
        "name": case.name,
        "page": case.page,
        "serves": "nothing serves" if version is None else f"version {version} serves",
        "changes": [*case.changes()],
        "worth": [*case.worth()],
        "deeds": [deed for deed in deeds if not deed.is_urgent],
        "urgent": [deed for deed in deeds if deed.is_urgent],
        "tiles": figures(case),
    }


def figures(case: Case) -> list[Tile]:
    if not case.weeks:
        return []
    newest = case.weeks[0]
    lift = newest["lift_at_budget"]
    return [
        Tile(
            name=f"ROC AUC, {case.span} of {newest['week']}",
            value=decimals(3)(newest["roc_auc"]),
            note=str(newest["status"]),
            source="evaluations.roc_auc",
        ),
        Tile(
            name="Expected, and came",
            value=f"{percent(newest['mean_probability'])} / "
            f"{percent(newest['base_rate'])}",
            note=f"of {plural(newest['users'], case.rows)}",
            source="evaluations.mean_probability",
        ),
        Tile(
            name=f"Lift of the best {clipped(newest['budget'] or 'users', 20)}",
            value=f"{decimals(1)(lift)}×" if lift is not None else "—",
            note="1 is as good as chance",
            source="evaluations.lift_at_budget",
        ),
    ]


def _tiles(readings: Readings, cases: Sequence[Case]) -> list[Tile]:
    stream, letters = readings["stream"].rows, readings["dead_letters"].rows
    serving = sum(case.known.champion is not None for case in cases)
    return [
        Tile(
            name="Use cases that serve",
            value=count(serving),
            note=f"of {len(cases)} with rows",
            source="versions.promoted",
        ),
        Tile(
            name="Drift alarms",
            value=count(sum(len(case.alarms) for case in cases)),
            note="in the newest publications",
            source="drift.is_alarm",
        ),
        Tile(
            name="Events of the last seven days",
            value=compact(total(stream, "received")),
            note=f"{compact(total(stream, 'duplicates'))} came twice",
            source="stream.received",
        ),
        Tile(
            name="Dead letters",
            value=compact(total(letters, "messages")),
            note="in the same days",
            source="dead_letters.messages",
        ),
    ]
