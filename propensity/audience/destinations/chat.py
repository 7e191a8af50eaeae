"""
Incoming webhooks of Slack, Microsoft Teams and Google Chat: who knows the address may
post, so the address is a secret, and no message here has more of it than the host.

Sources:
    https://api.slack.com/messaging/webhooks,
    https://support.microsoft.com/office/create-incoming-webhooks-with-workflows-for-microsoft-teams-8ae491c7-0394-4861-ba59-055e33f75498,
    https://developers.google.com/workspace/chat/quickstart/webhooks
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import requests

from propensity.audience.destinations.answers import URL, answer_to
from propensity.errors import SettingsError, Unavailable

# An address of this machine takes the form of Slack, for tests and to practise.
SLACK = ("hooks.slack.com", "hooks.slack-gov.com", "127.0.0.1")
GOOGLE_CHAT = "chat.googleapis.com"
# Workflows have a host of their own in each region.
TEAMS = (".logic.azure.com", ".api.powerplatform.com", ".webhook.office.com")
# What a chat says that takes a message, by the end of its host, whatever its status:
# each answers a refusal with 200, too.
_YES = {
    **dict.fromkeys(SLACK, "ok"),
    ".webhook.office.com": "1",
    ".logic.azure.com": "",
    ".api.powerplatform.com": "",
}
# Of a gateway that had no answer of the chat.
_NO_ANSWER = (502, 504)
# Slack takes these for the beginning of a link or of a mention.
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# In the others these begin a link or a mention, and cannot be escaped: signs that look
# like them do.
_ALIKE = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")"})


def body_for(host: str, sentences: Sequence[str]) -> dict[str, object]:
    """Return the body that a chat takes, by the host of its webhook."""
    if host.endswith(TEAMS):
        blocks = []
        for sentence in sentences:
            text = sentence.translate(_ALIKE)
            blocks.append({"type": "TextBlock", "text": text, "wrap": True})
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.2",
            "body": blocks,
        }
        content = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": card,
        }
        return {"type": "message", "attachments": [content]}
    text = "\n".join(sentences)
    if host in SLACK:
        return {"text": re.sub("[&<>]", lambda sign: _ESCAPES[sign[0]], text)}
    if host == GOOGLE_CHAT:
        return {"text": text.translate(_ALIKE)}
    raise SettingsError(
        "the secret that PROPENSITY_MESSAGE_SECRET names is not the address of a "
        "webhook of Slack, Microsoft Teams or Google Chat",
        hint="Copy the whole address from the chat, from https:// to its end",
        field="PROPENSITY_MESSAGE_SECRET",
    )


def post(url: str, sentences: Sequence[str]) -> str:
    """
    Post a message; return "", or why the chat has certainly not taken it.

    Raises:
        Unavailable: There was no answer of the chat, so that it may have come.
        SettingsError: The address is that of no chat.
    """
    host = ""
    if re.match(URL, url):
        host = str(urlsplit(url).hostname)
    data = json.dumps(body_for(host, sentences)).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    try:
        with requests.Session() as session:
            answer = answer_to(session, "POST", url, data=data, headers=headers)
    except (requests.RequestException, ValueError):
        raise Unavailable(f"{host} did not answer") from None
    if answer.status in _NO_ANSWER:
        raise Unavailable(f"{host} answered with status {answer.status}")
    if not 200 <= answer.status < 300:
        return f"{host} answered with status {answer.status}"
    if answer.is_web_page:
        return f"{host} answered with a web page"
    text = "" if answer.text is None else answer.text.strip().strip('"')
    if any(host.endswith(ending) and text != said for ending, said in _YES.items()):
        return f"{host} answered with status {answer.status}, but did not take it"
    return ""
