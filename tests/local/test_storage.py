"""
The Cloud Storage emulator: what it keeps when it is killed, and where.

What clients see of it, such as compare-and-set, the tests of ``propensity.gcp`` and of
the registry say.
"""

from __future__ import annotations

import contextlib

import pytest
from starlette.exceptions import HTTPException

from local.emulators import storage as emulator


@pytest.mark.parametrize("cut", ["_retire", "write_whole"])
def test_a_write_that_is_cut_off_leaves_an_object_whole(tmp_path, monkeypatch, cut):
    """Either the old one or the new one, with the checksum that it says."""
    request = ({"name": "champion.json"}, {})
    bucket = "bucket"
    whole = {"_retire": emulator.Store, "write_whole": emulator.whole_files}[cut]
    done = getattr(whole, cut)

    def killed(*arguments):
        done(*arguments)
        raise KeyboardInterrupt

    with contextlib.closing(emulator.Store(tmp_path)) as store:
        store.create_bucket({"name": bucket})
        first = store.write(bucket, b"old", *request)
        monkeypatch.setattr(whole, cut, killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(bucket, b"newer", *request)

    with contextlib.closing(emulator.Store(tmp_path)) as again:
        resource, content = again.read(bucket, "champion.json", {})
    assert content == (b"old" if cut == "_retire" else b"newer")
    assert resource["size"] == str(len(content))
    assert (resource["generation"] == first["generation"]) == (content == b"old")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a/../x", "a//x", "./x"])
def test_an_object_is_a_file_of_its_bucket(tmp_path, name):
    with contextlib.closing(emulator.Store(tmp_path)) as store:
        store.create_bucket({"name": "bucket"})

        with pytest.raises(HTTPException, match="cannot name a file"):
            store.write("bucket", b"other", {"name": name}, {})
