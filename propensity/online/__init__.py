"""
02-GetProba: answers over HTTP.

A lookup, ``get_proba``:

- ``question``: parses the request
- ``lookup``: a user's published probability, from the predictions table

A score, ``score``:

- ``score``: features or a user, scored now by the champion
- ``score_request``, ``instances``: parse the request to the input of a model
- ``batches``: one call of the model for all instances that wait at the same time
- ``score_answers``: scores to the JSON of an answer, and to rows of the log
- ``inference_queue``: rows of the log that wait to be appended
"""
