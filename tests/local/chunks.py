"""Uploads in chunks, as Google's clients send them."""

from __future__ import annotations

from collections.abc import Sequence

import requests


def sent_twice(url: str, chunks: Sequence[bytes]) -> list[requests.Response]:
    """Send each chunk of an upload, and at once again; return all answers."""
    total = sum(map(len, chunks))
    answers = []
    start = 0
    for chunk in chunks:
        place = f"bytes {start}-{start + len(chunk) - 1}/{total}"
        for _ in range(2):
            answers.append(
                requests.put(url, chunk, headers={"Content-Range": place}, timeout=60)
            )
        start += len(chunk)
    return answers
