"""Where the pages are written, specified: a failure leaves no part of a page."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from offline.dashboard import writing
from propensity.errors import RequestError
from propensity.settings import Settings


class TestFolder:
    def test_of_a_full_disk_has_the_pages_before(self, tmp_path, monkeypatch):
        """Defect: each run left what it had of a page, under a name of its own."""
        settings = Settings(project="p")
        writing.write({"index.html": "old"}, str(tmp_path), settings)
        write = Path.write_text

        def full(path: Path, text: str, *how: Any) -> int:
            write(path, text[:1], *how)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(RequestError, match="No space left"):
            writing.write({"index.html": "new"}, str(tmp_path), settings)

        assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
        assert (tmp_path / "index.html").read_text() == "old"
