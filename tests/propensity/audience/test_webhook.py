"""Webhooks of chats: each gets the body that it takes, by the host of its address."""

from __future__ import annotations

import pytest

from propensity.audience.webhook import body_for, post
from propensity.errors import SettingsError

SENTENCES = ["One & two.", "<three>"]


def test_slack_takes_a_text_in_which_no_sign_begins_a_link():
    body = body_for("hooks.slack.com", SENTENCES)

    assert body == {"text": "One &amp; two.\n&lt;three&gt;"}


def test_google_chat_takes_a_text():
    """A title begins no mention and no link."""
    body = body_for("chat.googleapis.com", SENTENCES)

    assert body == {"text": "One & two.\n‹three›"}


@pytest.mark.parametrize(
    "host", ["prod-7.westeurope.logic.azure.com", "x.environment.api.powerplatform.com"]
)
def test_teams_takes_an_adaptive_card(host):
    said = SENTENCES + ["[four](http://x.example)"]
    [attachment] = body_for(host, said)["attachments"]
    card = attachment["content"]

    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["type"] == "AdaptiveCard"
    texts = [block["text"] for block in card["body"]]
    assert texts == ["One & two.", "‹three›", "(four)(http://x.example)"]


@pytest.mark.parametrize(
    "url", ["https://example.com/x", "http://hooks.slack.com/x", "hooks.slack.com", ""]
)
def test_another_address_is_refused_without_a_word_of_it(url):
    with pytest.raises(SettingsError, match="PROPENSITY_MESSAGE_SECRET") as refused:
        post(url, SENTENCES)

    assert not url or url not in refused.value.message
