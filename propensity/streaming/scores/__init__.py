"""
Scores, one by one: of enriched events, and of features or a user over HTTP.

- ``score_stream``: enriched events to scores
- ``score``: features or a user, scored now over HTTP, by the champion or a version by
  number; ``score_request``: parses the request to the input of a model
- ``inference_log``: rows of scores, from stream and HTTP, and their identity

Rows of the inference log wait in ``score`` and are appended behind the answers.
"""
