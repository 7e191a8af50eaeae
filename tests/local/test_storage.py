"""
The Cloud Storage emulator: what it keeps when it is killed, and where.

What clients see of it, such as compare-and-set, the tests of ``propensity.gcp`` and of
the registry say.
"""

from __future__ import annotations

import contextlib

import pytest
import requests
from google.api_core.exceptions import BadRequest

from local.emulators import storage as emulator


@pytest.fixture
def bucket(deployment):
    return deployment.bucket


@pytest.mark.parametrize("cut", ["_retire", "write"])
def test_a_write_that_is_cut_off_leaves_an_object_whole(tmp_path, monkeypatch, cut):
    """Either the old one or the new one, with the checksum that it says."""
    place = ({"name": "champion.json"}, {})
    bucket = "bucket"
    whole = {"_retire": emulator.Store, "write": emulator.whole_files}[cut]
    done = getattr(whole, cut)

    def killed(*arguments):
        done(*arguments)
        raise KeyboardInterrupt

    with contextlib.closing(emulator.Store(tmp_path)) as store:
        store.create_bucket({"name": bucket})
        first = store.write(bucket, b"old", *place)
        monkeypatch.setattr(whole, cut, killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(bucket, b"newer", *place)

    with contextlib.closing(emulator.Store(tmp_path)) as again:
        resource, content = again.read(bucket, "champion.json", {})
    assert content == (b"old" if cut == "_retire" else b"newer")
    assert resource["size"] == str(len(content))
    assert (resource["generation"] == first["generation"]) == (content == b"old")


def test_a_generation_that_is_deleted_by_its_number_is_gone_for_good(tmp_path):
    """Also the live one; all others stay, and are listed where versions are asked for:
    the forgetting of users looks for them there."""
    bucket = "bucket"
    name = "index"
    every = {"versions": "true"}
    with contextlib.closing(emulator.Store(tmp_path)) as store:
        store.create_bucket({"name": bucket, "versioning": {"enabled": True}})
        old, live = (store.write(bucket, b"x", {"name": name}, {}) for _ in range(2))
        store.delete(bucket, name, {"generation": live["generation"]})
        [kept] = store.objects(bucket, every)

        assert kept["generation"] == old["generation"]
        assert "timeDeleted" in kept
        assert store.objects(bucket, {}) == []
        store.delete(bucket, name, {"generation": old["generation"]})
        assert store.objects(bucket, every) == []


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a/../x", "a//x", "./x"])
def test_an_object_has_a_file_of_its_own_in_the_folder_of_its_bucket(bucket, name):
    bucket.blob("x").upload_from_string(b"x")

    with pytest.raises(BadRequest, match="cannot name a file"):
        bucket.blob(name).upload_from_string(b"other")
    assert bucket.blob("x").download_as_bytes() == b"x"
    assert bucket.client.get_bucket(bucket.name).get_blob("x").size == 1


def test_a_bucket_has_a_name_and_no_path(bucket):
    with pytest.raises(BadRequest):
        bucket.client.create_bucket("a/../../b")


def test_a_bucket_keeps_its_name_and_folder(emulators, bucket, tmp_path):
    url = f"{emulators.url('storage')}/storage/v1/b/{bucket.name}"
    elsewhere = tmp_path / "made"
    answer = requests.patch(url, json={"name": str(elsewhere)}, timeout=10)

    assert answer.json()["name"] == bucket.name
    assert not elsewhere.exists()


def test_the_server_keeps_objects_as_files(emulators, bucket):
    """Which can be opened; none is outside the bucket's folder."""
    bucket.blob("models/champion.json").upload_from_string(b"now")
    folder = emulators.state.folder / "storage" / bucket.name

    assert (folder / "models" / "champion.json").read_bytes() == b"now"
