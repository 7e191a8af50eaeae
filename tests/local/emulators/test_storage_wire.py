"""Bodies in chunks and ranges of bytes, specified by what clients send and get."""

from __future__ import annotations

import contextlib
import http.client
from urllib.parse import urlsplit

import pytest
import requests


class TestChunks:
    @pytest.mark.parametrize(
        "body",
        [
            b"5\r\nhello\r\n0\r\n\r\n",
            b"2;name=value\r\nhe\r\n3\r\nllo\r\n0\r\nChecksum: x\r\n\r\n",
        ],
        ids=["one", "with extension and trailer"],
    )
    def test_are_read_to_their_end(self, bucket, body):
        """A stream is uploaded, and its connection serves the next request."""
        address = urlsplit(bucket.client._connection.API_BASE_URL)
        link = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
        at = f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=streamed"
        statuses = []
        with contextlib.closing(link):
            for _ in range(3):
                link.putrequest("POST", at)
                link.putheader("Content-Type", "text/plain")
                link.putheader("Transfer-Encoding", "chunked")
                link.endheaders(body)
                answer = link.getresponse()
                answer.read()
                statuses.append(answer.status)
                # A closed one would be opened anew, without a word.
                link.auto_open = 0

        assert statuses == [200, 200, 200]
        assert bucket.blob("streamed").download_as_bytes() == b"hello"


def read(bucket, name: str, range_: str) -> requests.Response:
    address = bucket.client._connection.API_BASE_URL
    at = f"{address}/download/storage/v1/b/{bucket.name}/o/{name}?alt=media"
    return requests.get(at, headers={"Range": range_}, timeout=10)


class TestRanges:
    @pytest.mark.parametrize(
        ("range_", "content", "content_range"),
        [
            ("bytes=0-1", b"he", "bytes 0-1/5"),
            ("bytes=3-9", b"lo", "bytes 3-4/5"),
            ("bytes=4-", b"o", "bytes 4-4/5"),
            ("bytes=-2", b"lo", "bytes 3-4/5"),
            ("bytes=-9", b"hello", "bytes 0-4/5"),
        ],
    )
    def test_are_of_the_first_and_last_bytes(
        self, bucket, range_, content, content_range
    ):
        """As readers of Parquet ask for a footer: the last bytes of any size."""
        bucket.blob("five").upload_from_string(b"hello")
        answer = read(bucket, "five", range_)

        assert (answer.status_code, answer.content) == (206, content)
        assert answer.headers["Content-Range"] == content_range

    @pytest.mark.parametrize(
        ("content", "range_"),
        [(b"hello", "bytes=5-"), (b"hello", "bytes=-0"), (b"", "bytes=0-9")],
    )
    def test_without_a_byte_are_refused(self, bucket, content, range_):
        """416 with the size, which clients take for the end, or for nothing at all."""
        bucket.blob("some").upload_from_string(content)
        answer = read(bucket, "some", range_)

        assert answer.status_code == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(content)}"

    def test_of_nothing_are_nothing(self, bucket):
        """A download in pieces of an empty object is empty."""
        bucket.blob("empty").upload_from_string(b"")
        pieces = bucket.blob("empty", chunk_size=256 * 1024)

        assert pieces.download_as_bytes() == b""
