"""Buckets of the emulator, and an object in one."""

from __future__ import annotations

import pytest

NEW = 0


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
