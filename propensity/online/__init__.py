"""
02-GetProba: answers over HTTP.

A lookup, ``get_proba``:

- ``question``: parses the request
- ``lookup``: a user's published probability as an answer
- ``indexes``: the index of each use case, in memory, followed by its pointer
- ``table``: the predictions table, by one query for all who wait

A score, ``score``:

- ``score``: features or a user, scored now by the champion
- ``score_request``, ``instances``: parse the request to the input of a model
- ``named_versions``: versions that a request names, loaded a few at a time
- ``batches``: one call of the model for all instances that wait at the same time
- ``score_answers``: scores to the JSON of an answer, and to rows of the log
- ``inference_queue``: rows of the log that wait to be appended
"""
