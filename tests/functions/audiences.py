"""Audiences that are declared and sent by hand, and users who are members of one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path

from propensity.audience import run
from propensity.audience.declared import load_audience
from propensity.gcp import secrets
from propensity.registry.deployment import open_deployment
from propensity.tables.audiences import AUDIENCE_MEMBERS
from tests.support.deployment import Deployment, entered
from tests.support.rows import append_rows


def by_hand(site: Deployment, day: date, use_case="ga4_purchase", name="winback"):
    """Send an audience as `propensity audience send` does."""
    with entered(site.environment), open_deployment(use_case) as deployment:
        named = load_audience(deployment.use_case, name)
        secret = secrets.reader(site.settings)
        done = run.send(deployment, named, secret, until=day)
    assert done.failure is None


def file_of(site: Deployment, name: str) -> Path:
    folder = Path(site.environment["PROPENSITY_USE_CASES"])
    return folder / "ga4_purchase" / "audiences" / name


def declare(site: Deployment, name: str, text: str) -> None:
    file_of(site, f"{name}.toml").write_text(text)


def join(
    deployment: Deployment,
    as_of: date,
    treated: Iterable[str],
    held_out: Iterable[str],
    *,
    audience: str = "winback",
    use_case: str = "ga4_purchase",
    probability: float = 0.25,
    group: str = "",
    selected_at: datetime | None = None,
) -> None:
    """Make users members of an audience, whose control group is its own by default."""
    rows = [
        {
            "use_case": use_case,
            "audience": audience,
            "as_of": as_of,
            "user_id": user,
            "probability": probability,
            "is_control": is_control,
            "control_group": group if group else audience,
            "control_share": 0.5,
            "selected_at": selected_at,
        }
        for users, is_control in ((treated, False), (held_out, True))
        for user in users
    ]
    append_rows(deployment.warehouse, AUDIENCE_MEMBERS, rows)
