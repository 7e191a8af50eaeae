"""
02-GetProba: what is answered by HTTP.

- ``question``: a lookup's request, parsed
- ``lookup``: a user's published probability, from the predictions table
- ``score``: features or a user scored now, by the champion
- ``score_request``, ``instances``: a request for scores, parsed to what a model takes
- ``batches``: instances that wait at the same time, scored by one call of the model
- ``score_answers``: scores to the JSON of an answer, and to rows of the log
- ``inference_queue``: rows of the log that wait to be appended
"""
