"""Whole files, specified: the old bytes or the new ones, and nothing beside them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from offline import whole_files


class TestWrite:
    def test_replaces_a_file_and_makes_its_folder(self, tmp_path):
        file = tmp_path / "a" / "b.json"
        whole_files.write(file, b"a longer old one")
        whole_files.write(file, b"new")

        assert file.read_bytes() == b"new"
        assert [path.name for path in file.parent.iterdir()] == ["b.json"]

    def test_on_a_full_disk_leaves_what_there_was(self, tmp_path, monkeypatch):
        """Defect: each run left what it had of a page, under a name of its own."""
        file = tmp_path / "index.html"
        whole_files.write(file, b"old")
        write = Path.write_bytes

        def full(path: Path, content: bytes) -> int:
            write(path, content[:1])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            whole_files.write(file, b"new")

        assert list(tmp_path.iterdir()) == [file]
        assert file.read_bytes() == b"old"
