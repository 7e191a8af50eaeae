"""
Files of objects: each name has one of its own.

``gcp-storage-emulator`` keeps the object ``a/b`` in the file ``a/b``, and there also
``a//b``, ``./a/b``, ``/a/b`` and ``a\\b``: of these the last writer's bytes would be
read under all names. An object ``a/``, which tools make for a folder, would be a file
where ``a/b`` needs a folder.
"""

from __future__ import annotations

# No name of an object has one, so that nothing else is called like this.
ESCAPE = "\n"
_BACKSLASH = f"{ESCAPE}5c"
_NOT_KEPT = frozenset({"", ".", ".."})


def path_of(name: str) -> str:
    """
    Return where an object is kept, under its bucket: its own name, wherever a file
    system keeps that.

    Args:
        name: Of an object, without a line feed.
    """
    return "/".join(
        ESCAPE + segment if segment in _NOT_KEPT else segment
        for segment in name.replace("\\", _BACKSLASH).split("/")
    )


def is_name(name: str) -> bool:
    """Return whether an object may be called so: no line feed or carriage return."""
    return not {"\n", "\r"} & set(name)
