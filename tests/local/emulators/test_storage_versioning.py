"""Buckets that keep generations, specified: as Cloud Storage keeps them."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import NotFound


class TestVersioning:
    """A bucket with versioning keeps what is overwritten or deleted."""

    @pytest.fixture
    def versioned(self, bucket):
        bucket.versioning_enabled = True
        bucket.patch()
        return bucket

    def generations(self, bucket, **how):
        blobs = bucket.client.list_blobs(bucket, versions=True, **how)
        return {int(blob.generation): blob.time_deleted is None for blob in blobs}

    def test_keeps_the_generations_before(self, versioned):
        """Each can be read by its number, and is listed where versions are."""
        blob = versioned.blob("a/b")
        blob.upload_from_string(b"old")
        old = int(blob.generation)
        blob.upload_from_string(b"now")

        assert self.generations(versioned) == {old: False, int(blob.generation): True}
        assert versioned.blob("a/b", generation=old).download_as_bytes() == b"old"
        assert versioned.blob("a/b").download_as_bytes() == b"now"
        assert [listed.name for listed in versioned.client.list_blobs(versioned)] == [
            "a/b"
        ]

    def test_keeps_what_is_deleted_without_its_generation(self, versioned):
        """It is no object any more, and can still be read by its number."""
        blob = versioned.blob("a")
        blob.upload_from_string(b"x")
        old = int(blob.generation)
        versioned.delete_blob("a")

        assert versioned.get_blob("a") is None
        assert self.generations(versioned) == {old: False}
        assert versioned.blob("a", generation=old).download_as_bytes() == b"x"

    def test_deletes_a_generation_for_good(self, versioned):
        """By its number one goes and leaves the others, the live one too."""
        blob = versioned.blob("a")
        blob.upload_from_string(b"old")
        old = int(blob.generation)
        blob.upload_from_string(b"now")
        now = int(blob.generation)
        versioned.delete_blob("a", generation=old)
        without_old = self.generations(versioned)
        versioned.delete_blob("a", generation=now)

        assert without_old == {now: True}
        assert self.generations(versioned) == {}
        with pytest.raises(NotFound):
            versioned.delete_blob("a", generation=old)

    def test_lists_generations_under_a_prefix(self, versioned):
        """As objects are."""
        for name in ("a/1", "b/1"):
            for data in (b"1", b"2"):
                versioned.blob(name).upload_from_string(data)

        assert len(self.generations(versioned, prefix="a/")) == 2

    def test_keeps_nothing_without_versioning(self, bucket, pointer):
        """As before: the newest generation is all there is."""
        assert self.generations(bucket) == {int(pointer.generation): True}
