"""Forgetting, specified by the files of receivers: who takes a person off a list."""

from __future__ import annotations

from offline import receivers
from propensity import usecases


def test_a_receiver_that_no_delivery_will_ask_is_for_a_person(folder):
    """And one whose files are wrong is asked once they are right."""

    def removal() -> str:
        return receivers.removal_of(usecases.load("ga4_purchase"), "winback", "crm")

    audience = folder / "winback.toml"
    destination = folder / "destinations/crm.toml"
    able = 'kind = "http"\nname = "crm"\n[remove]\n'
    destination.write_text(able)
    assert removal() == receivers.WAITS
    text = audience.read_text()
    audience.write_text("top = ten")
    assert removal() == receivers.WAITS
    audience.write_text(text.replace("crm", "bucket"))
    assert removal() == receivers.ENDS
    audience.unlink()
    assert removal() == receivers.ENDS
    for other in (able.replace("[remove]", ""), able.replace('"crm"', '"crm2"')):
        destination.write_text(other)
        assert removal() == receivers.BY_HAND
    destination.unlink()
    assert removal() == receivers.BY_HAND
