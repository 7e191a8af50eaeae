"""What to write instead of a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable

# Of the letters that two names share; "trie" is as near to "try".
NEAR = 0.57
# A list is no longer than that.
MOST = 30


def nearest(name: str, names: Iterable[str], *, cutoff: float = NEAR) -> str:
    """Return the name that is most like a wrong one; empty where none is like it."""
    import difflib  # only a wrong name needs it

    near = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return near[0] if near else ""


def instead(name: str, names: Iterable[str], *, kind: str) -> str:
    """
    Return which name may be meant, or else all there are.

    Args:
        kind: What the names are of, in the plural: States.
    """
    choices = list(names)
    near = nearest(name, choices)
    if near:
        return f"Did you mean {near!r}?"
    listed = ", ".join(choices[:MOST]) if choices else "none"
    return f"{kind}: {listed}"
