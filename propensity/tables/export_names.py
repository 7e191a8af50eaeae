"""Names of the export's view and of its digest, as statements have them."""

from __future__ import annotations

import re

# The tables of ``export.DIGEST``.
DIGEST_NAMES = ("ga_user_days", "ga_conversions", "ga_refusals", "ga_digested_days")
# The view of the export, which ``ga4`` makes.
VIEW = "ga_events"
# The event that Analytics is sent for each member of an audience, and exports like any
# other. ga_events.sql leaves it out: what we do is nothing that a user did.
OWN_EVENT = "propensity_audience"

BY_EXPORT = (VIEW, *DIGEST_NAMES)
_NAMES = re.compile(rf"\b(?:{'|'.join(BY_EXPORT)})\b")


def with_suffix(text: str, suffix: str) -> str:
    """Return a statement, or a name, with the view and the tables of an export."""
    return _NAMES.sub(rf"\g<0>{suffix}", text)
