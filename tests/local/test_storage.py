"""
The Cloud Storage emulator: where it keeps objects.

What clients see of it, such as compare-and-set, the tests of ``propensity.gcp`` and of
the registry say.
"""

from __future__ import annotations

import contextlib

import pytest
from starlette.exceptions import HTTPException

from local.emulators import storage as emulator


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "./x"])
def test_an_object_is_a_file_of_its_bucket(tmp_path, name):
    with contextlib.closing(emulator.Store(tmp_path)) as store:
        store.create_bucket({"name": "bucket"})

        with pytest.raises(HTTPException, match="cannot name a file"):
            store.write("bucket", b"other", {"name": name}, {})
