"""
The server of the asynchronous functions: what it refuses by itself is JSON, too.

uvicorn parses a request before a function is asked. By default it answers broken chunks
in plain text, and a sender who stops within the body not at all.
"""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from propensity.errors import BROKEN_BODY, RequestError


class JsonErrors(HttpToolsProtocol):
    """uvicorn's protocol, which says in JSON why it refuses a request."""

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, unless an answer is on its way already."""
        error = RequestError("the request is not HTTP")
        if self._is_within_body():
            error = RequestError(BROKEN_BODY, field="body")
        if not (self._is_within_body() and self.cycle.response_started):
            body = json.dumps(error.body()).encode()
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
        self.transport.close()

    def eof_received(self) -> None:
        """Answer a sender who stops within the body, and may still read."""
        if self._is_within_body():
            self.send_400_response(BROKEN_BODY)

    def _is_within_body(self) -> bool:
        return self.cycle is not None and self.cycle.more_body
