"""
02-GetProba: answers over HTTP.

A lookup, ``get_proba``, whose instance starts within a second or two: the modules that
it imports, in all packages, import nothing heavy.

- ``lookup``: parses a request; a user's published probability as an answer, from the
  index of the use case in memory; without one, from the table
- ``indexes``: these indexes, which follow their pointers

A score over HTTP is ``streaming.scores``'s.

It may import ``registry``, ``suppression`` and what stands below them. Tests:
``tests/propensity/online``, ``tests/functions/test_get_proba.py``.
"""
