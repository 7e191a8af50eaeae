"""E-mail addresses, specified: what is around one is cut off, and the rest is none."""

from __future__ import annotations

import pytest

from propensity.audience.destinations.addresses import address_of


@pytest.mark.parametrize(
    "address", ["o'neill@x.de", "a.b+tag@mail.x.co.uk", "ana@m\u00fcller.de"]
)
def test_an_address_stays_as_it_is(address):
    assert address_of(address) == address


@pytest.mark.parametrize(
    "text",
    ["", "none@none", "ana@x..de", ".ana@x.de", "ana@x.de;bob@x.de", "ana(at)x.de",
     "Ana <ana@x.de>", "ana@1.2.3.4", "a@b@x.de", "a" * 250 + "@x.de"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_a_part_of_it(text):
    """none@none would put many people on one hash."""
    with pytest.raises(ValueError, match="^no e-mail address$"):
        address_of(text)
