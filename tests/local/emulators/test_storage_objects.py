"""Requests for an object, specified by what clients of all kinds see."""

from __future__ import annotations

import gzip
import http.client
from urllib.parse import urlsplit

import pytest
import requests
from google.api_core.exceptions import BadRequest, MethodNotImplemented
from hypothesis import given
from hypothesis import strategies as st

from local.emulators.storage.paths import ESCAPE, is_name, path_of

TEXT = b"hello " * 1000


def address(bucket, path: str) -> str:
    return f"{bucket.client._connection.API_BASE_URL}{path}"


class TestNames:
    @given(st.sets(st.text("a/.\\\\", min_size=1, max_size=8).filter(is_name)))
    def test_each_has_a_file_of_its_own(self, names):
        """No two names share a file, and none leaves the folder of its bucket."""
        paths = {path_of(name) for name in names}

        assert len(paths) == len(names)
        for path in paths:
            assert not {"", ".", ".."} & set(path.split("/"))
            assert "\\" not in path

    @given(st.text("abc/_-. é", min_size=1).filter(is_name))
    def test_that_file_systems_keep_are_kept_as_they_are(self, name):
        """A file of the folder is called as its object, wherever it can be."""
        plain = not {"", ".", ".."} & set(name.split("/"))

        assert (path_of(name) == name) == plain
        assert (ESCAPE in path_of(name)) == (not plain)

    def test_that_differ_in_slashes_or_dots_are_different_objects(self, bucket):
        """None has the bytes of another one; each is listed, read and deleted."""
        names = [
            "a",
            "b/a",
            "b//a",
            "/a",
            "b/./c",
            "b/c",
            "b/../c",
            "d/",
            "d/e",
            "x\\y",
        ]
        for name in names:
            bucket.blob(name).upload_from_string(name.encode())

        listed = [blob.name for blob in bucket.list_blobs()]
        read = {name: bucket.blob(name).download_as_bytes() for name in listed}
        bucket.delete_blobs(listed)

        assert listed == sorted(names)
        assert read == {name: name.encode() for name in names}
        assert list(bucket.list_blobs()) == []

    @pytest.mark.parametrize("name", ["a\nb", "a\rb"])
    def test_with_a_line_break_are_refused(self, bucket, name):
        """As by Cloud Storage, with 400."""
        with pytest.raises(BadRequest, match="line feed"):
            bucket.blob(name).upload_from_string(b"")

    def test_that_are_too_long_for_a_file_are_refused(self, bucket):
        """Cloud Storage takes them: so the refusal says whose limit it is."""
        with pytest.raises(MethodNotImplemented, match="such long names between"):
            bucket.blob("x" * 300).upload_from_string(b"")


class TestMetadata:
    def test_is_changed_key_by_key(self, bucket):
        """What a change does not name stays; a null removes."""
        blob = bucket.blob("x")
        blob.metadata, blob.cache_control = {"a": "1", "b": "2"}, "no-store"
        blob.upload_from_string(b"x")
        link = address(bucket, f"/storage/v1/b/{bucket.name}/o/x")
        change = {"metadata": {"a": None, "c": "3"}, "cacheControl": None}
        answer = requests.patch(link, json=change, timeout=10)
        stored = bucket.get_blob("x")

        assert answer.json()["metadata"] == {"b": "2", "c": "3"}
        assert (stored.metadata, stored.cache_control) == ({"b": "2", "c": "3"}, None)
        assert stored.download_as_bytes() == b"x"

    def test_counts_its_own_changes(self, bucket):
        """A new generation has the first metageneration, each change the next one."""
        blob = bucket.blob("x")
        blob.metadata = {"a": "1"}
        blob.upload_from_string(b"x")
        first = blob.metageneration
        blob.metadata = {"a": "2"}
        blob.patch()

        assert (first, blob.metageneration) == (1, 2)

    def test_of_a_rewrite_is_what_its_request_has(self, bucket):
        """As a change of the storage class, which is a rewrite onto itself."""
        blob = bucket.blob("x")
        blob.metadata = {"a": "1"}
        blob.upload_from_string(b"x", content_type="text/x")
        bucket.get_blob("x").update_storage_class("NEARLINE")
        stored = bucket.get_blob("x")

        assert (stored.storage_class, stored.metadata) == ("NEARLINE", {"a": "1"})
        assert (stored.content_type, stored.download_as_bytes()) == ("text/x", b"x")


class TestCopies:
    @pytest.mark.parametrize("way", ["copyTo", "rewriteTo"])
    @pytest.mark.parametrize(
        ("condition", "status"),
        [
            ("sourceGeneration=now", 200),
            ("sourceGeneration=stale", 404),
            ("ifSourceGenerationMatch=now", 200),
            ("ifSourceGenerationMatch=stale", 412),
            ("ifSourceGenerationNotMatch=now", 412),
            ("ifSourceGenerationNotMatch=stale", 200),
        ],
    )
    def test_hold_their_conditions_on_the_source(
        self, bucket, pointer, way, condition, status
    ):
        """Nothing is written where one fails."""
        name, _, of = condition.partition("=")
        generation = {"now": pointer.generation, "stale": pointer.stale}[of]
        objects = f"b/{bucket.name}/o"
        answer = requests.post(
            address(bucket, f"/storage/v1/{objects}/models%2Fchampion.json/{way}")
            + f"/{objects}/copy",
            params={name: generation},
            timeout=10,
        )

        assert answer.status_code == status
        assert (bucket.get_blob("copy") is not None) == (status == 200)


class TestGzip:
    @pytest.fixture
    def packed(self, bucket):
        blob = bucket.blob("packed")
        blob.content_encoding = "gzip"
        blob.upload_from_string(gzip.compress(TEXT), content_type="text/plain")
        return blob

    def test_is_unpacked_by_clients_that_take_it(self, packed):
        """They get the bytes as they are, and the header that says what these are."""
        assert packed.download_as_bytes() == TEXT
        assert gzip.decompress(packed.download_as_bytes(raw_download=True)) == TEXT
        assert packed.content_encoding == "gzip"

    @pytest.mark.parametrize(
        "headers_sent", [{}, {"Range": "bytes=0-9"}], ids=["all", "range"]
    )
    def test_is_unpacked_for_all_others(self, bucket, packed, headers_sent):
        """Whole: what is unpacked has no ranges."""
        link = address(bucket, f"/download/storage/v1/b/{bucket.name}/o/packed")
        headers = {"Accept-Encoding": "identity", **headers_sent}
        answer = requests.get(f"{link}?alt=media", headers=headers, timeout=10)

        assert (answer.status_code, answer.content) == (200, TEXT)
        assert "Content-Encoding" not in answer.headers
        assert "Content-Range" not in answer.headers

    def test_that_is_none_is_refused(self, bucket):
        """Instead of bytes that nobody has written."""
        blob = bucket.blob("false")
        blob.content_encoding = "gzip"
        blob.upload_from_string(b"plain")
        link = address(
            bucket, f"/download/storage/v1/b/{bucket.name}/o/false?alt=media"
        )
        answer = requests.get(link, headers={"Accept-Encoding": "identity"}, timeout=10)

        assert answer.status_code == 400


class TestCompositions:
    @pytest.mark.parametrize("sources", [0, 33])
    def test_have_one_to_thirty_two_sources(self, bucket, sources):
        """Any other number is refused, and nothing is written."""
        bucket.blob("part").upload_from_string(b"x")
        with pytest.raises(BadRequest, match="1 to 32"):
            bucket.blob("whole").compose([bucket.blob("part")] * sources)

        assert bucket.get_blob("whole") is None

    def test_refuse_conditions_on_sources(self, bucket):
        """They would be ignored."""
        bucket.blob("part").upload_from_string(b"x")
        with pytest.raises(MethodNotImplemented, match="of a source"):
            bucket.blob("whole").compose(
                [bucket.blob("part")], if_source_generation_match=[5]
            )


class TestOtherClients:
    def test_head_answers_as_get_without_the_body(self, bucket):
        """The connection then serves the next request."""
        bucket.blob("x").upload_from_string(b"hello")
        where = urlsplit(address(bucket, ""))
        link = http.client.HTTPConnection(where.hostname, where.port, timeout=10)
        answers = []
        for method in ("HEAD", "GET"):
            link.request(method, f"/{bucket.name}/x")
            answer = link.getresponse()
            length = answer.getheader("Content-Length")
            answers.append((answer.status, length, answer.read()))
        link.close()

        assert answers == [(200, "5", b""), (200, "5", b"hello")]

    def test_bytes_say_when_they_were_written(self, bucket):
        """Readers of Parquet will not read without it."""
        bucket.blob("x").upload_from_string(b"hello")
        answer = requests.get(address(bucket, f"/{bucket.name}/x"), timeout=10)

        assert answer.headers["Last-Modified"].endswith(" GMT")

    def test_parts_may_have_a_boundary_in_single_quotes(self, bucket):
        """As gcloud and gsutil write it."""
        body = (
            b'--==1==\r\nContent-Type: application/json\r\n\r\n{"name": "x"}\r\n'
            b"--==1==\r\nContent-Type: text/x\r\nMIME-Version: 1.0\r\n\r\nhello\r\n"
            b"--==1==--"
        )
        answer = requests.post(
            address(bucket, f"/upload/storage/v1/b/{bucket.name}/o"),
            params={"uploadType": "multipart"},
            headers={"Content-Type": "multipart/related; boundary='==1=='"},
            data=body,
            timeout=10,
        )

        assert answer.status_code == 200
        assert bucket.blob("x").download_as_bytes() == b"hello"

    def test_a_resource_has_the_address_of_its_bytes(self, bucket):
        """Alone, in a list and of a rewrite; gcloud downloads from there alone."""
        blob = bucket.blob("a b/é")
        blob.upload_from_string(b"hello")
        bucket.blob("copy").rewrite(blob)
        links = [blob.media_link, *(copy.media_link for copy in bucket.list_blobs())]

        assert len(links) == 3
        for link in links:
            assert requests.get(link, timeout=10).content == b"hello"

    def test_a_bucket_says_that_its_names_are_flat(self, bucket):
        """Gcloud asks before it copies, moves or removes more than one object."""
        link = address(bucket, f"/storage/v1/b/{bucket.name}/storageLayout")
        missing = address(bucket, "/storage/v1/b/no-such-bucket/storageLayout")

        assert "hierarchicalNamespace" not in requests.get(link, timeout=10).json()
        assert requests.get(missing, timeout=10).status_code == 404

    def test_an_upload_can_be_given_up(self, bucket):
        """It is answered with 499, and cannot go on."""
        start = address(bucket, f"/upload/storage/v1/b/{bucket.name}/o")
        named = {"uploadType": "resumable", "name": "x"}
        upload = requests.post(start, params=named, json={}, timeout=10)
        link = upload.headers["Location"]
        statuses = [requests.delete(link, timeout=10).status_code for _ in range(2)]
        late = requests.put(link, data=b"x", timeout=10).status_code

        assert (statuses, late) == ([499, 404], 404)

    def test_what_is_unknown_is_said(self, bucket):
        """Instead of a status without a word."""
        link = address(bucket, f"/storage/v1/b/{bucket.name}/o/x/moveTo/o/y")
        unknown = requests.post(link, timeout=10)
        missing = requests.get(
            address(bucket, f"/storage/v1/b/{bucket.name}/o/x"), timeout=10
        )

        assert unknown.status_code == 501
        assert "does not know POST" in unknown.json()["error"]["message"]
        assert missing.status_code == 404
        assert "Not Found" in missing.json()["error"]["message"]
