"""
Types of single fields of requests and answers, by what the code takes and gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from propensity import ids, usecases
from propensity.events import values

Schema = dict[str, Any]
REFERENCE = "#/components/schemas/{name}"

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[datetime, Meta(tz=True)]
UserId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=ids.MAXIMUM_ID_CHARACTERS,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
    ),
]
WholeId = Annotated[
    int,
    Meta(
        gt=-ids.INEXACT,
        lt=ids.INEXACT,
        description="a larger number may have lost digits; write ids as texts",
    ),
]
UseCaseName = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,63}$")]
Version = Annotated[str, Meta(pattern="^-?[0-9]{1,18}$")] | int | None
AlwaysFalse = Annotated[bool, Meta(extra_json_schema={"const": False})]
# A number in a request may be a text, as data files and programs write it.
_NUMERAL = "^[+-]?([0-9]{1,40}[.]?[0-9]{0,40}|[.][0-9]{1,40})([eE][+-]?[0-9]{1,2})?$"
Number = Annotated[str, Meta(pattern=_NUMERAL)] | float | None
Text = Annotated[str, Meta(max_length=values.MAXIMUM_TEXT_CHARACTERS)] | None


class Closed(Struct, forbid_unknown_fields=True, kw_only=True):
    """Has these fields and no other."""


def _one_of(names: Sequence[str]) -> Any:
    return Annotated[
        str,
        Meta(
            extra_json_schema={"enum": list(names)},
            description="PROPENSITY_USE_CASE without it",
        ),
    ]


AnyUseCase = _one_of(usecases.names())
# Other use cases score events as they happen, and no users by day.
UserUseCase = _one_of(
    [name for name in usecases.names() if not usecases.load(name).scores_events]
)
