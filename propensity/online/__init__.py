"""
02-GetProba: answers over HTTP.

A lookup, ``get_proba``, whose instance starts within a second or two: the modules that
it imports, in all packages, import nothing heavy.

- ``lookup``: parses a request; a user's published probability as an answer, from the
  index of the use case in memory; without one, from the table
- ``indexes``: these indexes, which follow their pointers

A score, ``score``:

- ``score``: features or a user, scored now by the champion or a version by number
- ``score_request``: parses the request to the input of a model

Rows of the inference log wait in ``score`` and are appended behind the answers.
"""
