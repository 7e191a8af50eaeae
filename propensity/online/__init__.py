"""
02-GetProba: answers over HTTP.

A lookup, ``get_proba``:

- ``lookup``: parses a request; a user's published probability as an answer
- ``indexes``: the index of each use case, in memory, followed by its pointer
- ``table``: the predictions table, by one query for all who wait

A score, ``score``:

- ``score``: features or a user, scored now by the champion or a version by number
- ``score_request``: parses the request to the input of a model

Rows of the inference log wait in ``score`` and are appended behind the answers.
"""
