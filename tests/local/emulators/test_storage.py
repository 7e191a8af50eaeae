"""
The Cloud Storage emulator as local mode starts it, specified by what clients see of it.

The promises are those that the registry builds on: a name is claimed by one, a pointer
is moved by compare-and-set, and neither depends on who is faster.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests
from google.api_core.exceptions import (
    NotFound,
    NotModified,
    PreconditionFailed,
)
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local.processes import free_ports
from local.stack.starting import answers
from tests.local.emulators.conftest import NEW

THREADS = 16

CHUNK = 256 * 1024


def at_once(work, arguments):
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, arguments))


class TestRaces:
    def test_one_of_many_creators_wins(self, bucket):
        """Of sixteen that claim a name with generation 0, one gets it."""

        def claim(number):
            try:
                text = str(number).encode()
                bucket.blob("v/7").upload_from_string(text, if_generation_match=NEW)
            except PreconditionFailed:
                return None
            return text

        winners = [text for text in at_once(claim, range(THREADS)) if text is not None]

        assert [bucket.blob("v/7").download_as_bytes()] == winners

    def test_no_compare_and_set_is_lost(self, bucket):
        """Sixteen count up one number by compare-and-set: it ends at their sum."""
        bucket.blob("n").upload_from_string(b"0")

        def increment(_):
            while True:
                blob = bucket.blob("n")
                count = int(blob.download_as_bytes())
                try:
                    blob.upload_from_string(
                        str(count + 1), if_generation_match=blob.generation
                    )
                except PreconditionFailed:
                    continue
                return

        at_once(increment, range(THREADS))

        assert bucket.blob("n").download_as_bytes() == str(THREADS).encode()

    def test_generations_grow(self, bucket):
        """Every write has a generation of its own, above all before it."""
        generations = []
        for number in range(20):
            blob = bucket.blob("x")
            blob.upload_from_string(str(number))
            generations.append(blob.generation)

        assert generations == sorted(set(generations))


class TestWrites:
    """Every way to write refuses a generation that is not the current one."""

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
        bucket.blob(name).upload_from_string(b"new", **conditions)

    @staticmethod
    def _resumable(bucket, name, **conditions):
        content = io.BytesIO(os.urandom(3 * CHUNK))
        bucket.blob(name, chunk_size=CHUNK).upload_from_file(content, **conditions)

    @pytest.mark.parametrize("way", ["simple", "multipart", "resumable"])
    def test_check_the_generation(self, bucket, pointer, way):
        """A stale generation and a claim of a taken name fail; the current works."""
        write = getattr(self, f"_{way}")
        for wrong in (pointer.stale, NEW):
            with pytest.raises(PreconditionFailed):
                write(bucket, pointer.name, if_generation_match=wrong)
        assert bucket.blob(pointer.name).download_as_bytes() == b"now"

        write(bucket, pointer.name, if_generation_match=pointer.generation)

        assert bucket.blob(pointer.name).download_as_bytes() != b"now"

    def test_check_a_resumable_upload_when_it_ends(self, bucket):
        """An upload that began when the name was free loses it to a faster one."""

        class Slow(io.BytesIO):
            """Content during whose reading somebody else writes the object."""

            def read(self, size=-1):
                if self.tell() == CHUNK:
                    bucket.blob("v/8").upload_from_string(b"faster")
                return super().read(size)

        blob = bucket.blob("v/8", chunk_size=CHUNK)
        with pytest.raises(PreconditionFailed):
            blob.upload_from_file(Slow(bytes(3 * CHUNK)), if_generation_match=NEW)

        assert bucket.blob("v/8").download_as_bytes() == b"faster"

    def test_check_metadata_changes(self, bucket, pointer):
        """A change of metadata names the generation it is for, too."""
        pointer.metadata = {"promoted_by": "test"}
        with pytest.raises(PreconditionFailed):
            pointer.patch(if_generation_match=pointer.stale)

        pointer.patch(if_generation_match=pointer.generation)

        assert bucket.get_blob(pointer.name).metadata == {"promoted_by": "test"}


class TestDeletes:
    def test_check_the_generation(self, bucket, pointer):
        """A delete with a stale generation fails and deletes nothing."""
        with pytest.raises(PreconditionFailed):
            bucket.blob(pointer.name).delete(if_generation_match=pointer.stale)
        assert bucket.blob(pointer.name).exists()

        bucket.blob(pointer.name).delete(if_generation_match=pointer.generation)

        assert not bucket.blob(pointer.name).exists()

    def test_free_the_name(self, bucket, pointer):
        """A deleted object's name can be claimed again, with a newer generation."""
        pointer.delete()

        again = bucket.blob(pointer.name)
        again.upload_from_string(b"new", if_generation_match=NEW)

        assert again.generation > pointer.generation


class TestReads:
    def test_answer_an_unchanged_object_without_content(self, bucket, pointer):
        """A conditional GET of what the reader has is 304; of anything else, it."""
        blob = bucket.blob(pointer.name)
        with pytest.raises(NotModified):
            blob.download_as_bytes(if_generation_not_match=pointer.generation)
        with pytest.raises(NotModified):
            blob.reload(if_generation_not_match=pointer.generation)

        content = blob.download_as_bytes(if_generation_not_match=pointer.stale)

        assert content == b"now"

    def test_check_the_generation(self, bucket, pointer):
        """A read that insists on a stale generation fails; after one that does not
        the client knows which generation it has."""
        blob = bucket.blob(pointer.name)
        with pytest.raises(PreconditionFailed):
            blob.download_as_bytes(if_generation_match=pointer.stale)

        blob.download_as_bytes()

        assert int(blob.generation) == pointer.generation

    def test_find_the_current_generation_alone(self, bucket, pointer):
        """Another that is named is not found, to be read or deleted; the object
        stays."""
        stale = bucket.blob(pointer.name, generation=pointer.stale)
        for ask in (stale.download_as_bytes, stale.delete):
            with pytest.raises(NotFound):
                ask()

        current = bucket.blob(pointer.name, generation=pointer.generation)

        assert current.download_as_bytes() == b"now"


class TestServer:
    def test_is_not_held_up_by_a_silent_client(self, bucket, pointer):
        """A client that connects and says nothing does not keep others waiting."""
        address = urlsplit(bucket.client._connection.API_BASE_URL)
        with socket.create_connection((address.hostname, address.port)) as silent:
            silent.sendall(b"POST /upload/storage/v1/b/x/o HTTP/1.1\r\n")

            assert pointer.exists()

    def test_listens_on_this_machine_alone(self, storage_emulator):
        """No other address of this machine answers."""
        port = urlsplit(storage_emulator.url).port
        with socket.socket() as other:
            other.settimeout(5)

            assert other.connect_ex(("127.0.0.2", port)) != 0

    def test_keeps_objects_as_files(self, emulators, bucket, pointer):
        """What is in the bucket can be opened as a file of its name."""
        file = emulators.state.folder / "storage" / bucket.name / pointer.name

        assert file.read_bytes() == b"now"


class TestRestart:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_keeps_objects_and_generations(self, tmp_path, number):
        """Compare-and-set goes on where it was, whatever ended the emulator."""
        with Emulator(tmp_path) as emulator:
            blob = emulator.bucket.blob("a/b")
            blob.upload_from_string(b"1")
            emulator.process.send_signal(number)
            emulator.process.wait(timeout=20)

        with Emulator(tmp_path) as emulator:
            again = emulator.bucket.get_blob("a/b")
            assert again.generation == blob.generation
            again.upload_from_string(b"2", if_generation_match=blob.generation)

            assert emulator.bucket.blob("a/b").download_as_bytes() == b"2"


class Emulator:
    """An emulator of its own for a test that stops it; gone after the block."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        [port] = free_ports(1)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "local.emulators.storage"),
                *("--port", str(port), "--data-dir", str(self.folder)),
            ]
        )
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while not answers(address):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client = storage.Client(
            project="p",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": address},
        )
        self.bucket = client.bucket("bucket")
        if not self.bucket.exists():
            self.bucket.create()
        return self

    def __exit__(self, *_):
        self.bucket.client.close()
        self.process.kill()
        self.process.wait()
