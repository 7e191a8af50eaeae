"""Whole files, specified: the old bytes or the new ones, and nothing beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from offline import whole_files


def test_a_file_on_a_full_disk_stays_what_it_was(tmp_path, monkeypatch):
    """Defect: each run left what it had of a page, under a name of its own."""
    file = tmp_path / "new" / "index.html"
    whole_files.write(file, b"old")
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[:1])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        whole_files.write(file, b"new")

    assert list(file.parent.iterdir()) == [file]
    assert file.read_bytes() == b"old"
