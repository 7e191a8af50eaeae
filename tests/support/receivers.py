"""A receiver that plays a list of answers."""

from __future__ import annotations

from typing import Any

from local.receiver import Answer, Receiver


class Playing(Receiver):
    """
    A receiver that plays answers, and keeps each request that it heard.

    Args:
        answers: To its first requests; None takes the users of one.
        always: To all later ones.
        more: As of a ``Receiver``.

    Attributes:
        heard: Method, path, headers and body of each request.
    """

    def __init__(
        self, *answers: Answer | None, always: Answer | None = None, **more: Any
    ) -> None:
        super().__init__(**more)
        self.answers = list(answers)
        self.always = always
        self.heard: list[tuple[str, str, dict[str, str], bytes]] = []

    def take(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        self.heard.append((method, path, dict(headers), body))
        answer = self.answers.pop(0) if self.answers else self.always
        return answer or super().take(method, path, headers, body)
