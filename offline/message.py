"""The weekly message, as the deployment that the environment names would send it."""

from __future__ import annotations

from datetime import date

from propensity.clock import SYSTEM, Clock
from propensity.registry.deployment import connected
from propensity.runs.message import deployments, link_of, sentences
from propensity.settings import Settings


def run(*, as_of: date | None = None, clock: Clock = SYSTEM) -> list[str]:
    """
    Return the sentences; nothing is sent.

    Args:
        as_of: Rows up to this day count; None for today.

    Raises:
        UseCaseError: The folder of a use case is wrong.
        PropensityError: BigQuery did not answer, or refuses.
    """
    settings = Settings.from_environment()
    if as_of is None:
        as_of = clock.now().date()
    with connected(settings) as (artifacts, warehouse):
        opened, wrong = deployments(settings, warehouse, artifacts)
        if wrong:
            raise wrong[0]
        link = link_of(settings.required("bucket"))
        return sentences(opened, as_of=as_of, link=link)
