"""
The Cloud Storage emulator: where it keeps objects, and chunks that come again.

What clients see of it, such as compare-and-set, the tests of ``propensity.gcp`` and of
the registry say.
"""

from __future__ import annotations

import contextlib

import pytest
import requests
from starlette.exceptions import HTTPException

from local.emulators import storage as emulator
from tests.local.chunks import sent_twice


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "./x"])
def test_an_object_is_a_file_of_its_bucket(tmp_path, name):
    with contextlib.closing(emulator.Store(tmp_path)) as store:
        store.create_bucket({"name": "bucket"})

        with pytest.raises(HTTPException, match="cannot name a file"):
            store.write("bucket", b"other", {"name": name}, {})


def test_a_chunk_of_an_object_that_comes_again_is_stored_once(emulated):
    """A client sends it again that lost the answer, to the last one, too."""
    bucket = emulated.bucket
    url = f"{emulated.stack.url('storage')}/upload/storage/v1/b/{bucket.name}/o"
    begun = requests.post(f"{url}?uploadType=resumable&name=whole", json={}, timeout=60)
    answers = sent_twice(begun.headers["Location"], [b"one, ", b"two"])

    assert [answer.status_code for answer in answers] == [308, 308, 200, 200]
    assert answers[2].json() == answers[3].json()
    assert bucket.blob("whole").download_as_bytes() == b"one, two"
