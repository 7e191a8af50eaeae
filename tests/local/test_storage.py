"""
The Cloud Storage emulator by what clients see of it.

The promises are those that the registry builds on: a name is claimed by one, a pointer
is moved by compare-and-set, and neither depends on who is faster.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from google.api_core.exceptions import (
    BadRequest,
    NotFound,
    PreconditionFailed,
)
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local.emulators import storage as emulator
from local.processes import answers, free_ports
from tests.local.projects import wait_until

NEW = 0
THREADS = 16
CHUNK = 256 * 1024


@pytest.fixture
def bucket(workplace):
    with workplace.storage.client() as client:
        yield client.bucket(workplace.bucket)


@pytest.fixture
def pointer(bucket):
    """An object that has been overwritten once; ``stale`` was its first generation."""
    blob = bucket.blob("models/champion.json")
    blob.upload_from_string(b"old")
    blob.stale = blob.generation
    blob.upload_from_string(b"now")
    return blob


class TestRaces:
    def test_no_compare_and_set_is_lost(self, bucket):
        """Sixteen claim a name and count up its number: one made it, and it ends at
        their sum."""

        def increment(_):
            while True:
                blob, count = bucket.blob("n"), 0
                with contextlib.suppress(NotFound):
                    count = int(blob.download_as_bytes())
                try:
                    blob.upload_from_string(
                        str(count + 1), if_generation_match=blob.generation or NEW
                    )
                except PreconditionFailed:
                    continue
                return count

        with ThreadPoolExecutor(THREADS) as pool:
            counts = sorted(pool.map(increment, range(THREADS)))

        assert counts == list(range(THREADS))
        assert bucket.blob("n").download_as_bytes() == str(THREADS).encode()


class TestWrites:
    @staticmethod
    def _simple(bucket, name, **conditions):
        address = f"{bucket.client._connection.API_BASE_URL}/upload/storage/v1"
        answer = requests.post(
            f"{address}/b/{bucket.name}/o",
            params={
                "uploadType": "media",
                "name": name,
                "ifGenerationMatch": conditions["if_generation_match"],
            },
            data=b"new",
            timeout=10,
        )
        if answer.status_code == PreconditionFailed.code:
            raise PreconditionFailed(answer.text)
        answer.raise_for_status()

    @staticmethod
    def _multipart(bucket, name, **conditions):
        bucket.blob(name).upload_from_string(b"new\r\n--\n\n", **conditions)

    @staticmethod
    def _resumable(bucket, name, **conditions):
        content = io.BytesIO(os.urandom(3 * CHUNK))
        bucket.blob(name, chunk_size=CHUNK).upload_from_file(content, **conditions)

    @pytest.mark.parametrize("way", ["simple", "multipart", "resumable"])
    def test_writes_check_the_generation(self, bucket, pointer, way):
        """A stale generation and a claim of a taken name fail; the current works."""
        write = getattr(self, f"_{way}")
        for wrong in (pointer.stale, NEW):
            with pytest.raises(PreconditionFailed):
                write(bucket, pointer.name, if_generation_match=wrong)
        assert bucket.blob(pointer.name).download_as_bytes() == b"now"

        write(bucket, pointer.name, if_generation_match=pointer.generation)

        assert bucket.get_blob(pointer.name).generation > pointer.generation
        assert bucket.blob(pointer.name).download_as_bytes() != b"now"


def test_a_delete_frees_the_name(bucket, pointer):
    """Which can be claimed again, with a newer generation. One that is no more is not
    found."""
    stale = bucket.blob(pointer.name, generation=pointer.stale)
    for ask in (stale.download_as_bytes, stale.delete):
        with pytest.raises(NotFound):
            ask()
    bucket.blob(pointer.name).delete()
    again = bucket.blob(pointer.name)
    again.upload_from_string(b"new", if_generation_match=NEW)

    assert again.generation > pointer.generation


@pytest.mark.parametrize("cut", ["_save", "write"])
def test_a_write_that_is_cut_off_leaves_an_object_whole(tmp_path, monkeypatch, cut):
    """Either the old one or the new one, with the checksum that it says."""
    place, bucket = ({"name": "champion.json"}, {}), "bucket"
    whole = {"_save": emulator.Store, "write": emulator.whole_files}[cut]
    done = getattr(whole, cut)

    def killed(*arguments):
        done(*arguments)
        raise KeyboardInterrupt

    with contextlib.closing(emulator.Store(tmp_path)) as store:
        store.create_bucket({"name": bucket})
        first = store.write(bucket, b"old", *place)
        with monkeypatch.context() as patch:
            patch.setattr(whole, cut, killed)
            with pytest.raises(KeyboardInterrupt):
                store.write(bucket, b"newer", *place)

    with contextlib.closing(emulator.Store(tmp_path)) as again:
        resource, content = again.read(bucket, "champion.json", {})
    assert content in (b"old", b"newer")
    assert resource["size"] == str(len(content))
    assert (resource["generation"] == first["generation"]) == (content == b"old")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a/../x", "a//x", "./x"])
def test_an_object_has_a_file_of_its_own_in_the_folder_of_its_bucket(bucket, name):
    bucket.blob("x").upload_from_string(b"x")

    with pytest.raises(BadRequest, match="cannot name a file"):
        bucket.blob(name).upload_from_string(b"other")
    assert bucket.blob("x").download_as_bytes() == b"x"
    assert bucket.client.get_bucket(bucket.name).get_blob("x").size == 1


def test_a_bucket_keeps_its_name_and_folder(emulators, bucket, tmp_path):
    url = f"{emulators.url('storage')}/storage/v1/b/{bucket.name}"
    elsewhere = tmp_path / "made"
    answer = requests.patch(url, json={"name": str(elsewhere)}, timeout=10)

    assert answer.json()["name"] == bucket.name
    assert not elsewhere.exists()


class TestServer:
    def test_the_server_keeps_objects_as_files(self, emulators, bucket, pointer):
        """Which can be opened; none is outside the bucket's folder."""
        folder = emulators.state.folder / "storage" / bucket.name

        assert (folder / pointer.name).read_bytes() == b"now"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_the_server_goes_on_where_it_was(self, tmp_path, number):
        """Whatever ended it."""
        generations = []
        for _ in range(2):
            [port] = free_ports(1)
            module = [sys.executable, "-m", "local.emulators.storage"]
            words = ["--port", str(port), "--data-dir", str(tmp_path)]
            process = subprocess.Popen([*module, *words])
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(address))  # noqa: B023
            with storage.Client(
                project="p",
                credentials=AnonymousCredentials(),
                client_options={"api_endpoint": address},
            ) as client:
                bucket = client.bucket("bucket")
                if not bucket.exists():
                    bucket.create()
                blob = bucket.get_blob("a/b") or bucket.blob("a/b")
                generations.append(blob.generation)
                blob.upload_from_string(
                    b"1", if_generation_match=blob.generation or NEW
                )
                generations.append(blob.generation)
            process.send_signal(number)
            process.wait(timeout=20)

        assert generations[0] is None
        assert generations[1] == generations[2] < generations[3]
