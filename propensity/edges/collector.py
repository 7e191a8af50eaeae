"""
The garbage collector of an instance that answers many requests at once.

02-GetProba imports this, so nothing heavy may be imported here.
"""

from __future__ import annotations

import gc
from functools import cache

# New objects after which the collector looks through them.
COLLECT_AFTER = 50_000


@cache
def spare_the_collector(*, collects: bool = True) -> None:
    """
    Keep the garbage collector off what stays; once in a process.

    Hundreds of requests wait at once, with a hundred objects each, beside those of a
    hundred modules. As Python sets it, the collector walks through them again and again
    and takes a quarter of the processor's time. What it is for, cycles, requests leave
    few of.

    Args:
        collects: Whether what is garbage by now goes first. That takes a tenth of a
            second, which a first request may not have.
    """
    if collects:
        gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)
