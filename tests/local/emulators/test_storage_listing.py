"""Lists of objects, specified against Python's own sorting of the names."""

from __future__ import annotations

import pytest
import requests
from google.api_core.exceptions import MethodNotImplemented

NAMES = sorted(
    [f"l/f{number:02}" for number in range(7)]
    + [f"l/d{number}/x" for number in range(5)]
    + ["l/d0/", "m", "é", "Z"]
)


@pytest.fixture
def filled(bucket):
    for name in NAMES:
        bucket.blob(name).upload_from_string(b"")
    return bucket


def names(blobs) -> list[str]:
    return [blob.name for blob in blobs]


class TestPages:
    @pytest.mark.parametrize("size", [1, 2, 5, len(NAMES), 1000])
    def test_have_everything_once(self, filled, size):
        """In the order of the names, whatever their size."""
        pages = list(filled.list_blobs(page_size=size).pages)
        blobs = [blob.name for page in pages for blob in page]

        assert blobs == NAMES
        assert len(pages) == -(-len(NAMES) // size)

    @pytest.mark.parametrize("size", [1, 3, 100])
    def test_count_folders_too(self, filled, size):
        """A folder is in one page only."""
        pages = list(
            filled.list_blobs(prefix="l/", delimiter="/", page_size=size).pages
        )
        blobs, folders = [], []
        for page in pages:
            blobs += names(page)
            folders += page.prefixes

        assert blobs == [f"l/f{number:02}" for number in range(7)]
        assert sorted(folders) == [f"l/d{number}/" for number in range(5)]
        assert len(pages) == -(-12 // size)

    def test_end_at_the_most_that_is_wanted(self, filled):
        """``max_results`` is of the whole list."""
        assert names(filled.list_blobs(max_results=3)) == NAMES[:3]

    @pytest.mark.parametrize(
        "wrong", [{"maxResults": "0"}, {"maxResults": "x"}, {"pageToken": "é"}]
    )
    def test_that_make_no_sense_are_refused(self, filled, wrong):
        """With 400."""
        base = filled.client._connection.API_BASE_URL
        link = f"{base}/storage/v1/b/{filled.name}/o"

        assert requests.get(link, params=wrong, timeout=10).status_code == 400


class TestRanges:
    @pytest.mark.parametrize(
        ("first", "end"),
        [("l/f02", "l/f05"), ("l/f02", None), (None, "l/d3"), ("z", "a")],
    )
    def test_are_from_one_name_up_to_another(self, filled, first, end):
        """The first is in it, the end is not."""
        blobs = filled.list_blobs(start_offset=first, end_offset=end)
        expected = [
            name
            for name in NAMES
            if (first is None or name >= first) and (end is None or name < end)
        ]

        assert names(blobs) == expected

    def test_know_patterns(self, filled):
        """``matchGlob``, in pages as well."""
        blobs = filled.list_blobs(match_glob="l/f0[1-3]", page_size=2)

        assert names(blobs) == ["l/f01", "l/f02", "l/f03"]


class TestFolders:
    @pytest.mark.parametrize("included", [True, False])
    def test_are_objects_where_that_is_asked_for(self, filled, included):
        """An object ``l/d0/`` is a folder, and with an option also itself."""
        blobs = filled.list_blobs(
            prefix="l/d", delimiter="/", include_trailing_delimiter=included
        )

        assert names(blobs) == (["l/d0/"] if included else [])
        assert sorted(blobs.prefixes) == [f"l/d{number}/" for number in range(5)]

    def test_that_were_deleted_are_not_kept(self, filled):
        """An empty list would say that there were none."""
        with pytest.raises(MethodNotImplemented, match="soft-deleted"):
            list(filled.list_blobs(soft_deleted=True))
