"""
02-GetProba: answers over HTTP.

A lookup, ``get_proba``:

- ``question``: parses the request
- ``lookup``: a user's published probability, from an index, a cache or a source
- ``values``: a lookup with the expected value, from the table
- ``indexed``: the prediction indexes, in memory or read block by block
- ``sources``: where lookups read: what a source is, and the predictions table

A score, ``score``:

- ``score``: features or a user, scored now by the champion
- ``score_request``, ``instances``: parse the request to the input of a model
- ``named_versions``: versions that a request names, loaded a few at a time
- ``batches``: one call of the model for all instances that wait at the same time
- ``score_answers``: scores to the JSON of an answer, and to rows of the log
- ``inference_queue``: rows of the log that wait to be appended
"""
