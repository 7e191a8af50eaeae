"""
02-GetProba: what is answered by HTTP.

- ``question``: a lookup's request, parsed
- ``lookup``: a user's published probability, from the predictions table
- ``score``: features or a user scored now, by the champion
- ``instances``: a request to score, parsed, and what is answered and logged
"""
