"""What people read about a deployment: its versions, and which one is live."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from click import style

from propensity.cli.tables import aligned, day_text
from propensity.pages.words import plural

Answer = Mapping[str, Any]
VERSIONS = {
    "version": "version",
    "state": "state",
    "as_of": "trained",
    "roc_auc": "ROC AUC",
    "verdict": "verdict",
}
_COMPARED = re.compile(r"(not worse|worse): .* against version (-?\d+) on the same .*")
_HOW = {"not worse": "as good as version", "worse": "worse than version"}


def versions(answer: Answer) -> str:
    """Return the versions, the newest first, and which one is live."""
    name = answer["use_case"]
    if not answer["versions"]:
        return f"{name} has no version yet. Train one: docs/quickstart.md shows how."
    champion = answer["champion"]
    line = f"{name} has no live version. Make one live: propensity promote VERSION"
    if champion:
        since = day_text(champion["promoted_at"])
        line = f"Version {champion['version']} of {name} is live since {since}."
        if champion["pinned"]:
            line += " It is pinned: trainings can't replace it."
    rows = []
    for row in answer["versions"]:
        area = row["roc_auc"]
        state = {"yes": "live", "pinned": "live, pinned"}.get(row["serves"], "")
        state = style(state, fg="green") if state else ""
        if not row["is_warm"]:
            state = f"{state} no scores yet".strip()
        rows.append(
            {
                "version": f"{row['model_version']}",
                "state": state,
                "as_of": day_text(row["as_of"]),
                "roc_auc": "" if area is None else f"{area:.3f}",
                "verdict": "" if row["verdict"] is None else verdict(row["verdict"]),
            }
        )
    return "\n".join([line, "", aligned(VERSIONS, rows)])


def verdict(reason: str) -> str:
    """Write in a few words why a version went live, or did not."""
    compared = _COMPARED.match(reason)
    if compared:
        return f"{_HOW[compared[1]]} {compared[2]}"
    if reason.startswith("the first model"):
        return "the first version"
    return reason.partition(":")[0].partition(";")[0]


def changed(answer: Answer) -> str:
    """Return which version is live after a change, and what to know about it."""
    name = answer["use_case"]
    text = f"{name} has no live version."
    if "version" in answer:
        how = "is live now" if answer["is_changed"] else "is live"
        if answer["pinned"]:
            how += " and pinned"
        text = f"Version {answer['version']} of {name} {how}."
    notes = [f"{note[:1].upper()}{note[1:]}." for note in answer["notes"]]
    return "\n".join([text] + notes)


def digested(answer: Answer) -> str:
    """Return what was taken out of each digest or read, and what the rest costs."""
    lines = []
    for dataset, export in answer["exports"].items():
        if export["removed"]:
            days = plural(export["removed"], "day")
            lines.append(f"{dataset}: {days} out, which lacked the consent.")
        if export["read"]:
            lines.append(f"{dataset}: {plural(export['read'], 'day')} read.")
        lines.append(f"{dataset}: {export['to_read']}.")
    return "\n".join(lines) if lines else "No GA4 export is set."
