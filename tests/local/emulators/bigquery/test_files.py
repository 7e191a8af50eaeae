"""
Where the emulator's files are: in any folder.
"""

from __future__ import annotations

import duckdb

from local.emulators.bigquery import files


def test_an_extension_is_loaded_from_any_folder(tmp_path, monkeypatch):
    """As one that is called after somebody, with an apostrophe."""
    there = files.extension("icu", duckdb.__version__)
    folder = tmp_path / "ana's folder"
    folder.mkdir()
    (folder / there.name).symlink_to(there)
    monkeypatch.setattr(files, "extension", lambda *_: folder / there.name)

    with duckdb.connect() as connection:
        files.load(connection, "icu", duckdb.__version__)
        rows = connection.execute(
            "SELECT loaded FROM duckdb_extensions() WHERE extension_name = 'icu'"
        ).fetchall()

    assert rows == [(True,)]
