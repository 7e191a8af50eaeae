"""The page of a rehearsal, and the same as JSON; without ids, and without names."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from deploy import deployed
from local.rehearsal.ground import Ground
from local.rehearsal.probes import NO, NOT_TRIED, YES, Finding
from propensity import folders
from propensity.pages.page import filled
from propensity.pages.words import cleaned, day

CLIENTS = (
    "google-cloud-bigquery",
    "google-cloud-bigquery-storage",
    "google-cloud-storage",
    "google-cloud-pubsub",
)
# Accounts, addresses of functions, and numbers that only a project or a user has.
_IDS = {
    re.compile(r"[\w.%+'-]+@[\w.-]+\w"): "ACCOUNT",
    re.compile(r"https?://[\w.:-]+"): "ADDRESS",
    re.compile(r"\b\d{9,}\b"): "NUMBER",
}


@dataclass(frozen=True, kw_only=True)
class Bill:
    """USD by list price, without what is free."""

    bytes_billed: int = 0
    bigquery_usd: float = 0.0
    run_usd: float = 0.0
    build_usd: float = 0.0

    @property
    def usd(self) -> float:
        return self.bigquery_usd + self.run_usd + self.build_usd


@dataclass(frozen=True, kw_only=True)
class Result:
    """
    A rehearsal that has ended.

    Attributes:
        user: Who was looked up and forgotten.
    """

    ground: Ground
    began: datetime
    minutes: float
    findings: list[Finding]
    bill: Bill
    user: str = ""

    @property
    def is_wrong(self) -> bool:
        return any(finding.answer == NO for finding in self.findings)


def answer_of(result: Result, *, with_names: bool) -> dict[str, Any]:
    """Return the result as JSON has it, without names unless they are asked for."""
    names = dict[str, str]()
    if not with_names:
        names = names_of(result)
    findings = []
    for finding in result.findings:
        probe = finding.probe
        findings.append(
            {
                "probe": probe.name,
                "about": probe.about,
                "answer": finding.answer,
                "seen": without(finding.seen, names, with_names=with_names),
                "page": probe.page,
                "sentence": probe.sentence,
                "remedy": probe.remedy if finding.answer == NO else "",
            }
        )
    counts = {}
    for word in (YES, NO, NOT_TRIED):
        counts[word] = sum(finding.answer == word for finding in result.findings)
    bill = result.bill
    return {
        "ground": result.ground.name,
        "began": result.began.isoformat(timespec="seconds"),
        "minutes": round(result.minutes, 1),
        "counts": counts,
        "findings": findings,
        "bill": {
            "usd": round(bill.usd, 2),
            "bigquery_bytes": bill.bytes_billed,
            "bigquery_usd": round(bill.bigquery_usd, 4),
            "cloud_run_usd": round(bill.run_usd, 4),
            "cloud_build_usd": round(bill.build_usd, 4),
        },
        "versions": versions_of(result.ground),
        "has_names": with_names,
    }


def names_of(result: Result) -> dict[str, str]:
    """Return the names that a text may have, and what to write instead."""
    settings = result.ground.settings
    names = {
        settings.bucket: "BUCKET",
        settings.project: "PROJECT",
        result.user: "USER",
        str(Path.home()): "HOME",
    }
    names.pop("", None)
    return names


def without(text: str, names: Mapping[str, str], *, with_names: bool) -> str:
    """Return a text of which nobody learns whose it is."""
    if with_names:
        return text
    # A longer name may begin with a shorter one.
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    for pattern, word in _IDS.items():
        text = pattern.sub(word, text)
    return text


def versions_of(ground: Ground) -> dict[str, str]:
    """Return what a rehearsal ran with."""
    versions = {
        "propensity": deployed.commit_of(folders.ROOT),
        "python": platform.python_version(),
        "system": platform.system(),
    }
    for client in CLIENTS:
        versions[client] = metadata.version(client)
    return versions | dict(ground.versions())


def page(answer: Mapping[str, Any]) -> str:
    """Return the page of an answer."""
    began = datetime.fromisoformat(answer["began"])
    content = cleaned(answer) | {"day": day(began.date())}
    return filled(__package__, "rehearsal.html", content)


def write(answer: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the page and the JSON; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    html = folder / "rehearsal.html"
    html.write_text(page(answer), "utf-8")
    data = folder / "rehearsal.json"
    data.write_bytes(msgspec.json.format(msgspec.json.encode(answer), indent=1))
    return [html, data]
